"""A fact changes State: the only code that does. It never asks the policy.

Folding the journal's facts in their order gives the State that wrote them. Beside the change
itself, a fact marks what the rules have to look at next (`state.touched`) and what history has
to write anew (`state.written`); both mean nothing after the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any

import msgspec

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.phases import ENDED_TASK, RUN, TASK, check
from counterpoint.kernel.state import (
    RANKS,
    AssetState,
    Attempt,
    Awaited,
    Backlog,
    Document,
    Lane,
    Last,
    Pause,
    Run,
    State,
    TaskState,
    Touched,
    Written,
    from_document,
    settled,
)
from counterpoint.model.calendar import next_tick
from counterpoint.model.plan import subject_of
from counterpoint.model.trace import traceparent
from counterpoint.model.trigger import Cron, Every

#: Requests for runs that are remembered, so that one that is sent again is told from a new one.
MOST_REQUESTS = 10_000


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
    while state.rests and state.rests[0][0] <= state.at:
        until, name, task_name = heappop(state.rests)
        task = state.rested(until, name, task_name)
        if task is not None:
            _task_phase(task, "ready")
            task.not_before = None
            _wait(state, state.runs[name], task_name)


# Events.


def plan_declared(state: State, event: e.PlanDeclared) -> None:
    before = {subject_of(clock, name): state.ticks[name, place] for name, place, clock in state.plan.clocks}
    state.plans[state.digest] = state.plan
    state.plan, state.digest, state.declared = event.content, event.digest, event.at
    # A new clock begins now: what it would have done before it was declared is no missed tick.
    state.ticks = {
        (name, place): before.get(subject_of(clock, name), event.wall) for name, place, clock in state.plan.clocks
    }
    for run in state.runs.values():
        # A run that waits takes the new plan, if it still has a place there.
        if run.phase == "waiting" and run.pipeline in state.plan.pipelines:
            run.held = True
            _take_plan(state, run)
    used = {run.digest for run in state.runs.values()} - {state.digest}
    state.plans = {digest: plan for digest, plan in state.plans.items() if digest in used}
    for name in [name for name in state.paused if name not in state.plan.pipelines]:
        del state.paused[name]
    for lane, backlog in state.backlogs.items():
        items = sorted(backlog.items, key=lambda item: item.number)
        backlog.groups = {}
        for item in items:
            backlog.groups.setdefault(state.group_of(item), {})[item.number] = item
        state.touched.lanes[lane] = None
    rebuild_queue(state)
    for lane in list(state.behind):
        if lane[0] in state.plan.pipelines:
            _fill_places(state, lane)
    state.touched.admission = True


def woke(state: State, event: e.Event) -> None:
    """Nothing but the time is new."""


def clock_jumped(state: State, event: e.ClockJumped) -> None:
    # After a clock that was days ahead is put right, ticks would stay away until it is there again.
    for place, tick in state.ticks.items():
        if (tick - event.wall).total_seconds() > 86400:
            state.ticks[place] = event.wall
            expect_tick(state, *place)


def event_accepted(state: State, event: e.EventAccepted) -> None:
    state.changes = max(state.changes, event.change.number)
    state.touched.changes.append(event.change)
    state.written.changes[event.change.number] = event.change


def run_requested(state: State, event: e.RunRequested) -> None:
    """The rule that answers it makes the run."""


def cancel_requested(state: State, event: e.CancelRequested) -> None:
    run = state.runs.get(event.run)
    if run is not None:
        run.skip_items = event.skip
        run.reason = {"by": event.by, "reason": event.reason}
        _begin_to_end(state, run, "person")


def retry_requested(state: State, event: e.RetryRequested) -> None:
    # By way of JSON, whose keys are text: here the document may have been there already, or not yet.
    run = msgspec.json.decode(msgspec.json.encode(event.document), type=Run)
    if run.run in state.runs or run.pipeline not in state.plan.pipelines:
        return
    check(RUN, run.phase, "waiting")
    run.phase, run.ended, run.ending, run.failure, run.admitted = "waiting", None, "", "", None
    run.automatic, run.skip_items, run.reason = False, False, {}
    run.items, run.aside, run.holds, run.confirming, run.refused, run.overtaken = {}, (), {}, {}, "", False
    run.created = state.at
    run.due = state.at + state.plan.waits[state.plan.pipelines[run.pipeline].priority_class]
    run.rank = RANKS[state.plan.pipelines[run.pipeline].priority_class]
    _forget_ends(run, [task for task in run.tasks.values() if task.phase != "done"])
    _take_plan(state, run)
    if all(task.phase != "ready" for task in run.tasks.values()):
        # No task failed, but what came after them did (a clash, a refusal): all are done again.
        _forget_ends(run, run.tasks.values())
        run.published = ()
        _settle_tasks(state, run)
    if (last := state.last.get(run.pipeline)) is not None and last.run == run.run:
        del state.last[run.pipeline]
    _enter(state, run)


def pause_requested(state: State, event: e.PauseRequested) -> None:
    state.paused[event.pipeline] = Pause(event.by, event.at, event.reason)
    for name in state.live.get(event.pipeline, {}):
        run = state.runs[name]
        if run.automatic and run.phase == "waiting":
            _withdraw(state, run, "")


def resume_requested(state: State, event: e.ResumeRequested) -> None:
    state.paused.pop(event.pipeline, None)
    for lane in state.waiting_lanes.get(event.pipeline, {}):
        backlog = state.backlogs[lane]
        backlog.kept, backlog.rest_until = False, None
        state.touched.lanes[lane] = None
    for name in state.live.get(event.pipeline, {}):
        run = state.runs[name]
        if run.automatic and run.phase == "waiting" and not run.held and state.queue.get(name, "") is None:
            _wait(state, run, "")


def replay_requested(state: State, event: e.ReplayRequested) -> None:
    """The rule that answers it delivers."""


def discard_requested(state: State, event: e.DiscardRequested) -> None:
    for number in event.items:
        item = state.dead.pop(number, None)
        if item is not None:
            state.written.items[number] = (item, "skipped", "")


def asset_reported(state: State, event: e.AssetReported) -> None:
    """The rule that answers it publishes or refuses."""


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
        _task_phase(task, "done")
        task.reports, task.verdicts, task.result = event.reports, event.verdicts, event.result
        task.lost = 0
        _settle_tasks(state, run)
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
    attempt.checkpoints[event.name] = event.data
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


# Decisions.


def deliver(state: State, decision: d.Deliver) -> None:
    change = decision.change
    if change.number > state.changes:
        # A change of our own; an accepted or replayed event is on record already, with its payload.
        state.changes = change.number
        state.written.changes[change.number] = change
    for item in decision.items:
        state.items = item.number
        lane = (item.pipeline, item.partition, item.key)
        backlog = state.backlogs.get(lane)
        if backlog is None:
            backlog = state.backlogs[lane] = Backlog(*lane)
            state.waiting_lanes.setdefault(item.pipeline, {})[lane] = None
        backlog.groups.setdefault(state.group_of(item), {})[item.number] = item
        backlog.first = backlog.first or item.at
        backlog.last = item.at
        backlog.kept = False
        state.touched.lanes[lane] = None
        state.written.items[item.number] = (item, "pending", "")
        producer = state.runs.get(item.confirms)
        if producer is not None and item.confirm_by is not None:
            producer.confirming[item.number] = Awaited(item.pipeline, item.confirm_by)
            state.remember(item.confirm_by, "confirm", producer.run)
        if item.origin is not None and item.origin in state.dead:
            state.written.items[item.origin] = (state.dead.pop(item.origin), "replayed", "")


def skip_ticks(state: State, decision: d.SkipTicks) -> None:
    state.ticks[decision.pipeline, decision.source] = decision.last
    expect_tick(state, decision.pipeline, decision.source)


def advance_clock(state: State, decision: d.AdvanceClock) -> None:
    state.ticks[decision.pipeline, decision.source] = decision.tick
    expect_tick(state, decision.pipeline, decision.source)


def create_run(state: State, decision: d.CreateRun) -> None:
    state.ordinals += 1
    state.numbers[decision.pipeline] = state.numbers.get(decision.pipeline, 0) + 1
    tasks = {name: TaskState() for name in state.plan.pipelines[decision.pipeline].tasks}
    run = Run(
        run=decision.run,
        ordinal=state.ordinals,
        pipeline=decision.pipeline,
        key=decision.key,
        partition=decision.partition,
        phase="waiting",
        rank=decision.rank,
        due=decision.due,
        created=decision.at,
        automatic=decision.automatic,
        digest=state.digest,
        tasks=tasks,
        aside=decision.items,
        params=decision.params,
        by=decision.by,
        request=decision.request,
        trace=decision.trace,
        lane=decision.lane,
        mode=decision.mode,
        external_id=decision.external_id,
        revision=decision.revision,
        reason=msgspec.to_builtins(decision.reason),
    )
    if decision.request:
        state.requests[decision.request] = decision.run
        while len(state.requests) > MOST_REQUESTS:
            del state.requests[next(iter(state.requests))]
    if decision.items:
        _take(state, run, decision.items)
    _settle_tasks(state, run)
    _enter(state, run)


def admit_run(state: State, decision: d.AdmitRun) -> None:
    run = state.runs[decision.run]
    check(RUN, run.phase, "running")
    state.queue.remove(run.run, "")
    run.phase, run.admitted, run.hops = "running", decision.at, decision.hops
    run.pins, run.holds, run.partial = decision.pins, decision.holds, decision.partial
    run.trace = decision.trace
    _take(state, run, decision.items)
    for resource, amount in decision.holds.items():
        state.used[resource] = state.used.get(resource, 0) + amount
    for name, task in run.tasks.items():
        if task.phase == "ready":
            _wait(state, run, name)
    for item in run.items.values():
        state.written.items[item.number] = (item, "taken", run.run)
        if item.confirms:
            state.touched.confirms.append((item.confirms, item.number, "started"))
    if run.of in state.backlogs:
        # What this run left pending may be the next one's, where several may go on at once.
        state.touched.lanes[run.of] = None
    state.written.runs[run.run] = run
    _announce_run(state, run, "started")


def start_attempt(state: State, decision: d.StartAttempt) -> None:
    run = state.runs[decision.run]
    task = run.tasks[decision.task]
    state.queue.remove(decision.run, decision.task)
    _task_phase(task, "running")
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
    for pool, slots in decision.slots.items():
        resource = f"pool:{pool}"
        state.used[resource] = state.used.get(resource, 0) + slots
    if decision.deadline is not None:
        state.remember(decision.deadline, "timeout", decision.attempt)
    state.written.runs[run.run] = run
    _write_attempt(state, attempt, "running", None)


def look_attempt(state: State, decision: d.LookAttempt) -> None:
    attempt = state.attempts[decision.attempt]
    attempt.look, attempt.deferred, attempt.look_at = decision.look, False, None
    attempt.host, attempt.called_back, attempt.is_called_back = decision.host, decision.callback, False


def stop_attempt(state: State, decision: d.StopAttempt) -> None:
    attempt = state.attempts[decision.attempt]
    attempt.stopping = decision.why
    if decision.look is not None:
        attempt.look, attempt.deferred, attempt.look_at = decision.look, False, None
        attempt.host = decision.host


def retry_task(state: State, decision: d.RetryTask) -> None:
    run = state.runs[decision.run]
    task = run.tasks[decision.task]
    if task.failure == "lost":
        task.lost += 1
    elif task.failure != "preempted":
        task.lost = 0
        task.tries += 1
    task.memory, task.slots = decision.memory or task.memory, decision.slots or task.slots
    task.attempt = ""
    if decision.not_before <= decision.at:
        _task_phase(task, "ready")
        _wait(state, run, decision.task)
    else:
        _task_phase(task, "resting")
        task.not_before = decision.not_before
        heappush(state.rests, (decision.not_before, run.run, decision.task))
    state.written.runs[run.run] = run


def fail_task(state: State, decision: d.FailTask) -> None:
    run = state.runs[decision.run]
    task = run.tasks[decision.task]
    _task_phase(task, "failed")
    task.failure, task.attempt = decision.failure, ""
    _settle_tasks(state, run)
    state.touched.runs[run.run] = None


def skip_task(state: State, decision: d.SkipTask) -> None:
    run = state.runs[decision.run]
    task = run.tasks[decision.task]
    _withdraw(state, run, decision.task)
    _task_phase(task, "skipped")
    task.attempt, task.not_before = "", None
    _settle_tasks(state, run)
    state.touched.runs[run.run] = None


def publish_asset(state: State, decision: d.PublishAsset) -> None:
    _dealt_with(state, decision)
    place = (decision.asset, decision.partition)
    current = state.assets.get(place)
    if current is None:
        current = state.assets[place] = AssetState(*place)
    current.seq, current.label, current.metadata = decision.seq, decision.label, decision.metadata
    current.by, current.at, current.confirmed = decision.by, decision.at, decision.at
    current.data_through = decision.data_through
    _clear_suspicion(state, current)
    made_of = {f"{pin.asset}#{pin.partition}": pin.seq for pin in decision.pins}
    run = state.runs.get(decision.by)
    if run is not None and any(made_of.get(place, seq) < seq for place, seq in current.made_of.items()):
        run.overtaken = True
    current.made_of = made_of
    document = msgspec.to_builtins(decision)
    state.written.versions[decision.asset, decision.partition, decision.seq] = document
    subject = f"asset:{decision.asset}"
    if subject in state.plan.subscribers:
        data = {
            "asset": decision.asset,
            "partition": decision.partition,
            "seq": decision.seq,
            "label": decision.label,
            "metadata": decision.metadata,
        }
        name = f"{decision.asset}#{decision.partition}@{decision.seq}"
        announce(
            state,
            subject=subject,
            type_="counterpoint.asset.published",
            name=name,
            run=run,
            partition=decision.partition,
            data=data,
            hops=decision.hops,
        )


def confirm_asset(state: State, decision: d.ConfirmAsset) -> None:
    current = state.assets.get((decision.asset, decision.partition))
    _dealt_with(state, decision)
    if current is not None:
        current.confirmed = decision.at
        _clear_suspicion(state, current)


def refuse_report(state: State, decision: d.RefuseReport) -> None:
    _dealt_with(state, decision)


def mark_suspect(state: State, decision: d.MarkSuspect) -> None:
    place = (decision.asset, decision.partition)
    current = state.assets.get(place)
    if current is None:
        current = state.assets[place] = AssetState(*place)
    current.suspect = True
    state.suspects.setdefault(decision.asset, {})[decision.partition] = None
    # A reader that must wait for the next publication keeps nothing from those who publish.
    for holder in dict.fromkeys(state.queue.reserved.values()):
        request = state.queue.get(*holder)
        if request is not None and (f"fresh:{decision.asset}", 1) in request.needs:
            state.queue.release(request)
            state.queue.may_reserve(request.key, request.run, request.task)
            state.touched.admission = True


def cancel_run(state: State, decision: d.CancelRun) -> None:
    _begin_to_end(state, state.runs[decision.run], "overlap")


def await_confirmation(state: State, decision: d.AwaitConfirmation) -> None:
    run = state.runs[decision.run]
    check(RUN, run.phase, "confirming")
    run.phase, run.confirm_by = "confirming", decision.deadline
    _release(state, run)
    state.written.runs[run.run] = run


def confirm(state: State, decision: d.Confirm) -> None:
    run = state.runs[decision.run]
    awaited = run.confirming.pop(decision.item)
    if decision.fails:
        run.refused = awaited.pipeline
    state.touched.runs[run.run] = None


def finish_run(state: State, decision: d.FinishRun) -> None:
    run = state.runs.pop(decision.run)
    check(RUN, run.phase, decision.phase)
    state.queue.remove(run.run, "")
    for name in run.tasks:
        state.queue.remove(run.run, name)
    run.phase, run.ended, run.failure = decision.phase, decision.at, decision.failure
    run.reason = msgspec.to_builtins(decision.reason)
    for task in run.tasks.values():
        if task.phase not in ENDED_TASK:
            _task_phase(task, "failed" if task.phase == "running" else "skipped")
    _release(state, run)
    _give_back(state, run, decision.items_become)
    _leave(state, run)
    state.last[run.pipeline] = Last(run.run, run.phase, decision.at, decision.failure)
    state.written.runs[run.run] = run
    state.touched.lanes[run.of] = None
    if decision.phase == "succeeded":
        backlog = state.backlogs.get(run.of)
        if backlog is not None:
            backlog.failures, backlog.rest_until = 0, None
        _announce_run(state, run, "completed")
    elif decision.phase == "failed":
        _announce_run(state, run, "failed")
    # What is handed to the next run of the lane at once is not refused.
    if not (decision.phase == "cancelled" and decision.items_become == "pending"):
        for item in run.items.values():
            if item.confirms:
                state.touched.confirms.append((item.confirms, item.number, decision.phase))


def rest_subscription(state: State, decision: d.RestSubscription) -> None:
    lane = (decision.pipeline, decision.partition, decision.key)
    backlog = state.backlogs.get(lane)
    if backlog is not None:
        backlog.failures, backlog.rest_until = decision.failures, decision.until
        state.look_at(lane, decision.until)


def end_items(state: State, decision: d.EndItems) -> None:
    lane = (decision.pipeline, decision.partition, decision.key)
    backlog = state.backlogs.get(lane)
    if backlog is None:
        return
    for group in backlog.groups.values():
        for number in [number for number in decision.items if number in group]:
            item = group.pop(number)
            if decision.outcome == "dead":
                state.dead[number] = item
            state.written.items[number] = (item, decision.outcome, "")
            if item.confirms:
                state.touched.confirms.append((item.confirms, number, "refused"))
    _drop_if_empty(state, lane)


def raise_run(state: State, decision: d.RaiseRun) -> None:
    run = state.runs[decision.run]
    run.rank = RANKS["top"]
    for name in ["", *run.tasks]:
        request = state.queue.get(run.run, name)
        if request is not None:
            state.queue.remove(run.run, name)
            _wait(state, run, name)


def reserve_for(state: State, decision: d.ReserveFor) -> None:
    state.queue.reserve(decision.run, decision.task, decision.resources)


def note(state: State, decision: d.Note) -> None:
    """A record only."""


# What several of them do.


def rebuild_queue(state: State) -> None:
    """Make every index anew from what is stored: after loading, or when the plan changed."""
    written, touched, agenda, rests = state.written, state.touched, state.agenda, state.rests
    looks, reserved = state.looks, state.queue.reserved
    state.reset_indexes()
    state.written, state.touched, state.agenda, state.rests = written, touched, agenda, rests
    state.looks = looks
    for lane, backlog in state.backlogs.items():
        state.waiting_lanes.setdefault(backlog.pipeline, {})[lane] = None
    for asset in state.assets.values():
        if asset.suspect:
            state.suspects.setdefault(asset.asset, {})[asset.partition] = None
    for attempt in state.attempts.values():
        for pool, slots in attempt.slots.items():
            state.used[f"pool:{pool}"] = state.used.get(f"pool:{pool}", 0) + slots
    for pipeline, source in state.ticks:
        expect_tick(state, pipeline, source)
    for run in sorted(state.runs.values(), key=lambda run: run.ordinal):
        _note(state, run)
        for resource, amount in run.holds.items():
            state.used[resource] = state.used.get(resource, 0) + amount
        if run.phase == "waiting" and not run.held:
            _queue(state, run, "")
        elif run.phase == "running":
            for name, task in run.tasks.items():
                if task.phase == "ready":
                    _queue(state, run, name)
    for resource, holder in reserved.items():
        request = state.queue.get(*holder)
        if request is not None and 0 < dict(request.needs).get(resource, 0) <= state.capacity(resource):
            state.queue.reserve(*holder, (resource,))


def expect_tick(state: State, pipeline: str, source: int) -> None:
    """Note when a clock source ticks next after the last tick that was dealt with."""
    trigger = state.plan.pipelines[pipeline].trigger
    clock = trigger.sources[source] if trigger else None
    if isinstance(clock, Cron | Every):
        tick = next_tick(clock, state.ticks[pipeline, source])
        if tick is not None:
            heappush(state.ticks_to_come, (tick, pipeline, source))


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
    state.agenda, state.looks, state.rests, state.touched, state.written = [], {}, [], Touched(), Written()
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
        if run.rank != RANKS["top"]:
            state.remember(run.due, "raise", run.run)
        for awaited in run.confirming.values():
            state.remember(awaited.by, "confirm", run.run)
        for name, task in run.tasks.items():
            if task.phase == "resting" and task.not_before is not None:
                heappush(state.rests, (task.not_before, run.run, name))
    for lane in state.backlogs:
        state.look_at(lane, state.at)


def announce(
    state: State,
    *,
    subject: str,
    type_: str,
    name: str,
    run: Run | None,
    partition: str,
    data: dict[str, Any],
    hops: int | None = None,
) -> None:
    """Put a change of our own up for delivery; numbered only when somebody wants it."""
    state.touched.changes.append(
        e.Change(
            number=0,
            subject=subject,
            source=f"/counterpoint/{state.plan.name}",
            id=name,
            type=type_,
            time=state.at,
            partition=partition,
            hops=hops if hops is not None else (run.hops if run else 0),
            data=data,
            by_run=run.run if run else "",
            trace=traceparent(run.trace, run.run) if run and run.trace else "",
        )
    )


def _announce_run(state: State, run: Run, reached: str) -> None:
    subject = f"run:{run.pipeline}:{reached}"
    if subject in state.plan.subscribers:
        announce(
            state,
            subject=subject,
            type_=f"counterpoint.run.{reached}",
            name=f"{run.run}/{reached}/{sum(task.number for task in run.tasks.values())}",
            run=run,
            partition=run.partition,
            data={"run": run.run, "pipeline": run.pipeline, "key": run.key, "failure": run.failure},
        )


def _enter(state: State, run: Run) -> None:
    """A run begins to wait: for a place in its lane, then in the queue."""
    state.runs[run.run] = run
    run.held = True
    _note(state, run)
    state.written.runs[run.run] = run
    state.remember(run.due, "raise", run.run)
    _fill_places(state, run.of)


def _note(state: State, run: Run) -> None:
    """Put a run into the indexes."""
    state.lanes.setdefault(run.of, {})[run.run] = None
    state.live.setdefault(run.pipeline, {})[run.run] = None
    state.revisions[run.digest] = state.revisions.get(run.digest, 0) + 1
    if run.held:
        heappush(state.behind.setdefault(run.of, []), (run.automatic, run.ordinal, run.run))
    else:
        state.places.setdefault(run.of, {})[run.run] = None


def _leave(state: State, run: Run) -> None:
    """Take an ended run out of the indexes, and let the next one of its lane move up."""
    for index, name in ((state.lanes, run.of), (state.live, run.pipeline), (state.places, run.of)):
        _drop(index, name, run.run)
    state.revisions[run.digest] -= 1
    if not state.revisions[run.digest]:
        del state.revisions[run.digest]
        state.plans.pop(run.digest, None)
    _fill_places(state, run.of)


def _fill_places(state: State, lane: Lane) -> None:
    """Let as many runs of a lane into the queue as its concurrency allows; first those that people asked for."""
    behind = state.behind.get(lane, [])
    while behind:
        automatic, _, name = behind[0]
        run = state.runs.get(name)
        if run is None or not run.held:
            heappop(behind)
            continue
        places = state.places.setdefault(lane, {})
        if len(places) >= state.pipeline_of(run).concurrency:
            if automatic:
                return
            # An automatic run that still waits steps back: it may be paused, or its inputs suspect.
            waiting = [each for each in state.active(lane) if each.automatic and each.phase == "waiting"]
            if not waiting:
                return
            _hold_back(state, waiting[-1])
        heappop(behind)
        run.held = False
        places[name] = None
        _wait(state, run, "")
    state.behind.pop(lane, None)


def _hold_back(state: State, run: Run) -> None:
    run.held = True
    _withdraw(state, run, "")
    del state.places[run.of][run.run]
    heappush(state.behind[run.of], (run.automatic, run.ordinal, run.run))
    state.written.runs[run.run] = run


def _drop(index: dict[Any, dict[str, None]], name: Any, entry: str) -> None:
    entries = index.get(name, {})
    entries.pop(entry, None)
    if not entries:
        index.pop(name, None)


def _begin_to_end(state: State, run: Run, why: str) -> None:
    """Nothing of a run is started any more."""
    run.ending = why
    for name in ["", *run.tasks]:
        _withdraw(state, run, name)
    state.touched.runs[run.run] = None


def _withdraw(state: State, run: Run, task: str) -> None:
    """Take a request out of the queue; what was kept for it is free again."""
    state.queue.remove(run.run, task)
    state.touched.admission = True


def _wait(state: State, run: Run, task: str) -> None:
    _queue(state, run, task)
    state.touched.admission = True
    if run.due <= state.at and run.rank != RANKS["top"]:
        # Nothing of the run waited when its time was over; now something does.
        state.remember(run.due, "raise", run.run)


def _queue(state: State, run: Run, task: str) -> None:
    """Put a request into the queue, unless nothing may start it now."""
    if run.ending or (not task and not _may_begin(state, run)):
        return
    key = state.request_key(run, task)
    state.queue.add(key, run.run, task, state.request_shape(run, task))
    if run.rank == RANKS["top"]:
        state.queue.may_reserve(key, run.run, task)


def _may_begin(state: State, run: Run) -> bool:
    """Whether a waiting run is in the plan, has something left to do there, and is not stopped by a pause."""
    has_ready = any(task.phase == "ready" for task in run.tasks.values())
    is_paused = run.automatic and run.pipeline in state.paused
    return run.pipeline in state.plan.pipelines and has_ready and not is_paused


def _task_phase(task: TaskState, phase: str) -> None:
    check(TASK, task.phase, phase)
    task.phase = phase


def _forget_ends(run: Run, tasks: Iterable[TaskState]) -> None:
    """Let tasks of a retried run be as if they had not run; numbers of attempts go on."""
    for task in tasks:
        task.phase, task.tries, task.lost, task.failure, task.detail = "blocked", 0, 0, "", ""
        task.attempt, task.not_before, task.published = "", None, False


def _take_plan(state: State, run: Run) -> None:
    """Let a waiting run go by the plan in force."""
    pipeline = state.plan.pipelines[run.pipeline]
    run.digest = state.digest
    run.tasks = {name: run.tasks.get(name) or TaskState(number=run.attempts) for name in pipeline.tasks}
    for task in run.tasks.values():
        if task.phase == "ready":
            task.phase = "blocked"
    while branches := [
        task
        for name, task in run.tasks.items()
        if task.phase == "blocked" and settled(pipeline, run.tasks, name) == "skipped"
    ]:
        for task in branches:
            task.phase = "skipped"
    _settle_tasks(state, run)


def _settle_tasks(state: State, run: Run) -> None:
    """Let blocked tasks become ready whose predecessors ended as they ask."""
    pipeline = state.pipeline_of(run)
    for name, task in run.tasks.items():
        if task.phase == "blocked" and settled(pipeline, run.tasks, name) == "ready":
            _task_phase(task, "ready")
            if run.phase == "running":
                _wait(state, run, name)


def _end_attempt(state: State, attempt: Attempt, outcome: str) -> str:
    """Give its slots back; what its end counts as."""
    del state.attempts[attempt.attempt]
    for pool, slots in attempt.slots.items():
        resource = f"pool:{pool}"
        state.used[resource] -= slots
        state.queue.freed(resource)
    state.touched.admission = True
    state.touched.runs[attempt.run] = None
    state.runs[attempt.run].tasks[attempt.task].attempt = ""
    state.written.runs[attempt.run] = state.runs[attempt.run]
    if outcome == "failed" and attempt.stopping:
        return {"timeout": "timed_out", "cancel": "cancelled", "preempt": "preempted"}[attempt.stopping]
    return outcome


#: How the end of a stopped attempt counts -> the failure of its task.
_STOPPED = {"timed_out": "timeout", "cancelled": "cancelled", "preempted": "preempted"}


def _dealt_with(state: State, decision: d.PublishAsset | d.ConfirmAsset | d.RefuseReport) -> None:
    """Note on the run that made it what became of its report."""
    run = state.runs.get(decision.by)
    if run is None:
        return
    if decision.task:
        run.tasks[decision.task].published = True
    if not isinstance(decision, d.RefuseReport):
        run.published += (decision.asset,)
        # What it left half written under its own partition is whole again, whichever partition it reports.
        own = state.assets.get((decision.asset, run.partition))
        if own is not None:
            _clear_suspicion(state, own)


def _write_attempt(state: State, attempt: Attempt, phase: str, fact: Any) -> None:
    document = {"phase": phase} | (msgspec.to_builtins(fact) if fact is not None else {})
    state.written.attempts[attempt.attempt] = (attempt, document)


def _take(state: State, run: Run, numbers: tuple[int, ...]) -> None:
    """Move items from the lane's backlog to the run."""
    backlog = state.backlogs.get(run.of)
    if backlog is None:
        return
    for group in backlog.groups.values():
        for number in [number for number in numbers if number in group]:
            run.items[number] = group.pop(number)
    backlog.settle()
    # A backlog that remembers failures stays until a run succeeds.
    if not backlog.failures:
        _drop_if_empty(state, run.of)


