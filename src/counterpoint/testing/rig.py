"""A whole engine over a memory store and a scripted executor: real time, no process, no file.

`SCORE` is a small shop to try things on; `plan` reads it or any other score.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from counterpoint.adapters.clocks import SystemClock
from counterpoint.adapters.stores.memory import MemoryJournal
from counterpoint.adapters.tools import standard_tools
from counterpoint.engine.declare import declare_text
from counterpoint.engine.loop import Engine, Retention
from counterpoint.engine.serving import EngineService
from counterpoint.model.plan import Plan
from counterpoint.ports.clock import Clock
from counterpoint.testing.faults import FaultyStore, ScriptedExecutor

SCORE = """
score: shop
pools: {db: 1}
assets: {orders: {}, marts: {}}
events:
  order.placed:
    schema: {type: object, required: [sku], properties: {sku: {type: string}}}
pipelines:
  ingest:
    trigger: {event: order.placed}
    writes: [orders]
    pools: {db: 1}
    run: ingest
    retry: {attempts: 2, backoff: 10ms}
  build: {trigger: {asset: orders}, reads: [orders], writes: [marts], run: build}
  manual: {run: by-hand}
"""


def plan(text: str = SCORE) -> Plan:
    """The plan of a score in YAML."""
    return declare_text(text, folder=Path("/"), tools=standard_tools())


class Running:
    """An engine that was started, and what it runs on."""

    def __init__(
        self,
        journal: MemoryJournal,
        executor: ScriptedExecutor,
        declared: Plan | None,
        *,
        clock: Callable[[datetime | None], Clock] = lambda last: SystemClock(last=last),
        retention: Retention = Retention(),  # noqa: B008
    ) -> None:
        self.store, self.executor = FaultyStore(journal), executor
        self.engine = Engine(
            self.store,
            executor,
            standard_tools(),
            clock=clock,
            declared=declared,
            secret=b"secret",
            retention=retention,
        )
        self.service = EngineService(self.engine, logs=Path("/logs"), secret=b"secret")
        self.task = asyncio.create_task(self.engine.run())

    async def until(self, holds: Callable[[], object]) -> None:
        """Return when something holds; fail after 5 s."""
        async with asyncio.timeout(5):
            while not holds():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.001)

    async def ready(self) -> Running:
        """Return itself once it leads, accepts, and has committed what it begins with."""
        await self.until(lambda: self.engine.ready)
        await self.engine.decider.submit(lambda state, at, wall: None)
        return self

    async def stop(self) -> None:
        """End in order."""
        await self.engine.stop()
        await self.task

    async def crash(self) -> None:
        """End as a killed process does: nothing is finished, nothing is given back but the lock."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        self.store.journal.leader = None


def event(number: int = 1, **changed: object) -> dict[str, object]:
    """A CloudEvent as JSON."""
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/shop",
        "type": "order.placed",
        "data": {"sku": f"s{number}"},
        **changed,
    }
