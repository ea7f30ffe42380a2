"""A fact changes State: the only code that does. It never asks the policy.

Folding the journal's facts in their order gives the State that wrote them. Beside the change
itself, a fact marks what the rules have to look at next (`state.touched`) and what history has
to write anew (`state.written`); both mean nothing after the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.derived import Touched, Written
from counterpoint.kernel.folding import assets, attempts, items, learning, limits, plans, promises, runs
from counterpoint.kernel.folding.places import expect_raise, expect_slack_to_end, set_phase, wait
from counterpoint.kernel.folding.plans import rebuild_queue
from counterpoint.kernel.lengths import HOUR, let_hours_pass
from counterpoint.kernel.snapshots import Document, from_document
from counterpoint.kernel.state import State


def evolve(state: State, fact: e.AnyEvent | d.AnyDecision) -> None:
    """Take one fact into State."""
    if isinstance(fact, e.Event):
        _begin(state, fact)
    _FOLD[type(fact)](state, fact)
    state.facts += 1


def _begin(state: State, event: e.Event) -> None:
    """Let the time of an event come: rests end; what the step before looked at is forgotten."""
    state.at = max(state.at, event.at)
    state.wall = event.wall
    state.touched = Touched()
    if state.queue.claims and state.queue.lapse(state.at):
        state.touched.admission = True
    if state.full:
        limits.expire(state)
    if state.reckoned.by_hour and state.at >= state.reckoned.hour + HOUR:
        let_hours_pass(state)
    while state.rests and state.rests[0][0] <= state.at:
        until, name, task_name = heappop(state.rests)
        task = state.rested(until, name, task_name)
        if task is not None:
            set_phase(task, "ready")
            task.not_before = None
            wait(state, state.runs[name], task_name)


def fold(document: Document | None, facts: Iterable[e.AnyEvent | d.AnyDecision]) -> State:
    """State from a snapshot (None: from the beginning) and the facts after it.

    Its agenda asks for every lane and run to be looked at anew, so that the next step finds
    whatever the step that was cut off had yet to find.
    """
    state = from_document(document) if document is not None else State()
    rebuild_queue(state)
    _expect_moments(state)
    for fact in facts:
        evolve(state, fact)
    state.agenda, state.looks, state.samples, state.lapses, state.dues, state.rests = [], {}, {}, {}, {}, []
    state.touched, state.written = Touched(), Written()
    state.room_at = None
    _expect_moments(state)
    return state


def _expect_moments(state: State) -> None:
    """Fill the agenda from what is stored."""
    for attempt in state.attempts.values():
        if attempt.deadline is not None:
            state.remember(attempt.deadline, "timeout", attempt.attempt)
        if attempt.deferred and attempt.look_at is not None:
            state.remember(attempt.look_at, "look", attempt.attempt)
    for run in state.runs.values():
        expect_raise(state, run)
        expect_slack_to_end(state, run)
        for awaited in run.confirming.values():
            state.remember(awaited.by, "confirm", run.run)
        for name, task in run.tasks.items():
            if task.phase == "resting" and task.not_before is not None:
                heappush(state.rests, (task.not_before, run.run, name))
    for resource, moment in state.full.items():
        state.remember(moment, "rate", resource)
    for pipeline, storm in state.storms.items():
        state.remember(storm.until, "storm", pipeline)
    for (name, task_name), claim in state.queue.claims.items():
        state.remember(claim.until, "claim", name, task_name)
    if any(state.preemptible.values()):
        state.look_for_room(state.at)
    for lane in state.backlogs:
        state.look_at(lane, state.at)
    for pipeline in state.plan.samplers:
        state.sample_at(pipeline, state.at)
    promises.expect_dues(state)


_Fold = Callable[[State, Any], None]


_FOLD: dict[type, _Fold] = {
    e.PlanDeclared: plans.plan_declared,
    e.Woke: plans.woke,
    e.ClockJumped: plans.clock_jumped,
    e.InputRefused: items.input_refused,
    e.DurationsLearned: learning.durations_learned,
    e.EventAccepted: items.event_accepted,
    e.RunRequested: runs.run_requested,
    e.CancelRequested: runs.cancel_requested,
    e.RetryRequested: runs.retry_requested,
    e.PauseRequested: plans.pause_requested,
    e.ResumeRequested: plans.resume_requested,
    e.ReplayRequested: items.replay_requested,
    e.DiscardRequested: items.discard_requested,
    e.AssetReported: assets.asset_reported,
    e.HostAppeared: attempts.host_appeared,
    e.HostUnreachable: attempts.host_unreachable,
    e.HostLost: attempts.host_lost,
    e.AttemptEnded: attempts.attempt_ended,
    e.AttemptDeferred: attempts.attempt_deferred,
    e.CallbackReceived: attempts.callback_received,
    e.CheckpointReached: attempts.checkpoint_reached,
    e.AttemptLost: attempts.attempt_lost,
    d.Deliver: items.deliver,
    d.SkipTicks: plans.skip_ticks,
    d.AdvanceClock: plans.advance_clock,
    d.CreateRun: runs.create_run,
    d.AdmitRun: runs.admit_run,
    d.StartAttempt: attempts.start_attempt,
    d.LookAttempt: attempts.look_attempt,
    d.StopAttempt: attempts.stop_attempt,
    d.RetryTask: runs.retry_task,
    d.FailTask: runs.fail_task,
    d.SkipTask: runs.skip_task,
    d.PublishAsset: assets.publish_asset,
    d.ConfirmAsset: assets.confirm_asset,
    d.RaiseMark: promises.raise_mark,
    d.Oblige: promises.oblige,
    d.MissObligations: promises.miss_obligations,
    d.RefuseReport: assets.refuse_report,
    d.MarkSuspect: assets.mark_suspect,
    d.CancelRun: runs.cancel_run,
    d.AwaitConfirmation: runs.await_confirmation,
    d.Confirm: runs.confirm,
    d.FinishRun: runs.finish_run,
    d.RestSubscription: items.rest_subscription,
    d.EndItems: items.end_items,
    d.RaiseRun: runs.raise_run,
    d.PlaceRun: runs.place_run,
    d.ReserveFor: runs.reserve_for,
    d.KeepRoom: runs.keep_room,
    d.TripStorm: limits.trip_storm,
    d.CalmStorm: limits.calm_storm,
    d.Note: runs.note,
}
