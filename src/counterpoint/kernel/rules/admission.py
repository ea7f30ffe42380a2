"""Who starts now: the queue in its order, whatever fits; a request is granted whole or not at all.

A request that does not fit lets others go around it, the shortest first, until it has waited as
long as its class may. Then it is at the top, and what gets free of the things it needs is kept
for it: others go around it only where they are expected to end before it can start, or take what
it will leave over. For a run that must be in time and needs several slots at once things are kept
from the beginning, but others may go around it until its latest start. Tasks of runs that are
admitted already are never held back by that: they must end for anything to get free, so holding
them back could block both sides for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

from counterpoint.kernel.decisions import AdmitRun, AnyDecision, FinishRun, Pin, Reason, ReserveFor, StartAttempt
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.lengths import task_due
from counterpoint.kernel.outlook import Outlook, reserved_start, wanted_start
from counterpoint.kernel.records import Run
from counterpoint.kernel.requests import Request, kept_as
from counterpoint.kernel.rules.batching import batch_of, has_cause, is_partial
from counterpoint.kernel.rules.reflecting import as_pinned
from counterpoint.kernel.shares import has_enough, is_kept_short
from counterpoint.kernel.state import RANKS, State, first_task
from counterpoint.model.trace import derive_trace

#: Resources of which nothing is kept for anybody, and for which nothing else is kept.
NOT_KEPT = ("fresh:", "rate:", "slot:", "later:")


def admit(state: State, event: AnyEvent) -> Iterator[AnyDecision]:
    """Start what fits, in queue order."""
    if not state.touched.admission:
        return
    state.touched.admission = False
    host = state.host()
    if not host:
        return
    state.touched.preemption = True
    for claimant in state.queue.claimants():
        if fits_claim(state, claimant):
            yield from _grant(state, claimant, host)
    outlook = Outlook(state)
    state.queue.begin()
    if state.plan.teams:
        # A team that is below its share for this moment only: what it waited for longest has its turn.
        yield from _reserve(state, late_only=True)
    while True:
        # Before the next one goes: when the one that something was kept for has started, the next in line
        # has its turn, or what is left would go to whoever fits and put that one off once more.
        yield from _reserve(state)
        request = state.queue.next(outlook)
        if request is None:
            return
        yield from _grant(state, request, host)


def fits_claim(state: State, request: Request) -> bool:
    """Whether a request for which others made room has all it needs now."""
    claimed = state.queue.claimed
    return all(state.unused(name) - claimed(name, before=request) >= amount for name, amount in request.needs)


def _grant(state: State, request: Request, host: str) -> Iterator[AnyDecision]:
    if request.task:
        yield start(state, state.runs[request.run], request.task, host)
    else:
        yield from _admit_run(state, state.runs[request.run], host)


def lacks(state: State, request: Request) -> str | None:
    """The first resource of which there is too little for a request; None if it fits.

    What is kept for others, and what a target keeps free, is not there for it.
    """
    outlook = Outlook(state)
    has_slack = not request.admitted and request.key[0] != RANKS["top"] and outlook.is_slack(request)
    for resource, amount in request.needs:
        if state.free(resource) < amount + (outlook.margin(resource) if has_slack else 0):
            return resource
        if state.queue.is_kept_from(resource, request, outlook):
            return resource
    return None


def start(state: State, run: Run, task: str, host: str) -> StartAttempt:
    """The decision that starts a task's next attempt; its slots are taken with it."""
    pipeline, current = state.pipeline_of(run), run.tasks[task]
    declared = pipeline.tasks[task]
    number = current.number + 1
    waited: timedelta = state.at - (run.admitted or run.created)
    return StartAttempt(
        at=state.at,
        reason=Reason("admitted", {"waited_s": round(waited.total_seconds(), 3)}),
        attempt=f"{run.run}/{task}/{number}",
        run=run.run,
        task=task,
        number=number,
        host=host,
        slots=state.slots_of(run, task) if pipeline.hold == "attempt" else {},
        memory=current.memory or declared.memory,
        deadline=state.at + declared.timeout if declared.timeout else None,
    )


