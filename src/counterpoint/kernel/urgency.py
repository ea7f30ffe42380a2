"""How urgent something is: what is owed below a pipeline, and when it must start at the latest.

*Latest start* = when an obligation is due, less what its change still has to go through: the *tail*,
from this pipeline's start down to the promised asset (`kernel/lengths.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from math import inf

from msgspec import Struct

from counterpoint.kernel.lengths import first_step_s, least_s, lengths_to
from counterpoint.kernel.obligations import calendar_of, mark_of_subject, newest
from counterpoint.kernel.records import Backlog, Lane, Obligation, PromiseState
from counterpoint.kernel.state import State
from counterpoint.kernel.tails import Lengths
from counterpoint.model.lineage import Promised, world
from counterpoint.model.promise import Completion
from counterpoint.model.workdays import counts, next_cutoff


class Place(Struct, frozen=True, gc=False):
    """Where a run stands by what is owed.

    Attributes:
        latest: when it should start at the latest; None where nothing is owed that can still be kept.
        ends: when its first task should have ended, so that what follows keeps what is owed if it takes as usual.
        wanted: when that is due.
        until: when the first obligation that it can keep now cannot be kept any more; None where there is none.
    """

    latest: datetime | None = None
    ends: datetime | None = None
    wanted: datetime | None = None
    until: datetime | None = None


class Need(Struct, frozen=True, gc=False):
    """An obligation that a pipeline has yet to serve.

    Attributes:
        source: the source of which it must have more.
        due: None for one that was missed and is not reached yet: the sooner the better.
        servable: all that the pipeline is made of has what is asked for.
        brings: it has more than the pipeline: a run now would bring something of the source.
        lengths: how long it takes from here.
    """

    asset: str
    source: str
    due: datetime | None
    servable: bool
    brings: bool
    lengths: Lengths


def needs(
    state: State, pipeline: str, floors: Mapping[str, int], *, only: bool = False, hopeful: bool = False
) -> Iterator[Need]:
    """What is due first of each promise below, and of each source, that a pipeline has yet to serve.

    Args:
        floors: source -> what the pipeline has of it without some items.
        only: leave out sources of which there is no floor: those items have nothing to do with them.
        hopeful: leave out what cannot be kept any more even if nothing waits and all is quick.
    """
    lineage = state.plan.lineage
    if not (below := lineage.below.get(pipeline, ())):
        return
    sources = sorted(floors) if only else lineage.through[pipeline]
    parts = {source: max(part_of(state, pipeline, source), floors.get(source, 0)) for source in sources}
    reached: dict[str, float] = {}
    for key in below:
        promise = state.promises.get(key)
        if promise is None or not (promise.open or promise.late):
            continue
        opened, missed = promise.open, promise.late
        after = state.at + timedelta(seconds=least_s(state, pipeline, key[0])) if hopeful else None
        is_whole = "" in opened
        for source, has in parts.items():
            open_first = _first_due(promise, source, has, after) if is_whole or source in opened else ()
            late = missed.get(source, 0)
            if not open_first and late <= has:
                continue
            if source not in reached:
                reached[source] = reach(state, pipeline, source)
            brings = has < reached[source]
            for first in open_first:
                servable = first.marks[source] <= reached[source]
                if servable and len(first.marks) > 1:
                    asked = [each for each in first.marks.items() if each[0] in lineage.through[pipeline]]
                    servable = all(reach(state, pipeline, other) >= mark for other, mark in asked)
                count = _count_open(promise, source, has, reached[source])
                lengths = lengths_to(state, pipeline, key, first.due, count, alone=hopeful)
                yield Need(key[0], source, first.due, servable, brings, lengths)
            if late > has:
                lengths = lengths_to(state, pipeline, key, state.at, 1, alone=True)
                yield Need(key[0], source, None, late <= reached[source], brings, lengths)


def part_of(state: State, pipeline: str, source: str) -> int:
    """Up to where all that a pipeline writes, as far as a promise looks at it, has the changes of a source."""
    written = (state.marks.get(asset) for asset in state.plan.lineage.written[pipeline])
    return min(mark.parts.get(pipeline, {}).get(source, 0) if mark is not None else 0 for mark in written)


def reach(state: State, pipeline: str, source: str) -> float:
    """Up to where all that a pipeline is made of has the changes of a source; no end where nothing leads to it."""
    return min(
        (
            mark_of_subject(state, each.subject, source)
            for each in state.plan.lineage.inputs[pipeline]
            if source in each.sources
        ),
        default=inf,
    )


def _first_open(promise: PromiseState, source: str, has: int, after: datetime | None = None) -> Obligation | None:
    """The first obligation of a promise that asks for more of a source than there is, due after a moment."""
    of_source = promise.open.get(source)
    if of_source and of_source[-1].marks[source] > has:
        first = 0
        if of_source[0].marks[source] <= has:
            first = bisect_right(of_source, has, key=lambda obligation: obligation.marks[source])
        for place in range(first, len(of_source)):
            if after is None or of_source[place].due > after:
                return of_source[place]
    # A completion asks for several sources at once; there is one a day, so that few are open.
    return next(
        (
            each
            for each in promise.open.get("", ())
            if each.marks.get(source, 0) > has and (after is None or each.due > after)
        ),
        None,
    )


def floors_of(state: State, backlog: Backlog) -> Mapping[str, int]:
    """Source -> what the pipeline has of it without the pending items of a lane."""
    known = state.floors.get(backlog.lane)
    if known is None:
        known = state.floors[backlog.lane] = {}
        for item in backlog.items:
            lower(known, item.floor)
    return known


def lower(floors: dict[str, int], floor: Mapping[str, int]) -> None:
    """Take an item's floor into the least of a lane."""
    for source, mark in floor.items():
        floors[source] = min(mark, floors.get(source, mark))


