"""An engine and its API in one process: what `up` is, and what `run` is for a moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.entrypoints.cli.client import Client
from counterpoint.entrypoints.cli.location import Location, forget_running, write_running

if TYPE_CHECKING:
    from counterpoint.bootstrap import RunningEngine
    from counterpoint.entrypoints.api.server import Listener
    from counterpoint.entrypoints.api.settings import ApiSettings
    from counterpoint.model.plan import Plan


@asynccontextmanager
async def hosted(
    plan: Plan,
    folder: Path,
    listener: Listener,
    settings: ApiSettings,
    *,
    by: str,
    commit: str = "",
    store: str = "",
    on_standby: Callable[[], None] = lambda: None,
) -> AsyncIterator[RunningEngine]:
    """Start an engine, open its API, and note where it is; undo all that at the end.

    The port opens only when the engine accepts. What an engine that stands by does until then
    can be said by `on_standby`.
    """
    from counterpoint.bootstrap import start
    from counterpoint.entrypoints.api.app import create_app

    try:
        engine = await start(
            plan, folder=folder, store=store, url=listener.url, by=by, commit=commit, on_standby=on_standby
        )
    except BaseException:
        await listener.close()
        raise
    try:
        await listener.open(create_app(engine.service, settings))
        write_running(folder, Location(listener.url, settings.token))
        try:
            yield engine
        finally:
            forget_running(folder)
            await listener.close()
    finally:
        await engine.close()


@contextmanager
def hosted_in_thread(folder: Path) -> Iterator[Client]:
    """An engine for the score of this folder, in a thread of this process, and a client of it."""
    from counterpoint.entrypoints.api.server import Listener
    from counterpoint.entrypoints.api.settings import ApiSettings
    from counterpoint.entrypoints.cli.declare import read_plan

    plan = read_plan((), folder)
    settings = ApiSettings()
    listener = Listener("127.0.0.1", 0, settings)
    client = Client(listener.url)
    opened, failure = threading.Event(), list[BaseException]()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with hosted(plan, folder, listener, settings, by=client.by):
            opened.set()
            await stop.wait()

    def work() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:  # handed over to the thread that waits for us
            failure.append(error)
        finally:
            loop.close()
            opened.set()

    thread = threading.Thread(target=work, name="engine")
    thread.start()
    try:
        opened.wait()
        if failure:
            raise failure[0]
        yield client
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
