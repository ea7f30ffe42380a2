"""Why something waits, what would free it, and when.

Pure answers from State; nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from counterpoint.kernel.arrivals import awaited
from counterpoint.kernel.outlook import Outlook, expected_start, wanted_start
from counterpoint.kernel.records import Attempt, Backlog, Run
from counterpoint.kernel.requests import Request, kept_as
from counterpoint.kernel.rules.batching import forms_at
from counterpoint.kernel.sentences import counted, describe, resource_name, say, say_clock
from counterpoint.kernel.shares import entitlement_of, share_of
from counterpoint.kernel.state import RANKS, WHOLE_ASSET, State
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.quantity import format_duration
from counterpoint.model.trigger import Cron, Every


class Blocker(Struct, frozen=True):
    """One thing that something waits for: `what` is pool, target, asset, run, item, host, person, time or plan."""

    what: str
    name: str
    detail: str
    holders: dict[str, str] = {}


class Why(Struct, frozen=True):
    """Why something is as it is, what would free it, and when that is known to happen."""

    state: str
    lines: list[str]
    blockers: list[Blocker]
    frees: str = ""
    when: datetime | None = None


def why_run(state: State, run: Run, at: datetime) -> Why:
    """Why a run that has not ended is where it is, at engine time `at`."""
    if run.phase == "confirming":
        waits = [
            Blocker("item", str(item), "a sync subscriber has yet to deal with it") for item in run.confirming
        ]
        text = f"{run.run} has done its work and waits for {counted(len(run.confirming), 'sync subscriber')}."
        return Why("confirming", [text], waits, "they get as far as they declare", run.confirm_by)
    if run.phase == "waiting":
        return _why_waiting(state, run, "", at)
    lines, blockers, moments = [], [], []
    for name, task in run.tasks.items():
        if task.attempt:
            attempt = state.attempts[task.attempt]
            since = format_duration(at - attempt.started)
            if attempt.deferred:
                lines.append(f"{attempt.attempt} is not yet done after {since}: {attempt.note or 'not yet'}.")
                if attempt.look_at:
                    moments.append(attempt.look_at)
            else:
                host = state.hosts.get(attempt.host, "gone")
                doubt = "" if host == "ready" else f"; its host {attempt.host} is {host}, so its end is not known"
                lines.append(f"{attempt.attempt} has been running for {since}{doubt}.")
                killed = _killed_at(state, attempt)
                if killed is not None:
                    moments.append(killed)
                    lines.append(f"It was asked to stop, to make room; its grace ends at {say_clock(killed)}.")
        elif task.phase == "resting" and task.not_before:
            moments.append(task.not_before)
            lines.append(f"Task {name} rests after a failure ({task.failure}) until {say_clock(task.not_before)}.")
        elif task.phase == "ready":
            waiting = _why_waiting(state, run, name, at)
            lines += waiting.lines
            blockers += waiting.blockers
    return Why("running", lines, blockers, "its attempts end", min(moments, default=None))


def _why_waiting(state: State, run: Run, task: str, at: datetime) -> Why:
    what = f"Task {task} of {run.run}" if task else run.run
    since = format_duration(at - run.created)
    if run.held:
        ahead = [other.run for other in state.active(run.of)][:5]
        limit = state.pipeline_of(run).concurrency
        first = ", ".join(ahead)
        text = f"{what} waits for {since}: {counted(limit, 'run')} of its lane at once, and {first} is first."
        blockers = [Blocker("run", name, "is ahead of it") for name in ahead]
        return Why("waiting", [text], blockers, f"{first} ends")
    pause = state.paused.get(run.pipeline)
    if pause is not None and run.automatic and not task:
        text = f"{what} waits for {since}: {run.pipeline} was paused by {pause.by}."
        return Why("waiting", [text], [Blocker("person", pause.by, pause.reason)], "somebody resumes it")
    if not state.host():
        text = f"{what} waits for {since}: no worker host is ready."
        return Why("waiting", [text], [Blocker("host", "", "none is ready")], "a worker host appears")
    request = state.queue.get(run.run, task)
    if request is None:
        return Why("waiting", [f"{what} is not in the queue: the plan in force has no place for it."], [])
    lines, blockers, outlook = [], [], Outlook(state)
    for resource, amount in request.needs:
        free = state.free(resource)
        reserved = state.queue.reserved.get(kept_as(resource))
        kept = state.queue.is_kept_from(resource, request, outlook)
        if free >= amount and not kept:
            continue
        holders = holders_of(state, resource)
        blockers.append(Blocker(resource.partition(":")[0], resource.partition(":")[2], "", holders))
        lines.append(f"{what} waits for {since}: {_shortage(state, resource, amount, free, holders)}.")
        if kept and reserved is not None:
            until = _who_goes_around(state, *reserved)
            kept_for = f"What gets free of {resource_name(kept_as(resource))} is kept for {reserved[0]}"
            lines.append(f"{kept_for}, which {_why_kept_for(state, *reserved)}; {until}.")
        claimed = [name for name, claim in state.queue.claims.items() if resource in claim.resources]
        if claimed and claimed[0] != (run.run, task):
            lines.append(
                f"What gets free of {resource_name(resource)} is kept for {claimed[0][0]}, which goes first."
            )
    if (run.run, task) in state.queue.claims:
        lines.append("Others make room for it.")
    if state.queue.has_reserved(request):
        lines.append(f"What gets free of that is kept for it; {_who_goes_around(state, run.run, task)}.")
    moments = []
    for holder in [name for name, _ in request.needs if (run.run, task) in state.queue.claims]:
        for name in state.preemptible.get(holder, ()):
            killed = _killed_at(state, state.attempts[name])
            if killed is not None:
                moments.append(killed)
                lines.append(f"{name} was asked to stop; its grace ends at {say_clock(killed)}.")
    if blockers:
        expected = expected_start(state, request)
        if expected is not None and expected > state.at:
            moments.append(expected)
            lines.append(f"By what runs, all it needs is expected to be there at {say_clock(expected)}.")
    held, slack = _held_back(state, request, what)
    lines += held
    if slack is not None:
        blockers.append(slack)
        moments.append(run.slack_until)
    if not lines:
        lines = [f"{what} is about to be looked at."]
    frees = " and ".join(dict.fromkeys(f"{blocker.what} {blocker.name} gets free" for blocker in blockers))
    limits = [state.full[name] for name, _ in request.needs if name in state.full]
    if limits:
        return Why("waiting", lines, blockers, frees, max(limits))
    if run.rank != RANKS["top"] and state.plan.policy == "promise":
        moments.append(run.raised_at)
        lines.append(f"At {say_clock(run.raised_at)} it moves to the top of the queue.")
    return Why("waiting", lines, blockers, frees, min(moments, default=None))


def _killed_at(state: State, attempt: Attempt) -> datetime | None:
    """When the grace of an attempt ends that was asked to make room; None where it was not, or that has passed."""
    run = state.runs[attempt.run]
    if attempt.stopping != "preempt" or run.evicted is None:
        return None
    killed = run.evicted + state.task_of(run, attempt.task).grace
    return killed if killed > state.at else None


def _held_back(state: State, request: Request, what: str) -> tuple[list[str], Blocker | None]:
    """What else than a lack keeps a request waiting: the order, its team's share, a target."""
    lines, outlook, pools = [], Outlook(state), request.place[0][0]
    rank, would_borrow = outlook.stand(request.place[0])
    if would_borrow:
        team = request.place[0][3]
        shares = f"{share_of(state, team):.0%} of a pool, and {entitlement_of(state, team):.0%} is its share"
        whose = f"Team {team} has" if team else "Runs without a team or owner have"
        lines.append(f"{whose} {shares}: teams below theirs go first.")
    if rank == RANKS["backfill"]:
        lines.append("It is a backfill: live work goes first.")
    first = state.queue.passed_by(request, outlook)
    if first is not None and state.plan.policy != "promise":
        lines.append(
            f"{first.run} came first and does not fit yet: nothing passes it (policy {state.plan.policy})."
        )
    elif first is not None:
        lines.append(
            f"{first.run} comes before it and does not fit; of those that go around it the shortest is next."
        )
    for pool, slots in pools if not request.admitted and request.key[0] != RANKS["top"] else ():
        margin, free = outlook.margin(pool), state.free(pool)
        if slots <= free < slots + margin and outlook.is_slack(request):
            name = pool.removeprefix("pool:")
            until = say_clock(state.runs[request.run].slack_until)
            lines.append(f"{what} would bring pool {name} above its target; it has slack until {until}.")
            return lines, Blocker("target", name, f"{margin} slots stay free for what has no slack")
    return lines, None


