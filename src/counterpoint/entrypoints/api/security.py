"""Who may ask what. Every request passes the `Guard`; every route names its `Access`.

A browser on this machine can be made to send requests by any page it shows. Three checks keep such
a page out: the Host must be ours (a name that was re-bound to 127.0.0.1 is not), a request that
changes something must not come from another site, and its body must be of a type for which a
browser asks first. There are no CORS headers, so the browser's question is answered with no.
"""

from __future__ import annotations

import hmac
from enum import Enum
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from counterpoint.entrypoints.api.problems import answer_error
from counterpoint.entrypoints.api.settings import ApiSettings
from counterpoint.errors import Mistake

#: Names of this machine's loopback, as a browser writes them.
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Access(Enum):
    """Whom a route is for."""

    OPEN = "anyone, as for a probe"
    OPERATOR = "whoever has the server's token, where one is set"
    EMITTER = "an operator, or a running task with its own token"
    ATTEMPT = "a running task with its own token, for its own attempt"
    SIGNATURE = "anyone whose body carries the right signature; the service checks it"


class Caller(Struct, frozen=True):
    """Who asks. `by` is recorded with what they change; `attempt` is set for a task's token."""

    by: str
    attempt: str = ""


class Tokens(Protocol):
    """What knows the tokens of running tasks: the service."""

    def attempt_of(self, token: str) -> str | None:
        """The attempt that a task's token belongs to, while that attempt runs."""
        ...


class Guard:
    """Refuses, before any route is looked up, what no route may be asked."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a refusal, or hand the request on."""
        if scope["type"] != "http":
            return  # no WebSockets: closing without an answer refuses one

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
                if not any(name.lower() == b"cache-control" for name, _ in message["headers"]):
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        try:
            headers = Headers(scope=scope)
            self._check_host(headers, scope)
            if scope["method"] not in _READING:
                self._check_site(headers)
                self._check_media(headers)
        except Mistake as mistake:
            await answer_error(mistake)(scope, receive, send_hardened)
            return
        await self.app(scope, receive, send_hardened)

    def _check_host(self, headers: Headers, scope: Scope) -> None:
        found = headers.getlist("host")
        host = found[0].lower() if len(found) == 1 else ""
        port = (scope.get("server") or ("", None))[1]
        allowed = {f"{name}:{port}" for name in (*_LOOPBACK, *self.settings.names)}
        allowed |= {name for name in self.settings.names if urlsplit(f"//{name}").port is not None}
        if port in (80, None):
            allowed |= {*_LOOPBACK, *self.settings.names}
        if host not in {name.lower() for name in allowed}:
            raise Mistake(
                f"this server is not {host or 'nameless'}; "
                f"use http://127.0.0.1:{port}, or allow the name with --name",
                code="foreign-host",
            )

    def _check_site(self, headers: Headers) -> None:
        site = headers.get("sec-fetch-site")
        if site is not None and site not in ("same-origin", "none"):
            raise Mistake(f"a request from a {site} page may not change anything", code="cross-site")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (
            f"{http}://{headers['host'].lower()}" for http in ("http", "https")
        ):
            raise Mistake(f"a page of {origin} may not change anything here", code="cross-site")

    def _check_media(self, headers: Headers) -> None:
        media = media_type(headers)
        if media == "application/json" or (media.startswith("application/") and media.endswith("+json")):
            return
        # A CloudEvent in binary mode without data has no body, so no type either. Its ce- headers
        # are such that a browser asks first.
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if not media and not has_body and "ce-specversion" in headers:
            return
        raise Mistake(
            f"a body of type application/json or application/cloudevents+json was expected, "
            f"{media or 'none'} was found; set Content-Type",
            code="media-type",
        )


def media_type(headers: Headers) -> str:
    """The body's media type without its parameters, in lower case; "" if none is given."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def identify(headers: Headers, access: Access, attempt: str, settings: ApiSettings, tokens: Tokens) -> Caller:
    """Say who asks, or refuse.

    Args:
        attempt: the attempt that the path names; "" for a path without one.

    Raises:
        Mistake: the token is missing or wrong (`token-needed`), or is not for this (`forbidden`).
    """
    by = "".join(letter for letter in headers.get("counterpoint-by", "") if letter.isprintable())[:100] or "api"
    if access in (Access.OPEN, Access.SIGNATURE):
        return Caller(by)

    scheme, _, shown = headers.get("authorization", "").partition(" ")
    token = shown.strip() if scheme.lower() == "bearer" else ""
    # A token that is shown must be good even where none is needed: a task's token dies with its attempt.
    if token and settings.token and hmac.compare_digest(token.encode("latin-1"), settings.token.encode()):
        if access is Access.ATTEMPT:
            raise Mistake("only the attempt itself may report, with its own token", code="forbidden")
        return Caller(by)
    owner = tokens.attempt_of(token) if token else None
    if owner is not None:
        if access is Access.EMITTER or (access is Access.ATTEMPT and owner == attempt):
            return Caller(owner, owner)
        raise Mistake("a task's token may emit events and report for its own attempt only", code="forbidden")
    if headers.get("authorization"):
        raise Mistake("the token is not valid, or not any more", code="token-needed")
    if settings.token:
        raise Mistake("a token is needed: send `Authorization: Bearer TOKEN`, or use --token", code="token-needed")
    if access is Access.ATTEMPT:
        raise Mistake("only the attempt itself may report, with its own token", code="forbidden")
    return Caller(by)
