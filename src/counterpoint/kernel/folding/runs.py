"""The life of a run: asked for, created, admitted, its tasks retried or left out, ended."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappush

import msgspec

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.folding.items import announce_run, give_back_items, take_items
from counterpoint.kernel.folding.learning import learn_again
from counterpoint.kernel.folding.limits import note_start
from counterpoint.kernel.folding.places import (
    begin_to_end,
    enqueue,
    enter,
    expect_slack_to_end,
    leave,
    release,
    set_due,
    set_phase,
    settle_tasks,
    unqueue,
    wait,
    withdraw,
)
from counterpoint.kernel.folding.promises import note_end
from counterpoint.kernel.lengths import is_declared
from counterpoint.kernel.phases import ENDED_TASK, RUN, check
from counterpoint.kernel.records import Last, Run, Success, TaskState
from counterpoint.kernel.state import RANKS, State, settled
from counterpoint.kernel.urgency import place

#: Requests for runs that are remembered, so that one that is sent again is told from a new one.
MOST_REQUESTS = 10_000


def run_requested(state: State, event: e.RunRequested) -> None:
    """The rule that answers it makes the run."""


def cancel_requested(state: State, event: e.CancelRequested) -> None:
    run = state.runs.get(event.run)
    if run is not None:
        run.skip_items = event.skip
        run.reason = {"by": event.by, "reason": event.reason}
        begin_to_end(state, run, "person")


def retry_requested(state: State, event: e.RetryRequested) -> None:
    # By way of JSON, whose keys are text: here the document may have been there already, or not yet.
    run = msgspec.json.decode(msgspec.json.encode(event.document), type=Run)
    if run.run in state.runs or run.pipeline not in state.plan.pipelines:
        return
    check(RUN, run.phase, "waiting")
    run.phase, run.ended, run.ending, run.failure, run.admitted = "waiting", None, "", "", None
    run.automatic, run.skip_items, run.reason = False, False, {}
    run.items, run.aside, run.holds, run.confirming, run.refused, run.overtaken = {}, (), {}, {}, "", False
    run.skipped = {}
    run.created = state.at
    is_backfill = run.lane == "backfill"
    priority = "bulk" if is_backfill else state.plan.pipelines[run.pipeline].priority_class
    run.top_at = run.due = state.at + state.plan.waits[priority]
    owed = place(state, run.of)
    run.latest, run.wanted_by = owed.latest, owed.wanted
    if owed.ends is not None:
        run.due = min(run.top_at, owed.ends)
    run.rank = RANKS["backfill" if is_backfill else priority]
    _forget_ends(run, [task for task in run.tasks.values() if task.phase != "done"])
    take_plan(state, run)
    if all(task.phase != "ready" for task in run.tasks.values()):
        # No task failed, but what came after them did (a clash, a refusal): all are done again.
        _forget_ends(run, run.tasks.values())
        run.published = ()
        settle_tasks(state, run)
    if (last := state.last.get(run.pipeline)) is not None and last.run == run.run:
        del state.last[run.pipeline]
    enter(state, run)


def create_run(state: State, decision: d.CreateRun) -> None:
    state.ordinals += 1
    state.numbers[decision.pipeline] = state.numbers.get(decision.pipeline, 0) + 1
    pipeline = state.plan.pipelines[decision.pipeline]
    if decision.automatic and pipeline.storm is not None:
        note_start(state, f"storm:{decision.pipeline}")
    tasks = {name: TaskState() for name in pipeline.tasks}
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
        top_at=decision.top_at,
        latest=decision.latest,
        takes_s=decision.takes_s,
        slot=decision.slot,
        wanted_by=decision.wanted_by,
        reason=msgspec.to_builtins(decision.reason),
    )
    if decision.request:
        state.requests[decision.request] = decision.run
        while len(state.requests) > MOST_REQUESTS:
            del state.requests[next(iter(state.requests))]
    if decision.items:
        take_items(state, run, decision.items)
    state.wanted.pop(run.of, None)
    settle_tasks(state, run)
    enter(state, run)


def admit_run(state: State, decision: d.AdmitRun) -> None:
    run = state.runs[decision.run]
    check(RUN, run.phase, "running")
    state.queue.remove(run.run, "")
    state.lapses.pop(run.run, None)
    run.phase, run.admitted, run.hops = "running", decision.at, decision.hops
    run.pins, run.holds, run.partial = decision.pins, decision.holds, decision.partial
    run.trace = decision.trace
    take_items(state, run, decision.items)
    note_start(state, f"rate:pipeline:{run.pipeline}")
    for resource, amount in decision.holds.items():
        state.take(run, run.run, resource, amount)
    ready = [name for name, task in run.tasks.items() if task.phase == "ready"]
    if len(ready) == 1:
        # Admission starts it at once, so that it never waits in the queue.
        set_due(state, run, ready[0])
    else:
        for name in ready:
            wait(state, run, name)
    for item in run.items.values():
        state.written.items[item.number] = (item, "taken", run.run)
        if item.confirms:
            state.touched.confirms.append((item.confirms, item.number, "started"))
    if run.of in state.backlogs:
        # What this run left pending may be the next one's, where several may go on at once.
        state.touch_lanes((run.of,))
    state.written.runs[run.run] = run
    announce_run(state, run, "started")


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
        set_phase(task, "ready")
        wait(state, run, decision.task)
    else:
        set_phase(task, "resting")
        task.not_before = decision.not_before
        heappush(state.rests, (decision.not_before, run.run, decision.task))
    state.written.runs[run.run] = run


def fail_task(state: State, decision: d.FailTask) -> None:
    run = state.runs[decision.run]
    task = run.tasks[decision.task]
    set_phase(task, "failed")
    task.failure, task.attempt = decision.failure, ""
    settle_tasks(state, run)
    state.touched.runs[run.run] = None


def skip_task(state: State, decision: d.SkipTask) -> None:
    run = state.runs[decision.run]
    task = run.tasks[decision.task]
    withdraw(state, run, decision.task)
    set_phase(task, "skipped")
    task.attempt, task.not_before = "", None
    settle_tasks(state, run)
    state.touched.runs[run.run] = None


def cancel_run(state: State, decision: d.CancelRun) -> None:
    begin_to_end(state, state.runs[decision.run], "overlap")


def await_confirmation(state: State, decision: d.AwaitConfirmation) -> None:
    run = state.runs[decision.run]
    check(RUN, run.phase, "confirming")
    run.phase, run.confirm_by = "confirming", decision.deadline
    release(state, run)
    state.written.runs[run.run] = run


def confirm(state: State, decision: d.Confirm) -> None:
    run = state.runs[decision.run]
    awaited = run.confirming.pop(decision.item)
    if decision.fails:
        run.refused = awaited.pipeline
    state.touched.runs[run.run] = None


def finish_run(state: State, decision: d.FinishRun) -> None:
    run = state.runs.pop(decision.run)
    state.lapses.pop(run.run, None)
    check(RUN, run.phase, decision.phase)
    unqueue(state, run, "")
    for name in run.tasks:
        unqueue(state, run, name)
    run.phase, run.ended, run.failure = decision.phase, decision.at, decision.failure
    run.reason = msgspec.to_builtins(decision.reason)
    for task in run.tasks.values():
        if task.phase not in ENDED_TASK:
            set_phase(task, "failed" if task.phase == "running" else "skipped")
    release(state, run)
    if decision.phase == "succeeded":
        note_end(state, run)
    give_back_items(state, run, decision.items_become)
    leave(state, run)
    state.last[run.pipeline] = Last(run.run, run.phase, decision.at, decision.failure)
    if run.phase == "succeeded" and run.admitted is not None:
        known = state.successes.get(run.pipeline)
        if known is None or known.began <= run.admitted:
            state.successes[run.pipeline] = Success(run.admitted, (decision.at - run.admitted).total_seconds())
            if (run.pipeline, "") not in state.bands and not is_declared(state.plan, run.pipeline, ""):
                learn_again(state, (run.pipeline,))
    if run.pipeline in state.plan.samplers:
        state.touched.samplers[run.pipeline] = None
    state.written.runs[run.run] = run
    backlog = state.backlogs.get(run.of)
    if backlog is not None:
        state.touch_lanes((run.of,))
        if decision.phase == "succeeded":
            backlog.failures, backlog.rest_until = 0, None
    if decision.phase == "succeeded":
        announce_run(state, run, "completed")
    elif decision.phase == "failed":
        announce_run(state, run, "failed")
    # What is handed to the next run of the lane at once is not refused.
    if not (decision.phase == "cancelled" and decision.items_become == "pending"):
        for item in run.items.values():
            if item.confirms:
                state.touched.confirms.append((item.confirms, item.number, decision.phase))


def raise_run(state: State, decision: d.RaiseRun) -> None:
    run = state.runs[decision.run]
    run.rank = RANKS["top"]
    for name in ["", *run.tasks]:
        _enqueue_again(state, run, name)


def place_run(state: State, decision: d.PlaceRun) -> None:
    run = state.runs[decision.run]
    run.due, run.latest, run.wanted_by = decision.due, decision.latest, decision.wanted_by
    _enqueue_again(state, run, "")
    expect_slack_to_end(state, run)


def _enqueue_again(state: State, run: Run, task: str) -> None:
    """A request that waits has another place from now on."""
    if state.queue.get(run.run, task) is None:
        return
    claim = state.queue.claims.get((run.run, task))
    state.queue.remove(run.run, task)
    enqueue(state, run, task)
    state.touched.admission = True
    if claim is not None and state.queue.get(run.run, task) is not None:
        state.queue.claim(run.run, task, claim.resources, claim.until)


def reserve_for(state: State, decision: d.ReserveFor) -> None:
    state.queue.reserve(decision.run, decision.task, decision.resources, decision.start)


def keep_room(state: State, decision: d.KeepRoom) -> None:
    state.queue.claim(decision.run, decision.task, decision.resources, decision.until)
    state.remember(decision.until, "claim", decision.run, decision.task)


def note(state: State, decision: d.Note) -> None:
    """A record only."""


def _forget_ends(run: Run, tasks: Iterable[TaskState]) -> None:
    """Let tasks of a retried run be as if they had not run; numbers of attempts go on."""
    for task in tasks:
        task.phase, task.tries, task.lost, task.failure, task.detail = "blocked", 0, 0, "", ""
        task.attempt, task.not_before, task.published = "", None, False


def take_plan(state: State, run: Run) -> None:
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
    settle_tasks(state, run)
