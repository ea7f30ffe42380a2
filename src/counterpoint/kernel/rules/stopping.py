"""Stopping an attempt: by a signal to its processes, or by telling the remote side of a deferred one."""

from __future__ import annotations

from typing import Literal

from counterpoint.kernel.decisions import Reason, StopAttempt
from counterpoint.kernel.records import Attempt
from counterpoint.kernel.state import State


def stop(
    state: State, attempt: Attempt, why: Literal["timeout", "cancel", "preempt"], reason: Reason
) -> StopAttempt:
    """The decision that asks an attempt to stop; it holds its slots until it has certainly ended."""
    task = state.task_of(state.runs[attempt.run], attempt.task)
    return StopAttempt(
        at=state.at,
        reason=reason,
        attempt=attempt.attempt,
        why=why,
        grace_s=task.grace.total_seconds(),
        look=attempt.look + 1 if attempt.deferred else None,
        host=state.host() or attempt.host if attempt.deferred else attempt.host,
    )
