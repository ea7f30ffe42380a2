"""The invariants of docs/invariants.md, checked on what a store holds after the fact.

Each check reads the journal from its first fact and reckons for itself: none of them trusts State. What they
find is an `AssertionError` that names the fact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from counterpoint.engine import facts as codec
from counterpoint.engine.facts import Fact
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.evolve import fold
from counterpoint.kernel.state import State
from counterpoint.kernel.step import step
from counterpoint.model.plan import Plan
from counterpoint.ports.store import History, Store

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
    for seq, fact in enumerate(facts, start=1):
        taken: dict[str, int] = {}
        match fact:
            case e.PlanDeclared():
                slots = {f"pool:{name}": pool.slots for name, pool in fact.content.pools.items()}
            case d.StartAttempt():
                taken = held[fact.attempt] = {f"pool:{name}": slots for name, slots in fact.slots.items()}
            case d.AdmitRun():
                taken = held[fact.run] = {name: n for name, n in fact.holds.items() if name.startswith("pool:")}
            case e.AttemptEnded() | e.AttemptLost():
                held.pop(fact.attempt, None)
            case d.FinishRun():
                held.pop(fact.run, None)
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
    done: set[tuple[str, str]] = set()
    ended: set[str] = set()
    for seq, fact in enumerate(facts, start=1):
        match fact:
            case d.StartAttempt():
                task_of[fact.attempt] = place = (fact.run, fact.task)
                assert place not in done, f"fact {seq}: {fact.task} of {fact.run} was done already"
                assert fact.run not in ended, f"fact {seq}: {fact.run} has succeeded already"
            case e.AttemptEnded(outcome="succeeded") if fact.attempt in task_of:
                done.add(task_of.pop(fact.attempt))
            case d.FinishRun(phase="succeeded"):
                assert fact.run not in ended, f"fact {seq}: {fact.run} has succeeded already"
                ended.add(fact.run)


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
                wanted[fact.change.number] = Counter({name for name, _, _ in listeners} - conditional)
            case d.Deliver():
                for item in fact.items:
                    assert item.number not in open_items, f"fact {seq}: item {item.number} is there already"
                    open_items[item.number] = seq
                    if item.origin is None and item.change in wanted:
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
    whole = _encode(fold(None, facts).document())
    for skip in range(2):
        snapshot = await store.load(skip=skip)
        if snapshot is not None:
            state = fold(codec.decode_state(snapshot), facts[snapshot.seq :])
            assert _encode(state.document()) == whole, f"the snapshot of fact {snapshot.seq} says something else"


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