def _who_goes_around(state: State, run: str, task: str) -> str:
    start = state.queue.promised.get((run, task))
    return f"only who ends by {say_clock(start)} goes around it" if start else "nobody goes around it"


def _why_kept_for(state: State, run: str, task: str) -> str:
    """Why something is kept for a request that waits: `kernel/rules/admission.py` reserves it."""
    request = state.queue.get(run, task)
    if request is None or state.runs[run].rank == RANKS["top"]:
        return "waited too long"
    latest = wanted_start(state, request)
    return f"must start {'by ' + say_clock(latest) if latest is not None else 'as soon as it can'} to be in time"


def _shortage(state: State, resource: str, amount: int, free: int, holders: Mapping[str, str]) -> str:
    kind, _, name = resource.partition(":")
    held = ", ".join(f"{holder} ({detail})" for holder, detail in list(holders.items())[:5])
    if kind == "pool":
        slots = state.plan.pools[name].slots if name in state.plan.pools else 0
        there = f"pool {name} has {max(free, 0)} of {slots} slots free and it needs {amount}"
        return f"{there}; held by {held or 'nobody'}"
    if kind == "later":
        return f"a later task of it needs {counted(amount, 'slot')} of pool {name}"
    if kind == "rate":
        rate, what = state.rate_of(resource), name.replace(":", " ")
        assert rate is not None, "what is not limited is not waited for"
        span = f"at most {counted(rate.count, 'start')} of {what} in {format_duration(rate.per)}"
        # What is left of it may be kept for somebody for whom others make room.
        full = state.full.get(resource)
        return f"{span}, which are used up until {say_clock(full)}" if full else f"{span}, and the next is kept"
    if kind == "slot":
        pipeline, _, value = name.partition("/")
        most = counted(state.capacity(resource), "run")
        return f"{most} of {pipeline} with {value!r} at once; held by {held or 'nobody'}"
    if kind == "fresh":
        return f"asset {name} is suspect, because its writer failed; it holds until {name} is published again"
    how = "write" if amount == WHOLE_ASSET else "read"
    return f"it wants to {how} {name} in place, which is held by {held or 'nobody'}"