def _admit_run(state: State, run: Run, host: str) -> Iterator[AnyDecision]:
    pipeline, backlog = state.pipeline_of(run), state.backlogs.get(run.of)
    items = run.aside or (batch_of(backlog, pipeline.trigger) if backlog else ())
    trigger, timezone = pipeline.trigger, state.plan.timezone
    is_caused = backlog is not None and trigger is not None and has_cause(backlog, trigger, timezone, state.at)
    if run.automatic and not run.aside and not is_caused:
        # A run that somebody asked for has taken its items, or what its trigger asks for changed.
        reason = Reason("nothing-left")
        yield FinishRun(at=state.at, reason=reason, run=run.run, phase="cancelled", items_become="pending")
        return
    taken = list(run.items.values()) or [backlog.item(number) for number in items if backlog]
    held = ("asset", "slot") if pipeline.hold == "attempt" else ("asset", "slot", "pool")
    needs = state.request_shape(run, "")[0]
    yield AdmitRun(
        at=state.at,
        reason=Reason("fits", {"waited_s": round((state.at - run.created).total_seconds(), 3)}),
        run=run.run,
        items=items,
        pins=tuple(_pin(state, run, asset) for asset in pipeline.reads),
        holds={name: amount for name, amount in needs if name.partition(":")[0] in held},
        partial=run.automatic and is_partial(state, trigger, taken),
        hops=max((item.hops for item in taken), default=0) + 1,
        trace=run.trace or next((item.trace for item in taken if item.trace), "") or _own_trace(state, run),
    )
    yield start(state, run, _first(state, run), host)


def _first(state: State, run: Run) -> str:
    """The task that admission starts: the most urgent of those that ask for what was asked for with the run."""
    pipeline = state.pipeline_of(run)
    first = first_task(run, pipeline)
    if len(run.tasks) == 1:
        return first
    asked = state.slots_of(run, first)
    ready = [name for name in pipeline.tasks if run.tasks[name].phase == "ready"]
    if len(ready) == 1:
        return first
    return min(
        (name for name in ready if state.slots_of(run, name) == asked), key=lambda name: task_due(state, run, name)
    )


def _own_trace(state: State, run: Run) -> str:
    return derive_trace(f"{state.plan.name}/{run.run}@{run.created.isoformat()}")


def _pin(state: State, run: Run, asset: str) -> Pin:
    """The version a run reads: of its own partition where there is one, else of the whole asset."""
    version = state.asset(asset, run.partition)
    if not version.seq and run.partition:
        version = state.asset(asset, "")
    reflects, edition = as_pinned(state, run.pipeline, asset)
    return Pin(
        asset=asset,
        partition=version.partition,
        seq=version.seq,
        label=version.label,
        metadata=version.metadata,
        suspect=version.suspect,
        reflects=reflects,
        edition=edition,
    )


def _reserve(state: State, *, late_only: bool = False) -> Iterator[AnyDecision]:
    """Keep what gets free for the requests that have waited too long: one at a time for each resource."""
    is_out = partial(is_kept_short, state, Outlook(state)) if state.plan.teams else None
    while (request := state.queue.next_late(is_out)) is not None:
        if late_only and lacks(state, request) is None:
            return
        is_backfill = request.place[0][4]
        suspect = next((r for r, n in request.needs if r.startswith(NOT_KEPT) and state.free(r) < n), None)
        if suspect is not None or any(amount > state.capacity(resource) for resource, amount in request.needs):
            # It cannot start whatever gets free, so it must not keep anything from those that can:
            # a reader of a suspect asset would lock out the writer it waits for, and what waits for a
            # rate would keep slots idle.
            state.queue.set_aside(request, suspect)
            continue
        pools = request.place[0][0] if is_backfill else ()
        full = next((pool for pool, slots in pools if has_enough(state, pool, slots)), None)
        if full is not None:
            # Old backfills have their part of this pool; the next of them has its turn when one of those ends.
            state.queue.set_aside(request, full)
            continue
        resources = tuple(resource for resource, _ in request.needs if not resource.startswith(NOT_KEPT))
        if state.queue.is_taken(resources, request):
            return
        lacking = lacks(state, request)
        if lacking is None:
            return
        if lacking.startswith(NOT_KEPT):
            # It waits for what is kept for another; nothing that gets free would help it.
            state.queue.set_aside(request, kept_as(lacking))
            continue
        yield ReserveFor(
            at=state.at,
            reason=_why_kept(state, request, lacking),
            run=request.run,
            task=request.task,
            resources=resources,
            start=reserved_start(state, request),
        )


def _why_kept(state: State, request: Request, lacking: str) -> Reason:
    if state.runs[request.run].rank == RANKS["top"]:
        return Reason("passed-over", {"lacks": lacking})
    latest = wanted_start(state, request)
    return Reason("must-start", {"lacks": lacking, "latest": latest.isoformat() if latest is not None else ""})
