"""What holds for a whole plan: its declaration, its clocks, pauses, and the indexes made anew."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappush

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.folding.limits import note_full
from counterpoint.kernel.folding.places import (
    enqueue,
    expect_raise,
    expect_slack_to_end,
    fill_places,
    note_attempt,
    note_run,
    wait,
    withdraw,
)
from counterpoint.kernel.folding.promises import rebuild_promises, take_promises, turn_back
from counterpoint.kernel.folding.runs import take_plan
from counterpoint.kernel.records import Pause
from counterpoint.kernel.requests import Claim
from counterpoint.kernel.state import State
from counterpoint.model.calendar import next_tick
from counterpoint.model.plan import subject_of
from counterpoint.model.trigger import Cron, Every


def plan_declared(state: State, event: e.PlanDeclared) -> None:
    before = {subject_of(clock, name): state.ticks[name, place] for name, place, clock in state.plan.clocks}
    replaced = state.plans[state.digest] = state.plan
    state.plan, state.digest, state.declared = event.content, event.digest, event.at
    state.shapes.clear()
    state.capacities.clear()
    # A new clock begins now: what it would have done before it was declared is no missed tick.
    state.ticks = {
        (name, place): before.get(subject_of(clock, name), event.wall) for name, place, clock in state.plan.clocks
    }
    for run in state.runs.values():
        # A run that waits takes the new plan, if it still has a place there.
        if run.phase == "waiting" and run.pipeline in state.plan.pipelines:
            run.held = True
            take_plan(state, run)
    used = {run.digest for run in state.runs.values()} - {state.digest}
    state.plans = {digest: plan for digest, plan in state.plans.items() if digest in used}
    tasks = {(name, task) for name, each in state.plan.pipelines.items() for task in ("", *each.tasks)}
    state.bands = {subject: band for subject, band in state.bands.items() if subject in tasks}
    state.successes = {name: each for name, each in state.successes.items() if (name, "") in tasks}
    for name in [name for name in state.paused if name not in state.plan.pipelines]:
        del state.paused[name]
    for lane, backlog in state.backlogs.items():
        items = sorted(backlog.items, key=lambda item: item.number)
        backlog.groups = {}
        for item in items:
            backlog.groups.setdefault(state.group_of(item), {})[item.number] = item
        state.touch_lanes((lane,))
    claims = state.queue.claims
    take_promises(state, replaced, event)
    rebuild_queue(state)
    for lane in list(state.behind):
        if lane[0] in state.plan.pipelines:
            fill_places(state, lane)
    claim_again(state, claims)
    state.touched.samplers.update(state.plan.samplers)
    for run in state.runs.values():
        expect_slack_to_end(state, run)
        if replaced.policy != state.plan.policy:
            expect_raise(state, run)
    state.touched.admission = True


def woke(state: State, event: e.Event) -> None:
    """Nothing but the time is new."""


def clock_jumped(state: State, event: e.ClockJumped) -> None:
    # After a clock that was days ahead is put right, ticks would stay away until it is there again.
    for place, tick in state.ticks.items():
        if (tick - event.wall).total_seconds() > 86400:
            state.ticks[place] = event.wall
            expect_tick(state, *place)
    turn_back(state, event.wall)


def pause_requested(state: State, event: e.PauseRequested) -> None:
    state.paused[event.pipeline] = Pause(event.by, event.at, event.reason)
    for name in state.live.get(event.pipeline, {}):
        run = state.runs[name]
        if run.automatic and run.phase == "waiting":
            withdraw(state, run, "")


def resume_requested(state: State, event: e.ResumeRequested) -> None:
    state.paused.pop(event.pipeline, None)
    for lane in state.waiting_lanes.get(event.pipeline, {}):
        backlog = state.backlogs[lane]
        backlog.kept, backlog.rest_until = False, None
        state.touch_lanes((lane,))
    for name in state.live.get(event.pipeline, {}):
        run = state.runs[name]
        if run.automatic and run.phase == "waiting" and not run.held and state.queue.get(name, "") is None:
            wait(state, run, "")


def skip_ticks(state: State, decision: d.SkipTicks) -> None:
    state.ticks[decision.pipeline, decision.source] = decision.last
    expect_tick(state, decision.pipeline, decision.source)


def advance_clock(state: State, decision: d.AdvanceClock) -> None:
    state.ticks[decision.pipeline, decision.source] = decision.tick
    expect_tick(state, decision.pipeline, decision.source)


def rebuild_queue(state: State) -> None:
    """Make every index anew from what is stored: after loading, or when the plan changed."""
    written, touched, agenda, rests = state.written, state.touched, state.agenda, state.rests
    looks, samples, room_at, before = state.looks, state.samples, state.room_at, state.queue
    state.reset_indexes()
    state.written, state.touched, state.agenda, state.rests = written, touched, agenda, rests
    state.looks, state.samples, state.room_at = looks, samples, room_at
    for lane, backlog in state.backlogs.items():
        state.waiting_lanes.setdefault(backlog.pipeline, {})[lane] = None
    for asset in state.assets.values():
        if asset.suspect:
            state.suspects.setdefault(asset.asset, {})[asset.partition] = None
    for attempt in state.attempts.values():
        note_attempt(state, attempt)
    for pipeline, source in state.ticks:
        expect_tick(state, pipeline, source)
    rebuild_promises(state)
    for resource in state.starts:
        note_full(state, resource)
    for run in sorted(state.runs.values(), key=lambda run: run.ordinal):
        note_run(state, run)
        for resource, amount in run.holds.items():
            state.take(run, run.run, resource, amount)
        if run.phase == "waiting" and not run.held:
            enqueue(state, run, "")
        elif run.phase == "running":
            for name, task in run.tasks.items():
                if task.phase == "ready":
                    enqueue(state, run, name)
    for resource, holder in before.reserved.items():
        request = state.queue.get(*holder)
        if request is not None and 0 < dict(request.needs).get(resource, 0) <= state.capacity(resource):
            state.queue.reserve(*holder, (resource,), before.promised.get(holder))

    claim_again(state, before.claims)


def claim_again(state: State, claims: Mapping[tuple[str, str], Claim]) -> None:
    """Keep for those that still wait for it what was kept for them."""
    for (name, task), claim in claims.items():
        request = state.queue.get(name, task)
        is_new = request is not None and (name, task) not in state.queue.claims
        if request is not None and is_new and dict(request.needs).items() >= claim.resources.items():
            state.queue.claim(name, task, claim.resources, claim.until)


def expect_tick(state: State, pipeline: str, source: int) -> None:
    """Note when a clock source ticks next after the last tick that was dealt with."""
    trigger = state.plan.pipelines[pipeline].trigger
    clock = trigger.sources[source] if trigger else None
    if isinstance(clock, Cron | Every):
        tick = next_tick(clock, state.ticks[pipeline, source])
        if tick is not None:
            heappush(state.ticks_to_come, (tick, pipeline, source))
