"""From pending items to runs: all / any, batch windows, overlap.

Items gather under their lane (pipeline, partition, key). A lane is looked at when it gets an
item, when a window or a rest ends, when one of its runs ends, or when a person lets it go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice, takewhile
from typing import Any, Literal
from zoneinfo import ZoneInfo

from counterpoint.kernel.decisions import AnyDecision, CancelRun, CreateRun, EndItems, Item, PlaceRun, Reason
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.lengths import takes
from counterpoint.kernel.records import Backlog, Lane, Run
from counterpoint.kernel.rules.automatic import await_idleness, ready
from counterpoint.kernel.rules.splitting import split
from counterpoint.kernel.rules.throttling import trip
from counterpoint.kernel.state import RANKS, State
from counterpoint.kernel.urgency import Place, place
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.trigger import Trigger


def form_runs(state: State, event: AnyEvent) -> Iterator[AnyDecision]:
    """Make runs of the lanes whose items are ready."""
    while state.touched.lanes:
        # First come, first served; not in the order of touching, which differs after a restart.
        touched, state.touched.lanes = state.touched.lanes, {}
        lanes = [lane for lane in touched if state.backlogs.get(lane)]
        if len(lanes) > 1:
            lanes.sort(key=lambda lane: state.backlogs[lane].oldest)
        for lane in lanes:
            yield from _form_run(state, lane, state.backlogs[lane])


def _form_run(state: State, lane: Lane, backlog: Backlog) -> Iterator[AnyDecision]:
    if backlog.groups.get(-1):
        yield _end_unwanted(state, backlog)
        if not backlog:
            return
    pipeline = state.plan.pipelines.get(lane[0])
    if pipeline is None or pipeline.trigger is None or waits_for_person(state, backlog):
        return
    if pipeline.trigger.auto is not None:
        yield from _place_again(state, lane)
    if pipeline.name in state.storms or _is_absorbed(state, lane, pipeline):
        return
    moment, reason = forms_at(state, backlog, pipeline)
    if moment is None:
        return
    if backlog.rest_until is not None:
        moment = max(moment, backlog.rest_until)
    if moment > state.at:
        state.look_at(lane, moment)
        await_idleness(state, lane, pipeline)
    else:
        yield from _start(state, lane, backlog, pipeline, reason)


def _place_again(state: State, lane: Lane) -> Iterator[PlaceRun]:
    """Another place for the run that waits for a lane, where another obligation counts than when it was made."""
    names = state.lanes.get(lane)
    if not names:
        return
    run = next((run for run in map(state.runs.__getitem__, names) if _absorbs(run)), None)
    if run is None:
        return
    owed = place(state, lane)
    if owed.until is not None:
        state.lapse_at(run.run, owed.until)
    if owed.wanted == run.wanted_by:
        return
    is_sooner = run.latest is None or (owed.latest is not None and owed.latest < run.latest)
    figures = {"due": owed.wanted.isoformat() if owed.wanted is not None else ""}
    reason = Reason("sooner-due", figures) if is_sooner else Reason("out-of-reach", figures)
    yield PlaceRun(
        at=state.at,
        reason=reason,
        run=run.run,
        due=run.raised_at if owed.ends is None else min(run.raised_at, owed.ends),
        latest=owed.latest,
        wanted_by=owed.wanted,
    )


def _absorbs(run: Run) -> bool:
    """Whether a run takes what is pending in its lane when it is admitted."""
    return run.automatic and run.phase == "waiting" and not run.aside and run.lane == "live"


def _end_unwanted(state: State, backlog: Backlog) -> EndItems:
    """Items of a pipeline or a source that the plan in force does not have."""
    is_gone = backlog.pipeline not in state.plan.pipelines
    items = tuple(backlog.groups[-1])
    return _end(state, backlog, items, Reason("pipeline-removed" if is_gone else "source-removed"))


def _end(state: State, backlog: Backlog, items: tuple[int, ...], reason: Reason) -> EndItems:
    return EndItems(
        at=state.at,
        reason=reason,
        pipeline=backlog.pipeline,
        partition=backlog.partition,
        key=backlog.key,
        items=items,
        outcome="skipped",
    )


def waits_for_person(state: State, backlog: Backlog) -> bool:
    """Whether only a person (or, for kept items, a new item) lets the lane go on."""
    return backlog.pipeline in state.paused or backlog.kept


def forms_at(state: State, backlog: Backlog, pipeline: Pipeline) -> tuple[datetime | None, Reason]:
    """When the pending items of a lane may become a run, as things are now, and why then."""
    trigger = pipeline.trigger
    assert trigger is not None, "a lane with items has a trigger"
    if trigger.auto is not None:
        return ready(state, backlog, pipeline)
    return ready_at(backlog, trigger, state.plan.timezone), Reason("items-ready", {"items": len(backlog)})


def ready_at(backlog: Backlog, trigger: Trigger, timezone: str) -> datetime | None:
    """When the pending items may become a run; None while something else must come first."""
    batch = trigger.batch
    assert backlog.first is not None and backlog.last is not None, "a lane with items knows when they came"
    if not is_complete(trigger, _newest(backlog)):
        return _at_latest(backlog.first, trigger, timezone)
    if batch.max is not None and len(backlog) >= batch.max:
        return backlog.last
    if batch.quiet is None:
        return backlog.first + batch.wait if batch.wait is not None else backlog.last
    quiet = backlog.last + batch.quiet
    return quiet if batch.wait is None else min(quiet, backlog.first + batch.wait)


def has_cause(backlog: Backlog, trigger: Trigger, timezone: str, now: datetime) -> bool:
    """Whether a run that has waited out its window still has a reason to begin."""
    if not len(backlog) or backlog.first is None:
        return False
    latest = _at_latest(backlog.first, trigger, timezone)
    return is_complete(trigger, _newest(backlog)) or (latest is not None and latest <= now)


def is_complete(trigger: Trigger, newest: dict[int, datetime]) -> bool:
    """Whether every group of a trigger has an item, and the newest of them lie as near as it asks.

    Args:
        newest: group -> when its newest item came.
    """
    if len(newest) < len(trigger.groups):
        return False
    return trigger.within is None or max(newest.values()) - min(newest.values()) <= trigger.within


def _newest(backlog: Backlog) -> dict[int, datetime]:
    groups = backlog.groups.items()
    return {group: next(reversed(items.values())).at for group, items in groups if items and group >= 0}


def _at_latest(first: datetime, trigger: Trigger, timezone: str) -> datetime | None:
    latest = trigger.at_latest
    if latest is None or isinstance(latest, timedelta):
        return None if latest is None else first + latest
    hour, minute = (int(part) for part in latest.text.split(":"))
    local = first.astimezone(ZoneInfo(timezone))
    moment = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (moment if moment >= local else moment + timedelta(days=1)).astimezone(UTC)


def is_partial(state: State, trigger: Trigger | None, items: Iterable[Item]) -> bool:
    """Whether a run that takes these items lacks some of what its trigger asks for."""
    if trigger is None:
        return False
    newest: dict[int, datetime] = {}
    for item in items:
        group = state.group_of(item)
        newest[group] = max(item.at, newest.get(group, item.at))
    newest.pop(-1, None)
    return not is_complete(trigger, newest)


def _start(
    state: State, lane: Lane, backlog: Backlog, pipeline: Pipeline, reason: Reason
) -> Iterator[AnyDecision]:
    parts = split(state, backlog, pipeline)
    for part in parts:
        tripped = trip(state, pipeline)
        yield tripped or new_run(state, lane, reason=part.reason, automatic=True, items=part.items)
        if tripped:
            return
    if parts:
        return
    if pipeline.overlap == "queue":
        yield trip(state, pipeline) or new_run(
            state, lane, reason=reason, automatic=True, items=batch_of(backlog, pipeline.trigger)
        )
        if state.backlogs.get(lane):
            state.touch_lanes((lane,))
        return
    if _has_waiting(state, lane):
        return
    active = state.active(lane)
    if len(active) < pipeline.concurrency:
        yield trip(state, pipeline) or new_run(state, lane, reason=reason, automatic=True)
        return
    running = [run for run in active if run.phase == "running"]
    newer = _newer(backlog, running[0]) if running else ()
    if newer and pipeline.overlap == "skip":
        figures = {"running": running[0].run, "items": len(newer)}
        yield _end(state, backlog, newer, Reason("overlap-skip", figures))
    elif newer and pipeline.overlap == "cancel" and not any(run.ending for run in active):
        yield CancelRun(at=state.at, reason=Reason("overlap-cancel", {"items": len(newer)}), run=running[0].run)


def _is_absorbed(state: State, lane: Lane, pipeline: Pipeline) -> bool:
    """Whether no run can become of a lane's items now, whenever they are ready: it is looked at again by then."""
    if pipeline.overlap != "coalesce" or pipeline.elastic is not None:
        return False
    return len(state.places.get(lane, ())) >= pipeline.concurrency or _has_waiting(state, lane)


