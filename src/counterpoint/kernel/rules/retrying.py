"""After an attempt that did not succeed: another one, when, and with how much; or the task has failed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from counterpoint.kernel.decisions import AnyDecision, FailTask, Reason, RetryTask
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.records import Run, TaskState
from counterpoint.kernel.state import State
from counterpoint.model.pipeline import Retry, Task

#: So many attempts lost in a row, and the task fails: it may be what kills its host.
MOST_LOST = 3


def retry(state: State, event: AnyEvent) -> Iterator[AnyDecision]:
    """Decide on the tasks of touched runs whose attempt ended badly."""
    for name in list(state.touched.runs):
        run = state.runs.get(name)
        if run is None or run.ending:
            continue
        for task_name, task in run.tasks.items():
            if task.phase == "running" and not task.attempt and task.failure:
                yield _decide(state, run, task_name, task)


def _decide(state: State, run: Run, name: str, task: TaskState) -> RetryTask | FailTask:
    declared = state.task_of(run, name)
    figures = {"failure": task.failure, "attempt": task.number, "detail": task.detail}
    if task.failure == "lost" and task.lost + 1 < MOST_LOST:
        return RetryTask(at=state.at, reason=Reason("lost", figures), run=run.run, task=name, not_before=state.at)
    if task.failure == "preempted":
        return RetryTask(at=state.at, reason=Reason("preempted"), run=run.run, task=name, not_before=state.at)
    refused = why_not(declared.retry, task)
    if refused is not None or task.failure in ("lost", "cancelled"):
        code = refused or "not-retried"
        return FailTask(at=state.at, reason=Reason(code, figures), run=run.run, task=name, failure=task.failure)
    pause = backoff(declared.retry, task.tries + 1)
    memory, slots = _more(declared, task)
    figures |= {"of": declared.retry.attempts, "in_s": pause.total_seconds()}
    if memory is not None:
        figures["memory_bytes"] = memory
    return RetryTask(
        at=state.at,
        reason=Reason("retry", figures),
        run=run.run,
        task=name,
        not_before=state.at + pause,
        memory=memory,
        slots=slots,
    )


def why_not(policy: Retry, task: TaskState) -> str | None:
    """Why a failure is not retried, as the code of a reason; None if it is."""
    is_one_of = {task.failure, task.result.get("exit_code")}
    if policy.never and is_one_of.intersection(policy.never):
        return "not-retried"
    if policy.only and not is_one_of.intersection(policy.only):
        return "not-retried"
    if task.tries + 1 >= policy.attempts:
        return "tries-used-up" if policy.attempts > 1 else "failed"
    return None


def backoff(policy: Retry, tries: int) -> timedelta:
    """The wait after so many tries: `first * 2^(tries - 1)`, at most the longest."""
    first, longest = policy.backoff
    # 2^20 times anything is above any longest wait that makes sense, and does not overflow.
    return min(first * (1 << min(tries - 1, 20)), longest)


def _more(declared: Task, task: TaskState) -> tuple[int | None, dict[str, int] | None]:
    """What the next attempt asks for after one that ran out of memory: (bytes, slots)."""
    growth = declared.retry.out_of_memory
    if task.failure != "out-of-memory" or growth is None:
        return None, None
    limit = task.memory or declared.memory
    memory = int(limit * growth.factor) if limit else None
    if memory is not None and growth.up_to is not None:
        memory = min(memory, growth.up_to)
    slots = {**(task.slots or declared.pools), **growth.pools} if growth.pools else None
    return memory, slots
