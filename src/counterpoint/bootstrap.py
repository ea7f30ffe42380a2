"""The parts list: the one place that names concrete classes and puts an engine together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from counterpoint.adapters.clocks import SystemClock
from counterpoint.adapters.executors.process.client import ProcessExecutor
from counterpoint.adapters.stores import open_store
from counterpoint.adapters.tools import standard_tools
from counterpoint.engine.loop import Engine
from counterpoint.engine.serving import EngineService
from counterpoint.model.plan import Plan
from counterpoint.ports.tool import Tool

#: Everything that belongs to a score on this machine: store, spool, logs; beside the score.
FOLDER = ".counterpoint"


def tools() -> Mapping[str, Tool]:
    """The kinds of tasks that scores may use."""
    return standard_tools()


class RunningEngine:
    """An engine that leads and accepts, until `close`.

    Attributes:
        store_url: where its facts are kept.
        ended: done when the engine has ended by itself, with the error that ended it.
    """

    def __init__(self, service: EngineService, store_url: str, ended: asyncio.Task[None]) -> None:
        self.service, self.store_url, self.ended = service, store_url, ended

    async def drain(self) -> None:
        """Wait until no attempt runs."""
        engine = self.service.engine
        while engine.ready and engine.state.attempts:
            async for _ in engine.listen(None):
                if not engine.state.attempts:
                    break

    async def close(self) -> None:
        """Give leadership back; attempts run on under their worker host. An error is told by `ended` alone."""
        engine = self.service.engine
        await engine.stop()
        try:
            await asyncio.wait({self.ended})
        finally:
            await engine.executor.close()
            await engine.backend.close()


async def start(
    plan: Plan | None,
    *,
    folder: Path,
    store: str = "",
    url: str = "",
    by: str = "up",
    commit: str = "",
    on_standby: Callable[[], None] = lambda: None,
) -> RunningEngine:
    """Start an engine and return when it leads and accepts.

    Args:
        folder: the score's; what belongs to it is kept in `.counterpoint` below.
        store: URL of the store; "" is SQLite in that folder.
        url: where tasks reach the API.
        on_standby: called once if another engine leads, and this one stands by.

    Raises:
        StoreError: the store cannot be used.
        HostUnreachable: there is a worker host and it does not answer, or none can be started.
    """
    place = folder / FOLDER
    place.mkdir(mode=0o700, exist_ok=True)
    secret = _secret(place / "secret")
    store_url = store or f"sqlite:///{place.absolute() / 'counterpoint.sqlite'}"
    executor = ProcessExecutor(place / "host", secrets=_secret_sources())
    engine = Engine(
        open_store(store_url),
        executor,
        tools(),
        clock=lambda last: SystemClock(last=last),
        declared=plan,
        secret=secret,
        url=lambda: url,
        by=by,
        commit=commit,
        on_standby=on_standby,
    )
    ended = asyncio.create_task(engine.run(), name="engine")
    started = asyncio.create_task(engine.started.wait())
    try:
        await asyncio.wait({ended, started}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
    except BaseException:  # it cannot start, or whoever waits for it gave up
        ended.cancel()
        await asyncio.wait({ended})
        await executor.close()
        await engine.backend.close()
        raise
    finally:
        started.cancel()
    service = EngineService(engine, logs=executor.logs, secret=secret)
    return RunningEngine(service, store_url, ended)


def _secret_sources() -> list[str]:
    """Where the worker host looks for secrets: its environment, then the file or folder of files named there."""
    sources = ["counterpoint.adapters.secrets.environment:EnvironmentSecrets"]
    if place := os.environ.get("COUNTERPOINT_SECRETS"):
        sources.append(f"counterpoint.adapters.secrets.file:FileSecrets={Path(place).absolute()}")
    return sources


def _secret(path: Path) -> bytes:
    """The key of task tokens and call-backs: made once, readable by us alone, the same after a restart."""
    with suppress(FileExistsError):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, os.urandom(32))
        finally:
            os.close(file)
    return path.read_bytes()
