"""How urgent something is: what it takes, what is left to do below it, when it must start at the latest.

*Latest start* = when an obligation is due, less what its change still has to go through: the *tail*,
from this pipeline's start down to the promised asset. All of it follows from facts: bands as they
were learned, what is declared until then, and how long the last success took. Where nothing is
known of a pipeline, nothing is known of any tail that it is part of (None).

How much more than p90s a tail is where a promise asks for more stands in `kernel/tails.py`.

What is reckoned is kept in `state.reckoned`, and dropped where a fact changes it (`forget`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from math import exp, inf, log

from msgspec import Struct

from counterpoint.kernel.events import Band
from counterpoint.kernel.obligations import calendar_of, mark_of_subject, newest, terms
from counterpoint.kernel.records import Backlog, Lane, Obligation, PromiseState, Run
from counterpoint.kernel.state import State
from counterpoint.kernel.tails import Lengths, Tail, Way, Work, chance, span
from counterpoint.model.calendar import next_tick
from counterpoint.model.lineage import Promised, world
from counterpoint.model.pipeline import Pipeline, Task
from counterpoint.model.promise import Completion, Freshness
from counterpoint.model.trigger import Cron, Every
from counterpoint.model.workdays import counts, next_cutoff

#: What a task of unknown duration counts for on a path: then the number of tasks decides.
NOMINAL_S = 1.0
#: What is declared counts for less and less until there are so many samples.
ENOUGH = 30
#: So many samples whose median is so many times shorter or longer than declared are believed at once.
TELLING, FAR_OFF = 3, 3.0
#: Shorter times are all alike.
SHORTEST_S = 1e-3
#: So many ticks of a clock are looked at for the longest distance between two of them.
TICKS_LOOKED_AT = 10


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


# How long something takes.


def hour_of_week(moment: datetime) -> str:
    """The hour of the week in UTC, as `Band.hours` names it."""
    utc = moment.astimezone(UTC)
    return str(utc.weekday() * 24 + utc.hour)


def takes(state: State, pipeline: str, at: datetime | None = None) -> tuple[float, float] | None:
    """Seconds that half and nine of ten runs stay below, from admission to end; None where it is unknown.

    Args:
        at: for which hour of the week, where hours differ.
    """
    return _takes(state, pipeline, hour_of_week(at) if at is not None else "")


def _takes(state: State, pipeline: str, hour: str) -> tuple[float, float] | None:
    band = state.bands.get((pipeline, ""))
    tasks = _tasks(state, pipeline)
    if band is not None:
        return _weighed(band, hour, _longest(tasks, {name: _expected(task) for name, task in tasks.items()}))
    longest = _longest(tasks, {name: _task_takes(state, pipeline, task, hour) for name, task in tasks.items()})
    if longest is not None:
        return longest
    last = state.successes.get(pipeline)
    return (last.took_s, last.took_s) if last is not None else None


def _longest(
    tasks: Mapping[str, Task], known: Mapping[str, tuple[float, float] | None]
) -> tuple[float, float] | None:
    """The longest path through tasks by medians, and by p90s; None where one of them is unknown."""
    both = [each for each in known.values() if each is not None]
    if not both or len(both) < len(tasks):
        return None
    if len(both) == 1:
        return both[0]
    p50, p90 = (dict(zip(known, lasts, strict=True)) for lasts in zip(*both, strict=True))
    return max(_remaining(tasks, p50).values()), max(_remaining(tasks, p90).values())


def _tasks(state: State, pipeline: str) -> Mapping[str, Task]:
    declared = state.plan.pipelines.get(pipeline)
    return declared.tasks if declared is not None else {}


def task_takes(state: State, pipeline: str, task: Task, at: datetime | None = None) -> tuple[float, float] | None:
    """Seconds that half and nine of ten attempts of a task stay below; None where it is unknown."""
    return _task_takes(state, pipeline, task, hour_of_week(at) if at is not None else "")


def _task_takes(state: State, pipeline: str, task: Task, hour: str) -> tuple[float, float] | None:
    band, declared = state.bands.get((pipeline, task.name)), _expected(task)
    return _weighed(band, hour, declared) if band is not None else declared


def _expected(task: Task) -> tuple[float, float] | None:
    """What is declared of a task."""
    return (task.takes.p50.total_seconds(), task.takes.p90.total_seconds()) if task.takes is not None else None


def _weighed(band: Band, hour: str, declared: tuple[float, float] | None) -> tuple[float, float]:
    """A band, and while it has few samples what is declared too, as if that were samples; their geometric mean.

    A few samples say little of nine in ten, and what is too short by chance makes everything late. Where three
    of them say that something else was declared than what happens, they are believed.
    """
    learned = band.hours.get(hour) or (band.p50, band.p90)
    if declared is None or band.samples >= ENOUGH or band.hours:
        return learned
    apart = abs(log(max(band.p50, SHORTEST_S) / max(declared[0], SHORTEST_S)))
    if band.samples >= TELLING and apart > log(FAR_OFF):
        return learned
    share = band.samples / ENOUGH
    p50, p90 = (
        exp((1 - share) * log(max(said, SHORTEST_S)) + share * log(max(found, SHORTEST_S)))
        for said, found in zip(declared, learned, strict=True)
    )
    return p50, p90


def run_takes(state: State, run: Run) -> tuple[float, float] | None:
    """As `takes`, for one run: what was said when it was asked for goes before what is known of its pipeline."""
    if run.takes_s is not None:
        return run.takes_s, run.takes_s
    return takes(state, run.pipeline, state.at)


def waits(state: State, pipeline: str) -> float:
    """Seconds that nine of ten runs wait in the queue at most, as far as is known."""
    band = state.bands.get((pipeline, ""))
    return band.wait_p90 if band is not None else 0.0


def _wait(state: State, pipeline: str) -> Tail:
    band = state.bands.get((pipeline, ""))
    if band is None:
        return Tail()
    wait_p90 = max(band.wait_p50, band.wait_p90)
    return Tail(band.wait_p50, wait_p90, waits=wait_p90)


# Within a run.


def task_due(state: State, run: Run, task: str) -> datetime:
    """When a task should start so that the run ends as if it had started when it was due.

    Tasks of the longest remaining path are due with their run; others have as much more time as their path is
    shorter.
    """
    pipeline = state.pipeline_of(run)
    left = state.reckoned.paths.get((run.digest, run.pipeline))
    if left is None:
        known = {name: _task_takes(state, run.pipeline, each, "") for name, each in pipeline.tasks.items()}
        # The median, because paths are compared: the ninths of few samples are mostly chance.
        seconds = {name: each[0] if each is not None else NOMINAL_S for name, each in known.items()}
        left = state.reckoned.paths[run.digest, run.pipeline] = _remaining(pipeline.tasks, seconds)
    return run.due + timedelta(seconds=max(left.values()) - left[task])


def _remaining(tasks: Mapping[str, Task], seconds: Mapping[str, float]) -> dict[str, float]:
    """Task -> the longest path from its start to the end of the run, in seconds."""
    after: dict[str, list[str]] = {name: [] for name in tasks}
    for name, task in tasks.items():
        for before in task.after:
            after[before.task].append(name)
    left: dict[str, float] = {}
    for first in tasks:
        # By hand, because a chain of tasks may be longer than Python's stack is deep.
        stack = [first]
        while stack:
            name = stack[-1]
            if name in left:
                stack.pop()
            elif missing := [each for each in after[name] if each not in left]:
                stack += missing
            else:
                left[name] = seconds[name] + max((left[each] for each in after[name]), default=0.0)
                stack.pop()
    return left


# Below a pipeline.


def tail(state: State, pipeline: str, asset: str, at: datetime | None) -> Tail | None:
    """From a pipeline's start until a promised asset below has what it made.

    Its own duration and, of the ways on from it, the longest: each reader's batch window and wait in the queue,
    and its tail. None where something on the way is unknown.

    Args:
        at: for which hour of the week, where hours differ; None for all of them together.
    """
    reckoned, hour = state.reckoned, _hour(state, at)
    tails = reckoned.tails.get((asset, hour))
    if tails is None:
        tails = reckoned.tails[asset, hour] = {}
    elif pipeline in tails:
        return tails[pipeline]
    stack = [pipeline]
    while stack:
        name = stack[-1]
        if name in tails:
            stack.pop()
            continue
        onward = [each for each in state.plan.lineage.onward[name] if asset in _assets_below(state, each)]
        if missing := [each for each in onward if each not in tails]:
            stack += missing
            continue
        own = _takes(state, name, hour)
        tails[name] = _sum(span(*own) if own else None, (_step(state, each, tails[each]) for each in onward))
        stack.pop()
    return tails[pipeline]


def _hour(state: State, at: datetime | None) -> str:
    """The hour of the week, or "" where no hours differ."""
    reckoned = state.reckoned
    if reckoned.by_hour is None:
        reckoned.by_hour = any(band.hours for band in state.bands.values())
    return hour_of_week(at) if reckoned.by_hour and at is not None else ""


def _sum(own: Tail | None, onward: Iterable[Tail | None]) -> Tail | None:
    longest = own
    for each in onward:
        if own is None or each is None or longest is None:
            return None
        longest = max(longest, own.then(each), key=lambda tail: tail.p90)
    return longest


def _step(state: State, reader: str, rest: Tail | None) -> Tail | None:
    if rest is None:
        return None
    window = _window(state, reader)
    return _wait(state, reader).then(Tail(window, window, usual=window)).then(rest)


def _assets_below(state: State, pipeline: str) -> dict[str, None]:
    known = state.reckoned.below.get(pipeline)
    if known is None:
        below = state.plan.lineage.below.get(pipeline, ())
        known = state.reckoned.below[pipeline] = dict.fromkeys(asset for asset, _ in below)
    return known


def _window(state: State, pipeline: str) -> float:
    """The longest that a change waits until its reader makes a run of it: batch window, or the next tick."""
    trigger = state.plan.pipelines[pipeline].trigger
    if trigger is None or trigger.auto is not None:
        return 0.0
    batch = trigger.batch
    window = batch.wait or batch.quiet or timedelta()
    if trigger.sources and all(isinstance(source, Cron | Every) for source in trigger.sources):
        return _gap(state, pipeline)
    return window.total_seconds()


def _gap(state: State, pipeline: str) -> float:
    known = state.reckoned.gaps.get(pipeline)
    if known is not None:
        return known
    trigger = state.plan.pipelines[pipeline].trigger
    gaps = []
    for clock in trigger.sources if trigger is not None else ():
        ticks = [state.declared or state.at]
        while isinstance(clock, Cron | Every) and len(ticks) <= TICKS_LOOKED_AT:
            tick = next_tick(clock, ticks[-1])
            if tick is None:
                break
            ticks.append(tick)
        between = [(after - before).total_seconds() for before, after in pairwise(ticks[1:])]
        gaps.append(max(between, default=0.0))
    state.reckoned.gaps[pipeline] = shortest = min(gaps, default=0.0)
    return shortest


def forget(state: State, pipeline: str) -> None:
    """Drop what was reckoned with the durations of a pipeline."""
    below = _assets_below(state, pipeline)
    bands = (state.bands.get((pipeline, task)) for task in ("", *_tasks(state, pipeline)))
    if state.reckoned.by_hour or any(band is not None and band.hours for band in bands):
        state.reckoned.by_hour = None
    for asset, hour in list(state.reckoned.tails):
        if asset in below:
            del state.reckoned.tails[asset, hour]
            state.reckoned.lengths.pop((asset, hour), None)
    for digest, name in list(state.reckoned.paths):
        if name == pipeline:
            del state.reckoned.paths[digest, name]
    declared = state.plan.pipelines.get(pipeline)
    for pool in pools_of(declared) if declared is not None else ():
        state.reckoned.work.pop(pool, None)
        # Any way through that pool keeps time back for what else it has to do.
        state.reckoned.lengths = {}


# What is owed.


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
        after = state.at + timedelta(seconds=_least_s(state, pipeline, key[0])) if hopeful else None
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
                lengths = _lengths(state, pipeline, key, first.due, count, alone=hopeful)
                yield Need(key[0], source, first.due, servable, brings, lengths)
            if late > has:
                lengths = _lengths(state, pipeline, key, state.at, 1, alone=True)
                yield Need(key[0], source, None, late <= reached[source], brings, lengths)


def _lengths(
    state: State, pipeline: str, promise: Promised, due: datetime, count: int, *, alone: bool = False
) -> Lengths:
    """How long it takes from a pipeline on, as so many obligations ask for that are due at a time.

    Args:
        alone: leave out of `lead_s` what others need; it is not asked for.
    """
    made = terms(state.plan, promise)
    certain = chance(made.target, count)
    most = made.within.total_seconds() if isinstance(made, Freshness) else inf
    known = state.reckoned.lengths.setdefault((promise[0], _hour(state, due)), {})
    found = known.get((pipeline, promise[1], certain))
    if found is None:
        way = tail(state, pipeline, promise[0], due)
        if way is None:
            return Lengths()
        lead = _wait(state, pipeline).then(way).within(certain, most)
        found = Lengths(way.within(certain, most), lead, way.usual, way.unhindered(certain))
        known[pipeline, promise[1], certain] = found
    if alone:
        return found
    assert found.lead_s is not None, "what is known of a way is known of what goes before it"
    # Apart, because it changes with what others take.
    busy_s = found.alone_s + _others(state, pipeline, promise[0], most - found.alone_s)
    return found if busy_s <= found.lead_s else Lengths(found.tail_s, busy_s, found.usual_s, found.alone_s)


def _others(state: State, pipeline: str, asset: str, most: float) -> float:
    """Seconds to keep back because others need the pools on a pipeline's way to an asset: one run of each of them.

    So long may each have to wait for what cannot be interrupted, or is due sooner. Where a pool has several slots,
    others must meet on all of them, so that each counts for less. What lasts longer than `most`, all that there
    is to spare, cannot be waited for whenever the way begins: it counts for nothing.
    """
    way = _way(state, pipeline, asset)
    seconds = 0.0
    for pool in way.pools:
        work = _work(state, pool)
        seconds += work.sums[bisect_right(work.lasts, most)]
        mine = (work.shares[name] for name in way.pipelines if name in work.shares)
        seconds -= sum(share for lasts, share in mine if lasts <= most)
    return seconds


def _way(state: State, pipeline: str, asset: str) -> Way:
    known = state.reckoned.ways.get((pipeline, asset))
    if known is None:
        found, waiting = dict.fromkeys([pipeline]), [pipeline]
        while waiting:
            for each in state.plan.lineage.onward[waiting.pop()]:
                if each not in found and asset in _assets_below(state, each):
                    found[each] = None
                    waiting.append(each)
        pools = (pool for name in found for pool in pools_of(state.plan.pipelines[name]))
        known = state.reckoned.ways[pipeline, asset] = Way(tuple(found), tuple(dict.fromkeys(pools)))
    return known


def _work(state: State, pool: str) -> Work:
    """What a pool has to do if each pipeline that runs unasked and uses it runs once."""
    known = state.reckoned.work.get(pool)
    if known is not None:
        return known
    slots, shares = state.plan.pools[pool].slots, dict[str, tuple[float, float]]()
    for name in _users(state).get(pool, ()):
        own = _takes(state, name, "")
        if own is not None:
            needed = max(task.pools.get(pool, 0) for task in state.plan.pipelines[name].tasks.values())
            shares[name] = own[1], own[1] * min(needed, slots) / slots**2
    ordered = sorted(shares.values())
    sums = (0.0, *accumulate(share for _, share in ordered))
    known = state.reckoned.work[pool] = Work(shares, tuple(lasts for lasts, _ in ordered), sums)
    return known


def sharers(state: State, pipeline: str) -> list[str]:
    """A pipeline, and those with a trigger that use one of its pools: how long it takes matters to them.

    Only where something is promised: else nobody keeps time back for others.
    """
    if not state.plan.lineage.promises:
        return [pipeline]
    declared, users = state.plan.pipelines.get(pipeline), _users(state)
    pools = pools_of(declared) if declared is not None else ()
    return list(dict.fromkeys([pipeline, *(name for pool in pools for name in users.get(pool, ()))]))


def _users(state: State) -> dict[str, list[str]]:
    """Pool -> the pipelines with a trigger that use it."""
    if state.reckoned.users is None:
        state.reckoned.users = {}
        for name, pipeline in state.plan.pipelines.items():
            for pool in pools_of(pipeline) if pipeline.trigger is not None else ():
                state.reckoned.users.setdefault(pool, []).append(name)
    return state.reckoned.users


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


def _least_s(state: State, pipeline: str, asset: str) -> float:
    """Seconds from a pipeline's start to a promised asset, by medians, if nothing waits for anything."""
    way = tail(state, pipeline, asset, None)
    return way.least if way is not None else 0.0


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
    own = timedelta(seconds=_first_step_s(state, lane[0]))
    latest: datetime | None = None
    ends: datetime | None = None
    wanted: datetime | None = None
    until: datetime | None = None
    for need in needs(state, lane[0], floors, hopeful=True):
        if need.due is None or not need.servable:
            continue
        start = need.due - timedelta(seconds=need.lengths.tail_s or 0.0)
        latest = start if latest is None else min(latest, start)
        lapses = need.due - timedelta(seconds=_least_s(state, lane[0], need.asset))
        until = lapses if until is None else min(until, lapses)
        end = need.due - timedelta(seconds=need.lengths.usual_s or 0.0) + own
        if ends is None or end < ends:
            ends, wanted = end, need.due
    return Place(latest, ends, wanted, until)


def _first_step_s(state: State, pipeline: str) -> float:
    """Seconds that the first task of the longest path takes in half of the cases; 0 where it is unknown."""
    declared = state.plan.pipelines[pipeline]
    if len(declared.tasks) == 1:
        own = _takes(state, pipeline, "")
        return own[0] if own is not None else 0.0
    known = {name: _task_takes(state, pipeline, each, "") for name, each in declared.tasks.items()}
    seconds = {name: each[0] if each is not None else 0.0 for name, each in known.items()}
    left = _remaining(declared.tasks, seconds)
    return seconds[max(left, key=lambda name: left[name])]


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
    seconds = _lengths(state, pipeline, key, first.due, 1).lead_s
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


def pools_of(pipeline: Pipeline) -> tuple[str, ...]:
    """The pools that a pipeline's tasks use."""
    return tuple(dict.fromkeys(pool for task in pipeline.tasks.values() for pool in task.pools))
