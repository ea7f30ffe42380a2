"""What people and the outside asked for: runs, cancellations, replays, reports, call-backs.

Whoever submits such an event has checked that the names in it exist; between that and the step
they may have gone, so a rule that finds nothing decides nothing, or notes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from counterpoint.kernel import events as e
from counterpoint.kernel.decisions import (
    AnyDecision,
    CreateRun,
    Deliver,
    EndItems,
    FinishRun,
    LookAttempt,
    Note,
    RaiseRun,
    Reason,
    StopAttempt,
)
from counterpoint.kernel.rules.batching import new_run
from counterpoint.kernel.rules.confirming import refuse_confirmation
from counterpoint.kernel.rules.delivering import items_for
from counterpoint.kernel.rules.finishing import publish
from counterpoint.kernel.state import RANKS, State


def answer(state: State, event: e.AnyEvent) -> Iterator[AnyDecision]:
    """Do what the event asks for."""
    match event:
        case e.PlanDeclared():
            yield from end_what_is_gone(state)
        case e.RunRequested():
            yield from _request_run(state, event)
        case e.ReplayRequested():
            yield from _replay(state, event)
        case e.AssetReported():
            reason = Reason("reported", {"by": event.by})
            yield from publish(state, (event.report,), by=event.by, partition="", pins=(), hops=0, reason=reason)
        case e.CallbackReceived():
            attempt = state.attempts.get(event.attempt)
            if attempt is not None and attempt.deferred:
                reason = Reason("called-back", {"message": event.message})
                yield LookAttempt(
                    at=state.at,
                    reason=reason,
                    attempt=event.attempt,
                    look=attempt.look + 1,
                    host=state.host() or attempt.host,
                    callback=event.data,
                )


def end_what_is_gone(state: State) -> Iterator[AnyDecision]:
    """A new plan lacks pipelines: their items end, their waiting runs too; running ones go on."""
    reason = Reason("pipeline-removed")
    for (pipeline, partition, key), backlog in list(state.backlogs.items()):
        is_gone = pipeline not in state.plan.pipelines
        gone = backlog.items if is_gone else backlog.groups.get(-1, {}).values()
        items = tuple(item.number for item in gone)
        if items:
            yield EndItems(
                at=state.at,
                reason=reason if is_gone else Reason("source-removed"),
                pipeline=pipeline,
                partition=partition,
                key=key,
                items=items,
                outcome="skipped",
            )
    for run in list(state.runs.values()):
        if run.phase == "waiting" and run.pipeline not in state.plan.pipelines:
            yield FinishRun(at=state.at, reason=reason, run=run.run, phase="cancelled", items_become="skipped")


def _request_run(state: State, event: e.RunRequested) -> Iterator[CreateRun | Note]:
    if event.pipeline not in state.plan.pipelines:
        yield Note(at=state.at, reason=Reason("unknown-pipeline", {"pipeline": event.pipeline}), subject="run")
        return
    if event.request and event.request in state.requests:
        run = state.requests[event.request]
        yield Note(at=state.at, reason=Reason("same-request", {"run": run}), subject=run)
        return
    yield new_run(
        state,
        (event.pipeline, event.partition, event.key),
        reason=Reason("asked", {"by": event.by, "reason": event.reason}),
        automatic=False,
        params=event.params,
        by=event.by,
        request=event.request,
        trace=event.trace,
    )


def _replay(state: State, event: e.ReplayRequested) -> Iterator[Deliver]:
    origins = event.origins or (None,) * len(event.changes)
    for change, origin in zip(event.changes, origins, strict=True):
        items = items_for(state, change, only=event.pipeline, origin=origin)
        if items:
            reason = Reason("replayed", {"by": event.by, "reason": event.reason})
            yield Deliver(at=state.at, reason=reason, change=change, items=items)


def look_or_stop(state: State, event: e.AnyEvent) -> Iterator[AnyDecision]:
    """Moments of the agenda that concern attempts, and runs that wait too long."""
    for kind, ref in state.due():
        match kind:
            case "timeout":
                yield from _stop_late(state, ref)
            case "look":
                attempt = state.attempts.get(ref)
                if attempt is not None and attempt.deferred and attempt.look_at and attempt.look_at <= state.at:
                    reason = Reason("time-to-look", {"note": attempt.note})
                    host = state.host() or attempt.host
                    yield LookAttempt(at=state.at, reason=reason, attempt=ref, look=attempt.look + 1, host=host)
            case "raise":
                yield from _raise(state, ref)
            case "confirm":
                run = state.runs.get(ref)
                if run is not None and run.phase == "confirming" and run.confirm_by and run.confirm_by <= state.at:
                    yield from refuse_confirmation(state, run, Reason("confirmation-timed-out"))
            case "lane":
                pipeline, partition, key = ref.split("\x1f")
                state.touched.lanes[pipeline, partition, key] = None
            case _:
                raise AssertionError(f"the agenda has an unknown kind of moment {kind!r}")


def _stop_late(state: State, attempt_id: str) -> Iterator[AnyDecision]:
    attempt = state.attempts.get(attempt_id)
    if attempt is None or attempt.stopping:
        return
    task = state.task_of(state.runs[attempt.run], attempt.task)
    limit = task.timeout or timedelta()
    reason = Reason("timed-out", {"timeout_s": limit.total_seconds()})
    yield StopAttempt(
        at=state.at, reason=reason, attempt=attempt_id, why="timeout", grace_s=task.grace.total_seconds()
    )


def _raise(state: State, run_id: str) -> Iterator[AnyDecision]:
    run = state.runs.get(run_id)
    if run is None or run.rank == RANKS["top"] or run.phase == "confirming":
        return
    waited = (state.at - run.created).total_seconds()
    yield RaiseRun(at=state.at, reason=Reason("waited-long", {"waited_s": waited}), run=run_id)
