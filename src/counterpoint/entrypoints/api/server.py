"""Serving the API inside a loop that is already there."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from counterpoint.entrypoints.api.settings import ApiSettings
from counterpoint.errors import Conflict, Mistake


class Listener:
    """A bound port that refuses connections until it is opened.

    Binding first makes a port that is taken known before anything is started, and the port
    opens only when there is an engine to answer.

    Raises:
        Mistake: the address is none of this machine's, or not loopback while there is no token.
        Conflict: the port is taken.
    """

    def __init__(self, host: str, port: int, settings: ApiSettings) -> None:
        numeric = "127.0.0.1" if host == "localhost" else host.strip("[]")
        try:
            address = ipaddress.ip_address(numeric)
        except ValueError as error:
            raise Mistake(
                f"an IP address or localhost was expected, {host!r} was found", code="bad-address"
            ) from error
        if not address.is_loopback and not settings.token:
            raise Mistake(
                f"{host} can be reached from outside, so a token is needed: set --token or COUNTERPOINT_TOKEN",
                code="token-needed",
            )
        self._socket = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((numeric, port))
        except OSError as error:
            self._socket.close()
            if error.errno == errno.EADDRINUSE:
                raise Conflict(f"port {port} is taken; choose another with --listen", code="port-taken") from error
            raise Mistake(f"cannot listen on {host}:{port}: {error.strerror}", code="bad-address") from error
        self.host = f"[{numeric}]" if address.version == 6 else numeric
        self.port: int = self._socket.getsockname()[1]
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._app: Starlette | None = None

    @property
    def url(self) -> str:
        """Where the API is, once it is open; a wildcard address is told as loopback."""
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(self.host, self.host)  # noqa: S104 - told, not bound
        return f"http://{host}:{self.port}"

    async def open(self, app: Starlette) -> None:
        """Begin to accept connections."""
        self._app = app
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                http="h11",
                loop="none",
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=2,
            )
        )
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        await self._server.accepting.wait()

    async def close(self) -> None:
        """End streams, let requests finish for at most 2 s, and close the port."""
        if self._server is None or self._serving is None or self._app is None:
            self._socket.close()
            return
        self._app.state.closing.set()
        self._server.stopping.set()
        await self._serving


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which are ours, and without waking ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting, self.stopping = asyncio.Event(), asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        self.accepting.set()
        await self.stopping.wait()
