"""Attempts and the hosts they run on: slots are taken at the start and given back at the certain end."""

from __future__ import annotations

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.folding.items import announce
from counterpoint.kernel.folding.limits import note_start
from counterpoint.kernel.folding.places import forget_attempt, note_attempt, set_phase, settle_tasks
from counterpoint.kernel.records import Attempt
from counterpoint.kernel.state import State


def host_appeared(state: State, event: e.HostAppeared) -> None:
    # Taken out and put in again: the newest host is the last of the dict.
    state.hosts.pop(event.host, None)
    state.hosts[event.host] = "ready"
    state.touched.admission = True
    for attempt in state.attempts.values():
        if attempt.deferred and attempt.look_at is not None and attempt.look_at <= state.at:
            # The time to look came while no host was there.
            state.remember(attempt.look_at, "look", attempt.attempt)


def host_unreachable(state: State, event: e.HostUnreachable) -> None:
    if event.host in state.hosts:
        state.hosts[event.host] = "unreachable"


def host_lost(state: State, event: e.HostLost) -> None:
    state.hosts.pop(event.host, None)


def attempt_ended(state: State, event: e.AttemptEnded) -> None:
    attempt = state.attempts.get(event.attempt)
    if attempt is None:
        return
    run = state.runs[attempt.run]
    task = run.tasks[attempt.task]
    phase = _end_attempt(state, attempt, event.outcome)
    if phase == "succeeded":
        set_phase(task, "done")
        task.reports, task.verdicts, task.result = event.reports, event.verdicts, event.result
        task.lost = 0
        settle_tasks(state, run)
    else:
        # What it counts as is decided by a rule; until then it is neither running nor failed.
        task.failure = _STOPPED.get(phase, event.failure or "exit")
        task.detail, task.verdicts = event.detail, event.verdicts
        task.result = {} if event.exit_code is None else {"exit_code": event.exit_code}
    _write_attempt(state, attempt, phase, event)


def attempt_deferred(state: State, event: e.AttemptDeferred) -> None:
    attempt = state.attempts.get(event.attempt)
    if attempt is None:
        return
    attempt.note, attempt.carry = event.note, event.carry
    attempt.external_id = event.external_id or attempt.external_id
    if attempt.stopping:
        # Its process is gone, and nobody will look again: this is its end.
        task = state.runs[attempt.run].tasks[attempt.task]
        phase = _end_attempt(state, attempt, "failed")
        task.failure, task.detail, task.result = _STOPPED[phase], event.note, {}
        _write_attempt(state, attempt, phase, event)
        return
    attempt.deferred, attempt.callback = True, event.callback
    # A call-back may overtake the answer *not yet*: then there is something to look at already.
    attempt.look_at = event.at if attempt.is_called_back else event.look_at
    state.remember(attempt.look_at, "look", attempt.attempt)
    _write_attempt(state, attempt, "deferred", None)


def callback_received(state: State, event: e.CallbackReceived) -> None:
    attempt = state.attempts.get(event.attempt)
    if attempt is None:
        return
    attempt.is_called_back, attempt.called_back = True, event.data
    if attempt.deferred:
        attempt.look_at = event.at
        state.remember(attempt.look_at, "look", attempt.attempt)


def checkpoint_reached(state: State, event: e.CheckpointReached) -> None:
    attempt = state.attempts.get(event.attempt)
    if attempt is None:
        return
    run = state.runs[attempt.run]
    attempt.checkpoints[event.name], attempt.checkpointed = event.data, event.at
    # Less is lost from now on if it makes room.
    state.touched.preemption = True
    run.tasks[attempt.task].checkpoint = {"name": event.name, "data": event.data, "attempt": attempt.attempt}
    subject = f"checkpoint:{run.pipeline}:{event.name}"
    if subject in state.plan.subscribers:
        data = {"run": run.run, "pipeline": run.pipeline, "checkpoint": event.name, "data": event.data}
        announce(
            state,
            subject=subject,
            type_="counterpoint.checkpoint",
            # A checkpoint may be reached again: the number of the fact keeps identities apart.
            name=f"{attempt.attempt}/{event.name}/{state.facts}",
            run=run,
            partition=run.partition,
            data=data,
        )


def attempt_lost(state: State, event: e.AttemptLost) -> None:
    attempt = state.attempts.get(event.attempt)
    if attempt is None:
        return
    task = state.runs[attempt.run].tasks[attempt.task]
    _end_attempt(state, attempt, "lost")
    task.failure, task.detail, task.result = "lost", event.detail, {}
    _write_attempt(state, attempt, "lost", event)


def start_attempt(state: State, decision: d.StartAttempt) -> None:
    run = state.runs[decision.run]
    task = run.tasks[decision.task]
    state.queue.remove(decision.run, decision.task)
    for resource in state.rates_of(run, decision.task):
        note_start(state, resource)
    set_phase(task, "running")
    task.number, task.attempt, task.not_before = decision.number, decision.attempt, None
    run.attempts = max(run.attempts, decision.number)
    task.failure, task.detail = "", ""
    attempt = Attempt(
        attempt=decision.attempt,
        run=decision.run,
        task=decision.task,
        number=decision.number,
        host=decision.host,
        slots=decision.slots,
        started=decision.at,
        deadline=decision.deadline,
        memory=decision.memory,
    )
    state.attempts[decision.attempt] = attempt
    note_attempt(state, attempt)
    if decision.deadline is not None:
        state.remember(decision.deadline, "timeout", decision.attempt)
    state.written.runs[run.run] = run
    _write_attempt(state, attempt, "running", None)


def look_attempt(state: State, decision: d.LookAttempt) -> None:
    attempt = state.attempts[decision.attempt]
    attempt.look, attempt.deferred, attempt.look_at = decision.look, False, None
    attempt.host, attempt.called_back, attempt.is_called_back = decision.host, decision.callback, False
    # It has a process again, which may make room.
    state.touched.preemption = True


def stop_attempt(state: State, decision: d.StopAttempt) -> None:
    attempt = state.attempts[decision.attempt]
    if not attempt.stopping:
        for pool, slots in attempt.slots.items():
            state.coming[f"pool:{pool}"] = state.coming.get(f"pool:{pool}", 0) + slots
    attempt.stopping = decision.why
    # With what it leaves, fewer have to make room.
    state.touched.preemption = True
    if decision.why == "preempt":
        run = state.runs[attempt.run]
        run.evictions, run.evicted = run.evictions + 1, decision.at
        state.written.runs[run.run] = run
    if decision.look is not None:
        attempt.look, attempt.deferred, attempt.look_at = decision.look, False, None
        attempt.host = decision.host


def _end_attempt(state: State, attempt: Attempt, outcome: str) -> str:
    """Give its slots back; what its end counts as."""
    del state.attempts[attempt.attempt]
    forget_attempt(state, attempt)
    state.touched.admission = True
    state.touched.runs[attempt.run] = None
    state.runs[attempt.run].tasks[attempt.task].attempt = ""
    state.written.runs[attempt.run] = state.runs[attempt.run]
    if outcome == "failed" and attempt.stopping:
        return {"timeout": "timed_out", "cancel": "cancelled", "preempt": "preempted"}[attempt.stopping]
    return outcome


#: How the end of a stopped attempt counts -> the failure of its task.
_STOPPED = {"timed_out": "timeout", "cancelled": "cancelled", "preempted": "preempted"}


def _write_attempt(state: State, attempt: Attempt, phase: str, event: e.Event | None) -> None:
    state.written.attempts[attempt.attempt] = (attempt, phase, event)