def _has_waiting(state: State, lane: Lane) -> bool:
    """Whether an automatic run of a lane waits: it absorbs what comes until it is admitted."""
    ahead = (state.runs[name] for name in state.lanes.get(lane, ()))
    return any(run.automatic and run.phase == "waiting" for run in ahead)


def _newer(backlog: Backlog, run: Run) -> tuple[int, ...]:
    """Items that came after a run began. Older ones are no overlap: they were over one batch, or given back."""
    began = run.admitted or run.created
    groups = backlog.groups.values()
    came = (takewhile(lambda item: item.at > began, reversed(group.values())) for group in groups)
    return tuple(sorted(item.number for group in came for item in group))


def batch_of(backlog: Backlog, trigger: Trigger | None) -> tuple[int, ...]:
    """The items a run takes now: all that are pending, at most `batch.max`; one of each group, then the oldest."""
    most = trigger.batch.max if trigger else None
    if most is None:
        groups = backlog.groups.values()
        return tuple(merge(*groups)) if len(groups) > 1 else tuple(next(iter(groups), ()))
    first = [next(iter(items)) for items in backlog.groups.values() if items]
    rest = (number for number in merge(*backlog.groups.values()) if number not in first)
    return tuple(sorted([*first, *islice(rest, max(0, most - len(first)))]))


