"""The life of a run and of a task, as tables; what is not in them cannot happen.

A test checks that every phase is reachable and that only ended phases have no way out.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Run: from a phase -> the phases that may follow.
RUN: Mapping[str, frozenset[str]] = {
    # To cancelled without running: cancelled in the queue, or nothing was left to do.
    "waiting": frozenset({"running", "cancelled"}),
    "running": frozenset({"confirming", "succeeded", "failed", "cancelled"}),
    # The work is done and published; sync subscribers have not got there yet.
    "confirming": frozenset({"succeeded", "failed", "cancelled"}),
    "succeeded": frozenset(),
    # A person may retry: the same run goes on from its failed tasks.
    "failed": frozenset({"waiting"}),
    "cancelled": frozenset({"waiting"}),
}

#: Task of a run: from a phase -> the phases that may follow.
TASK: Mapping[str, frozenset[str]] = {
    "blocked": frozenset({"ready", "skipped"}),
    "ready": frozenset({"running", "skipped"}),
    # To resting: failed with tries left. To ready: preempted or lost, which cost no try.
    "running": frozenset({"done", "failed", "resting", "ready", "skipped"}),
    "resting": frozenset({"ready", "skipped"}),
    "done": frozenset(),
    "failed": frozenset({"blocked"}),
    "skipped": frozenset({"blocked"}),
}

ENDED_RUN = frozenset({"succeeded", "failed", "cancelled"})
ENDED_TASK = frozenset({"done", "failed", "skipped"})


def check(life: Mapping[str, frozenset[str]], before: str, after: str) -> None:
    """Refuse a step that the table does not have: it would be a bug in the kernel."""
    if after not in life[before]:
        raise AssertionError(f"a phase {after!r} cannot follow {before!r}")