def holders_of(state: State, resource: str) -> dict[str, str]:
    """Who holds some of a resource -> how much of it, in words."""
    kind, _, name = resource.partition(":")
    found: dict[str, str] = {}
    if kind == "pool":
        for attempt in state.attempts.values():
            if name in attempt.slots:
                found[attempt.attempt] = counted(attempt.slots[name], "slot")
    for run in state.runs.values():
        held = run.holds.get(resource)
        if held:
            how = {"asset": "writes" if held == WHOLE_ASSET else "reads", "slot": "goes on"}
            found[run.run] = how.get(kind, counted(held, "slot"))
    return found


def why_pipeline(state: State, pipeline: Pipeline, at: datetime) -> Why:
    """Why a pipeline runs, waits or is idle, at engine time `at`."""
    name = pipeline.name
    live = [state.runs[run] for run in state.live.get(name, {})]
    pause = state.paused.get(name)
    paused = ""
    if pause is not None:
        paused = f"{name} was paused by {pause.by} {format_duration(at - pause.at)} ago"
        paused += f" ({pause.reason})" if pause.reason else ""
    if live:
        parts = [why_run(state, run, at) for run in live[:10]]
        order = ("running", "confirming", "waiting")
        best = min((part.state for part in parts), key=order.index)
        return Why(
            best,
            [line for part in parts for line in part.lines]
            + ([f"{paused}; what runs goes on."] if paused else [])
            + ([_storm(state, name)] if name in state.storms else []),
            [blocker for part in parts for blocker in part.blockers],
            next((part.frees for part in parts if part.frees), ""),
            min((part.when for part in parts if part.when), default=None),
        )
    lanes = [state.backlogs[lane] for lane in state.waiting_lanes.get(name, {}) if len(state.backlogs[lane])]
    pending = sum(len(lane) for lane in lanes)
    if pause is not None:
        blocked = Blocker("person", pause.by, pause.reason)
        return Why("paused", [f"{paused}; {counted(pending, 'item')} pending."], [blocked], "somebody resumes it")
    if not pending or pipeline.trigger is None:
        return _why_idle(state, pipeline)
    parts = [_why_lane(state, lane, pipeline, at) for lane in lanes[:10]]
    first = min(parts, key=lambda part: (part.when is None, part.when))
    lines = [line for part in parts for line in part.lines]
    return Why(first.state, lines, [b for part in parts for b in part.blockers], first.frees, first.when)


