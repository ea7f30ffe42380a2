"""How runs go on and end: branches, confirmation, what becomes of their items, rest after failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from counterpoint.kernel.decisions import (
    AnyDecision,
    AwaitConfirmation,
    EndItems,
    FinishRun,
    MarkSuspect,
    Reason,
    RestSubscription,
    SkipTask,
)
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.phases import ENDED_TASK
from counterpoint.kernel.records import Run
from counterpoint.kernel.rules.batching import batch_of
from counterpoint.kernel.rules.delivering import deliver
from counterpoint.kernel.rules.publishing import clash_of, publish_run, publish_tasks
from counterpoint.kernel.rules.stopping import stop
from counterpoint.kernel.state import State, settled
from counterpoint.model.pipeline import Pipeline

#: What becomes of a run's items: `decisions.FinishRun.items_become`.
Fate: TypeAlias = Literal["done", "pending", "kept", "skipped"]


def finish(state: State, event: AnyEvent) -> Iterator[AnyDecision]:
    """Let touched runs go on, publish what is finished, and end those with nothing left to do."""
    while state.touched.runs:
        names, state.touched.runs = state.touched.runs, {}
        for name in names:
            run = state.runs.get(name)
            if run is None:
                continue
            if run.ending:
                yield from _cancel(state, run)
            elif run.phase == "confirming":
                yield from _confirmed(state, run, Reason("confirmed"))
            elif run.phase == "running":
                yield from _go_on(state, run, event)


def _go_on(state: State, run: Run, event: AnyEvent) -> Iterator[AnyDecision]:
    pipeline = state.pipeline_of(run)
    skipped = True
    while skipped:
        skipped = False
        for name, task in run.tasks.items():
            if task.phase == "blocked" and settled(pipeline, run.tasks, name) == "skipped":
                reason = Reason(
                    "branch-not-taken", {"after": [after.task for after in pipeline.tasks[name].after]}
                )
                yield SkipTask(at=state.at, reason=reason, run=run.run, task=name)
                skipped = True
    yield from publish_tasks(state, run, pipeline)
    if any(task.phase not in ENDED_TASK for task in run.tasks.values()):
        return
    failed = unhandled(pipeline, run)
    if failed is not None:
        task = run.tasks[failed]
        figures = {"task": failed, "failure": task.failure, "detail": task.detail}
        yield from end_badly(state, run, "failed", "pending", Reason("task-failed", figures), task.failure)
        return
    reports = [report for task in run.tasks.values() if task.phase == "done" for report in task.reports]
    clash = clash_of(state, run, pipeline, reports)
    if clash is not None:
        yield from end_badly(state, run, "failed", "pending", clash, "conflict")
        return
    yield from publish_run(state, run, pipeline, reports)
    # Now, so that it is known which sync subscribers what was published has.
    yield from deliver(state, event)
    if run.confirming and not run.refused:
        deadline = max(awaited.by for awaited in run.confirming.values())
        items = tuple(run.confirming)
        reason = Reason("sync-subscribers", {"items": len(items)})
        yield AwaitConfirmation(at=state.at, reason=reason, run=run.run, items=items, deadline=deadline)
    else:
        done = sum(task.phase == "done" for task in run.tasks.values())
        yield from _confirmed(state, run, Reason("all-tasks-done", {"tasks": done}))


def _confirmed(state: State, run: Run, reason: Reason) -> Iterator[AnyDecision]:
    """End a run whose work is done, unless a sync subscriber has yet to get to what it published."""
    if run.refused:
        refusal = Reason("refused", {"subscriber": run.refused})
        yield from end_badly(state, run, "failed", "pending", refusal, "refused")
    elif not run.confirming:
        # Of two runs at once the one with the older inputs published last: its items ask for another run,
        # or the asset would stay behind what it is made of.
        become: Fate = "pending" if run.overtaken else "done"
        reason = Reason("overtaken") if run.overtaken else reason
        yield FinishRun(at=state.at, reason=reason, run=run.run, phase="succeeded", items_become=become)


def unhandled(pipeline: Pipeline, run: Run) -> str | None:
    """The first failed task that no task on its `failure` branch has made good; None if there is none."""
    for name, task in run.tasks.items():
        if task.phase != "failed":
            continue
        branches = [
            other.name
            for other in pipeline.tasks.values()
            if any(after.task == name and after.on == "failure" for after in other.after)
        ]
        if not any(run.tasks[branch].phase == "done" for branch in branches):
            return name
    return None


def _cancel(state: State, run: Run) -> Iterator[AnyDecision]:
    reason = Reason("overlap-cancel") if run.ending == "overlap" else Reason("cancelled-by", dict(run.reason))
    for task in run.tasks.values():
        if task.attempt and not state.attempts[task.attempt].stopping:
            yield stop(state, state.attempts[task.attempt], "cancel", reason)
    if any(task.attempt for task in run.tasks.values()):
        return
    backlog = state.backlogs.get(run.of)
    # A waiting run would have taken what is pending, unless its items were set aside for it.
    if run.skip_items and run.automatic and run.phase == "waiting" and backlog and not run.aside:
        yield EndItems(
            at=state.at,
            reason=reason,
            pipeline=run.pipeline,
            partition=run.partition,
            key=run.key,
            items=batch_of(backlog, state.pipeline_of(run).trigger),
            outcome="skipped",
        )
    become: Fate = "pending" if run.ending == "overlap" else "skipped" if run.skip_items else "kept"
    yield from end_badly(state, run, "cancelled", become, reason, "")


def end_badly(
    state: State, run: Run, phase: Literal["failed", "cancelled"], become: Fate, reason: Reason, failure: str
) -> Iterator[AnyDecision]:
    """End a run as failed or cancelled: half-written assets become suspect, a failed subscription rests."""
    pipeline = state.pipeline_of(run)
    if run.admitted is not None and run.phase == "running" and pipeline.write == "in_place":
        for asset in dict.fromkeys(pipeline.written):
            if asset not in run.published:
                why = Reason("writer-ended", {"run": run.run, "how": phase})
                yield MarkSuspect(at=state.at, reason=why, asset=asset, partition=run.partition, by=run.run)
    backlog = state.backlogs.get(run.of)
    failures = (backlog.failures if backlog is not None else 0) + 1
    items = tuple(run.items)
    events = tuple(item.number for item in run.items.values() if item.subject.startswith("event:"))
    yield FinishRun(
        at=state.at,
        reason=reason,
        run=run.run,
        phase=phase,
        items_become=become,
        failure=failure,
    )
    trigger = pipeline.trigger
    if phase != "failed" or not items or trigger is None:
        return
    first, longest = trigger.rearm
    rest = min(first * (1 << min(failures - 1, 20)), longest)
    yield RestSubscription(
        at=state.at,
        reason=Reason("failed-run", {"run": run.run, "failures": failures, "rest_s": rest.total_seconds()}),
        pipeline=run.pipeline,
        partition=run.partition,
        key=run.key,
        failures=failures,
        until=state.at + rest,
    )
    if trigger.give_up is not None and failures >= trigger.give_up and events:
        yield EndItems(
            at=state.at,
            reason=Reason("given-up", {"failures": failures, "run": run.run}),
            pipeline=run.pipeline,
            partition=run.partition,
            key=run.key,
            items=events,
            outcome="dead",
        )
