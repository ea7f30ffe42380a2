"""Pipelines that sample the world (`trigger: auto` without reads): a tick of their own when a promise asks.

The tick is an item like any other, so that failure, rest, replay and lag are what they are for every
subscription. While one is pending or a run is under way that began after the last sample, none follows.
"""

from __future__ import annotations

from collections.abc import Iterator

from counterpoint.kernel.decisions import AnyDecision, Deliver, Item, Reason
from counterpoint.kernel.events import AnyEvent, Change
from counterpoint.kernel.obligations import newest
from counterpoint.kernel.records import in_ms
from counterpoint.kernel.rules.delivering import as_event, partition_of
from counterpoint.kernel.state import State
from counterpoint.kernel.urgency import next_sample
from counterpoint.model.lineage import world
from counterpoint.model.pipeline import Pipeline


def sample(state: State, event: AnyEvent) -> Iterator[AnyDecision]:
    """Let every touched pipeline sample the world that must by now."""
    while state.touched.samplers:
        touched, state.touched.samplers = state.touched.samplers, {}
        # Not in the order of touching, which differs after a restart.
        for name in sorted(touched):
            if name in state.plan.samplers:
                yield from _sample(state, state.plan.pipelines[name])


def _sample(state: State, pipeline: Pipeline) -> Iterator[AnyDecision]:
    if state.waiting_lanes.get(pipeline.name) or _is_under_way(state, pipeline.name):
        return
    moment = next_sample(state, pipeline.name)
    if moment is None:
        return
    last = state.last.get(pipeline.name)
    if last is not None and last.phase != "succeeded" and pipeline.trigger is not None:
        # Of a run that took no tick (a person's, or skipped) nothing else knows that it failed.
        moment = max(moment, last.at + pipeline.trigger.rearm[0])
    if moment > state.at:
        state.sample_at(pipeline.name, moment)
        return
    source, number = world(pipeline.name), state.changes + 1
    change = Change(
        number=number,
        subject=source,
        source=f"/counterpoint/{state.plan.name}",
        id=f"{pipeline.name}@{state.at.isoformat()}/{number}",
        type="counterpoint.sample",
        time=state.at,
        data={"pipeline": pipeline.name},
    )
    partition = partition_of(pipeline, change, as_event(change), state.plan.timezone)
    item = Item(
        number=state.items + 1,
        change=number,
        subject=change.subject,
        pipeline=pipeline.name,
        group=0,
        at=state.at,
        partition=partition,
        floor={source: newest(state, source)},
    )
    reason = Reason("sample-due", {"pipeline": pipeline.name})
    yield Deliver(at=state.at, reason=reason, change=change, items=(item,))


def _is_under_way(state: State, pipeline: str) -> bool:
    """Whether a run waits or goes on whose sample will be newer than the last one."""
    sampled = newest(state, world(pipeline))
    for name in state.live.get(pipeline, {}):
        run = state.runs[name]
        if run.lane == "live" and (run.admitted is None or in_ms(run.admitted) > sampled):
            return True
    return False