def _why_lane(state: State, lane: Backlog, pipeline: Pipeline, at: datetime) -> Why:
    trigger = pipeline.trigger
    assert trigger is not None, "a lane belongs to a subscription"
    named = " ".join(part for part in (lane.partition, lane.key) if part)
    what = f"{pipeline.name}{' [' + named + ']' if named else ''} has {counted(len(lane), 'pending item')}"
    if lane.kept:
        blocked = Blocker("person", "", "their run was cancelled")
        text = f"{what}, kept back because their run was cancelled by a person."
        return Why("pending", [text], [blocked], "a new item arrives or somebody resumes it")
    if lane.rest_until is not None and lane.rest_until > at:
        text = f"{what} and rests until {say_clock(lane.rest_until)} after {counted(lane.failures, 'failed run')}."
        return Why(
            "resting", [text], [Blocker("time", "", "rest after failure")], "the rest ends", lane.rest_until
        )
    storm = state.storms.get(pipeline.name)
    if storm is not None:
        lines = [f"{what}.", _storm(state, pipeline.name)]
        return Why("pending", lines, [Blocker("time", "", "storm breaker")], "the storm is over", storm.until)
    missing = [group for number, group in enumerate(trigger.groups) if not lane.groups.get(number)]
    moment, reason = forms_at(state, lane, pipeline)
    if missing:
        wanted = " and ".join(" or ".join(describe(source) for source in group) for group in missing)
        blocked = Blocker("item", wanted, "nothing of it has come yet")
        return Why(
            "pending", [f"{what} and waits for {wanted}."], [blocked], f"something new of {wanted} comes", moment
        )
    if moment is not None and moment > at and trigger.auto is not None:
        lines = [f"{what}; it is run at {say_clock(moment)} at the latest: {say(reason)}."]
        if reason.code == "latest-start" and lane.first is not None:
            source = awaited(state, pipeline.name, lane.first, moment)
            lines += [f"Until then it gathers: more of {source.partition(':')[2]} may come."] if source else []
        return Why("pending", lines, [Blocker("time", "", say(reason))], "the latest start comes", moment)
    if moment is not None and moment > at:
        text = f"{what}; its batch closes at {say_clock(moment)}."
        return Why("pending", [text], [Blocker("time", "", "batch window")], "the window ends", moment)
    return Why("pending", [f"{what}; a run is about to be made of them."], [])


def _storm(state: State, pipeline: str) -> str:
    storm = state.storms[pipeline]
    since, until = say_clock(storm.since), say_clock(storm.until)
    return f"{pipeline} forms no runs from {since} until {until}: they came faster than its storm breaker allows."


def _why_idle(state: State, pipeline: Pipeline) -> Why:
    ticks = [tick for tick, name, _ in state.ticks_to_come if name == pipeline.name]
    when = min(ticks, default=None)
    if pipeline.trigger is None:
        return Why("idle", [f"{pipeline.name} runs only when somebody asks for it."], [], "somebody runs it")
    if pipeline.name in state.plan.samplers:
        when = state.samples.get(pipeline.name)
        text = f"{pipeline.name} samples the world when a promise asks for it"
        text += f", next at {say_clock(when)}." if when else "; now nothing does."
        return Why("idle", [text], [], "a promise asks for a newer sample", when)
    wanted = " or ".join(describe(source) for source in pipeline.trigger.sources)
    text = f"{pipeline.name} has nothing to do: nothing new of {wanted}"
    text += f"; next tick at {say_clock(when)}." if when else "."
    ticks_only = all(isinstance(source, Cron | Every) for source in pipeline.trigger.sources)
    return Why("idle", [text], [], "its clock ticks" if ticks_only else f"something new of {wanted} comes", when)