def _drop_if_empty(state: State, lane: Lane) -> None:
    backlog = state.backlogs[lane]
    backlog.groups = {group: items for group, items in backlog.groups.items() if items}
    if backlog.groups:
        backlog.settle()
        return
    del state.backlogs[lane]
    state.waiting_lanes[lane[0]].pop(lane, None)


def _give_back(state: State, run: Run, become: str) -> None:
    """End a run's items, or put them back in front of what came since."""
    if become in ("done", "skipped"):
        for item in run.items.values():
            state.written.items[item.number] = (item, become, run.run)
        backlog = state.backlogs.get(run.of)
        if backlog is not None and not len(backlog):
            _drop_if_empty(state, run.of)
        return
    backlog = state.backlogs.get(run.of)
    if not run.items:
        # Cancelled before it took anything: what it would have taken must not start the next one at once.
        if backlog is not None and become == "kept" and run.automatic:
            backlog.kept = True
        return
    if backlog is None:
        backlog = state.backlogs[run.of] = Backlog(*run.of)
        state.waiting_lanes.setdefault(run.pipeline, {})[run.of] = None
    newer = len(backlog) > 0
    for item in run.items.values():
        backlog.groups.setdefault(state.group_of(item), {})[item.number] = item
        state.written.items[item.number] = (item, "pending", "")
    backlog.groups = {
        number: dict(sorted(group.items())) for number, group in sorted(backlog.groups.items()) if group
    }
    backlog.settle()
    backlog.kept = become == "kept" and not newer


