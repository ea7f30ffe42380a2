"""The API put together: the guard in front, then the routes of every resource."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from counterpoint.engine.service import Service
from counterpoint.entrypoints.api import openapi
from counterpoint.entrypoints.api.problems import Problem, on_error, refuse
from counterpoint.entrypoints.api.resources import (
    assets,
    engine,
    events,
    pipelines,
    probes,
    promises,
    runs,
    stream,
)
from counterpoint.entrypoints.api.routing import Call, Endpoint, Endpoints, routes_of
from counterpoint.entrypoints.api.security import Access, Guard
from counterpoint.entrypoints.api.settings import ApiSettings

_own = Endpoints("/api/v1")


@_own.get("/openapi.json", access=Access.OPEN, answers=dict[str, Any])
async def get_openapi(call: Call) -> dict[str, Any]:
    """This description."""
    return description()


#: Every route there is.
ENDPOINTS: tuple[Endpoint, ...] = tuple(
    endpoint
    for resource in (engine, pipelines, runs, events, assets, promises, stream, probes)
    for endpoint in resource.routes.table
) + tuple(_own.table)


@cache
def description() -> dict[str, Any]:
    """The API's OpenAPI document."""
    return openapi.describe(ENDPOINTS)


def create_app(service: Service, settings: ApiSettings) -> Starlette:
    """The API of a running engine, as an ASGI application.

    Whoever serves it sets `state.closing` before it stops, so that open streams end.
    """
    app = Starlette(
        routes=routes_of(ENDPOINTS),
        middleware=[Middleware(Guard, settings=settings)],
        exception_handlers={HTTPException: _on_http_error, Exception: on_error},
    )
    app.router.redirect_slashes = False
    app.state.service, app.state.settings = service, settings
    app.state.closing = asyncio.Event()
    return app


async def _on_http_error(request: Request, error: Exception) -> Response:
    """What no route answers."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    if status == 405:
        return refuse(405, Problem(code="method", message=f"{request.method} does not work here"), headers)
    message = f"there is nothing at {request.url.path}; /api/v1/openapi.json lists what there is"
    return refuse(status, Problem(code="unknown-path", message=message), headers)
