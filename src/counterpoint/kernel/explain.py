"""Reasons in words: what a fact says, and why something waits, what would free it, and when.

A fact carries a code and figures; the sentence is made here, on reading, so that wording may
improve without touching the journal. Every code that a rule uses is in `REASONS`; a test checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.outlook import Outlook, expected_start
from counterpoint.kernel.queue import Request, kept_as
from counterpoint.kernel.records import Attempt, Backlog, Run
from counterpoint.kernel.rules.batching import forms_at
from counterpoint.kernel.shares import entitlement_of, share_of
from counterpoint.kernel.state import RANKS, WHOLE_ASSET, State
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.quantity import format_duration, format_size
from counterpoint.model.trigger import Cron, Every, OnAsset, OnCheckpoint, OnEvent, OnState, Source

Figures = Mapping[str, Any]


def _length(figures: Figures, name: str) -> str:
    return format_duration(timedelta(seconds=float(figures.get(name, 0))))


def _moment(figures: Figures, name: str) -> str:
    """A moment among the figures, which have it as text in a fact that was read back."""
    moment = figures.get(name)
    return say_clock(datetime.fromisoformat(moment)) if moment else "then"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _by(figures: Figures) -> str:
    said = figures.get("reason")
    return f"by {figures.get('by') or 'somebody'}" + (f": {said}" if said else "")


def _retry(figures: Figures) -> str:
    text = (
        f"{_failure(figures)}; attempt {figures['attempt'] + 1} of {figures['of']} in {_length(figures, 'in_s')}"
    )
    if "memory_bytes" in figures:
        text += f" with {format_size(figures['memory_bytes'])}"
    return text


def _failure(figures: Figures) -> str:
    words = {
        "exit": "it failed",
        "signal": "a signal ended it",
        "timeout": "it took too long",
        "lost": "it was lost",
        "out-of-memory": "it ran out of memory",
        "error": "it could not be carried out",
        "check": "a check did not pass",
        "conflict": "somebody else published in between",
        "refused": "a subscriber refused",
    }
    text = words.get(str(figures.get("failure")), f"it failed ({figures.get('failure')})")
    return f"{text} ({figures['detail']})" if figures.get("detail") else text


def _before(figures: Figures) -> str:
    if "team" in figures:
        return f"{figures['team']} had borrowed it"
    return f"{figures['class']} before {figures['of']}"


def _before_it(figures: Figures) -> str:
    before = figures["failures"] - 1
    return f", and {_count(before, 'run')} before it" if before else ""


#: Why a lane lags -> in words.
_LAGS = {
    "more-than-a-batch": "that is more than one run takes",
    "waited": "they have waited longer than their class may",
    "latest-start": "their latest start has passed",
}

#: Code of a reason -> its sentence. Stable names: they stand in the journal.
REASONS: Mapping[str, Callable[[Figures], str]] = {
    "admitted": lambda f: f"it fits, after {_length(f, 'waited_s')}",
    "all-tasks-done": lambda f: f"{_count(f['tasks'], 'task')} done",
    "batch-full": lambda f: f"{_count(f['items'], 'item')}: a full batch does not wait",
    "asked": lambda f: f"asked for {_by(f)}",
    "branch-not-taken": lambda f: f"what it comes after ({', '.join(f['after'])}) did not end as it asks",
    "called-back": lambda f: "the remote side called back",
    "calm": lambda f: f"{_length(f, 'after_s')} without a new run have passed",
    "cancelled-by": lambda f: f"cancelled {_by(f)}",
    "changed": lambda f: f"{f['source']} changed",
    "clash": lambda f: f"version {f.get('expected')} was expected, {f.get('found')} was found",
    "confirmation-timed-out": lambda f: "its subscribers did not confirm in time",
    "confirmed": lambda f: "its subscribers have confirmed",
    "duration-unknown": lambda f: f"nobody knows yet how long it takes to {f['asset']}, so it starts at once",
    "cut-off": lambda f: "a period of its calendar ended",
    "failed": lambda f: f"{_failure(f)}, and one attempt is all it has",
    "failed-run": lambda f: f"{f['run']} failed{_before_it(f)}; rest for {_length(f, 'rest_s')}",
    "fits": lambda f: f"everything it needs is free, after {_length(f, 'waited_s')}",
    "given-up": lambda f: f"given up after {_count(f['failures'], 'failed run')}",
    "hop-limit": lambda f: f"the chain of triggers has {f['hops']} links: a loop",
    "inherited": lambda f: "what it is made of was confirmed, or changed in nothing that it asks for",
    "items-ready": lambda f: f"{_count(f['items'], 'item')} ready",
    "late-already": lambda f: f"what is promised for {f['asset']} is late already",
    "latest-start": lambda f: (
        f"{f['asset']} must have it by {_moment(f, 'due')}, and from here that takes {_length(f, 'takes_s')}"
    ),
    "late": lambda f: f"{_count(f['count'], 'obligation')} not kept when due",
    "lost": lambda f: "its worker host was lost; that costs no try",
    "makes-room": lambda f: (
        f"it makes room for {f['taker']} ({_before(f)}): {_length(f, 'lost_s')} of work lost, "
        + ("a wait of unknown length" if f["saved_s"] is None else f"{_length(f, 'saved_s')} of waiting")
        + " saved"
    ),
    "missed": lambda f: f"{_count(f['count'], 'tick')} missed; catch-up is {f['catchup']!r}",
    "nobody-listens": lambda f: f"no pipeline subscribes to the type of event {f['change']}",
    "not-declared": lambda f: f"{f['run']} does not declare that it writes {f['asset']}",
    "not-retried": lambda f: f"{_failure(f)}, which is not retried",
    "not-wanted": lambda f: f"{f['pipeline']} does not subscribe to {f['change']}, or its condition says no",
    "nothing-left": lambda f: "nothing is left for it to do",
    "nothing-owed": lambda f: f"no promise asks for it; such items wait for {_length(f, 'wait_s')}",
    "others-stop": lambda f: f"{', '.join(f['attempts'])} {'stops' if len(f['attempts']) == 1 else 'stop'} for it",
    "out-of-window": lambda f: "its period ended before the window that counts",
    "out-of-reach": lambda f: (
        "what it was made for cannot be kept any more; next it serves "
        + (f"what is due by {f['due']}" if f["due"] else "nothing that can")
    ),
    "overlap-cancel": lambda f: "a newer run takes its place",
    "overlap-skip": lambda f: f"{f['running']} is going on and overlap is 'skip'",
    "overtaken": lambda f: (
        "done, but a run with newer inputs had published before it; its items are run once more"
    ),
    "passed-over": lambda f: f"it waited too long for {_resource(f.get('lacks', ''))}",
    "pipeline-removed": lambda f: "the plan in force has no such pipeline",
    "pools-idle": lambda f: "what it needs stands idle",
    "preempted": lambda f: "it made room; that costs no try",
    "refused": lambda f: f"{f['subscriber']}, to which it delivers in sync, refused or was late",
    "replayed": lambda f: f"replayed {_by(f)}",
    "reported": lambda f: f"reported by {f['by']}",
    "retry": _retry,
    "same-request": lambda f: f"the same request made {f['run']} already",
    "sample-due": lambda f: "a promise asks for a newer sample",
    "source-removed": lambda f: "the plan in force does not subscribe to it any more",
    "sooner-due": lambda f: f"something that it serves is due sooner, by {f['due']}",
    "split-up": lambda f: (
        f"{_count(f['pending'], 'item')} of {_count(f['values'], 'key')} pending and {_LAGS[f['why']]}: "
        f"{_count(f['runs'], 'run')} more at once, the pools have room for {f['room']}"
    ),
    "storm": lambda f: f"more than {_count(f['count'], 'run')} in {_length(f, 'per_s')}",
    "started": lambda f: "its subscriber has started",
    "subscribed": lambda f: f"{_count(f['subscribers'], 'subscriber')}",
    "subscriber-refused": lambda f: f"a sync subscriber did not take item {f['item']}",
    "succeeded": lambda f: "its subscriber has succeeded",
    "sync-subscribers": lambda f: f"{_count(f['items'], 'sync subscriber')} must confirm",
    "task-failed": lambda f: f"task {f['task']}: {_failure(f)}",
    "ticked": lambda f: "it is time",
    "time-to-look": lambda f: f"time to look again{': ' + f['note'] if f.get('note') else ''}",
    "timed-out": lambda f: f"it ran longer than {_length(f, 'timeout_s')}",
    "tries-used-up": lambda f: f"{_failure(f)}, and {_count(f['attempt'], 'attempt')} are used up",
    "unchanged": lambda f: "nothing changed",
    "unheard-of": lambda f: "no source of it was ever heard of, so nothing is owed",
    "unknown-pipeline": lambda f: f"the plan has no pipeline {f['pipeline']!r}",
    "upstream-awaited": lambda f: (
        f"for what is promised for {f['asset']} by {_moment(f, 'due')} "
        f"not all of {f['source']} has come this far yet"
    ),
    "waited-long": lambda f: f"it began to wait {_length(f, 'waited_s')} ago, the longest its class may",
    "writer-ended": lambda f: f"{f['run']} {f['how']} while it wrote",
    "written": lambda f: f"written by {f['run']}",
}


def say(reason: d.Reason) -> str:
    """A reason as a phrase."""
    words = REASONS.get(reason.code)
    return words(reason.figures) if words else reason.code


def sentence(fact: e.AnyEvent | d.AnyDecision) -> str:
    """A fact as one line for people; empty for those that only the machine cares about."""
    match fact:
        case e.PlanDeclared():
            return (
                f"plan {fact.digest[:8]} declared by {fact.by}: {_count(len(fact.content.pipelines), 'pipeline')}"
            )
        case e.EventAccepted():
            return f"event {fact.change.type} {fact.change.id} accepted from {fact.change.source}"
        case e.InputRefused():
            return f"{fact.what} by {fact.by or 'somebody'} is refused: {fact.detail} [{fact.code}]"
        case e.RunRequested():
            return f"{fact.by} asks for a run of {fact.pipeline}"
        case e.CancelRequested():
            return f"{fact.by} cancels {fact.run}" + (f": {fact.reason}" if fact.reason else "")
        case e.RetryRequested():
            return f"{fact.by} retries {fact.run}"
        case e.PauseRequested():
            return f"{fact.by} pauses {fact.pipeline}" + (f": {fact.reason}" if fact.reason else "")
        case e.ResumeRequested():
            return f"{fact.by} resumes {fact.pipeline}"
        case e.ReplayRequested():
            return f"{fact.by} replays {_count(len(fact.changes), 'change')} to {fact.pipeline}"
        case e.DiscardRequested():
            return f"{fact.by} discards {_count(len(fact.items), 'dead letter')}"
        case e.ClockJumped():
            return f"the wall clock was set by {format_duration(fact.by)}; engine time did not move with it"
        case e.HostAppeared():
            return f"worker host {fact.host} is ready"
        case e.HostUnreachable():
            return f"worker host {fact.host} does not answer; its attempts keep their slots"
        case e.HostLost():
            return f"worker host {fact.host} is gone"
        case e.AttemptEnded():
            took = f" in {format_duration(fact.ended - fact.started)}" if fact.started and fact.ended else ""
            if fact.outcome == "succeeded":
                return f"{fact.attempt} succeeded{took}" + (f", but: {fact.detail}" if fact.detail else "")
            return f"{fact.attempt} {_failure(_figures(fact))}{took}"
        case e.AttemptDeferred():
            return f"{fact.attempt} says not yet" + (f": {fact.note}" if fact.note else "")
        case e.CheckpointReached():
            return f"{fact.attempt} reached checkpoint {fact.name}"
        case e.AttemptLost():
            return f"{fact.attempt} is lost: {fact.detail or 'its worker host ended'}"
        case e.CallbackReceived():
            return f"{fact.attempt} was called back"
        case d.Deliver():
            to = ", ".join(dict.fromkeys(item.pipeline for item in fact.items))
            return f"{_change(fact.change)} -> {to}"
        case d.CreateRun():
            return f"{fact.run} waits: {say(fact.reason)}"
        case d.AdmitRun():
            return f"{fact.run} begins: {say(fact.reason)}"
        case d.StartAttempt():
            return f"{fact.attempt} starts" + (f" with {_slots(fact.slots)}" if fact.slots else "")
        case d.PublishAsset():
            label = f" ({fact.label})" if fact.label else ""
            return f"{_place(fact.asset, fact.partition)} version {fact.seq}{label} published by {fact.by}"
        case d.ConfirmAsset():
            return (
                f"{_place(fact.asset, fact.partition)} version {fact.seq} confirmed by {fact.by}: nothing changed"
            )
        case d.RaiseMark():
            return f"{fact.asset} is up to date with more: {say(fact.reason)}"
        case d.Oblige():
            if not fact.marks:
                return f"{fact.asset} owes nothing for its {fact.promise}: {say(fact.reason)}"
            return f"{fact.asset} owes its {fact.promise} by {say_clock(fact.due)}: {say(fact.reason)}"
        case d.MissObligations():
            return f"{fact.asset} missed its {fact.promise}: {say(fact.reason)}"
        case d.FinishRun():
            return f"{fact.run} {fact.phase}: {say(fact.reason)}"
        case d.RetryTask():
            return f"{fact.run}/{fact.task} again: {say(fact.reason)}"
        case d.FailTask():
            return f"{fact.run}/{fact.task} failed: {say(fact.reason)}"
        case d.SkipTask():
            return f"{fact.run}/{fact.task} left out: {say(fact.reason)}"
        case d.StopAttempt():
            return f"{fact.attempt} is stopped: {say(fact.reason)}"
        case d.MarkSuspect():
            return f"{_place(fact.asset, fact.partition)} is suspect: {say(fact.reason)}"
        case d.RefuseReport():
            return f"report of {fact.asset} by {fact.by} refused: {say(fact.reason)}"
        case d.RestSubscription():
            return f"{fact.pipeline} rests: {say(fact.reason)}"
        case d.EndItems():
            how = "become dead letters" if fact.outcome == "dead" else "are skipped"
            return f"{_count(len(fact.items), 'item')} of {fact.pipeline} {how}: {say(fact.reason)}"
        case d.SkipTicks():
            return f"{fact.pipeline}: {say(fact.reason)}"
        case d.RaiseRun():
            return f"{fact.run} moves to the top: {say(fact.reason)}"
        case d.PlaceRun():
            return f"{fact.run} has another place in the queue: {say(fact.reason)}"
        case d.ReserveFor():
            kept = ", ".join(_resource(resource) for resource in fact.resources)
            return f"{kept} is kept for {fact.run}: {say(fact.reason)}"
        case d.KeepRoom():
            kept = ", ".join(_resource(resource) for resource in fact.resources)
            return f"room is made for {fact.run}, {kept} is kept for it: {say(fact.reason)}"
        case d.TripStorm():
            return f"{fact.pipeline} forms no runs until {say_clock(fact.until)}: {say(fact.reason)}"
        case d.CalmStorm():
            held = f"{_count(fact.items, 'item')} in {_count(fact.lanes, 'lane')}"
            return f"{fact.pipeline} forms runs again, {held} were held back: {say(fact.reason)}"
        case d.CancelRun():
            return f"{fact.run} is ended: {say(fact.reason)}"
        case d.AwaitConfirmation():
            return f"{fact.run} waits to be confirmed: {say(fact.reason)}"
        case d.Note():
            return f"nothing done: {say(fact.reason)}"
        case _:
            return ""


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
        text = f"{run.run} has done its work and waits for {_count(len(run.confirming), 'sync subscriber')}."
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
        text = f"{what} waits for {since}: {_count(limit, 'run')} of its lane at once, and {first} is first."
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
            start = state.queue.promised.get(reserved)
            until = f"only who ends by {say_clock(start)} goes around it" if start else "nobody goes around it"
            kept_for = f"What gets free of {_resource(kept_as(resource))} is kept for {reserved[0]}"
            lines.append(f"{kept_for}, which waited too long; {until}.")
        claimed = [name for name, claim in state.queue.claims.items() if resource in claim.resources]
        if claimed and claimed[0] != (run.run, task):
            lines.append(f"What gets free of {_resource(resource)} is kept for {claimed[0][0]}, which goes first.")
    if (run.run, task) in state.queue.claims:
        lines.append("Others make room for it.")
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


def _shortage(state: State, resource: str, amount: int, free: int, holders: Mapping[str, str]) -> str:
    kind, _, name = resource.partition(":")
    held = ", ".join(f"{holder} ({detail})" for holder, detail in list(holders.items())[:5])
    if kind == "pool":
        slots = state.plan.pools[name].slots if name in state.plan.pools else 0
        there = f"pool {name} has {max(free, 0)} of {slots} slots free and it needs {amount}"
        return f"{there}; held by {held or 'nobody'}"
    if kind == "later":
        return f"a later task of it needs {_count(amount, 'slot')} of pool {name}"
    if kind == "rate":
        rate, what = state.rate_of(resource), name.replace(":", " ")
        assert rate is not None, "what is not limited is not waited for"
        span = f"at most {_count(rate.count, 'start')} of {what} in {format_duration(rate.per)}"
        # What is left of it may be kept for somebody for whom others make room.
        full = state.full.get(resource)
        return f"{span}, which are used up until {say_clock(full)}" if full else f"{span}, and the next is kept"
    if kind == "slot":
        pipeline, _, value = name.partition("/")
        most = _count(state.capacity(resource), "run")
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
                found[attempt.attempt] = _count(attempt.slots[name], "slot")
    for run in state.runs.values():
        held = run.holds.get(resource)
        if held:
            how = {"asset": "writes" if held == WHOLE_ASSET else "reads", "slot": "goes on"}
            found[run.run] = how.get(kind, _count(held, "slot"))
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
        return Why("paused", [f"{paused}; {_count(pending, 'item')} pending."], [blocked], "somebody resumes it")
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
    what = f"{pipeline.name}{' [' + named + ']' if named else ''} has {_count(len(lane), 'pending item')}"
    if lane.kept:
        blocked = Blocker("person", "", "their run was cancelled")
        text = f"{what}, kept back because their run was cancelled by a person."
        return Why("pending", [text], [blocked], "a new item arrives or somebody resumes it")
    if lane.rest_until is not None and lane.rest_until > at:
        text = f"{what} and rests until {say_clock(lane.rest_until)} after {_count(lane.failures, 'failed run')}."
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
        text = f"{what}; it is run at {say_clock(moment)} at the latest: {say(reason)}."
        return Why("pending", [text], [Blocker("time", "", say(reason))], "the latest start comes", moment)
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


def describe(source: Source) -> str:
    """A source in words."""
    match source:
        case OnEvent():
            return f"event {source.type}"
        case OnAsset():
            return f"asset {source.asset}"
        case OnState():
            return f"{source.pipeline} {source.state}"
        case OnCheckpoint():
            return f"checkpoint {source.checkpoint} of {source.pipeline}"
        case _:
            return "its clock"


def _figures(ended: e.AttemptEnded) -> Figures:
    detail = ended.detail or (f"exit code {ended.exit_code}" if ended.exit_code else "")
    return {"failure": ended.failure, "detail": detail}


def _change(change: e.Change) -> str:
    kind, _, name = change.subject.partition(":")
    if kind == "tick":
        return f"tick of {name.partition(':')[0]}"
    return f"{kind} {change.id if kind != 'event' else change.type + ' ' + change.id}"


def _place(asset: str, partition: str) -> str:
    return f"{asset}/{partition}" if partition else asset


def _slots(slots: Mapping[str, int]) -> str:
    return ", ".join(f"{amount} {pool}" for pool, amount in slots.items())


def _resource(resource: str) -> str:
    kind, _, name = resource.partition(":")
    words = {"fresh": f"a good version of {name}", "rate": f"the rate of {name.replace(':', ' ')}"}
    return words.get(kind, f"{kind} {name}")


def say_clock(moment: datetime) -> str:
    """A moment as a time of day."""
    return moment.strftime("%H:%M:%S UTC")
