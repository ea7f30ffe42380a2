"""The clock on the wall is set while the engine runs, and between two of its lives."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from counterpoint.adapters.clocks import ManualClock, SystemClock
from counterpoint.adapters.stores.memory import MemoryJournal
from counterpoint.engine import facts as codec
from counterpoint.engine.facts import Fact
from counterpoint.kernel.decisions import Deliver, RetryTask, SkipTicks, StartAttempt, StopAttempt
from counterpoint.kernel.events import ClockJumped
from counterpoint.testing.faults import ScriptedExecutor
from counterpoint.testing.rig import Running, plan

SCORE = """
score: clocks
pipelines:
  hourly: {trigger: {cron: "0 * * * *"}, run: hourly}
  long: {run: long, timeout: 10m}
  shaky: {run: shaky, retry: {attempts: 3, backoff: 10m}}
"""
BEGIN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)

Kind = TypeVar("Kind", bound=Fact)


class Machine:
    """An engine and the clock of its machine."""

    def __init__(self, running: Running, clock: ManualClock) -> None:
        self.running, self.clock = running, clock

    async def facts(self, kind: type[Kind]) -> list[Kind]:
        """What of this kind is recorded, once the engine has looked at the clock."""
        await self.running.engine.decider.submit(lambda state, at, wall: None)
        found = codec.decode_all(self.running.store.journal.facts)
        return [fact for fact in found if isinstance(fact, kind)]

    async def advance(self, by: timedelta) -> None:
        self.clock.advance(by)
        await self.facts(ClockJumped)

    async def set_wall(self, by: timedelta) -> None:
        self.clock.set_wall(self.clock.wall() + by)
        await self.facts(ClockJumped)

    async def end_all(self, *, exit_code: int = 0) -> None:
        for attempt in list(self.running.engine.state.attempts):
            self.running.executor.end(attempt, exit_code=exit_code)
        await self.running.until(lambda: not self.running.engine.state.attempts)

    async def ticks(self) -> list[datetime]:
        return [fact.change.time for fact in await self.facts(Deliver) if fact.change.subject.startswith("tick:")]


@asynccontextmanager
async def started(
    journal: MemoryJournal, clock: Callable[[datetime | None], ManualClock | SystemClock]
) -> AsyncIterator[Running]:
    running = Running(journal, ScriptedExecutor(), plan(SCORE), clock=clock)
    try:
        yield await running.ready()
    finally:
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        journal.leader = None


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    clock = ManualClock(BEGIN)
    async with started(MemoryJournal(), lambda last: clock) as running:
        yield Machine(running, clock)


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_jump_of_the_wall_clock_is_a_fact_is_shown_and_moves_no_engine_time(
    machine: Machine, hours: int
) -> None:
    before = machine.clock.at()

    await machine.set_wall(hours * HOUR)

    (jump,) = await machine.facts(ClockJumped)
    assert (jump.by, jump.at, jump.wall) == (hours * HOUR, before, before + hours * HOUR)
    assert machine.running.engine.state.at == before
    told = [message async for message in _recorded(machine, "ClockJumped")]
    assert told and "clock" in told[0]


async def test_a_clock_that_is_set_a_little_is_none_of_our_business(machine: Machine) -> None:
    await machine.set_wall(timedelta(seconds=29))

    assert await machine.facts(ClockJumped) == []


async def test_no_instant_ticks_twice_when_the_clock_is_set_back(machine: Machine) -> None:
    await machine.advance(HOUR / 2)
    await machine.end_all()
    assert len(await machine.ticks()) == 1  # 13:00

    await machine.set_wall(-2 * HOUR)  # it is 11:00 on the wall
    for _ in range(2):
        await machine.advance(HOUR)
    assert len(await machine.ticks()) == 1  # 12:00 and 13:00 have been

    await machine.advance(HOUR)
    assert max(Counter(await machine.ticks()).values()) == 1
    assert len(await machine.ticks()) == 2  # 14:00


async def test_a_clock_that_is_set_forward_makes_up_for_missed_ticks_as_catchup_says(machine: Machine) -> None:
    await machine.advance(HOUR / 2)
    await machine.end_all()

    await machine.set_wall(2 * HOUR)  # 13:00 -> 15:00

    assert len(await machine.ticks()) == 2
    (skipped,) = await machine.facts(SkipTicks)
    assert (skipped.count, skipped.first.hour) == (1, 14)


@pytest.mark.parametrize("hours", [-2, 2])
async def test_timeouts_and_back_off_do_not_know_of_it(machine: Machine, hours: int) -> None:
    service = machine.running.service
    await service.run("shaky", by="test")
    await machine.end_all(exit_code=1)
    (retry,) = await machine.facts(RetryTask)
    await service.run("long", by="test")

    await machine.set_wall(hours * HOUR)
    assert await machine.facts(StopAttempt) == []
    assert len(await _starts(machine, "shaky")) == 1

    await machine.advance(timedelta(minutes=9, seconds=59))
    assert await machine.facts(StopAttempt) == []
    assert len(await _starts(machine, "shaky")) == 1
    await machine.advance(timedelta(seconds=1))
    assert [stop.why for stop in await machine.facts(StopAttempt)] == ["timeout"]
    assert [start.at for start in (await _starts(machine, "shaky"))[1:]] == [retry.not_before]


async def test_a_last_fact_in_the_future_is_said_and_time_goes_on_from_there() -> None:
    journal = MemoryJournal()
    ahead = ManualClock(datetime.now(UTC) + 2 * HOUR)
    async with started(journal, lambda last: ahead) as first:
        await first.service.run("long", by="test")
        last = first.engine.state.at

    async with started(journal, lambda last: SystemClock(last=last)) as second:
        await second.service.run("shaky", by="test")

        assert second.engine.state.at >= last
        assert second.engine.state.wall < last - HOUR
        status = await second.service.status()
        assert any("the newest fact is 7" in notice and "ahead" in notice for notice in status.notices)


async def test_a_last_fact_a_little_ahead_is_not_worth_a_word() -> None:
    journal = MemoryJournal()
    ahead = ManualClock(datetime.now(UTC) + timedelta(seconds=20))
    async with started(journal, lambda last: ahead):
        pass

    async with started(journal, lambda last: SystemClock(last=last)) as second:
        assert (await second.service.status()).notices == []


async def _starts(machine: Machine, pipeline: str) -> list[StartAttempt]:
    return [fact for fact in await machine.facts(StartAttempt) if fact.run.startswith(f"{pipeline}#")]


async def _recorded(machine: Machine, kind: str) -> AsyncIterator[str]:
    """The sentences of facts of a kind, as those who watch get them."""
    for message in await machine.running.service.journal(limit=1000):
        if message.kind == kind:
            yield message.text
