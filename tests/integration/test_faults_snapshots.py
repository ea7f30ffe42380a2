"""Snapshots and retention: what is dropped is never missed, and what cannot be trusted is not used."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from counterpoint.adapters.clocks import ManualClock
from counterpoint.adapters.stores.memory import MemoryJournal
from counterpoint.engine import facts as codec
from counterpoint.engine.loop import Retention
from counterpoint.errors import Mistake
from counterpoint.kernel.evolve import fold
from counterpoint.kernel.snapshots import SNAPSHOT_VERSION, document_of
from counterpoint.kernel.state import State
from counterpoint.ports.store import Snapshot, StoredFact
from counterpoint.testing.faults import ScriptedExecutor
from counterpoint.testing.rig import Running, event, plan

BRIEF = Retention(snapshot_facts=20, kept_facts=5, history=timedelta(0))


class Archive(list[StoredFact]):
    """The facts of a journal that keeps aside what is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.cut: list[StoredFact] = []

    def __delitem__(self, which: Any) -> None:
        self.cut += self[which]
        super().__delitem__(which)


@pytest.fixture
def journal() -> MemoryJournal:
    journal = MemoryJournal()
    journal.facts = Archive()
    return journal


@asynccontextmanager
async def started(
    journal: MemoryJournal, executor: ScriptedExecutor | None = None, retention: Retention = BRIEF
) -> AsyncIterator[Running]:
    """An engine whose end is that of a killed process."""
    running = Running(journal, executor or ScriptedExecutor(), plan(), retention=retention)
    try:
        yield await running.ready()
    finally:
        await running.crash()


def said(state: State) -> bytes:
    return msgspec.json.encode(document_of(state))


def notices(running: Running) -> str:
    return "\n".join(running.engine.notices)


async def play(running: Running, orders: int, *, first: int = 0) -> None:
    """Let events flow through, one after the other, to their end."""
    for number in range(first, first + orders):
        await running.service.accept([event(number)], by="test")
        for pipeline in ("ingest", "build"):
            await running.until(lambda wanted=pipeline: _running(running, wanted))
            running.executor.end(_running(running, pipeline)[0])
            await running.until(lambda wanted=pipeline: not _running(running, wanted))


def _running(running: Running, pipeline: str) -> list[str]:
    return [name for name in running.engine.state.attempts if name.startswith(f"{pipeline}#")]


async def test_the_journal_is_cut_behind_a_snapshot_and_the_next_engine_knows_all_the_same(
    journal: MemoryJournal,
) -> None:
    executor = ScriptedExecutor()
    async with started(journal, executor) as first:
        await play(first, 6)
        await first.until(lambda: journal.facts.cut)
        before = said(first.engine.state)

    newest = journal.snapshots[-1]
    assert journal.facts[0].seq > 1
    assert journal.facts[0].seq <= newest.seq - BRIEF.kept_facts + 1
    whole = [*journal.facts.cut, *journal.facts]
    assert [fact.seq for fact in whole] == list(range(1, len(whole) + 1))
    assert said(fold(None, codec.decode_all(whole))) == before

    async with started(journal, executor) as second:
        loaded = fold(None, codec.decode_all([*journal.facts.cut, *journal.facts]))
        assert said(second.engine.state) == said(loaded)
        await play(second, 1, first=100)


async def test_a_snapshot_that_does_not_come_back_as_it_was_saved_cuts_nothing_and_is_not_used(
    journal: MemoryJournal,
) -> None:
    executor = ScriptedExecutor()
    async with started(journal, executor) as first:
        await play(first, 4)
        await first.until(lambda: journal.facts.cut)
        first.store.damages = True
        cut, good = len(journal.facts.cut), journal.snapshots[-1]
        await play(first, 4, first=10)
        await first.until(lambda: "not loaded back as it was saved" in notices(first))
        assert len(journal.facts.cut) == cut
        before = said(first.engine.state)

    assert journal.snapshots[-1].seq > good.seq
    async with started(journal, executor) as second:
        assert "a snapshot is not used" in notices(second)
        assert json.loads(said(second.engine.state))["runs"] == json.loads(before)["runs"]
        assert second.engine.state.facts >= json.loads(before)["facts"]
        await play(second, 1, first=100)


async def test_without_any_snapshot_that_can_be_read_a_whole_journal_is_enough(journal: MemoryJournal) -> None:
    keeps_all = Retention(snapshot_facts=20)
    executor = ScriptedExecutor()
    async with started(journal, executor, keeps_all) as first:
        first.store.damages = True
        await play(first, 8)
        await first.until(lambda: len(journal.snapshots) >= 2)
        versions = first.engine.state.asset("marts", "").seq

    async with started(journal, executor, keeps_all) as second:
        assert notices(second).count("a snapshot is not used") == len(journal.snapshots)
        assert second.engine.state.asset("marts", "").seq == versions == 8


