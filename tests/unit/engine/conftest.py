from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from counterpoint.adapters.stores.memory import MemoryJournal
from counterpoint.model.plan import Plan
from counterpoint.testing.faults import ScriptedExecutor
from counterpoint.testing.rig import Running, plan


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Running]]:
    """Start an engine; call again with the journal of the first for the one after it."""
    started: list[Running] = []

    def begin(
        journal: MemoryJournal | None = None,
        executor: ScriptedExecutor | None = None,
        declared: Plan | None = None,
    ) -> Running:
        chosen = declared if declared is not None else plan()
        running = Running(journal or MemoryJournal(), executor or ScriptedExecutor(), chosen)
        started.append(running)
        return running

    yield begin
    for running in started:
        if not running.task.done():
            running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)


@pytest.fixture
async def running(start: Callable[..., Running]) -> Running:
    """An engine that leads and accepts."""
    return await start().ready()
