"""Sync delivery: a producer's run ends when its subscribers are as far as they declare, or refuse."""

from __future__ import annotations

from collections.abc import Iterator

from counterpoint.kernel.decisions import AnyDecision, Confirm, Reason
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.rules.finishing import done, end_badly
from counterpoint.kernel.state import Run, State
from counterpoint.model.pipeline import Pipeline


def confirm(state: State, event: AnyEvent) -> Iterator[AnyDecision]:
    """Tell sync producers how far their subscribers are with an item."""
    while state.touched.confirms:
        producer, number, reached = state.touched.confirms.pop(0)
        run = state.runs.get(producer)
        if run is None or number not in run.confirming:
            continue
        if reached in ("failed", "cancelled", "refused"):
            yield from refuse_confirmation(state, run, Reason("subscriber-refused", {"item": number}))
        elif reached == "succeeded" or reached == _wanted(state, number):
            yield Confirm(at=state.at, reason=Reason(reached), run=producer, item=number)


def refuse_confirmation(state: State, run: Run, reason: Reason) -> Iterator[AnyDecision]:
    """A sync subscriber did not get there: the producer fails or only warns, as the subscriber declares."""
    fails = any(
        pipeline.trigger.delivery.on_refusal == "fail"
        for pipeline in state.plan.pipelines.values()
        if pipeline.trigger and pipeline.trigger.delivery.pattern == "sync" and _listens(pipeline, run, state)
    )
    if fails:
        yield from end_badly(state, run, "failed", "pending", reason, "refused")
    else:
        yield done(state, run, reason)


def _listens(pipeline: Pipeline, run: Run, state: State) -> bool:
    published = {f"asset:{asset}" for asset in run.published} | {f"run:{run.pipeline}:completed"}
    listened = {
        subject for subject, to in state.plan.subscribers.items() if any(n == pipeline.name for n, _, _ in to)
    }
    return bool(published & listened)


def _wanted(state: State, number: int) -> str:
    """How far the subscriber of an item must get."""
    for backlog in state.backlogs.values():
        for group in backlog.groups.values():
            if number in group:
                return _until(state, group[number].pipeline)
    for run in state.runs.values():
        if number in run.items:
            return _until(state, run.pipeline)
    return "succeeded"


def _until(state: State, pipeline: str) -> str:
    trigger = state.plan.pipelines[pipeline].trigger
    return trigger.delivery.until if trigger else "succeeded"
