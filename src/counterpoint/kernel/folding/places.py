"""Where runs and their tasks wait: the places of a lane, then the queue."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

from counterpoint.kernel.lengths import task_due
from counterpoint.kernel.outlook import own_takes, usual_takes
from counterpoint.kernel.phases import TASK, check
from counterpoint.kernel.records import Attempt, Lane, Run, TaskState
from counterpoint.kernel.requests import Shape
from counterpoint.kernel.state import RANKS, State, settled


def enter(state: State, run: Run) -> None:
    """A run begins to wait: for a place in its lane, then in the queue."""
    state.runs[run.run] = run
    run.held = True
    note_run(state, run)
    state.written.runs[run.run] = run
    expect_raise(state, run)
    fill_places(state, run.of)


def note_run(state: State, run: Run) -> None:
    """Put a run into the indexes."""
    state.lanes.setdefault(run.of, {})[run.run] = None
    state.live.setdefault(run.pipeline, {})[run.run] = None
    state.revisions[run.digest] = state.revisions.get(run.digest, 0) + 1
    if run.held:
        heappush(state.behind.setdefault(run.of, []), (run.automatic, run.ordinal, run.run))
    else:
        state.places.setdefault(run.of, {})[run.run] = None


def leave(state: State, run: Run) -> None:
    """Take an ended run out of the indexes, and let the next one of its lane move up."""
    for index, name in ((state.lanes, run.of), (state.live, run.pipeline), (state.places, run.of)):
        _drop(index, name, run.run)
    state.revisions[run.digest] -= 1
    if not state.revisions[run.digest]:
        del state.revisions[run.digest]
        state.plans.pop(run.digest, None)
    fill_places(state, run.of)


def fill_places(state: State, lane: Lane) -> None:
    """Let as many runs of a lane into the queue as its concurrency allows; first those that people asked for."""
    behind = state.behind.get(lane, [])
    while behind:
        automatic, _, name = behind[0]
        run = state.runs.get(name)
        if run is None or not run.held:
            heappop(behind)
            continue
        places = state.places.setdefault(lane, {})
        if len(places) >= places_of(state, run):
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
        wait(state, run, "")
    state.behind.pop(lane, None)


def places_of(state: State, run: Run) -> int:
    """How many runs of its lane may be going on if this one is among them: more where all are parts of a batch."""
    pipeline = state.pipeline_of(run)
    if pipeline.elastic is None or not run.aside:
        return pipeline.concurrency
    return max(pipeline.concurrency, pipeline.elastic.max)


def _hold_back(state: State, run: Run) -> None:
    run.held = True
    withdraw(state, run, "")
    del state.places[run.of][run.run]
    heappush(state.behind[run.of], (run.automatic, run.ordinal, run.run))
    state.written.runs[run.run] = run


def _drop(index: dict[Any, dict[str, None]], name: Any, entry: str) -> None:
    entries = index.get(name, {})
    entries.pop(entry, None)
    if not entries:
        index.pop(name, None)


def begin_to_end(state: State, run: Run, why: str) -> None:
    """Nothing of a run is started any more."""
    run.ending = why
    for name in ["", *run.tasks]:
        withdraw(state, run, name)
    state.touched.runs[run.run] = None


def withdraw(state: State, run: Run, task: str) -> None:
    """Take a request out of the queue; what was kept for it is free again."""
    unqueue(state, run, task)
    state.touched.admission = True


def unqueue(state: State, run: Run, task: str) -> None:
    """Nobody waits with this request any more; where a pool it needed stands idle, those who wait for that go."""
    request = state.queue.get(run.run, task)
    if request is None:
        return
    state.queue.remove(run.run, task)
    for resource, _ in request.needs:
        if not state.used.get(resource):
            state.touch_lanes(state.eager.pop(resource.removeprefix("pool:"), ()))


def set_due(state: State, run: Run, task: str) -> None:
    """Note when a task should start: kept, so that a restart changes nothing, whatever was learned meanwhile."""
    run.tasks[task].due = task_due(state, run, task) if state.plan.policy == "promise" else state.at


def wait(state: State, run: Run, task: str) -> None:
    if task:
        set_due(state, run, task)
    enqueue(state, run, task)
    state.touched.admission = True
    expect_slack_to_end(state, run)
    if run.raised_at <= state.at:
        # Nothing of the run waited when its time was over; now something does.
        expect_raise(state, run)


def expect_raise(state: State, run: Run) -> None:
    """Note when a run has waited as long as its class may; policies for comparison raise nobody."""
    if run.rank != RANKS["top"] and state.plan.policy == "promise":
        state.remember(run.raised_at, "raise", run.run)


def expect_slack_to_end(state: State, run: Run) -> None:
    """Note when a waiting run has no slack left, so that no target holds it back any more."""
    if (
        not state.plan.has_targets
        or run.phase != "waiting"
        or run.slack_until <= state.at
        or state.queue.get(run.run, "") is None
    ):
        return
    pools = (
        state.plan.pools.get(resource.removeprefix("pool:")) for resource, _ in state.request_shape(run, "")[0]
    )
    if any(pool is not None and pool.target is not None for pool in pools):
        state.remember(run.slack_until, "slack", run.run)


def enqueue(state: State, run: Run, task: str) -> None:
    """Put a request into the queue, unless nothing may start it now."""
    if run.ending or (not task and not _may_begin(state, run)):
        return
    key = state.request_key(run, task)
    shape = state.request_shape(run, task)
    own, source = own_takes(state, run, task), (run.pipeline, task)
    state.queue.add(
        key,
        run.run,
        task,
        shape,
        team=state.team_of(run) if state.plan.teams else "",
        backfill=run.lane == "backfill",
        class_rank=state.class_rank(run),
        source=source if own is None else ("", ""),
        takes=own if own is not None else state.queue.usual(source, lambda: usual_takes(state, *source)),
    )
    if state.plan.policy == "promise" and (run.rank == RANKS["top"] or _is_easily_passed(run, shape)):
        state.queue.may_reserve(key, run.run, task)


def _is_easily_passed(run: Run, shape: Shape) -> bool:
    """Whether a promise wants it and it needs several slots at once: who needs one could go around it for ever."""
    return run.latest is not None and sum(n for resource, n in shape[0] if resource.startswith("pool:")) > 1


def _may_begin(state: State, run: Run) -> bool:
    """Whether a waiting run is in the plan, has something left to do there, and is not stopped by a pause."""
    has_ready = any(task.phase == "ready" for task in run.tasks.values())
    is_paused = run.automatic and run.pipeline in state.paused
    return run.pipeline in state.plan.pipelines and has_ready and not is_paused


def set_phase(task: TaskState, phase: str) -> None:
    check(TASK, task.phase, phase)
    task.phase = phase


def settle_tasks(state: State, run: Run) -> None:
    """Let blocked tasks become ready whose predecessors ended as they ask."""
    pipeline = state.pipeline_of(run)
    for name, task in run.tasks.items():
        if task.phase == "blocked" and settled(pipeline, run.tasks, name) == "ready":
            set_phase(task, "ready")
            if run.phase == "running":
                wait(state, run, name)


def note_attempt(state: State, attempt: Attempt) -> None:
    """Count what an attempt holds, and put it into the indexes."""
    run = state.runs[attempt.run]
    is_preemptible = state.pipeline_of(run).preempt is not None
    for pool, slots in attempt.slots.items():
        resource = f"pool:{pool}"
        state.take(run, attempt.attempt, resource, slots)
        if is_preemptible:
            state.preemptible.setdefault(resource, {})[attempt.attempt] = None
        if attempt.stopping:
            state.coming[resource] = state.coming.get(resource, 0) + slots


def forget_attempt(state: State, attempt: Attempt) -> None:
    """Give back what an ended attempt held."""
    for pool, slots in attempt.slots.items():
        resource = f"pool:{pool}"
        free_up(state, state.runs[attempt.run], attempt.attempt, resource, slots)
        _drop(state.preemptible, resource, attempt.attempt)
        if attempt.stopping:
            state.coming[resource] -= slots


def release(state: State, run: Run) -> None:
    """Give back what the run itself holds: its assets, and its slots where it holds them throughout."""
    for resource, amount in run.holds.items():
        free_up(state, run, run.run, resource, amount)
    run.holds = {}
    state.touched.admission = True


def free_up(state: State, run: Run, holder: str, resource: str, amount: int) -> None:
    """Give some of a resource back; lanes that wait for room in a pool, or for it to stand idle, are looked at."""
    state.give_back(run, holder, resource, amount)
    state.touch_lanes(state.crowded.pop(resource, ()))
    if not state.used[resource]:
        state.touch_lanes(state.eager.pop(resource.removeprefix("pool:"), ()))
