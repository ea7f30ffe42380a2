"""What a fact or a reason says, as a sentence.

A fact carries a code and figures; the sentence is made here, on reading, so that wording may
improve without touching the journal. Every code that a rule uses is in `REASONS`; a test checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.model.quantity import format_duration, format_size
from counterpoint.model.trigger import OnAsset, OnCheckpoint, OnEvent, OnState, Source

Figures = Mapping[str, Any]


def _length(figures: Figures, name: str) -> str:
    return format_duration(timedelta(seconds=float(figures.get(name, 0))))


def _moment(figures: Figures, name: str) -> str:
    """A moment among the figures, which have it as text in a fact that was read back."""
    moment = figures.get(name)
    return say_clock(datetime.fromisoformat(moment)) if moment else "then"


def counted(number: int, noun: str) -> str:
    """`1 item`, `2 items`."""
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
    return f", and {counted(before, 'run')} before it" if before else ""


#: Why a lane lags -> in words.
_LAGS = {
    "more-than-a-batch": "that is more than one run takes",
    "waited": "they have waited longer than their class may",
    "latest-start": "their latest start has passed",
}

#: Code of a reason -> its sentence. Stable names: they stand in the journal.
REASONS: Mapping[str, Callable[[Figures], str]] = {
    "admitted": lambda f: f"it fits, after {_length(f, 'waited_s')}",
    "all-tasks-done": lambda f: f"{counted(f['tasks'], 'task')} done",
    "batch-full": lambda f: f"{counted(f['items'], 'item')}: a full batch does not wait",
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
    "given-up": lambda f: f"given up after {counted(f['failures'], 'failed run')}",
    "hop-limit": lambda f: f"the chain of triggers has {f['hops']} links: a loop",
    "inherited": lambda f: "what it is made of was confirmed, or changed in nothing that it asks for",
    "items-ready": lambda f: f"{counted(f['items'], 'item')} ready",
    "late-already": lambda f: f"what is promised for {f['asset']} is late already",
    "latest-start": lambda f: (
        f"{f['asset']} must have it by {_moment(f, 'due')}, and from here that takes {_length(f, 'takes_s')}"
    ),
    "late": lambda f: f"{counted(f['count'], 'obligation')} not kept when due",
    "lost": lambda f: "its worker host was lost; that costs no try",
    "makes-room": lambda f: (
        f"it makes room for {f['taker']} ({_before(f)}): {_length(f, 'lost_s')} of work lost, "
        + ("a wait of unknown length" if f["saved_s"] is None else f"{_length(f, 'saved_s')} of waiting")
        + " saved"
    ),
    "must-start": lambda f: (
        f"to be in time it must start {'by ' + _moment(f, 'latest') if f['latest'] else 'as soon as it can'}, "
        f"and it lacks {resource_name(f['lacks'])}"
    ),
    "missed": lambda f: f"{counted(f['count'], 'tick')} missed; catch-up is {f['catchup']!r}",
    "nobody-listens": lambda f: f"no pipeline subscribes to the type of event {f['change']}",
    "not-declared": lambda f: f"{f['run']} does not declare that it writes {f['asset']}",
    "not-retried": lambda f: f"{_failure(f)}, which is not retried",
    "not-wanted": lambda f: f"{f['pipeline']} does not subscribe to {f['change']}, or its condition says no",
    "nothing-expected": lambda f: (
        f"{f['asset']} must have it by {_moment(f, 'due')}, and no other change is expected to come with it"
    ),
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
    "passed-over": lambda f: f"it waited too long for {resource_name(f.get('lacks', ''))}",
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
        f"{counted(f['pending'], 'item')} of {counted(f['values'], 'key')} pending and {_LAGS[f['why']]}: "
        f"{counted(f['runs'], 'run')} more at once, the pools have room for {f['room']}"
    ),
    "storm": lambda f: f"more than {counted(f['count'], 'run')} in {_length(f, 'per_s')}",
    "started": lambda f: "its subscriber has started",
    "subscribed": lambda f: f"{counted(f['subscribers'], 'subscriber')}",
    "subscriber-refused": lambda f: f"a sync subscriber did not take item {f['item']}",
    "succeeded": lambda f: "its subscriber has succeeded",
    "sync-subscribers": lambda f: f"{counted(f['items'], 'sync subscriber')} must confirm",
    "task-failed": lambda f: f"task {f['task']}: {_failure(f)}",
    "ticked": lambda f: "it is time",
    "time-to-look": lambda f: f"time to look again{': ' + f['note'] if f.get('note') else ''}",
    "timed-out": lambda f: f"it ran longer than {_length(f, 'timeout_s')}",
    "tries-used-up": lambda f: f"{_failure(f)}, and {counted(f['attempt'], 'attempt')} are used up",
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
                f"plan {fact.digest[:8]} declared by {fact.by}: {counted(len(fact.content.pipelines), 'pipeline')}"
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
            return f"{fact.by} replays {counted(len(fact.changes), 'change')} to {fact.pipeline}"
        case e.DiscardRequested():
            return f"{fact.by} discards {counted(len(fact.items), 'dead letter')}"
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
            return f"{counted(len(fact.items), 'item')} of {fact.pipeline} {how}: {say(fact.reason)}"
        case d.SkipTicks():
            return f"{fact.pipeline}: {say(fact.reason)}"
        case d.RaiseRun():
            return f"{fact.run} moves to the top: {say(fact.reason)}"
        case d.PlaceRun():
            return f"{fact.run} has another place in the queue: {say(fact.reason)}"
        case d.ReserveFor():
            kept = ", ".join(resource_name(resource) for resource in fact.resources)
            return f"{kept} is kept for {fact.run}: {say(fact.reason)}"
        case d.KeepRoom():
            kept = ", ".join(resource_name(resource) for resource in fact.resources)
            return f"room is made for {fact.run}, {kept} is kept for it: {say(fact.reason)}"
        case d.TripStorm():
            return f"{fact.pipeline} forms no runs until {say_clock(fact.until)}: {say(fact.reason)}"
        case d.CalmStorm():
            held = f"{counted(fact.items, 'item')} in {counted(fact.lanes, 'lane')}"
            return f"{fact.pipeline} forms runs again, {held} were held back: {say(fact.reason)}"
        case d.CancelRun():
            return f"{fact.run} is ended: {say(fact.reason)}"
        case d.AwaitConfirmation():
            return f"{fact.run} waits to be confirmed: {say(fact.reason)}"
        case d.Note():
            return f"nothing done: {say(fact.reason)}"
        case _:
            return ""


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


def resource_name(resource: str) -> str:
    """What a resource of the queue is called."""
    kind, _, name = resource.partition(":")
    words = {"fresh": f"a good version of {name}", "rate": f"the rate of {name.replace(':', ' ')}"}
    return words.get(kind, f"{kind} {name}")


def say_clock(moment: datetime) -> str:
    """A moment as a time of day."""
    return moment.strftime("%H:%M:%S UTC")
