"""What people and the outside asked for: runs, cancellations, replays, reports, call-backs.

Whoever submits such an event has checked that the names in it exist; between that and the step
they may have gone, so a rule that finds nothing decides nothing, or notes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from counterpoint.kernel import events as e
from counterpoint.kernel.decisions import (
    AnyDecision,
    CreateRun,
    Deliver,
    FinishRun,
    LookAttempt,
    Note,
    RaiseRun,
    Reason,
)
from counterpoint.kernel.records import Attempt, Run
from counterpoint.kernel.rules.batching import new_run
from counterpoint.kernel.rules.confirming import refuse_late
from counterpoint.kernel.rules.delivering import items_for, recorded
from counterpoint.kernel.rules.promising import miss
from counterpoint.kernel.rules.publishing import publish
from counterpoint.kernel.rules.stopping import stop
from counterpoint.kernel.rules.throttling import calm
from counterpoint.kernel.state import State
from counterpoint.model.trace import trace_of


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
            yield from publish(state, (event.report,), by=event.by, reason=reason)


def end_what_is_gone(state: State) -> Iterator[AnyDecision]:
    """A new plan lacks pipelines, or the tasks that were left to do: waiting runs end; running ones go on."""
    for run in list(state.runs.values()):
        if run.phase != "waiting":
            continue
        if run.pipeline not in state.plan.pipelines:
            reason = Reason("pipeline-removed")
            yield FinishRun(at=state.at, reason=reason, run=run.run, phase="cancelled", items_become="skipped")
        elif all(task.phase != "ready" for task in run.tasks.values()):
            reason = Reason("nothing-left")
            yield FinishRun(at=state.at, reason=reason, run=run.run, phase="cancelled", items_become="pending")


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
        trace=trace_of(event.trace),
        work=event.lane,
        takes_s=event.takes_s,
        deadline=event.deadline,
    )


def _replay(state: State, event: e.ReplayRequested) -> Iterator[Deliver | Note]:
    origins = event.origins or (None,) * len(event.changes)
    for change, origin in zip(event.changes, origins, strict=True):
        letter = state.dead.get(origin) if origin is not None else None
        group = state.group_of(letter) if letter is not None else None
        items = items_for(state, change, only=event.pipeline, group=group, origin=origin)
        if items:
            reason = Reason("replayed", {"by": event.by, "reason": event.reason})
            yield Deliver(at=state.at, reason=reason, change=recorded(change), items=items)
        else:
            reason = Reason("not-wanted", {"change": change.id, "pipeline": event.pipeline})
            yield Note(at=state.at, reason=reason, subject=change.subject)


def look_or_stop(state: State, event: e.AnyEvent) -> Iterator[AnyDecision]:
    """Moments of the agenda that concern attempts, and runs that wait too long."""
    for kind, about in state.due():
        match kind:
            case "timeout":
                attempt = state.attempts[about[0]]
                limit = (attempt.deadline or state.at) - attempt.started
                reason = Reason("timed-out", {"timeout_s": limit.total_seconds()})
                yield stop(state, attempt, "timeout", reason)
            case "look":
                yield from _look(state, state.attempts[about[0]])
            case "raise":
                yield from _raise(state, state.runs[about[0]])
            case "slack":
                # No target holds it back from now on.
                state.touched.admission = True
            case "confirm":
                yield from refuse_late(state, state.runs[about[0]])
            case "sample":
                state.touched.samplers[about[0]] = None
            case "lapse":
                state.touch_lanes((state.runs[about[0]].of,))
            case "lane":
                # Nothing has changed for it but the time.
                state.touched.lanes[about[0], about[1], about[2]] = None
            case "storm":
                yield calm(state, about[0])
            case "room":
                state.touched.preemption = True
            case "promise":
                yield from miss(state, (about[0], "completion" if about[1] == "completion" else "freshness"))


def _look(state: State, attempt: Attempt) -> Iterator[LookAttempt]:
    host = state.host()
    if host:
        called = attempt.is_called_back
        yield LookAttempt(
            at=state.at,
            reason=Reason("called-back") if called else Reason("time-to-look", {"note": attempt.note}),
            attempt=attempt.attempt,
            look=attempt.look + 1,
            host=host,
            callback=attempt.called_back if called else None,
        )


def _raise(state: State, run: Run) -> Iterator[RaiseRun]:
    """A run that waits yet by then goes first from now on, with all of its tasks."""
    if run.phase == "waiting" or any(state.queue.get(run.run, task) for task in run.tasks):
        figures = {"waited_s": (state.at - run.created).total_seconds()}
        yield RaiseRun(at=state.at, reason=Reason("waited-long", figures), run=run.run)
