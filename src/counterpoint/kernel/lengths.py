"""How long things take: a task, a run, and the way from a pipeline down to what is promised.

All of it follows from facts: bands as they were learned, what is declared until then, and how long the last
success took. Where nothing is known of a pipeline, nothing is known of any way that it is part of (None).
How much more than p90s a way takes where a promise asks for more stands in `kernel/tails.py`.

What is reckoned is kept in `state.reckoned`, and dropped where a fact changes it (`forget`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from math import exp, inf, log

from counterpoint.kernel.events import Band
from counterpoint.kernel.obligations import terms
from counterpoint.kernel.records import Run
from counterpoint.kernel.state import State
from counterpoint.kernel.tails import MOST_CERTAIN, NINE_IN_TEN, Distance, Tail, Way, Work, chance, span
from counterpoint.model.calendar import next_tick
from counterpoint.model.lineage import Promised
from counterpoint.model.pipeline import Pipeline, Task
from counterpoint.model.plan import Plan
from counterpoint.model.promise import Freshness
from counterpoint.model.trigger import Cron, Every

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
HOUR, HOURS_OF_WEEK = timedelta(hours=1), 168
#: Of one run of each pipeline of a pool: what nine in ten runs wait at most, on average, where the pool keeps up.
USUAL_WAIT = 0.25


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
    known = state.reckoned.takes.setdefault(pipeline, {})
    if hour not in known:
        known[hour] = _reckon_takes(state, pipeline, hour)
    return known[hour]


def _reckon_takes(state: State, pipeline: str, hour: str) -> tuple[float, float] | None:
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


def is_declared(plan: Plan, pipeline: str, task: str) -> bool:
    """Whether a plan says how long a task of a pipeline takes; with "" all of its tasks."""
    declared = plan.pipelines.get(pipeline)
    tasks = declared.tasks if declared is not None else {}
    return all(each.takes is not None for name, each in tasks.items() if task in ("", name))


def has_one_task(plan: Plan, pipeline: str) -> bool:
    """Whether a plan has a pipeline of one task: that lasts as long as the run does."""
    declared = plan.pipelines.get(pipeline)
    return declared is not None and len(declared.tasks) == 1


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


def task_due(state: State, run: Run, task: str) -> datetime:
    """When a task should start so that the run ends as if it had started when it was due.

    Tasks of the longest remaining path are due with their run; others have as much more time as their path is
    shorter.
    """
    pipeline = state.pipeline_of(run)
    paths = state.reckoned.paths.setdefault(run.pipeline, {})
    left = paths.get(run.digest)
    if left is None:
        known = {name: _task_takes(state, run.pipeline, each, "") for name, each in pipeline.tasks.items()}
        # The median, because paths are compared: the ninths of few samples are mostly chance.
        seconds = {name: each[0] if each is not None else NOMINAL_S for name, each in known.items()}
        left = paths[run.digest] = _remaining(pipeline.tasks, seconds)
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


def tail(state: State, pipeline: str, asset: str, at: datetime | None) -> Tail | None:
    """From a pipeline's start until a promised asset below has what it made.

    Its own duration and, of the ways on from it, the longest: each reader's batch window and wait in the queue,
    and its tail. None where something on the way is unknown.

    Args:
        at: for which hour of the week, where hours differ; None for all of them together.
    """
    tails, stack = state.reckoned.tails, [pipeline]
    while stack:
        name = stack[-1]
        known, hour = tails.setdefault(name, {}).setdefault(asset, {}), _hour(state, name, asset, at)
        if hour in known:
            stack.pop()
            continue
        onward = [each for each in state.plan.lineage.onward[name] if asset in _assets_below(state, each)]
        rest = {each: (tails.get(each, {}).get(asset, {}), _hour(state, each, asset, at)) for each in onward}
        if missing := [each for each, (found, its_hour) in rest.items() if its_hour not in found]:
            stack += missing
            continue
        own = _takes(state, name, hour)
        steps = (_step(state, each, found[its_hour]) for each, (found, its_hour) in rest.items())
        known[hour] = _sum(span(*own) if own else None, steps)
        stack.pop()
    return tails[pipeline][asset][_hour(state, pipeline, asset, at)]


def _hour(state: State, pipeline: str, asset: str, at: datetime | None) -> str:
    """The hour of the week, or "" where no hours differ on the way from a pipeline to an asset."""
    return hour_of_week(at) if at is not None and _differs(state, pipeline, asset) else ""


def _differs(state: State, pipeline: str, asset: str) -> bool:
    """Whether something takes longer at some hours than at others on the way from a pipeline to an asset."""
    reckoned = state.reckoned
    if reckoned.by_hour is None:
        reckoned.by_hour = {band.pipeline: None for band in state.bands.values() if band.hours}
    if not reckoned.by_hour:
        return False
    known = reckoned.differs.get((pipeline, asset))
    if known is None:
        through = _way(state, pipeline, asset).pipelines
        known = reckoned.differs[pipeline, asset] = any(name in reckoned.by_hour for name in through)
    return known


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
    reckoned = state.reckoned
    if reckoned.by_hour is not None:
        bands = (state.bands.get((pipeline, task)) for task in ("", *_tasks(state, pipeline)))
        differs = any(band is not None and band.hours for band in bands)
        if differs != (pipeline in reckoned.by_hour):
            reckoned.by_hour, reckoned.differs = None, {}
    reckoned.takes.pop(pipeline, None)
    below = _assets_below(state, pipeline)
    for name in above(state, pipeline):
        reckoned.ways_on.pop(name, None)
        for asset, tails in reckoned.tails.get(name, {}).items():
            if asset in below:
                tails.clear()
        for promise, hour in list(reckoned.distances.get(name, ())):
            if promise[0] in below:
                del reckoned.distances[name][promise, hour]
    reckoned.paths.pop(pipeline, None)


def weigh_work(state: State, pipelines: Iterable[str]) -> list[str]:
    """Reckon anew what pools have to do, now that these pipelines take another time; which have another work now.

    Nobody keeps time back for others by what was not reckoned yet.
    """
    reckoned, changed = state.reckoned, []
    declared = [state.plan.pipelines.get(name) for name in pipelines]
    for pool in dict.fromkeys(pool for each in declared if each is not None for pool in pools_of(each)):
        before = reckoned.work.pop(pool, None)
        if before is not None and _work(state, pool) != before:
            changed.append(pool)
            reckoned.edition_of_work += 1
    return changed


def let_hours_pass(state: State) -> None:
    """Drop what was reckoned for hours of the week that are over: none of them comes again for a week."""
    reckoned, now = state.reckoned, state.at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    passed = min(HOURS_OF_WEEK, (now - reckoned.hour) // HOUR)
    over = dict.fromkeys(hour_of_week(now - HOUR * (number + 1)) for number in range(passed))
    reckoned.hour = now
    for takes_by_hour in reckoned.takes.values():
        for hour in [hour for hour in takes_by_hour if hour in over]:
            del takes_by_hour[hour]
    for tails in reckoned.tails.values():
        for tail_by_hour in tails.values():
            for hour in [hour for hour in tail_by_hour if hour in over]:
                del tail_by_hour[hour]
    for distances in reckoned.distances.values():
        for promise, hour in [key for key in distances if key[1] in over]:
            del distances[promise, hour]


def above(state: State, pipeline: str) -> tuple[str, ...]:
    """A pipeline, and all those whose changes come to it, if something below is promised."""
    known = state.reckoned.above.get(pipeline)
    if known is None:
        lineage, found = state.plan.lineage, dict.fromkeys([pipeline])
        waiting = [pipeline] if pipeline in lineage.inputs else []
        while waiting:
            for each in lineage.inputs[waiting.pop()]:
                for writer in lineage.writers.get(each.asset, ()):
                    if writer not in found:
                        found[writer] = None
                        waiting.append(writer)
        known = state.reckoned.above[pipeline] = tuple(found)
    return known


def distance(state: State, pipeline: str, promise: Promised, at: datetime | None) -> Distance | None:
    """How far it is from a pipeline to a promise below it; None where something on the way is unknown."""
    hour = _hour(state, pipeline, promise[0], at)
    known = state.reckoned.distances.get(pipeline)
    if known is None:
        known = state.reckoned.distances[pipeline] = {}
    if (promise, hour) in known:
        return known[promise, hour]
    way, made = tail(state, pipeline, promise[0], at), terms(state.plan, promise)
    most = made.within.total_seconds() if isinstance(made, Freshness) else inf
    between = _way(state, pipeline, promise[0])
    found = known[promise, hour] = None if way is None else Distance(
        tail=way, wait=_wait(state, pipeline), target=made.target, most=most, users=between.users,
        widest=between.widest, by_hour=_differs(state, pipeline, promise[0]),
    )  # fmt: skip
    return found


def ways_on(state: State, pipeline: str) -> tuple[tuple[Promised, Distance | None], ...]:
    """Each promise below a pipeline, and how far it is to it, whatever the hour."""
    known = state.reckoned.ways_on.get(pipeline)
    if known is None:
        below = state.plan.lineage.below.get(pipeline, ())
        known = tuple((promise, distance(state, pipeline, promise, None)) for promise in below)
        state.reckoned.ways_on[pipeline] = known
    return known


def lead(state: State, way: Distance, count: int) -> timedelta:
    """How long before the first of so many obligations is due a run is made that serves all of them.

    That is the tail and the wait before it, or the time that all work on the way takes and that others may need,
    with the chance that this many ask for.
    """
    leads = _leads(state, way)
    found = leads.get(count)
    if found is None:
        certain = chance(way.target, count)
        lengths = way.lengths(certain)
        busy_s = lengths.alone_s + _kept_back(state, way, certain, way.most - lengths.alone_s)
        found = leads[count] = timedelta(seconds=max(lengths.lead_s, busy_s))
    return found


def longest_lead(state: State, way: Distance) -> timedelta:
    """What `lead` is at most, however many are served."""
    leads = _leads(state, way)
    found = leads.get(0)
    if found is None:
        # The surer, the less is left to wait for others: so each for itself. No more is kept back than they need.
        surest, least_sure = way.lengths(MOST_CERTAIN), way.lengths(NINE_IN_TEN)
        others = _others(state, way, way.most - least_sure.alone_s)
        busy_s = surest.alone_s + way.seconds_for(others, MOST_CERTAIN)
        found = leads[0] = timedelta(seconds=max(surest.lead_s, busy_s))
    return found


def _leads(state: State, way: Distance) -> dict[int, timedelta]:
    """What was reckoned of a way with what pools have to do now."""
    if way.of_work != state.reckoned.edition_of_work:
        way.of_work, way.leads, way.others = state.reckoned.edition_of_work, {}, None
    return way.leads


def _kept_back(state: State, way: Distance, certain: float, most: float) -> float:
    """Seconds to keep back for others of `most`, all that there is to spare.

    Where others need more, no start is early enough to wait for all of them, and to start at once with each change
    would only make more runs for everybody to wait for. So the more they need, the less is kept back.
    """
    needed = way.seconds_for(_others(state, way, most), certain)
    return needed if needed <= max(most, 0.0) else most * most / needed


def _others(state: State, way: Distance, most: float) -> Tail:
    """For how long others may need the pools on a way: one run of each of them, one after the other.

    So long may each have to wait for what cannot be interrupted, or is due sooner. Where a pool has several slots,
    others must meet on all of them, so that each counts for less; the more slots are needed at once, the more.
    What lasts longer than `most`, all that there is to spare, cannot be waited for whenever the way begins: it
    counts for nothing.
    """
    if way.others is not None and most >= way.others[0]:
        return way.others[1]
    usual = spread = longest = 0.0
    for pool, names in way.users.items():
        work = _work(state, pool)
        longest = max((longest, *work.lasts[-1:]))
        count = bisect_right(work.lasts, most)
        here, apart, wide = work.usual[count], work.spreads[count], way.widest[pool]
        for name in names:
            own = work.shares.get(name)
            if own is not None and own[0] <= most:
                here -= own[1]
                apart -= own[2]
        usual += here * wide
        # Not its square, as for a sum: to be sure of all of that at once would be to start too early.
        spread += apart * wide
    # What is added and taken away again may leave a little less than nothing.
    others = Tail(usual=max(usual, 0.0), spread=max(spread, 0.0))
    if most >= longest:
        way.others = longest, others
    return others


def _way(state: State, pipeline: str, asset: str) -> Way:
    known = state.reckoned.ways.get((pipeline, asset))
    if known is None:
        found, waiting = dict.fromkeys([pipeline]), [pipeline]
        while waiting:
            for each in state.plan.lineage.onward[waiting.pop()]:
                if each not in found and asset in _assets_below(state, each):
                    found[each] = None
                    waiting.append(each)
        users: dict[str, list[str]] = {}
        for name in found:
            for pool in pools_of(state.plan.pipelines[name]):
                users.setdefault(pool, []).append(name)
        widest = {pool: max(_slots_of(state, name, pool) for name in names) for pool, names in users.items()}
        known = state.reckoned.ways[pipeline, asset] = Way(tuple(found), users, widest)
    return known


def _work(state: State, pool: str) -> Work:
    """What a pool has to do if each pipeline that runs unasked and uses it runs once.

    That each runs once while another waits is true of a pool that keeps up. Where runs wait long beside that, it
    does not: some run again and again while others wait, and who starts earlier only makes more runs. So then
    each counts for less, and runs are made later, of more changes.
    """
    known = state.reckoned.work.get(pool)
    if known is not None:
        return known
    slots, each = state.plan.pools[pool].slots, dict[str, tuple[float, float, float]]()
    for name in _users(state).get(pool, ()):
        own = _takes(state, name, "")
        if own is not None:
            each[name] = *own, _slots_of(state, name, pool) / slots**2
    waits_s = [band.wait_p90 for name in each if (band := state.bands.get((name, ""))) is not None]
    usual_s = USUAL_WAIT * sum(p90 * part for _, p90, part in each.values())
    often_s = sum(waits_s) / len(waits_s) if waits_s else 0.0
    calm = (usual_s / often_s) ** 2 if often_s > usual_s else 1.0
    shares = {
        name: (p90, p50 * part * calm, (max(p90 - p50, 0.0) * part * calm) ** 2)
        for name, (p50, p90, part) in each.items()
    }
    lasts, usual, spreads = zip(*sorted(shares.values()), strict=True) if shares else ((), (), ())
    known = state.reckoned.work[pool] = Work(shares, lasts, (0.0, *accumulate(usual)), (0.0, *accumulate(spreads)))
    return known


def _slots_of(state: State, pipeline: str, pool: str) -> int:
    """How many slots of a pool a pipeline needs at once, as many as there are at most."""
    needed = max(task.pools.get(pool, 0) for task in state.plan.pipelines[pipeline].tasks.values())
    return min(needed, state.plan.pools[pool].slots)


def users_of(state: State, pools: Iterable[str]) -> dict[str, None]:
    """The pipelines with a trigger that use one of these pools."""
    return dict.fromkeys(name for pool in pools for name in _users(state).get(pool, ()))


def _users(state: State) -> dict[str, list[str]]:
    """Pool -> the pipelines with a trigger that use it."""
    if state.reckoned.users is None:
        state.reckoned.users = {}
        for name, pipeline in state.plan.pipelines.items():
            for pool in pools_of(pipeline) if pipeline.trigger is not None else ():
                state.reckoned.users.setdefault(pool, []).append(name)
    return state.reckoned.users


def first_step_s(state: State, pipeline: str) -> float:
    """Seconds that the first task of the longest path takes in half of the cases; 0 where it is unknown."""
    declared = state.plan.pipelines[pipeline]
    if len(declared.tasks) == 1:
        own = _takes(state, pipeline, "")
        return own[0] if own is not None else 0.0
    known = {name: _task_takes(state, pipeline, each, "") for name, each in declared.tasks.items()}
    seconds = {name: each[0] if each is not None else 0.0 for name, each in known.items()}
    left = _remaining(declared.tasks, seconds)
    return seconds[max(left, key=lambda name: left[name])]


def pools_of(pipeline: Pipeline) -> tuple[str, ...]:
    """The pools that a pipeline's tasks use."""
    return tuple(dict.fromkeys(pool for task in pipeline.tasks.values() for pool in task.pools))
