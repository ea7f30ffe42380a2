"""Routes declared once: a handler's annotations say what it takes and what it answers.

A handler is `async def name(call, PATH_PARAMETERS..., query: Query, body: Body) -> Answer`. Of these
only `call` must be there. `query` and `body` are msgspec structs and checked before the handler runs;
the answer is written as JSON. `openapi.py` reads the same annotations.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, get_type_hints

import msgspec
from msgspec import Struct
from starlette.concurrency import run_in_threadpool
from starlette.convertors import CONVERTOR_TYPES, Convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, compile_path

from counterpoint.engine.service import Service
from counterpoint.entrypoints.api.problems import answer_error
from counterpoint.entrypoints.api.security import Access, Caller, identify
from counterpoint.entrypoints.api.settings import ApiSettings
from counterpoint.errors import DeclarationError, Mistake

Handler = Callable[..., Awaitable[Any]]

#: Levels of arrays and objects in a body, at most: who reads it later, deeper in its own stack, must be able to.
DEEPEST = 100

_BRACKET = re.compile(rb"[\[\]{}]")
#: A JSON text; one that is not closed goes to the end, so that the search stays linear.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


class Call(Struct, frozen=True):
    """One request to a handler, with what it may use."""

    service: Service
    settings: ApiSettings
    request: Request
    caller: Caller

    async def read_body(self, limit: int) -> bytes:
        """The body; given up as soon as it is known to be larger than `limit`."""
        return await read_body(self.request, limit)


class Endpoint(Struct, frozen=True, kw_only=True, dict=True):
    """A route with all that is known of it.

    Attributes:
        status: of an answer that is not a `Response` already.
        answers: what is answered, where the handler makes the `Response` itself.
        media: the media type of the answer.
        takes: media types of a body that the handler reads itself.
    """

    method: str
    path: str
    handler: Handler
    access: Access
    status: int = 200
    answers: Any = None
    media: str = "application/json"
    takes: tuple[str, ...] = ()

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Parameter -> its type, and `return`."""
        return get_type_hints(self.handler, include_extras=True)

    @property
    def parameters(self) -> dict[str, Any]:
        """Path parameter -> its type, in the order of the path."""
        return {name: self.hints[name] for name in compile_path(self.path)[2]}

    @property
    def doc(self) -> str:
        """The handler's docstring."""
        return inspect.getdoc(self.handler) or ""

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        service, settings = request.app.state.service, request.app.state.settings
        caller: Caller | None = None
        try:
            given: dict[str, Any] = dict(request.path_params)
            attempt = str(given.get("attempt", ""))
            caller = identify(request.headers, self.access, attempt, settings, service)
            _refuse_nul(given)
            if "query" in self.hints:
                given["query"] = _read_query(request, self.hints["query"])
            if "body" in self.hints:
                body = await read_body(request, settings.body_max_bytes)
                given["body"] = decode(body or b"{}", self.hints["body"])
            answer = await self.handler(Call(service, settings, request, caller), **given)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:
            # Of those who may ask at all: anybody can send what is not signed.
            is_known = caller is not None and self.method == "POST" and self.access is not Access.SIGNATURE
            if caller is not None and is_known and isinstance(error, Mistake | DeclarationError):
                what, detail = f"POST {request.url.path}", " ".join(str(error).split())
                service.refused(what, code=error.code, detail=detail, by=caller.by)
            return answer_error(error)
        if isinstance(answer, Response):
            return answer
        if answer is None:
            return Response(status_code=204)
        return Response(msgspec.json.encode(answer), self.status, media_type="application/json")


class Endpoints:
    """A table of routes that handlers are entered into; `resources/` has one per resource."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.table: list[Endpoint] = []

    def get(self, path: str, **more: Any) -> Callable[[Handler], Handler]:
        """Enter the handler for GET."""
        return self._enter("GET", path, more)

    def post(self, path: str, **more: Any) -> Callable[[Handler], Handler]:
        """Enter the handler for POST."""
        return self._enter("POST", path, more)

    def _enter(self, method: str, path: str, more: Mapping[str, Any]) -> Callable[[Handler], Handler]:
        def enter(handler: Handler) -> Handler:
            given = {"access": Access.OPERATOR, **more}
            self.table.append(Endpoint(method=method, path=self.prefix + path, handler=handler, **given))
            return handler

        return enter


def routes_of(table: Iterable[Endpoint]) -> list[Route]:
    """Starlette's routes for the table. Two methods of one path stay two routes: Starlette tries both."""
    return [
        Route(endpoint.path, endpoint.__call__, methods=[endpoint.method], name=endpoint.handler.__name__)
        for endpoint in table
    ]


async def read_body(request: Request, limit: int) -> bytes:
    """A request's body.

    Raises:
        Mistake: it is larger than `limit`, and the rest is not read; or it is nested too deeply.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    if body.count(b"[") + body.count(b"{") > DEEPEST and await run_in_threadpool(_is_too_deep, body):
        raise Mistake(f"JSON of at most {DEEPEST} levels was expected", code="bad-json")
    return bytes(body)


def _is_too_deep(body: bytearray) -> bool:
    depth = 0
    for mark in _BRACKET.finditer(_TEXT.sub(b"", body)):
        depth += 1 if mark[0] in b"[{" else -1
        if depth > DEEPEST:
            return True
    return False


def _too_large(limit: int) -> Mistake:
    return Mistake(f"a body of at most {limit} bytes was expected; send less at once", code="too-large")


def _refuse_nul(given: Mapping[str, Any]) -> None:
    """PostgreSQL cannot be asked for text with NUL in it, and nothing of ours has such a name."""
    for name, value in given.items():
        if "\0" in str(value):
            raise Mistake(f"text without NUL was expected in {name!r}", code="bad-query")


def _read_query(request: Request, kind: Any) -> Any:
    _refuse_nul(request.query_params)
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    for name in request.query_params:
        if name not in known:
            raise Mistake(
                f"there is no parameter {name!r}; there are {', '.join(sorted(known))}", code="bad-query"
            )
    try:
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Mistake(str(error), code="bad-query") from error


def decode(body: bytes, kind: Any = Any, what: str = "a body") -> Any:
    """JSON as a value of `kind`.

    Raises:
        Mistake: it is no JSON (`bad-json`), or not of that kind (`bad-body`).
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        raise Mistake(message, where=where.strip("`"), code="bad-body") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Mistake(f"{what} in JSON was expected: {error}", code="bad-json") from error


class _RunId(Convertor[str]):
    """`pipeline#412`, or `pipeline/412` for those who would rather not write %23."""

    regex = "[^/]+(?:/[0-9]+)?"

    def convert(self, value: str) -> str:
        return value.replace("/", "#")

    def to_string(self, value: str) -> str:
        return value.replace("#", "/")


class _AttemptId(Convertor[str]):
    """`pipeline#412/task/2`, or `pipeline/412/task/2`."""

    regex = "[^/#]+[/#][0-9]+/[^/]+/[0-9]+"

    def convert(self, value: str) -> str:
        return value if "#" in value else value.replace("/", "#", 1)

    def to_string(self, value: str) -> str:
        return value.replace("#", "/", 1)


CONVERTOR_TYPES.update(run=_RunId(), attempt=_AttemptId())
