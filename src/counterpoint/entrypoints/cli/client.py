"""The API as the command line asks it: standard library only, one connection for each request."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from counterpoint.errors import CounterpointError, Mistake

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

#: The server sends something at least every 15 s; twice that without a byte is a dead connection.
_STREAM_TIMEOUT_S = 30.0


class Unreachable(CounterpointError):
    """No server answers there, or it cannot answer now."""

    code = "unreachable"


class Refused(Mistake):
    """The server refused a request.

    Attributes:
        status: its HTTP status.
        mistakes: for a refused declaration: every mistake, as {code, message, where}.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.mistakes: list[dict[str, str]] = problem.get("mistakes", [])
        super().__init__(
            problem.get("message", f"the server answered {status}"),
            where=problem.get("where", ""),
            code=problem.get("code", f"http-{status}"),
        )


class Sent(NamedTuple):
    """One server-sent event; a ping has neither id nor data."""

    id: str
    event: str
    data: Any


class Client:
    """Asks one server.

    Args:
        patience_s: how long `watch` waits for a server that went away.
    """

    def __init__(self, url: str, token: str = "", *, by: str = "", patience_s: float = 30.0) -> None:
        self.url, self.token, self.patience_s = url.rstrip("/"), token, patience_s
        self.by = by or _user()

    def get(self, path: str, **query: Any) -> Any:
        """The JSON answer to GET; a parameter that is None is left out."""
        return self._answer("GET", path, query)

    def post(self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, **query: Any) -> Any:
        """The JSON answer to POST; None where there is none. A body of bytes is sent as it is."""
        content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        return self._answer("POST", path, query, content, headers)

    def text(self, path: str, **query: Any) -> Iterator[bytes]:
        """The answer to GET as it comes, in pieces."""
        with self._asked("GET", path, query) as response:
            while piece := response.read1(65536):
                yield piece

    def events(self, path: str, *, last_id: str = "", **query: Any) -> Iterator[Sent]:
        """Server-sent events, pings included, until the stream ends.

        Raises:
            Unreachable: the connection was cut.
        """
        headers = {"Last-Event-ID": last_id} if last_id else {}
        fields: dict[str, str] = {}
        with self._asked("GET", path, query, headers=headers, timeout_s=_STREAM_TIMEOUT_S) as response:
            for line in self._lines(response):
                if line.startswith(":"):
                    yield Sent("", "ping", None)
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                else:
                    if "data" in fields:
                        yield Sent(fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]))
                    fields = {}

    def watch(self, path: str, **query: Any) -> Iterator[Sent]:
        """`events` that goes on after a cut or an end, from the last event seen.

        Raises:
            Unreachable: the server has not been there for `patience_s`.
        """
        last_id, alive = "", time.monotonic()
        while True:
            try:
                for sent in self.events(path, last_id=last_id, **query):
                    alive = time.monotonic()
                    last_id = sent.id or last_id
                    yield sent
            except Unreachable:
                if time.monotonic() - alive > self.patience_s:
                    raise
            time.sleep(0.5)

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        with self._asked(method, path, query, body, headers) as response:
            content = response.read()
        return json.loads(content) if content else None

    def _lines(self, response: HTTPResponse) -> Iterator[str]:
        """The lines of an answer as they come, without their ends."""
        from http.client import HTTPException

        try:
            while line := response.readline():
                yield line.decode().rstrip("\n")
        except (OSError, HTTPException) as error:
            raise Unreachable(f"the connection to {self.url} was cut: {error}") from error

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Iterator[HTTPResponse]:
        from http.client import HTTPException

        given = {name: value for name, value in query.items() if value is not None}
        target = f"/api/v1/{path}" + (f"?{urlencode(given)}" if given else "")
        # What goes into a header must be Latin-1; a name outside of it is told in ASCII.
        sent = {"Counterpoint-By": self.by.encode("ascii", "replace").decode(), **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        connection = self._connect(timeout_s)
        try:
            try:
                connection.request(method, target, body, sent)
                response = connection.getresponse()
            except (OSError, HTTPException) as error:
                what = getattr(error, "strerror", None) or error
                raise Unreachable(
                    f"no server answers at {self.url} ({what}); start one with `counterpoint up`"
                ) from error
            if response.status >= 400:
                raise _refusal(response, self.url)
            yield response
        finally:
            connection.close()

    def _connect(self, timeout_s: float) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Mistake(f"a URL such as http://127.0.0.1:8700 was expected, {self.url!r} was found")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        return kind(parts.hostname, parts.port, timeout=timeout_s)


def run_path(run: str) -> str:
    """A run's place in the API."""
    return f"runs/{quote(run, safe='')}"


def name_path(kind: str, name: str) -> str:
    """The place of something that has a name."""
    return f"{kind}/{quote(name, safe='')}"


def _user() -> str:
    """Who types, as the system knows them."""
    import pwd

    try:
        return os.environ.get("USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())  # as in a container without a name for us


def _refusal(response: HTTPResponse, url: str) -> CounterpointError:
    content = response.read()
    try:
        problem = json.loads(content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return Unreachable(f"what answers at {url} is no Counterpoint server (HTTP {response.status})")
    if response.status == 503:
        return Unreachable(f"the server at {url} cannot answer now: {problem.get('message', '')}")
    return Refused(response.status, problem)
