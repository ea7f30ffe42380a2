"""The parts list: the one place that names concrete classes and puts an engine together."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from counterpoint.adapters.clocks import SystemClock
from counterpoint.adapters.executors.process.client import ProcessExecutor
from counterpoint.adapters.stores import open_store
from counterpoint.adapters.tools import standard_tools
from counterpoint.engine.loop import RETRY_S, Engine
from counterpoint.engine.serving import EngineService
from counterpoint.errors import StoreError
from counterpoint.model.plan import Plan
from counterpoint.ports.tool import Tool

#: Everything that belongs to a score on this machine: store, spool, logs; beside the score.
FOLDER = ".counterpoint"
#: A worker host that is silent for so long is unreachable; a little less than the 10 s in which it is to be shown.
PATIENCE_S = 9.0


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
        while not self.ended.done():
            with suppress(StoreError):  # the engine loads again, and may find that attempts run on
                if not engine.state.attempts:
                    return
                async for _ in engine.listen(None):
                    if not engine.state.attempts:
                        return
            await asyncio.sleep(RETRY_S)

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

    While the store or the worker host does not answer it is tried again.

    Raises:
        Mistake: trying again will not help: a newer release has used the store, or it refuses us.
    """
    place = folder / FOLDER
    place.mkdir(mode=0o700, exist_ok=True)
    secret = _secret(place / "secret")
    store_url = store or f"sqlite:///{place.absolute() / 'counterpoint.sqlite'}"
    executor = ProcessExecutor(place / "host", patience_s=PATIENCE_S, secrets=_secret_sources())
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
    if not path.exists():
        # Whole or not at all: a crash in between must not leave an empty key, with which anybody can sign.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix="secret-")  # mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another engine of this folder was first
            os.link(name, path)
        Path(name).unlink()
    return path.read_bytes()
