"""The invariants of docs/invariants.md, checked on what a store holds after the fact.

Each check reads the journal from its first fact and reckons for itself: none of them trusts State. What they
find is an `AssertionError` that names the fact.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec

from counterpoint.engine import facts as codec
from counterpoint.engine.facts import Fact
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.evolve import fold
from counterpoint.kernel.snapshots import document_of
from counterpoint.kernel.state import State
from counterpoint.kernel.step import step
from counterpoint.model.plan import Plan
from counterpoint.model.promise import Preempt, Rate
from counterpoint.ports.store import History, Store
from counterpoint.testing import reckoning

_encode = msgspec.json.Encoder().encode


class Kept(Store, History, Protocol):
    """What keeps both the journal and the views."""


async def audit(store: Kept, *, started: Iterable[str] = (), settled: bool = True) -> list[Fact]:
    """Check all that can be checked, on a store whose journal was never cut.

    Args:
        started: an attempt id for each time that one of them started, as the outside world saw it.
        settled: nothing is going on any more, so each item must have ended and each version be the newest.

    Returns:
        The facts, for what the caller checks beside.
    """
    facts = await journal(store)
    no_pool_is_oversold(facts)
    attempts_start_once(facts, started)
    done_is_not_done_again(facts)
    items_are_delivered_once_and_end_once(facts, settled=settled)
    if settled:
        newest_versions_pin_newest_inputs(facts)
    accounts = reckoning.obligations_end_once(facts)
    reckoning.counts_agree(accounts, fold(None, facts))
    if settled and accounts.followed == len(facts):
        reckoning.everything_has_arrived(facts, accounts)
    decisions_are_the_same_again(facts)
    await snapshots_agree(store, facts)
    await views_agree(store, facts)
    return facts


async def journal(store: Store) -> list[Fact]:
    """Every fact, from the first."""
    found: list[Fact] = []
    while stored := await store.read(after=len(found), limit=5_000):
        assert stored[0].seq == len(found) + 1, f"the journal has no fact {len(found) + 1}"
        found += codec.decode_all(stored)
    return found


def no_pool_is_oversold(facts: Sequence[Fact]) -> None:
    """Invariant 1: whatever starts fits in, at every fact; only a pool made smaller may be over for a while."""
    slots: dict[str, int] = {}
    held: dict[str, dict[str, int]] = {}  # attempt or run -> what it holds
    stopping: set[str] = set()
    for seq, fact in enumerate(facts, start=1):
        taken: dict[str, int] = {}
        match fact:
            case e.PlanDeclared():
                slots = {f"pool:{name}": pool.slots for name, pool in fact.content.pools.items()}
            case d.StartAttempt():
                taken = held[fact.attempt] = {f"pool:{name}": slots for name, slots in fact.slots.items()}
            case d.AdmitRun():
                taken = held[fact.run] = {name: n for name, n in fact.holds.items() if name.startswith("pool:")}
            case d.StopAttempt():
                stopping.add(fact.attempt)
            case e.AttemptEnded() | e.AttemptLost():
                held.pop(fact.attempt, None)
            case e.AttemptDeferred() if fact.attempt in stopping:
                held.pop(fact.attempt, None)  # who says *not yet* when asked to stop has ended
            case d.FinishRun() | d.AwaitConfirmation():
                held.pop(fact.run, None)  # a run that waits to be confirmed holds nothing
        for pool in taken:
            used = sum(holder.get(pool, 0) for holder in held.values())
            assert used <= slots.get(pool, used), f"fact {seq}: {pool} has {slots[pool]} slots, {used} are held"


def attempts_start_once(facts: Sequence[Fact], started: Iterable[str] = ()) -> None:
    """Invariant 3: an attempt id is decided once, and seen at most once outside."""
    decided = Counter(fact.attempt for fact in facts if isinstance(fact, d.StartAttempt))
    assert not (again := _repeated(decided)), f"decided more than once: {again}"
    seen = Counter(started)
    assert not (again := _repeated(seen)), f"started more than once: {again}"
    assert not (unknown := seen.keys() - decided.keys()), f"nobody decided to start {unknown}"


def done_is_not_done_again(facts: Sequence[Fact]) -> None:
    """Invariant 3: a task that is recorded as done starts no more; a run that succeeded is over."""
    task_of: dict[str, tuple[str, str]] = {}
    stopping: set[str] = set()
    done: set[tuple[str, str]] = set()
    ended: set[str] = set()
    for seq, fact in enumerate(facts, start=1):
        match fact:
            case d.StartAttempt():
                task_of[fact.attempt] = place = (fact.run, fact.task)
                assert place not in done, f"fact {seq}: {fact.task} of {fact.run} was done already"
                assert fact.run not in ended, f"fact {seq}: {fact.run} has succeeded already"
            case d.StopAttempt():
                stopping.add(fact.attempt)
            case e.AttemptDeferred() if fact.attempt in stopping:
                task_of.pop(fact.attempt, None)
            case e.AttemptEnded() | e.AttemptLost():
                # Only the first end counts: what comes again, or after a host was lost, changes nothing.
                ended_task = task_of.pop(fact.attempt, None)
                if ended_task is not None and isinstance(fact, e.AttemptEnded) and fact.outcome == "succeeded":
                    done.add(ended_task)
            case e.RetryRequested():
                # Where no task had failed (a clash, a refusal), or none is left to do, all are done again.
                done -= {(fact.run, task) for task in fact.document["tasks"]}
            case d.FinishRun(phase="succeeded"):
                assert fact.run not in ended, f"fact {seq}: {fact.run} has succeeded already"
                ended.add(fact.run)


def preemption_keeps_its_budget(facts: Sequence[Fact]) -> None:
    """Invariant 8: who makes room allows it, has run long enough, and not more often than it says."""
    plan = Plan(name="")
    allowed: dict[str, Preempt | None] = {}  # run -> what the plan that it was admitted with allows
    started: dict[str, tuple[str, datetime]] = {}  # attempt -> its run, and when it started
    evictions: Counter[str] = Counter()
    newest: dict[str, tuple[datetime, str]] = {}  # run -> when it last made room, and for whom
    for seq, fact in enumerate(facts, start=1):
        match fact:
            case e.PlanDeclared():
                plan = fact.content
            case d.AdmitRun():
                allowed[fact.run] = plan.pipelines[fact.run.partition("#")[0]].preempt
            case d.StartAttempt():
                started[fact.attempt] = fact.run, fact.at
            case d.StopAttempt(why="preempt"):
                run, began = started[fact.attempt]
                preempt = allowed[run]
                assert preempt is not None, f"fact {seq}: {run} may not be preempted"
                assert fact.at - began >= preempt.minimum, f"fact {seq}: {fact.attempt} ran for {fact.at - began}"
                before, occasion = newest.get(run), (fact.at, fact.reason.figures["taker"])
                if before is not None and before != occasion:
                    # Several of its attempts may stop at once for one taker; each of them counts.
                    left_alone = fact.at - max(began, before[0])
                    assert left_alone >= preempt.cooldown, f"fact {seq}: {run} was left alone for {left_alone}"
                evictions[run] += 1
                newest[run] = occasion
                assert evictions[run] <= preempt.evictions, f"fact {seq}: {run} made room {evictions[run]} times"


def rates_are_kept(facts: Sequence[Fact]) -> None:
    """At most so many starts of a pool, and admissions of a pipeline, lie in any span as their rate says."""
    rates: dict[str, Rate] = {}
    starts: dict[str, deque[datetime]] = {}
    for seq, fact in enumerate(facts, start=1):
        taken: list[str] = []
        match fact:
            case e.PlanDeclared(content=plan):
                found = {f"pool {name}": pool.rate for name, pool in plan.pools.items()}
                found |= {f"pipeline {name}": each.rate for name, each in plan.pipelines.items()}
                now = {name: rate for name, rate in found.items() if rate is not None}
                # A rate begins to count when it is declared.
                starts = {name: starts[name] if rates.get(name) == rate else deque() for name, rate in now.items()}
                rates = now
            case d.StartAttempt():
                taken = [f"pool {name}" for name in fact.slots]
            case d.AdmitRun():
                taken = [f"pipeline {fact.run.partition('#')[0]}"]
        for name in taken:
            if name in rates:
                rate, times = rates[name], starts[name]
                while times and fact.at - times[0] >= rate.per:
                    times.popleft()
                times.append(fact.at)
                assert len(times) <= rate.count, f"fact {seq}: {name} has started {len(times)} times in {rate.per}"


def items_are_delivered_once_and_end_once(facts: Sequence[Fact], *, settled: bool) -> None:
    """Invariant 2: each accepted event gets an item for each subscriber, and each item ends exactly once."""
    plan = Plan(name="")
    wanted: dict[int, Counter[str]] = {}  # change -> its subscribers; those with a condition may not want it
    may_want: dict[int, set[str]] = {}
    delivered: dict[int, Counter[str]] = {}
    open_items: dict[int, int] = {}  # item -> fact that made it
    of_run: dict[str, dict[int, None]] = {}
    for seq, fact in enumerate(facts, start=1):
        match fact:
            case e.PlanDeclared():
                plan = fact.content
            case e.EventAccepted():
                assert fact.change.number not in wanted, (
                    f"fact {seq}: change {fact.change.number} is there already"
                )
                listeners = plan.subscribers.get(fact.change.subject, ())
                conditional = {name for name, _, source in listeners if getattr(source, "when", None)}
                may_want[fact.change.number] = conditional
                # One item for each group of each subscriber's trigger.
                places = {(name, group) for name, group, _ in listeners if name not in conditional}
                wanted[fact.change.number] = Counter(name for name, _ in places)
            case d.Deliver():
                for item in fact.items:
                    assert item.number not in open_items, f"fact {seq}: item {item.number} is there already"
                    open_items[item.number] = seq
                    if fact.reason.code != "replayed" and item.change in wanted:
                        delivered.setdefault(item.change, Counter())[item.pipeline] += 1
            case d.CreateRun() | d.AdmitRun():
                for number in fact.items:
                    assert number in open_items, f"fact {seq}: {fact.run} takes item {number}, which has ended"
                    of_run.setdefault(fact.run, {})[number] = None
            case d.FinishRun():
                taken = of_run.pop(fact.run, {})
                if fact.items_become in ("done", "skipped"):
                    _end(open_items, taken, seq)
            case d.EndItems(outcome="skipped"):
                _end(open_items, fact.items, seq)
    for change, subscribers in wanted.items():
        found = Counter({p: n for p, n in delivered.get(change, Counter()).items() if p not in may_want[change]})
        assert found == subscribers, f"change {change} is for {subscribers}, and was delivered to {found}"
    assert not settled or not open_items, f"items that have not ended: {open_items}"


def _end(open_items: dict[int, int], numbers: Iterable[int], seq: int) -> None:
    for number in numbers:
        assert open_items.pop(number, None) is not None, f"fact {seq}: item {number} has ended already"


def newest_versions_pin_newest_inputs(facts: Sequence[Fact]) -> None:
    """Invariant 4, on pins: what was made last was made of what its inputs are now."""
    newest = {(fact.asset, fact.partition): fact for fact in facts if isinstance(fact, d.PublishAsset)}
    for (asset, _), version in newest.items():
        for pin in version.pins:
            current = newest[pin.asset, pin.partition].seq
            assert pin.seq == current, f"{asset} {version.seq} is made of {pin.asset} {pin.seq}, not of {current}"


def decisions_are_the_same_again(facts: Sequence[Fact]) -> State:
    """Invariant 7: the recorded events, stepped again, lead to the recorded decisions, byte for byte."""
    state = State()
    for seq, event, decisions in _steps(facts):
        again = [_encode(decision) for decision in step(state, event)]
        recorded = [_encode(decision) for decision in decisions]
        assert again == recorded, f"fact {seq}: {event}\nnow: {again}\nrecorded: {recorded}"
    return state


def _steps(facts: Sequence[Fact]) -> Iterator[tuple[int, e.AnyEvent, list[d.AnyDecision]]]:
    """Each event with its seq and what was decided on it."""
    first, event, decisions = 0, None, list[d.AnyDecision]()
    for seq, fact in enumerate(facts, start=1):
        if isinstance(fact, e.Event):
            if event is not None:
                yield first, event, decisions
            first, event, decisions = seq, fact, []
        else:
            decisions.append(fact)
    if event is not None:
        yield first, event, decisions


async def snapshots_agree(store: Store, facts: Sequence[Fact]) -> None:
    """Each snapshot, with the facts after it, says the same as all facts from the first."""
    whole = _encode(document_of(fold(None, facts)))
    for skip in range(2):
        snapshot = await store.load(skip=skip)
        if snapshot is not None:
            state = fold(codec.decode_state(snapshot), facts[snapshot.seq :])
            assert _encode(document_of(state)) == whole, f"the snapshot of fact {snapshot.seq} says something else"


async def views_agree(history: History, facts: Sequence[Fact]) -> None:
    """The rows that people read say what the journal says: how each run, attempt and item stands."""
    state = fold(None, facts)
    runs = dict.fromkeys((fact.run for fact in facts if isinstance(fact, d.CreateRun)), "waiting")
    runs |= {fact.run: fact.phase for fact in facts if isinstance(fact, d.FinishRun)}
    runs |= {run.run: run.phase for run in state.runs.values()}
    rows = {row.run: row.phase async for row in _rows(history, "runs")}
    assert rows == runs, _difference(rows, runs)

    started = {fact.attempt for fact in facts if isinstance(fact, d.StartAttempt)}
    goes_on = {row.attempt: row.ended_at is None async for row in _rows(history, "attempts")}
    expected = {attempt: attempt in state.attempts for attempt in started}
    assert goes_on == expected, _difference(goes_on, expected)

    shown = {row.number async for row in _rows(history, "items") if row.state == "pending"}
    pending = {item.number for backlog in state.backlogs.values() for item in backlog.items}
    set_aside = {number for run in state.runs.values() if run.phase == "waiting" for number in run.items}
    assert shown == pending | set_aside, f"pending by the views: {shown}, by the journal: {pending | set_aside}"


async def _rows(history: History, table: Literal["runs", "attempts", "items"]) -> AsyncIterator[Any]:
    """All rows of a table, newest first."""
    page = await history.page(table, limit=500)
    while page:
        for _, row in page:
            yield row
        page = await history.page(table, before=page[-1][0], limit=500)


def _difference(found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    keys = [key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)]
    return "; ".join(f"{key}: {found.get(key)} by the views, {expected.get(key)} by the journal" for key in keys)


def _repeated(counted: Counter[str]) -> list[str]:
    return [name for name, count in counted.items() if count > 1]
