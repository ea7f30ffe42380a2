"""From pending items to runs: all / any, batch windows, overlap.

Items gather under their lane (pipeline, partition, key). A lane is looked at when it gets an
item, when a window or a rest ends, when one of its runs ends, or when a person lets it go.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from counterpoint.kernel.decisions import AnyDecision, CancelRun, CreateRun, EndItems, Reason
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.state import RANKS, Backlog, Lane, State
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.trigger import Trigger


def form_runs(state: State, event: AnyEvent) -> Iterator[AnyDecision]:
    """Make runs of the lanes whose items are ready."""
    while state.touched.lanes:
        lane = next(iter(state.touched.lanes))
        del state.touched.lanes[lane]
        backlog, pipeline = state.backlogs.get(lane), state.plan.pipelines.get(lane[0])
        if backlog is None or not len(backlog) or pipeline is None or pipeline.trigger is None:
            continue
        if waits_for_person(state, backlog) or _rests(state, backlog):
            continue
        moment = ready_at(backlog, pipeline.trigger, state.plan.timezone)
        if moment is None:
            continue
        if moment > state.at:
            state.remember(moment, "lane", "\x1f".join(lane))
            continue
        yield from _start(state, lane, backlog, pipeline)


def waits_for_person(state: State, backlog: Backlog) -> bool:
    """Whether only a person (or, for kept items, a new item) lets the lane go on."""
    return backlog.pipeline in state.paused or backlog.kept


def ready_at(backlog: Backlog, trigger: Trigger, timezone: str) -> datetime | None:
    """When the pending items may become a run; None while something else must come first."""
    batch = trigger.batch
    newest = [_newest(backlog, group) for group in range(len(trigger.groups))]
    present = [moment for moment in newest if moment is not None]
    assert backlog.first is not None and backlog.last is not None, "a lane with items knows when they came"
    complete = len(present) == len(newest)
    if complete and trigger.within is not None:
        complete = max(present) - min(present) <= trigger.within
    if not complete:
        return _at_latest(backlog.first, trigger, timezone)
    if batch.max is not None and len(backlog) >= batch.max:
        return backlog.last
    if batch.quiet is None:
        return backlog.first + batch.wait if batch.wait is not None else backlog.last
    quiet = backlog.last + batch.quiet
    return quiet if batch.wait is None else min(quiet, backlog.first + batch.wait)


def _newest(backlog: Backlog, group: int) -> datetime | None:
    items = backlog.groups.get(group)
    return next(reversed(items.values())).at if items else None


def _at_latest(first: datetime, trigger: Trigger, timezone: str) -> datetime | None:
    latest = trigger.at_latest
    if latest is None or isinstance(latest, timedelta):
        return None if latest is None else first + latest
    hour, minute = (int(part) for part in latest.text.split(":"))
    local = first.astimezone(ZoneInfo(timezone))
    moment = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return moment if moment >= local else moment + timedelta(days=1)


def is_partial(backlog: Backlog | None, trigger: Trigger | None) -> bool:
    """Whether a group of the trigger has no item."""
    if trigger is None or backlog is None:
        return False
    return any(not backlog.groups.get(group) for group in range(len(trigger.groups)))


def _rests(state: State, backlog: Backlog) -> bool:
    return backlog.rest_until is not None and backlog.rest_until > state.at


def _start(state: State, lane: Lane, backlog: Backlog, pipeline: Pipeline) -> Iterator[AnyDecision]:
    active = [state.runs[name] for name in state.lanes.get(lane, {})]
    reason = Reason("items-ready", {"items": len(backlog)})
    if pipeline.overlap == "queue":
        yield new_run(state, lane, reason=reason, automatic=True, items=batch_of(backlog, pipeline.trigger))
        if state.backlogs.get(lane):
            state.touched.lanes[lane] = None
        return
    if len(active) < pipeline.concurrency:
        # A run that waits absorbs what comes until it is admitted.
        if not any(run.automatic and run.phase == "waiting" for run in active):
            yield new_run(state, lane, reason=reason, automatic=True)
        return
    if pipeline.overlap == "skip":
        items = tuple(item.number for item in backlog.items)
        reason = Reason("overlap-skip", {"running": active[0].run, "items": len(items)})
        yield EndItems(
            at=state.at,
            reason=reason,
            pipeline=lane[0],
            partition=lane[1],
            key=lane[2],
            items=items,
            outcome="skipped",
        )
    elif pipeline.overlap == "cancel":
        oldest = next((run for run in active if run.phase == "running" and not run.ending), None)
        if oldest is not None:
            yield CancelRun(at=state.at, reason=Reason("overlap-cancel", {"items": len(backlog)}), run=oldest.run)


def batch_of(backlog: Backlog, trigger: Trigger | None) -> tuple[int, ...]:
    """The items a run takes now: all that are pending, at most `batch.max`, oldest first."""
    numbers = sorted(item.number for item in backlog.items)
    return tuple(numbers[: trigger.batch.max if trigger else None])


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
) -> CreateRun:
    """The decision that lets a run of this lane begin to wait, with its place in the queue."""
    pipeline, partition, key = lane
    priority = state.plan.pipelines[pipeline].priority_class
    return CreateRun(
        at=state.at,
        reason=reason,
        run=f"{pipeline}#{state.numbers.get(pipeline, 0) + 1}",
        pipeline=pipeline,
        key=key,
        partition=partition,
        rank=RANKS[priority],
        due=state.at + state.plan.waits[priority],
        automatic=automatic,
        items=items,
        params=params or {},
        by=by,
        request=request,
        trace=trace,
        digest=state.digest,
    )
