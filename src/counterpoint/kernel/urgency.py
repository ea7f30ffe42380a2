"""How urgent something is: what is owed below a pipeline, and when it must start at the latest.

*Latest start* = when an obligation is due, less what its change still has to go through: the *tail*,
from this pipeline's start down to the promised asset (`kernel/lengths.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import inf
from typing import TypeAlias

from msgspec import Struct

from counterpoint.kernel.lengths import distance, first_step_s, lead, longest_lead, ways_on
from counterpoint.kernel.obligations import calendar_of, lower, marks_of, newest
from counterpoint.kernel.records import Lane, Obligation, PromiseState, mark_of_obligation
from counterpoint.kernel.state import State
from counterpoint.kernel.tails import Distance, Tail, chance
from counterpoint.model.lineage import Promised, world
from counterpoint.model.promise import Completion
from counterpoint.model.workdays import counts, next_cutoff

#: Later than anything that is due.
LATEST = datetime.max.replace(tzinfo=UTC)
#: Where nothing is known of the way.
NO_WAY = Distance(tail=Tail(), wait=Tail(), target=0.0, most=inf, users={}, widest={})


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
    """The obligation for whose sake a pipeline should run first.

    Attributes:
        source: the source of which it must have more.
        due: None for one that was missed and is not reached yet: the sooner the better.
        moment: when a run should be made for it; None is at once.
        lead: from `moment` to `due`; None where nothing is between, because what is asked for is not there yet.
    """

    asset: str
    source: str
    due: datetime | None = None
    moment: datetime | None = None
    lead: timedelta | None = None


#: A source, up to where all that a pipeline writes has it without some items, and up to where it would have it.
Standing: TypeAlias = tuple[str, int, float]


def _stand(state: State, pipeline: str, floors: Mapping[str, int], sources: Iterable[str]) -> list[Standing]:
    """How a pipeline stands with sources."""
    written = [state.marks.get(asset) for asset in state.plan.lineage.written[pipeline]]
    parts = [mark.parts.get(pipeline, {}) if mark is not None else {} for mark in written]
    first, is_one, reached = parts[0], len(parts) == 1, _reached(state, pipeline)
    found = []
    for source in sources:
        has = first.get(source, 0) if is_one else min([part.get(source, 0) for part in parts])
        floor = floors.get(source, 0)
        found.append((source, has if has > floor else floor, reached.get(source, inf)))
    return found


def _serves(state: State, pipeline: str, obligation: Obligation, standing: Standing) -> bool:
    """Whether all that a pipeline is made of has what an obligation asks for, of this source and of others."""
    if len(obligation.marks) == 1:
        return obligation.marks[standing[0]] <= standing[2]
    reached, through = _reached(state, pipeline), state.plan.lineage.through[pipeline]
    asked = obligation.marks.items()
    return all(mark <= reached.get(other, inf) for other, mark in asked if other in through)


def first_need(state: State, pipeline: str, floors: Mapping[str, int]) -> Need | None:
    """For whose sake a pipeline should make a run of items with these floors first; None where nothing is owed.

    Args:
        floors: source -> what the pipeline has of it without these items, which have nothing to do with others.
    """
    if not (ways := ways_on(state, pipeline)):
        return None
    standings, best, earliest = _stand(state, pipeline, floors, sorted(floors)), None, LATEST
    for key, way in ways:
        promise = state.promises.get(key)
        if promise is None:
            continue
        if promise.late:
            for source, has, reached in standings:
                if promise.late.get(source, 0) > has and has < reached:
                    return Need(key[0], source)
        if not (firsts := _first_due(promise, standings, None)):
            continue
        longest = longest_lead(state, way) if way is not None and not way.by_hour else timedelta()
        for first, standing in firsts:
            source, has, reached = standing
            if way is not None and way.by_hour:
                way = distance(state, pipeline, key, first.due)
                longest = longest_lead(state, way) if way is not None else timedelta()
            if way is not None and first.due - longest > earliest:
                continue
            serves, moment, seconds = _serves(state, pipeline, first, standing), first.due, None
            if way is None and (serves or has < reached):
                return Need(key[0], source, first.due)
            if serves and way is not None:
                seconds = lead(state, way, _count_open(promise, standing))
                moment -= seconds
            if best is None or (moment, key[0]) < (earliest, best.asset):
                best, earliest = Need(key[0], source, first.due, moment, seconds), moment
    return best


def part_of(state: State, pipeline: str, source: str) -> int:
    """Up to where all that a pipeline writes, as far as a promise looks at it, has the changes of a source."""
    parts = [
        mark.parts.get(pipeline, {}).get(source, 0) if (mark := state.marks.get(asset)) is not None else 0
        for asset in state.plan.lineage.written[pipeline]
    ]
    return parts[0] if len(parts) == 1 else min(parts)


def reach(state: State, pipeline: str, source: str) -> float:
    """Up to where all that a pipeline is made of has the changes of a source; no end where nothing leads to it."""
    return _reached(state, pipeline).get(source, inf)


def _reached(state: State, pipeline: str) -> Mapping[str, int]:
    known = state.reached.get(pipeline)
    if known is None:
        known = state.reached[pipeline] = {}
        for given in state.plan.lineage.inputs[pipeline]:
            lower(known, marks_of(state, given))
    return known


def _first_open(promise: PromiseState, source: str, has: int, after: datetime | None = None) -> Obligation | None:
    """The first obligation of a promise that asks for more of a source than there is, due after a moment."""
    of_source = promise.open.get(source)
    if of_source and of_source[-1].mark > has:
        for place in range(bisect_right(of_source, has, key=mark_of_obligation), len(of_source)):
            if after is None or of_source[place].due > after:
                return of_source[place]
    # A completion asks for several sources at once; there is one a day, so that few are open.
    for each in promise.open.get("", ()):
        if each.marks.get(source, 0) > has and (after is None or each.due > after):
            return each
    return None


def _first_due(
    promise: PromiseState, standings: Iterable[Standing], after: datetime | None
) -> list[tuple[Obligation, Standing]]:
    """Of each source the first obligation that asks for more of it, and one made later that is due before that.

    Args:
        after: leave out what is due up to then.
    """
    due: list[tuple[Obligation, Standing]] = []
    for standing in standings:
        source, has, _ = standing
        of_source = promise.open.get(source)
        newer: Iterable[Obligation] = ()
        if of_source and of_source[-1].mark > has:
            place = 0 if of_source[0].mark > has else bisect_right(of_source, has, key=mark_of_obligation)
            first = of_source[place]
            if first.sooner is None and (after is None or first.due > after):
                due.append((first, standing))
                continue
            newer = islice(of_source, place, None)
        elif "" not in promise.open:
            continue
        found = _first_open(promise, source, has, after)
        if found is None:
            continue
        due.append((found, standing))
        if found.sooner is not None:
            # It may have been missed since.
            sooner = (each for each in newer if each.due == found.sooner and (after is None or each.due > after))
            due += ((each, standing) for each in sooner)
    return due


def floors_of(state: State, lane: Lane) -> Mapping[str, int]:
    """Source -> what the pipeline has of it without the pending items of a lane."""
    known = state.floors.get(lane)
    if known is None:
        known = state.floors[lane] = {}
        for item in state.backlogs[lane].items:
            lower(known, item.floor)
    return known


def _count_open(promise: PromiseState, standing: Standing) -> int:
    """How many obligations of a source a run serves now, 1 at least: those that it would bring all changes for."""
    source, has, reached = standing
    of_source = promise.open.get(source)
    if not of_source or reached == inf:
        return 1
    first = bisect_right(of_source, has, key=mark_of_obligation)
    return max(1, bisect_right(of_source, reached, first, key=mark_of_obligation) - first)


def place(state: State, lane: Lane) -> Place:
    """Where a run of a lane stands in the queue by what is owed, and until when that holds.

    What cannot be kept any more, even if nothing waits and everything takes no longer than it does in half of the
    cases, gives way to what can: it gives no place.
    """
    pipeline, backlog, lineage = lane[0], state.backlogs.get(lane), state.plan.lineage
    if not (ways := ways_on(state, pipeline)):
        return Place()
    floors = floors_of(state, lane) if backlog is not None else {}
    sources = lineage.through[pipeline]
    if backlog is not None:
        # What comes with items, but with none of these, is brought by another lane or was brought already.
        sources = tuple(sorted({*floors, *lineage.unasked[pipeline]}))
    standings = _stand(state, pipeline, floors, sources)
    latest = ends = until = LATEST
    wanted: datetime | None = None
    for key, known in ways:
        promise = state.promises.get(key)
        if promise is None or not promise.open:
            continue
        way = known or NO_WAY
        least = way.least
        for first, standing in _first_due(promise, standings, state.at + least):
            due = first.due
            if way.by_hour:
                way = distance(state, pipeline, key, due) or NO_WAY
            if due - way.longest >= latest and due - way.usual >= ends and due - least >= until:
                continue
            if not _serves(state, pipeline, first, standing):
                continue
            until = min(until, due - least)
            if due - way.longest < latest:
                certain = chance(way.target, _count_open(promise, standing))
                latest = min(latest, due - way.lengths(certain).tail)
            if due - way.usual < ends:
                ends, wanted = due - way.usual, due
    if wanted is None:
        return Place()
    return Place(latest, ends + timedelta(seconds=first_step_s(state, pipeline)), wanted, until)


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
    way = distance(state, pipeline, key, first.due)
    if way is None:
        # Nothing below has ever run to its end. Half way is soon enough to learn, and no endless loop.
        return first.since if key[1] == "completion" else first.since + (first.due - first.since) / 2
    return first.due - lead(state, way, 1)


def _next_that_counts(state: State, key: Promised) -> datetime:
    """Now, or when the next day begins that counts for a promise."""
    calendar = calendar_of(state.plan, key)
    if calendar is None or counts(calendar, state.at):
        return state.at
    midnight = Completion(by="12:00", cutoff="00:00", timezone=calendar.timezone)
    return next_cutoff(midnight, calendar, state.at)[0]
