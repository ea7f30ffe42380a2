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
from itertools import pairwise
from math import inf

from msgspec import Struct

from counterpoint.kernel.obligations import calendar_of, mark_of_subject, newest, terms
from counterpoint.kernel.state import Backlog, Lane, Obligation, PromiseState, Run, State
from counterpoint.kernel.tails import Tail, chance, span
from counterpoint.model.calendar import next_tick
from counterpoint.model.lineage import Promised, world
from counterpoint.model.pipeline import Pipeline, Task
from counterpoint.model.promise import Completion, Freshness
from counterpoint.model.trigger import Cron, Every
from counterpoint.model.workdays import counts, next_cutoff

#: What a task of unknown duration counts for on a path: then the number of tasks decides.
NOMINAL_S = 1.0
#: So many ticks of a clock are looked at for the longest distance between two of them.
TICKS_LOOKED_AT = 10


class Need(Struct, frozen=True, gc=False):
    """An obligation that a pipeline has yet to serve.

    Attributes:
        source: the source of which it must have more.
        due: None for one that was missed and is not reached yet: the sooner the better.
        servable: all that the pipeline is made of has what is asked for.
        brings: it has more than the pipeline: a run now would bring something of the source.
        tail_s: seconds from the pipeline's start until the promised asset has it; None is unknown.
        lead_s: the same, and its own wait in the queue before.
    """

    asset: str
    source: str
    due: datetime | None
    servable: bool
    brings: bool
    tail_s: float | None
    lead_s: float | None


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
    if band is not None:
        return band.hours.get(hour) or (band.p50, band.p90)
    tasks = _tasks(state, pipeline)
    known = {name: _task_takes(state, pipeline, task, hour) for name, task in tasks.items()}
    if known and all(each is not None for each in known.values()):
        longest = [
            max(_remaining(tasks, {name: each[place] if each else 0.0 for name, each in known.items()}).values())
            for place in (0, 1)
        ]
        return longest[0], longest[1]
    last = state.successes.get(pipeline)
    return (last.took_s, last.took_s) if last is not None else None


def _tasks(state: State, pipeline: str) -> Mapping[str, Task]:
    declared = state.plan.pipelines.get(pipeline)
    return declared.tasks if declared is not None else {}


def task_takes(state: State, pipeline: str, task: Task, at: datetime | None = None) -> tuple[float, float] | None:
    """Seconds that half and nine of ten attempts of a task stay below; None where it is unknown."""
    return _task_takes(state, pipeline, task, hour_of_week(at) if at is not None else "")


def _task_takes(state: State, pipeline: str, task: Task, hour: str) -> tuple[float, float] | None:
    band = state.bands.get((pipeline, task.name))
    if band is not None:
        return band.hours.get(hour) or (band.p50, band.p90)
    if task.takes is not None:
        return task.takes.p50.total_seconds(), task.takes.p90.total_seconds()
    return None


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


def tail(state: State, pipeline: str, asset: str, at: datetime) -> Tail | None:
    """From a pipeline's start until a promised asset below has what it made.

    Its own duration and, of the ways on from it, the longest: each reader's batch window and wait in the queue,
    and its tail. None where something on the way is unknown.

    Args:
        at: for which hour of the week, where hours differ.
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


def _hour(state: State, at: datetime) -> str:
    """The hour of the week, or "" where no hours differ."""
    reckoned = state.reckoned
    if reckoned.by_hour is None:
        reckoned.by_hour = any(band.hours for band in state.bands.values())
    return hour_of_week(at) if reckoned.by_hour else ""


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
    return _wait(state, reader).then(Tail(window, window)).then(rest)


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


# What is owed.


def needs(state: State, pipeline: str, floors: Mapping[str, int], *, only: bool = False) -> Iterator[Need]:
    """What is due first of each promise below, and of each source, that a pipeline has yet to serve.

    Args:
        floors: source -> what the pipeline has of it without some items.
        only: leave out sources of which there is no floor: those items have nothing to do with them.
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
        is_whole = "" in opened
        for source, has in parts.items():
            open_first = _first_due(promise, source, has) if is_whole or source in opened else ()
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
                lengths = _lengths(state, pipeline, key, first.due, count)
                yield Need(key[0], source, first.due, servable, brings, *lengths)
            if late > has:
                lengths = _lengths(state, pipeline, key, state.at, 1)
                yield Need(key[0], source, None, late <= reached[source], brings, *lengths)


def _lengths(
    state: State, pipeline: str, promise: Promised, due: datetime, count: int
) -> tuple[float, float] | tuple[None, None]:
    """Seconds from a pipeline's start, and from when it begins to wait, that so many obligations ask for."""
    made = terms(state.plan, promise)
    certain = chance(made.target, count)
    known = state.reckoned.lengths.setdefault((promise[0], _hour(state, due)), {})
    found = known.get((pipeline, promise[1], certain))
    if found is None:
        way = tail(state, pipeline, promise[0], due)
        if way is None:
            return None, None
        most = made.within.total_seconds() if isinstance(made, Freshness) else inf
        found = known[pipeline, promise[1], certain] = (
            way.within(certain, most),
            _wait(state, pipeline).then(way).within(certain, most),
        )
    return found


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


def _first_open(promise: PromiseState, source: str, has: int) -> Obligation | None:
    """The first obligation of a promise that asks for more of a source than there is."""
    of_source = promise.open.get(source)
    if of_source and of_source[-1].marks[source] > has:
        if of_source[0].marks[source] > has:
            return of_source[0]
        return of_source[bisect_right(of_source, has, key=lambda obligation: obligation.marks[source])]
    # A completion asks for several sources at once; there is one a day, so that few are open.
    return next((each for each in promise.open.get("", ()) if each.marks.get(source, 0) > has), None)


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


def _first_due(promise: PromiseState, source: str, has: int) -> tuple[Obligation, ...]:
    """The first obligation that asks for more of a source, and one made later that is due before it."""
    first = _first_open(promise, source, has)
    if first is None:
        return ()
    if first.sooner is None:
        return (first,)
    of_source = promise.open[source]
    place = bisect_right(of_source, has, key=lambda obligation: obligation.marks[source])
    # It may have been missed since.
    return (first, *(each for each in of_source[place:] if each.due == first.sooner))


def latest_start(state: State, lane: Lane) -> tuple[datetime | None, datetime | None]:
    """When a run of a lane must start at the latest, and when the first of what it serves is due.

    None where nothing that it could serve is owed. Where durations are unknown, the due time stands for both.
    """
    backlog = state.backlogs.get(lane)
    floors = floors_of(state, backlog) if backlog is not None else {}
    latest: datetime | None = None
    wanted: datetime | None = None
    for need in needs(state, lane[0], floors):
        if need.due is None or not need.servable:
            continue
        start = need.due - timedelta(seconds=need.tail_s or 0.0)
        latest = start if latest is None else min(latest, start)
        wanted = need.due if wanted is None else min(wanted, need.due)
    return latest, wanted


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
    _, seconds = _lengths(state, pipeline, key, first.due, 1)
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
