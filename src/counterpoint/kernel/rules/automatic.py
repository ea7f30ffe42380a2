"""`trigger: auto`: when pending items may become a run, so that promises are kept with the fewest runs.

A lane waits until the latest start that the obligations allow which its items serve. What is not
there upstream yet is waited for, so that a diamond is run once for both of its branches; but not
beyond the moment at which the obligation is due. What is late already, and what takes nobody knows
how long, starts at once. Items that nothing is owed for wait as long as their class may.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from counterpoint.kernel.arrivals import awaited
from counterpoint.kernel.decisions import Reason
from counterpoint.kernel.lengths import pools_of, tail
from counterpoint.kernel.records import Backlog, Lane
from counterpoint.kernel.state import State
from counterpoint.kernel.urgency import Need, first_need, floors_of
from counterpoint.model.pipeline import Pipeline

#: Items that only a completion can ask for wait for its cut-off, but not longer than this.
LONGEST_UNASKED = timedelta(days=7)


def ready(state: State, backlog: Backlog, pipeline: Pipeline) -> tuple[datetime, Reason]:
    """When the pending items of an automatic pipeline may become a run, as things are now, and why then."""
    trigger = pipeline.trigger
    assert trigger is not None, "an automatic pipeline has a trigger"
    assert backlog.first is not None and backlog.last is not None, "a lane with items knows when they came"
    if not trigger.groups:
        return backlog.last, Reason("sample-due", {"pipeline": pipeline.name})
    if trigger.batch.max is not None and len(backlog) >= trigger.batch.max:
        return backlog.last, Reason("batch-full", {"items": len(backlog)})
    wanted = state.wanted.get(backlog.lane)
    if wanted is None:
        wanted = state.wanted[backlog.lane] = _wanted(state, backlog, pipeline)
    moment, reason = wanted
    if moment <= state.at or reason.code == "upstream-awaited":
        return moment, reason
    if reason.code == "latest-start" and awaited(state, pipeline.name, backlog.first, moment) is None:
        return state.at, Reason("nothing-expected", reason.figures)
    if is_idle(state, pipeline):
        return state.at, Reason("pools-idle", {"items": len(backlog)})
    return moment, reason


def _wanted(state: State, backlog: Backlog, pipeline: Pipeline) -> tuple[datetime, Reason]:
    """The earliest of the moments at which promises want a run of these items."""
    assert backlog.first is not None and backlog.last is not None
    figures = {"items": len(backlog)}
    need = first_need(state, pipeline.name, floors_of(state, backlog.lane))
    if need is not None:
        return need.moment or backlog.last, _reason(figures, need)
    below = state.plan.lineage.below.get(pipeline.name, ())
    for asset, _ in below:
        if tail(state, pipeline.name, asset, state.at) is None:
            return backlog.last, Reason("duration-unknown", figures | {"asset": asset})
    longest = state.plan.waits[pipeline.priority_class]
    if below and all(kind == "completion" for _, kind in below):
        longest = max(longest, LONGEST_UNASKED)
    return backlog.first + longest, Reason("nothing-owed", figures | {"wait_s": longest.total_seconds()})


def _reason(figures: dict[str, Any], need: Need) -> Reason:
    """Why a run is made for a need at its moment."""
    about = figures | {"asset": need.asset}
    if need.due is None:
        return Reason("late-already", about)
    if need.moment is None:
        return Reason("duration-unknown", about)
    about["due"] = need.due.isoformat()
    if need.lead is None:
        return Reason("upstream-awaited", about | {"source": need.source})
    return Reason("latest-start", about | {"takes_s": round(need.lead.total_seconds(), 3)})


def is_idle(state: State, pipeline: Pipeline) -> bool:
    """Whether the pipeline may run early: it is eager, and nobody uses or waits for what it needs."""
    auto = pipeline.trigger.auto if pipeline.trigger is not None else None
    if auto is None or auto.eager != "idle":
        return False
    resources = [f"pool:{pool}" for pool in pools_of(pipeline)]
    return not any(state.used.get(resource) or state.queue.is_wanted(resource) for resource in resources)


def await_idleness(state: State, lane: Lane, pipeline: Pipeline) -> None:
    """Have the lane looked at when a pool that it needs becomes idle."""
    auto = pipeline.trigger.auto if pipeline.trigger is not None else None
    if auto is not None and auto.eager == "idle":
        for pool in pools_of(pipeline):
            state.eager.setdefault(pool, {})[lane] = None