def _count_open(promise: PromiseState, source: str, has: int, reached: float) -> int:
    """How many obligations of a source a run serves now, 1 at least: those that it would bring all changes for."""
    of_source = promise.open.get(source)
    if not of_source or reached == inf:
        return 1
    first, last = 0, len(of_source)
    if of_source[0].marks[source] <= has:
        first = bisect_right(of_source, has, key=lambda obligation: obligation.marks[source])
    if of_source[-1].marks[source] > reached:
        last = bisect_right(of_source, reached, key=lambda obligation: obligation.marks[source])
    return max(1, last - first)


def _first_due(promise: PromiseState, source: str, has: int, after: datetime | None) -> tuple[Obligation, ...]:
    """The first obligation that asks for more of a source, and one made later that is due before it.

    Args:
        after: leave out what is due up to then.
    """
    first = _first_open(promise, source, has, after)
    if first is None:
        return ()
    if first.sooner is None:
        return (first,)
    of_source = promise.open[source]
    place = bisect_right(of_source, has, key=lambda obligation: obligation.marks[source])
    # It may have been missed since.
    return (
        first,
        *(each for each in of_source[place:] if each.due == first.sooner and (after is None or each.due > after)),
    )


def place(state: State, lane: Lane) -> Place:
    """Where a run of a lane stands in the queue by what is owed, and until when that holds.

    What cannot be kept any more, even if nothing waits and everything takes no longer than it does in half of the
    cases, gives way to what can: it gives no place.
    """
    backlog = state.backlogs.get(lane)
    floors = floors_of(state, backlog) if backlog is not None else {}
    own = timedelta(seconds=first_step_s(state, lane[0]))
    latest: datetime | None = None
    ends: datetime | None = None
    wanted: datetime | None = None
    until: datetime | None = None
    for need in needs(state, lane[0], floors, hopeful=True):
        if need.due is None or not need.servable:
            continue
        start = need.due - timedelta(seconds=need.lengths.tail_s or 0.0)
        latest = start if latest is None else min(latest, start)
        lapses = need.due - timedelta(seconds=least_s(state, lane[0], need.asset))
        until = lapses if until is None else min(until, lapses)
        end = need.due - timedelta(seconds=need.lengths.usual_s or 0.0) + own
        if ends is None or end < ends:
            ends, wanted = end, need.due
    return Place(latest, ends, wanted, until)


def next_sample(state: State, pipeline: str) -> datetime | None:
    """When a pipeline that samples the world must start next; None while nothing below asks for it."""
    below, source = state.plan.lineage.below.get(pipeline, ()), world(pipeline)
    if below and not newest(state, source):
        return state.at
    moments = [_sample_for(state, pipeline, each, source) for each in below]
    return min((moment for moment in moments if moment is not None), default=None)


def _sample_for(state: State, pipeline: str, key: Promised, source: str) -> datetime | None:
    promise, sampled = state.promises.get(key), newest(state, source)
    if promise is None or promise.late.get(source, 0) > sampled:
        return state.at
    first = _first_open(promise, source, sampled)
    if first is None:
        # The last sample was of a day that does not count, so that it made no obligation: the next is of one
        # that does. A completion asks when its cut-off comes.
        return None if key[1] == "completion" else _next_that_counts(state, key)
    seconds = lengths_to(state, pipeline, key, first.due, 1).lead_s
    if seconds is None:
        # Nothing below has ever run to its end. Half way is soon enough to learn, and no endless loop.
        return first.since if key[1] == "completion" else first.since + (first.due - first.since) / 2
    return first.due - timedelta(seconds=seconds)


def _next_that_counts(state: State, key: Promised) -> datetime:
    """Now, or when the next day begins that counts for a promise."""
    calendar = calendar_of(state.plan, key)
    if calendar is None or counts(calendar, state.at):
        return state.at
    midnight = Completion(by="12:00", cutoff="00:00", timezone=calendar.timezone)
    return next_cutoff(midnight, calendar, state.at)[0]
