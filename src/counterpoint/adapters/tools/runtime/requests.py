"""One HTTP request with the standard library: no redirects, bounded bodies, plain errors."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, InvalidURL
from typing import Any

from counterpoint.adapters.tools.runtime.output import Failed
from counterpoint.adapters.tools.runtime.templates import Values

_BODY_MAX_BYTES = 16 * 1024 * 1024

#: Statuses that say "not now" rather than "no".
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class Unreachable(Failed):
    """The server could not be asked, or says that it cannot answer now."""

    def __init__(self, detail: str, *, retry_after_s: float = 0.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class Unexpected(Failed):
    """The server answered, and not what was expected."""


@dataclass(frozen=True)
class Response:
    """An answer; `content` is parsed JSON, or text."""

    status: int
    content: Any

    def at(self, path: str) -> Any:
        """What stands at a dotted path such as `jobs.0.id`; None where there is nothing."""
        node = self.content
        for part in path.split("."):
            if isinstance(node, Mapping):
                node = node.get(part)
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                return None
        return node


def ask(request: Mapping[str, Any], values: Values, *, headers: Mapping[str, Any] | None = None) -> Response:
    """Send a request of a score and take its answer.

    Args:
        headers: what goes before the request's own headers.

    Raises:
        Unreachable: no connection, a time-out, or a status that is worth another try.
        Unexpected: any other status that was not expected.
        Failed: there is nothing to ask: a wrong address, or a parameter that the run does not have.
    """
    url = values.fill_url(request["url"])
    method = request.get("method", "GET")
    if not url.startswith(("http://", "https://")):
        raise Failed(f"an address with http:// or https:// was expected, {url!r} was found")
    sent = {"user-agent": "counterpoint"} | {k.lower(): v for k, v in values.fill(dict(headers or {})).items()}
    sent |= {name.lower(): value for name, value in values.fill(request.get("headers", {})).items()}
    body = _body(request, values, sent)
    outgoing = urllib.request.Request(url, data=body, headers=sent, method=method)  # noqa: S310 - checked above
    place = f"{method} {_without_query(url)}"
    try:
        with _opener().open(outgoing, timeout=request.get("timeout", 30.0)) as incoming:
            status, head, content = incoming.status, incoming.headers, incoming.read(_BODY_MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        with error:
            status, head, content = error.code, error.headers, error.read(_BODY_MAX_BYTES)
    except (InvalidURL, ValueError) as error:
        # Without the error's own words: they quote the header, which may be a secret.
        raise Failed(f"{place}: its address or a header has signs that cannot be sent") from error
    except (OSError, HTTPException) as error:
        raise Unreachable(f"{place}: {getattr(error, 'reason', None) or error or type(error).__name__}") from error
    if len(content) > _BODY_MAX_BYTES:
        raise Failed(
            f"{place}: an answer of at most {_BODY_MAX_BYTES >> 20} MiB was expected, a larger one was found"
        )
    response = Response(status, _parsed(content, head))
    expected = request.get("expect")
    if status in expected if expected else 200 <= status < 300:
        return response
    detail = f"{place}: answered {status}{_excerpt(response)}"
    if status in _PASSING:
        asked_s = _retry_after_s(head)
        asks = f", asks for another try in {asked_s:.0f}s" if asked_s else ""
        raise Unreachable(detail + asks, retry_after_s=asked_s)
    raise Unexpected(f"{detail}; {'or '.join(map(str, expected)) if expected else '200 to 299'} was expected")


def _body(request: Mapping[str, Any], values: Values, headers: dict[str, str]) -> bytes | None:
    if "json" in request:
        headers.setdefault("content-type", "application/json")
        return json.dumps(values.fill(request["json"])).encode()
    if "body" in request:
        headers.setdefault("content-type", "text/plain; charset=utf-8")
        return str(values.fill(request["body"])).encode()
    return b"" if request.get("method") in ("POST", "PUT", "PATCH") else None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the answer it is: following would send the headers, secrets included, elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirect)


def _parsed(content: bytes, head: Message) -> Any:
    try:
        text = content.decode(head.get_content_charset("utf-8"), "replace")
    except LookupError:  # a server may name a character set that Python does not know
        text = content.decode("utf-8", "replace")
    if "json" in head.get_content_type():
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _excerpt(response: Response) -> str:
    content = response.content if isinstance(response.content, str) else json.dumps(response.content)
    return f" ({' '.join(content.split())[:300]})" if content.strip() else ""


def _retry_after_s(head: Message) -> float:
    value = str(head.get("retry-after", "")).strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _without_query(url: str) -> str:
    """An address for people: its query may hold keys, and its user part a password."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
