"""What `up` does while it is up: serve, tell what happens, and end in order when it is told to."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.entrypoints.cli.output import DIM, Output, Segments
from counterpoint.entrypoints.cli.story import TOLD, tell

if TYPE_CHECKING:
    from counterpoint.engine.service import Service
    from counterpoint.entrypoints.api.server import Listener
    from counterpoint.entrypoints.api.settings import ApiSettings
    from counterpoint.model.plan import Plan

#: What an end may take, without `--drain`.
_END_S = 4.0
#: Lines that may wait for a slow terminal; what does not fit is counted.
_LINES_WAITING = 2000


class Up:
    """One `up`, from its start to the signal that ends it."""

    def __init__(self, plan: Plan, files: tuple[Path, ...], out: Output, *, quiet: bool) -> None:
        self.plan, self.files, self.out, self.quiet = plan, files, out, quiet
        self.folder = files[0].absolute().parent
        self.printer = _Printer(out)
        self.told_to_end, self.told_twice, self.is_open = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(self, listener: Listener, settings: ApiSettings, *, store: str, drain: bool) -> None:
        """Serve until a signal comes, then end: at once if it stands by, else in order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        serving = asyncio.create_task(self._serve(listener, settings, store=store, drain=drain))
        ending = asyncio.create_task(self.told_to_end.wait())
        try:
            await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
            if drain and self.is_open.is_set():
                again = asyncio.create_task(self.told_twice.wait())
                await asyncio.wait({serving, again}, return_when=asyncio.FIRST_COMPLETED)
                again.cancel()
            if not self.is_open.is_set() or self.told_twice.is_set():
                serving.cancel()  # it stands by, or drains no longer
            await asyncio.wait({serving}, timeout=_END_S)
            if not serving.done():
                # Something hangs. Ending hard is safe: an engine may be killed at any moment.
                self.printer.put([("it did not end in time, so it is ended hard", "yellow")])
                self.printer.close()
                os._exit(0)
        finally:
            ending.cancel()
            self.printer.close()
        if not serving.cancelled():
            serving.result()

    def _on_signal(self) -> None:
        if self.told_to_end.is_set():
            self.told_twice.set()
        self.told_to_end.set()

    async def _serve(self, listener: Listener, settings: ApiSettings, *, store: str, drain: bool) -> None:
        from counterpoint.entrypoints.cli.client import Client
        from counterpoint.entrypoints.cli.declare import revision_of
        from counterpoint.entrypoints.cli.hosting import hosted

        async with hosted(
            self.plan,
            self.folder,
            listener,
            settings,
            by=Client(listener.url).by,
            commit=revision_of(self.files),
            store=store,
            on_standby=self._say_standby,
        ) as engine:
            self.is_open.set()
            await self._say_header(listener.url, engine.store_url, engine.service)
            telling = asyncio.create_task(self._tell(engine.service))
            ending = asyncio.create_task(self.told_to_end.wait())
            try:
                await asyncio.wait({ending, engine.ended}, return_when=asyncio.FIRST_COMPLETED)
                if engine.ended.done():
                    return  # it never ends by itself unless by an error, which `hosted` raises
                if drain:
                    self._say("draining: what runs is waited for; a second signal ends that")
                    await engine.drain()
            finally:
                telling.cancel()
                ending.cancel()
            self._say("ended" if drain else "ended; what runs goes on, and is found again at the next start")

    async def _tell(self, service: Service) -> None:
        """Print facts as they come; after a cut of the stream it goes on from the last fact seen."""
        import msgspec

        from counterpoint.errors import StoreError

        seen: int | None = None
        while not self.quiet:
            with suppress(StoreError):  # the engine says so itself, and goes on when the store is back
                async for message in service.stream(after=seen):
                    seen = message.seq
                    if self.out.as_json:
                        self.printer.put([(msgspec.json.encode(message).decode(), "")])
                    elif message.kind in TOLD:
                        line = tell(msgspec.to_builtins(message))
                        if line is not None:
                            self.printer.put(line)
            await asyncio.sleep(0.5)

    async def _say_header(self, url: str, store: str, service: Service) -> None:
        from importlib.metadata import version

        count = len(service.plan.pipelines)
        self._say("Counterpoint", f" {version('counterpoint')}")
        for name, value in (
            ("score", f"{service.plan.name}, {count} pipeline{'s' if count != 1 else ''}"),
            ("store", store),
            ("api", f"{url}/api/v1"),
            ("look", "counterpoint status, counterpoint why NAME"),
        ):
            self._say("", f"  {name:<7}{value}")
        for notice in (await service.status()).notices:
            self._say(f"! {notice}")
        self._say()

    def _say_standby(self) -> None:
        self._say("another engine leads this store; standing by")

    def _say(self, strong: str = "", plain: str = "") -> None:
        if not self.quiet and not self.out.as_json:
            self.printer.put([(strong, "bold"), (plain, "")])


class _Printer:
    """Prints in a thread of its own, so that a terminal that does not read cannot stop the engine."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._lines: queue.Queue[Segments | None] = queue.Queue(_LINES_WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._work, name="printer", daemon=True)
        self._thread.start()

    def put(self, line: Segments) -> None:
        """Have a line printed; it is counted instead if too many wait."""
        try:
            if self._left_out:
                self._lines.put_nowait([(f"… {self._left_out} lines were left out: the terminal is slow", DIM)])
                self._left_out = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Print what waits, if that is quick."""
        with suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(0.5)

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._out.line(line)
            except OSError:
                return  # nobody reads any more; the engine goes on