def new_run(
    state: State,
    lane: Lane,
    *,
    reason: Reason,
    automatic: bool,
    items: tuple[int, ...] = (),
    params: dict[str, Any] | None = None,
    by: str = "",
    request: str = "",
    trace: str = "",
    work: Literal["live", "backfill"] = "live",
    takes_s: float | None = None,
    deadline: datetime | None = None,
) -> CreateRun:
    """The decision that lets a run of this lane begin to wait, with its place in the queue.

    Args:
        work: `backfill` makes up for the past: it comes after all live work, and waits as long as bulk may.
        takes_s, deadline: how long it takes and when it should have ended, where whoever asks says so.
    """
    pipeline, partition, key = lane
    priority = state.plan.pipelines[pipeline].priority_class if work == "live" else "bulk"
    top_at = state.at + state.plan.waits[priority]
    owed = urgency_of(state, lane, takes_s=takes_s, deadline=deadline)
    name = f"{pipeline}#{state.numbers.get(pipeline, 0) + 1}"
    if automatic and owed.until is not None:
        state.lapse_at(name, owed.until)
    return CreateRun(
        at=state.at,
        reason=reason,
        run=name,
        pipeline=pipeline,
        key=key,
        partition=partition,
        rank=RANKS[priority if work == "live" else "backfill"],
        due=top_at if owed.ends is None else min(top_at, owed.ends),
        top_at=top_at,
        latest=owed.latest,
        slot=slot_of(state, lane, automatic=automatic),
        wanted_by=owed.wanted,
        takes_s=takes_s,
        lane=work,
        automatic=automatic,
        items=items,
        params=params or {},
        by=by,
        request=request,
        trace=trace,
        digest=state.digest,
    )


def slot_of(state: State, lane: Lane, *, automatic: bool) -> str:
    """What `concurrency_by` counts a run under: the value of its items, or the key that a person gave."""
    if state.plan.pipelines[lane[0]].concurrency_by is None:
        return ""
    backlog = state.backlogs.get(lane)
    return next(backlog.items).slot if automatic and backlog else lane[2]


def urgency_of(
    state: State, lane: Lane, *, takes_s: float | None = None, deadline: datetime | None = None
) -> Place:
    """Where a run of a lane stands by what is owed, and by the deadline of whoever asked for it."""
    owed = place(state, lane)
    if deadline is None:
        return owed
    known = takes(state, lane[0], deadline)
    seconds = takes_s if takes_s is not None else known[1] if known is not None else 0.0
    start = deadline - timedelta(seconds=seconds)
    return Place(
        latest=start if owed.latest is None else min(start, owed.latest),
        ends=deadline if owed.ends is None else min(deadline, owed.ends),
        wanted=deadline if owed.wanted is None else min(deadline, owed.wanted),
    )