def _release(state: State, run: Run) -> None:
    """Give back what the run itself holds: its assets, and its slots where it holds them throughout."""
    for resource, amount in run.holds.items():
        state.used[resource] -= amount
        state.queue.freed(resource)
    run.holds = {}
    state.touched.admission = True


def _clear_suspicion(state: State, asset: AssetState) -> None:
    if not asset.suspect:
        return
    asset.suspect = False
    partitions = state.suspects[asset.asset]
    del partitions[asset.partition]
    if not partitions:
        del state.suspects[asset.asset]
        state.queue.freed(f"fresh:{asset.asset}")
        state.touched.admission = True


_Fold = Callable[[State, Any], None]
_FOLD: dict[type, _Fold] = {
    e.PlanDeclared: plan_declared,
    e.Woke: woke,
    e.ClockJumped: clock_jumped,
    e.EventAccepted: event_accepted,
    e.RunRequested: run_requested,
    e.CancelRequested: cancel_requested,
    e.RetryRequested: retry_requested,
    e.PauseRequested: pause_requested,
    e.ResumeRequested: resume_requested,
    e.ReplayRequested: replay_requested,
    e.DiscardRequested: discard_requested,
    e.AssetReported: asset_reported,
    e.HostAppeared: host_appeared,
    e.HostUnreachable: host_unreachable,
    e.HostLost: host_lost,
    e.AttemptEnded: attempt_ended,
    e.AttemptDeferred: attempt_deferred,
    e.CallbackReceived: callback_received,
    e.CheckpointReached: checkpoint_reached,
    e.AttemptLost: attempt_lost,
    d.Deliver: deliver,
    d.SkipTicks: skip_ticks,
    d.AdvanceClock: advance_clock,
    d.CreateRun: create_run,
    d.AdmitRun: admit_run,
    d.StartAttempt: start_attempt,
    d.LookAttempt: look_attempt,
    d.StopAttempt: stop_attempt,
    d.RetryTask: retry_task,
    d.FailTask: fail_task,
    d.SkipTask: skip_task,
    d.PublishAsset: publish_asset,
    d.ConfirmAsset: confirm_asset,
    d.RefuseReport: refuse_report,
    d.MarkSuspect: mark_suspect,
    d.CancelRun: cancel_run,
    d.AwaitConfirmation: await_confirmation,
    d.Confirm: confirm,
    d.FinishRun: finish_run,
    d.RestSubscription: rest_subscription,
    d.EndItems: end_items,
    d.RaiseRun: raise_run,
    d.ReserveFor: reserve_for,
    d.Note: note,
}
