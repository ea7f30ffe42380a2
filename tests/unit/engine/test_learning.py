"""Durations are learned from what is committed, told rarely, and kept over a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from counterpoint.engine import learning
from counterpoint.testing.faults import ScriptedExecutor
from counterpoint.testing.rig import Running, plan

Start = Callable[..., Running]


def told(running: Running) -> int:
    """How many events of learned durations the journal has."""
    return sum(fact.kind == "DurationsLearned" for fact in running.store.journal.facts)


async def run(running: Running, number: int, *, fails: bool = False) -> None:
    """Let one run by hand happen, and wait until its end is known to all."""
    attempt = f"manual#{number}/run/1"
    await running.service.run("manual", by="test")
    await running.until(lambda: any(each.attempt == attempt for each in running.executor.placed))
    running.executor.end(attempt, exit_code=int(fails))
    await running.until(lambda: (attempt, 0) in running.executor.acknowledged)


async def test_the_first_sample_is_told_at_once_and_what_did_not_move_is_not(running: Running) -> None:
    await run(running, 1)
    await running.until(lambda: ("manual", "") in running.engine.state.bands)
    bands = running.engine.state.bands

    assert set(bands) == {("manual", ""), ("manual", "run")}
    assert bands["manual", ""].samples == 1
    assert told(running) == 1


async def test_what_failed_is_no_sample(running: Running) -> None:
    await run(running, 1, fails=True)
    await running.engine.decider.submit(lambda state, at, wall: None)

    assert running.engine.state.bands == {}


async def test_further_samples_are_told_together_and_later(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "EVERY_S", 0.2)
    monkeypatch.setattr("counterpoint.analysis.durations.MOVED", -1.0)
    running = await start().ready()
    for number in range(1, 6):
        await run(running, number)

    await running.until(lambda: running.engine.state.bands["manual", ""].samples == 5)
    assert told(running) <= 3


async def test_bands_are_there_after_a_restart(start: Start) -> None:
    first = await start().ready()
    await run(first, 1)
    await first.until(lambda: first.engine.state.bands)
    known = dict(first.engine.state.bands)
    await first.stop()

    second = await start(journal=first.store.journal).ready()

    assert second.engine.state.bands == known
    assert known["manual", ""].p90 < timedelta(minutes=1).total_seconds()


async def test_a_time_in_which_no_engine_led_is_not_learned(start: Start) -> None:
    executor = ScriptedExecutor()
    first = await start(executor=executor).ready()
    await first.service.run("manual", by="test")
    await first.until(lambda: executor.placed)
    await first.crash()
    await asyncio.sleep(0.3)

    second = await start(first.store.journal, executor).ready()
    executor.end("manual#1/run/1")
    await second.until(lambda: ("manual#1/run/1", 0) in executor.acknowledged)
    await second.until(lambda: not second.engine.state.runs)
    assert second.engine.state.bands == {}

    await run(second, 2)
    await second.until(lambda: second.engine.state.bands)
    assert second.engine.state.bands["manual", ""].p90 < 0.2


async def test_what_lasts_far_longer_than_no_engine_led_is_learned(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "UNSEEN", 1.0)
    executor = ScriptedExecutor()
    first = await start(executor=executor).ready()
    await first.service.run("manual", by="test")
    await first.until(lambda: executor.placed)
    await first.crash()

    second = await start(first.store.journal, executor).ready()
    executor.end("manual#1/run/1")
    await second.until(lambda: second.engine.state.bands)

    assert second.engine.state.bands["manual", ""].samples == 1


async def test_a_plan_without_a_pipeline_forgets_its_band(start: Start) -> None:
    first = await start().ready()
    await run(first, 1)
    await first.until(lambda: first.engine.state.bands)
    await first.stop()

    second = await start(journal=first.store.journal, declared=plan("score: shop\npipelines: {}\n")).ready()

    assert second.engine.state.bands == {}