async def test_a_journal_that_reaches_up_to_no_snapshot_is_refused_not_guessed(journal: MemoryJournal) -> None:
    async with started(journal) as first:
        await play(first, 4)
        await first.until(lambda: journal.facts.cut)
    journal.snapshots.clear()

    second = Running(journal, ScriptedExecutor(), plan())
    with pytest.raises(Mistake, match="restore a backup"):
        await asyncio.wait_for(second.task, 5)


async def test_a_state_that_its_snapshot_does_not_tell_faithfully_keeps_and_cuts_nothing(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = codec.decode_state
    forgetful = lambda snapshot: msgspec.structs.replace(reads(snapshot), assets=[])  # noqa: E731
    async with started(journal) as running:
        monkeypatch.setattr(codec, "decode_state", forgetful)
        await play(running, 4)
        await running.until(lambda: "would not be read back as it is" in notices(running))

        assert journal.snapshots == []
        assert journal.facts.cut == []


async def test_a_cut_leaves_what_pending_items_and_running_runs_need(journal: MemoryJournal) -> None:
    executor = ScriptedExecutor()
    async with started(journal, executor) as first:
        await first.service.accept([event(1)], by="test")
        await first.until(lambda: _running(first, "ingest"))
        await first.service.accept([event(2)], by="test")
        for _ in range(15):
            await first.service.pause("manual", by="test")
            await first.service.resume("manual", by="test")
        await first.until(lambda: journal.facts.cut)
        assert {fact.kind for fact in journal.facts.cut} >= {"EventAccepted", "StartAttempt"}

    async with started(journal, executor) as second:
        executor.end("ingest#1/run/1")
        await second.until(lambda: executor.placed[-1].attempt == "ingest#2/run/1")
        (placed,) = [placed for placed in executor.placed if placed.attempt == "ingest#2/run/1"]
        assert [given["id"] for given in json.loads(placed.events)] == ["e2"]
        assert await second.store.row("runs", "ingest#1") is not None


async def test_history_is_as_old_as_engine_time_says_whatever_the_wall_clock_does(
    journal: MemoryJournal,
) -> None:
    clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    day = Retention(snapshot_facts=20, history=timedelta(days=1))
    running = Running(journal, ScriptedExecutor(), plan(), clock=lambda last: clock, retention=day)
    await running.ready()
    await play(running, 1)
    clock.advance(timedelta(hours=1))
    clock.set_wall(clock.wall() + timedelta(days=3650))
    await play(running, 4, first=10)
    await running.until(lambda: journal.snapshots)
    assert await running.store.row("runs", "ingest#1") is not None

    clock.advance(timedelta(hours=24))
    await play(running, 4, first=20)
    await running.until(lambda: ("ingest#1",) not in journal.tables["runs"])
    assert ("ingest#9",) in journal.tables["runs"]
    await running.crash()


async def test_a_snapshot_of_the_release_before_is_brought_up_to_date(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(journal) as first:
        await first.service.pause("manual", by="anna")
        await play(first, 4)
        await first.until(lambda: journal.facts.cut)
        before = json.loads(said(first.engine.state))
    newest = journal.snapshots[-1]
    old = json.loads(newest.body)
    old["stopped"] = old.pop("paused")
    journal.snapshots = [Snapshot(newest.seq, SNAPSHOT_VERSION - 1, json.dumps(old).encode())]

    def rename(document: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in document.items() if name != "stopped"} | {
            "paused": document["stopped"]
        }

    monkeypatch.setitem(codec.SNAPSHOT_UPCASTERS, SNAPSHOT_VERSION - 1, rename)  # type: ignore[arg-type]
    async with started(journal) as second:
        assert notices(second) == ""
        assert json.loads(said(second.engine.state))["paused"] == before["paused"]
        assert second.engine.state.paused["manual"].by == "anna"


async def test_a_fact_of_a_kind_that_has_changed_since_is_brought_up_to_date(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(journal, retention=Retention()) as first:
        await first.service.pause("manual", by="anna")
    place = next(number for number, fact in enumerate(journal.facts) if fact.kind == "PauseRequested")
    body = json.loads(journal.facts[place].body)
    body["kind"], body["who"] = "PipelineStopped", body.pop("by")
    recorded = journal.facts[place]
    journal.facts[place] = StoredFact(recorded.seq, recorded.at, "PipelineStopped", json.dumps(body).encode())

    def to_pause(old: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in old.items() if name != "who"} | {
            "kind": "PauseRequested",
            "by": old["who"],
        }

    monkeypatch.setitem(codec.UPCASTERS, "PipelineStopped", to_pause)  # type: ignore[arg-type]
    async with started(journal, retention=Retention()) as second:
        assert second.engine.state.paused["manual"].by == "anna"
