"""An engine and its API in one process: what `up` is, and what `run` is for a moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.entrypoints.cli.client import Client
from counterpoint.entrypoints.cli.location import FOLDER, Location, forget_running, write_running
from counterpoint.errors import CounterpointError

if TYPE_CHECKING:
    from counterpoint.bootstrap import RunningEngine
    from counterpoint.entrypoints.api.server import Listener
    from counterpoint.entrypoints.api.settings import ApiSettings
    from counterpoint.model.plan import Plan


class EngineEnded(CounterpointError):
    """The engine ended by a mistake of ours."""

    code = "internal"


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

    Raises:
        CounterpointError: the engine cannot start, or has ended by itself.
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
        _raise_end(engine.ended, folder)


def _raise_end(ended: asyncio.Future[None], folder: Path) -> None:
    """Raise the error by which an engine has ended. What nobody foresaw goes into a file, whole."""
    import traceback
    from datetime import UTC, datetime

    error = ended.exception() if ended.done() and not ended.cancelled() else None
    if error is None:
        return
    if isinstance(error, CounterpointError):
        raise error
    log = folder / FOLDER / "error.log"
    with log.open("a") as file:
        file.write(f"{datetime.now(UTC).isoformat()}\n{''.join(traceback.format_exception(error))}\n")
    said = f"{type(error).__name__}: {error}".partition("\n")[0]
    raise EngineEnded(
        f"the engine ended by a mistake of ours ({said}); {log} has all of it. What was accepted is kept: "
        "start it again, and it goes on from its journal"
    ) from error


@contextmanager
def hosted_in_thread(folder: Path) -> Iterator[Client]:
    """An engine for the score of this folder, in a thread of this process, and a client of it."""
    from counterpoint.entrypoints.api.server import Listener
    from counterpoint.entrypoints.api.settings import ApiSettings
    from counterpoint.entrypoints.cli.declare import read_plan

    plan = read_plan((), folder)
    settings = ApiSettings()
    listener = Listener("127.0.0.1", 0, settings)
    client = Client(listener.url, patience_s=1.0)
    opened, failure = threading.Event(), list[BaseException]()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with hosted(plan, folder, listener, settings, by=client.by) as engine:
            opened.set()
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({stopping, engine.ended}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()

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
        if failure:
            raise failure[0]  # rather than what became of those who asked it
