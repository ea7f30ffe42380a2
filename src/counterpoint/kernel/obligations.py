"""Questions about promises: how fresh an asset is, what it owes, and what it kept. Pure; nothing is changed.

A *mark* counts the changes of a source; `0` is nothing. Of the world it is the moment of a sample, in
milliseconds since 1970. See `docs/explain/freshness.md`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache

from counterpoint.kernel.records import BEGINNING, Counts, PromiseState, Run
from counterpoint.kernel.state import State
from counterpoint.model.lineage import Input, Promised, world
from counterpoint.model.plan import Plan
from counterpoint.model.promise import Calendar, Completion, Freshness
from counterpoint.model.workdays import elapsed

#: A window has so many buckets of counts, but none is shorter than the least.
BUCKETS = 168
SHORTEST_BUCKET = timedelta(minutes=1)


def terms(plan: Plan, promise: Promised) -> Freshness | Completion:
    """What was promised."""
    asset, kind = promise
    found = plan.assets[asset].freshness if kind == "freshness" else plan.assets[asset].completion
    assert found is not None, "State has promises of the plan in force only"
    return found


def calendar_of(plan: Plan, promise: Promised) -> Calendar | None:
    """The calendar of a promise; None is always."""
    return plan.calendars.get(terms(plan, promise).calendar)


@lru_cache(maxsize=1024)
def bucket_width(over: timedelta) -> timedelta:
    """How long one bucket of `Counts` is."""
    return max(SHORTEST_BUCKET, over / BUCKETS)


def bucket(over: timedelta, moment: datetime) -> int:
    """The number of the bucket that a moment is counted in."""
    return (moment - BEGINNING) // bucket_width(over)


def bucket_start(over: timedelta, number: int) -> datetime:
    """When a bucket begins."""
    return BEGINNING + number * bucket_width(over)


def newest(state: State, source: str) -> int:
    """The newest change of a source; 0 where it was never heard of."""
    found = state.sources.get(source)
    return found.mark if found is not None else 0


def mark_of(state: State, asset: str, source: str) -> int:
    """Up to where an asset has the changes of a source."""
    known = state.marks.get(asset)
    if known is not None:
        return known.reflects.get(source, 0)
    return newest(state, source) if source == f"asset:{asset}" else 0


def mark_in(state: State, given: Input, source: str) -> int:
    """Up to where an input has the changes of one of its sources."""
    return newest(state, source) if source == given.subject else mark_of(state, given.asset, source)


def marks_of(state: State, given: Input) -> dict[str, int]:
    """Source -> up to where an input has its changes; 0 where it has none."""
    if given.subject in given.sources:
        # It is a source itself, and leads to no other.
        return {given.subject: newest(state, given.subject)}
    known = state.marks.get(given.asset)
    reflects = known.reflects if known is not None else {}
    return {source: reflects.get(source, 0) for source in given.sources}


def lower(marks: dict[str, int], by: Mapping[str, int]) -> None:
    """Take other marks into the least of each source."""
    for source, mark in by.items():
        known = marks.get(source)
        if known is None or mark < known:
            marks[source] = mark


def is_reached(state: State, asset: str, marks: Mapping[str, int]) -> bool:
    """Whether an asset has all that an obligation asks for."""
    return all(mark_of(state, asset, source) >= mark for source, mark in marks.items())


def freshness(state: State, asset: str, source: str, at: datetime) -> timedelta | None:
    """How old the oldest change is that an asset does not reflect; 0 where it reflects all, None if unknown.

    In maintenance age stands still. The world counts as changed since it was sampled.
    """
    known = state.sources.get(source)
    if known is None or not known.mark:
        return None
    mark = mark_of(state, asset, source)
    if source.startswith("world:") and mark:
        since = BEGINNING + timedelta(milliseconds=mark)
    else:
        missing = known.happened[bisect_right(known.changes, mark) :]
        if not missing:
            return timedelta(0)
        since = min(missing)
    promise = state.plan.assets[asset].freshness if asset in state.plan.assets else None
    calendar = state.plan.calendars.get(promise.calendar) if promise is not None else None
    return elapsed(calendar, since, at)


def counted(state: State, promise: PromiseState, at: datetime) -> Counts:
    """Counts of a promise at a moment, with the seconds of the incident that is going on."""
    if promise.breached is None:
        return promise.counts
    known = promise.counts
    found = Counts(known.first, [*known.kept], [*known.missed], [*known.late_s])
    add_late(state.plan, (promise.asset, promise.promise), found, promise.breached, at)
    return found


def add_late(plan: Plan, promise: Promised, counts: Counts, start: datetime, end: datetime) -> None:
    """Add a time in which a promise was late to its counts, maintenance left out, as far as the window reaches."""
    over, calendar = terms(plan, promise).over, calendar_of(plan, promise)
    counts.forget(bucket(over, end - over))
    first = bucket(over, max(start, end - over))
    for number in range(first, bucket(over, end) + 1):
        begin, stop = bucket_start(over, number), bucket_start(over, number + 1)
        seconds = elapsed(calendar, max(start, begin), min(end, stop)).total_seconds()
        if seconds:
            counts.add(number, late_s=seconds)


def share(state: State, promise: PromiseState, at: datetime) -> tuple[int, int, float | None]:
    """Obligations kept and missed in the window up to a moment, and the share held; None is no data.

    The share is of obligations, or, for `share: time`, of the time since the first of them was made in which
    nothing was late.
    """
    key: Promised = (promise.asset, promise.promise)
    made, over = terms(state.plan, key), terms(state.plan, key).over
    kept, missed, late_s = counted(state, promise, at).since(bucket(over, at - over) + 1)
    if isinstance(made, Freshness) and made.share == "time":
        if promise.since is None:
            return kept, missed, None
        observed = elapsed(calendar_of(state.plan, key), max(promise.since, at - over), at).total_seconds()
        late = min(observed, late_s)
        return kept, missed, 1 - late / observed if observed > 0 else None
    return kept, missed, kept / (kept + missed) if kept + missed else None


def samples(state: State, run: Run) -> bool:
    """Whether a run's sample is one of the whole source, as it is at the run's start.

    A run for a slice (a partition, a key) counts where its own clock, or the need for a sample, caused it; a
    backfill never does.
    """
    if run.lane == "backfill":
        return False
    caused = (item.floor or item.subject == world(run.pipeline) for item in run.items.values())
    return not is_sliced(state.plan, run.pipeline) or any(caused)


def is_slice(state: State, run: Run) -> bool:
    """Whether a run makes a slice only of what its pipeline writes."""
    return is_sliced(state.plan, run.pipeline) or (run.lane == "backfill" and bool(run.partition))


def is_sliced(plan: Plan, pipeline: str) -> bool:
    """Whether each run of a pipeline makes a slice only of what it writes."""
    declared = plan.pipelines[pipeline]
    batch = declared.trigger.batch if declared.trigger else None
    return declared.partition is not None or declared.elastic is not None or (batch is not None and bool(batch.by))
