"""Kernel and store alone: what one engine can decide and commit per second when processes cost nothing.

The whole engine runs, with an executor that reports each attempt's end as soon as it is placed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measuring import say, table, write
from bench.running import stores, work_folder
from counterpoint.adapters.clocks import SystemClock
from counterpoint.adapters.stores import open_store
from counterpoint.adapters.tools import standard_tools
from counterpoint.engine.loop import Engine
from counterpoint.engine.serving import EngineService
from counterpoint.model.pipeline import Pipeline, Task
from counterpoint.model.plan import EventType, Plan
from counterpoint.model.trigger import Batch, OnEvent, Trigger
from counterpoint.ports.executor import Ended, HostState, Placement, Sink

RUNS, BATCH = 10_000, 100
#: Batches that are on their way at once, as from so many clients.
CLIENTS = 4

PLAN = Plan(
    name="alone",
    events={"go": EventType()},
    pipelines={
        "noop": Pipeline(
            name="noop",
            folder="/",
            tasks={"run": Task(name="run", tool="command", spec={"run": ["true"]})},
            trigger=Trigger(groups=((OnEvent("go"),),), batch=Batch(by="event.data.key")),
        )
    },
)


class Nowhere:
    """An executor without processes: every attempt has ended as soon as it is placed."""

    async def connect(self, *, epoch: int, sink: Sink) -> Sequence[str]:
        self._sink = sink
        sink(HostState(host="nowhere", state="appeared"))
        return ["nowhere"]

    async def resolve(
        self, attempts: Sequence[tuple[str, str, int]], *, hosts: Sequence[str] = ()
    ) -> Sequence[tuple[str, int]]:
        return []

    async def place(self, host: str, placement: Placement) -> None:
        now = datetime.now(UTC)
        self._sink(
            Ended(
                attempt=placement.attempt, look=placement.look, succeeded=True, exit_code=0, started=now, ended=now
            )
        )

    async def stop(self, attempt: str, *, grace_s: float) -> None:
        """Nothing runs that could be stopped."""

    async def acknowledge(self, attempt: str, look: int) -> None:
        """Nothing is kept that could be forgotten."""

    async def forget(self, before: datetime) -> int:
        return 0

    async def close(self) -> None:
        """Nothing is open."""


async def measure(store: str, folder: Path, runs: int) -> dict[str, float]:
    backend = open_store(store)
    engine = Engine(
        backend,
        Nowhere(),
        standard_tools(),
        clock=lambda last: SystemClock(last=last),
        declared=PLAN,
        secret=b"bench",
    )
    life = asyncio.create_task(engine.run())
    started = asyncio.create_task(engine.started.wait())
    await asyncio.wait({life, started}, return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        life.result()
    service = EngineService(engine, logs=folder, secret=b"bench")
    before, begin = engine.state.facts, time.perf_counter()

    async def client(number: int) -> None:
        for batch in range(number, runs // BATCH, CLIENTS):
            keys = [f"{batch}.{n}" for n in range(BATCH)]
            events = [
                {"specversion": "1.0", "type": "go", "source": "/bench", "id": key, "data": {"key": key}}
                for key in keys
            ]
            await service.accept(events, by="bench")

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    while engine.state.runs:
        await asyncio.sleep(0.005)
    taken_s, facts = time.perf_counter() - begin, engine.state.facts - before
    await engine.stop()
    await life
    await backend.close()
    return {"runs_per_s": runs / taken_s, "facts_per_s": facts / taken_s, "facts_per_run": facts / runs}


def run(*, quick: bool = False) -> None:
    """Measure every store, memory included."""
    say("kernel and store alone: events in, runs to their end, all committed")
    result: dict[str, Any] = {}
    with stores() as urls, work_folder() as folder:
        for name, url in {"memory": "memory:", **urls}.items():
            place = folder / "facts.sqlite"
            store = f"{url}?schema=alone" if name == "postgres" else url or f"sqlite:///{place.absolute()}"
            result[name] = asyncio.run(measure(store, folder, 2000 if quick else RUNS))
    table(
        ["store", "runs/s", "facts/s", "facts per run"],
        (
            [name, f"{f['runs_per_s']:,.0f}", f"{f['facts_per_s']:,.0f}", f"{f['facts_per_run']:.1f}"]
            for name, f in result.items()
        ),
    )
    write("alone", result)
