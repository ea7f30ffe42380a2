"""Schedulers to compare with, in plain Python: they know nothing of the kernel and share no code with it.

All times are seconds from the beginning of a log. A job is never interrupted here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush


@dataclass(frozen=True)
class Job:
    """A rigid job: it needs `slots` of one pool at once for `duration`.

    Attributes:
        estimate: how long its owner said it would take; None is unknown.
        high: whether it belongs to the class that goes first.
        after: jobs that must have ended before it may start.
        template: what it is an instance of; the references do not look at it.
    """

    id: str
    arrival: float
    duration: float
    slots: int = 1
    estimate: float | None = None
    high: bool = False
    after: tuple[str, ...] = ()
    template: str = ""


def first_come(jobs: Iterable[Job], slots: int) -> dict[str, float]:
    """Strict first come, first served: nobody starts before everybody who came before has started.

    Returns:
        Job -> start.
    """
    starts: dict[str, float] = {}
    running: list[tuple[float, int]] = []
    free, now = slots, 0.0
    for job in sorted(jobs, key=lambda job: job.arrival):
        now = max(now, job.arrival)
        while running and running[0][0] <= now:
            free += heappop(running)[1]
        while free < job.slots:
            now, given = heappop(running)
            free += given
        starts[job.id] = now
        free -= job.slots
        heappush(running, (now + job.duration, job.slots))
    return starts


def strict_priority(jobs: Iterable[Job], slots: int) -> dict[str, float]:
    """The high class first, each class first come, first served; nothing passes a head that does not fit.

    Returns:
        Job -> start.
    """

    def start(queue: list[Job], free: int, now: float, running: Sequence[tuple[float, Job]]) -> list[Job]:
        chosen = []
        for job in sorted(queue, key=lambda job: not job.high):
            if job.slots > free:
                break
            free -= job.slots
            chosen.append(job)
        return chosen

    return _play(jobs, slots, start)


def easy(jobs: Iterable[Job], slots: int) -> dict[str, float]:
    """EASY backfilling (Lifka 1995): first come, first served, and the head that does not fit has a reservation.

    The reservation is at the first moment at which, by the estimates, enough slots are free for
    the head. Jobs behind it may start now, in order of arrival, if they end before that moment by
    their own estimate, or if they use no more than what the head leaves free at that moment.

    Returns:
        Job -> start.
    """

    def start(queue: list[Job], free: int, now: float, running: Sequence[tuple[float, Job]]) -> list[Job]:
        chosen: list[Job] = []
        waiting = list(queue)
        while waiting and waiting[0].slots <= free:
            free -= waiting[0].slots
            chosen.append(waiting.pop(0))
        if not waiting:
            return chosen
        going_on = [(begun + _estimate(job), job.slots) for begun, job in running]
        going_on += [(now + _estimate(job), job.slots) for job in chosen]
        shadow, at_shadow = now, free
        for end, given in sorted(going_on):
            shadow, at_shadow = max(end, now), at_shadow + given
            if at_shadow >= waiting[0].slots:
                break
        extra = at_shadow - waiting[0].slots
        for job in waiting[1:]:
            if job.slots > free:
                continue
            if now + _estimate(job) <= shadow:
                free -= job.slots
                chosen.append(job)
            elif job.slots <= extra:
                free -= job.slots
                extra -= job.slots
                chosen.append(job)
        return chosen

    return _play(jobs, slots, start)


def _estimate(job: Job) -> float:
    return job.duration if job.estimate is None else job.estimate


def _play(
    jobs: Iterable[Job],
    slots: int,
    start: Callable[[list[Job], int, float, Sequence[tuple[float, Job]]], list[Job]],
) -> dict[str, float]:
    """Jobs in order of arrival; at each arrival and each end `start` says which of the queue start now."""
    coming = sorted(jobs, key=lambda job: job.arrival)
    starts: dict[str, float] = {}
    queue: list[Job] = []
    ends: list[tuple[float, int]] = []
    running: dict[int, tuple[float, Job]] = {}
    free, arrived, number = slots, 0, 0
    while arrived < len(coming) or ends:
        now = min(
            coming[arrived].arrival if arrived < len(coming) else float("inf"),
            ends[0][0] if ends else float("inf"),
        )
        while ends and ends[0][0] <= now:
            free += running.pop(heappop(ends)[1])[1].slots
        while arrived < len(coming) and coming[arrived].arrival <= now:
            queue.append(coming[arrived])
            arrived += 1
        for job in start(queue, free, now, list(running.values())) if queue else ():
            queue.remove(job)
            starts[job.id] = now
            free -= job.slots
            number += 1
            running[number] = (now, job)
            heappush(ends, (now + job.duration, number))
    return starts


def longest_paths(jobs: Sequence[Job]) -> dict[str, float]:
    """Job -> length of the longest path from its start to the end of everything, its own duration included.

    Raises:
        ValueError: a job comes after one that is not there, or after itself.
    """
    by_id = {job.id: job for job in jobs}
    behind: dict[str, list[str]] = {job.id: [] for job in jobs}
    for job in jobs:
        for before in job.after:
            if before not in by_id:
                raise ValueError(f"job {job.id} comes after {before}, which is not there")
            behind[before].append(job.id)
    left = {job.id: len(behind[job.id]) for job in jobs}
    ready = [job.id for job in jobs if not left[job.id]]
    found: dict[str, float] = {}
    while ready:
        name = ready.pop()
        found[name] = by_id[name].duration + max((found[other] for other in behind[name]), default=0.0)
        for before in by_id[name].after:
            left[before] -= 1
            if not left[before]:
                ready.append(before)
    if len(found) < len(jobs):
        raise ValueError("the order of the jobs has a cycle")
    return found


def critical_path_list(
    jobs: Sequence[Job], slots: int, *, expected: Mapping[str, float] | None = None
) -> dict[str, float]:
    """List scheduling of a DAG, the longest way to the end first; whatever is ready takes a free slot.

    Args:
        expected: job -> how long it is thought to take, which the ways go by; None is what it does take.

    Returns:
        Job -> start.
    """
    thought = jobs if expected is None else [replace(job, duration=expected[job.id]) for job in jobs]
    paths = longest_paths(thought)
    by_id = {job.id: job for job in jobs}
    behind: dict[str, list[str]] = {job.id: [] for job in jobs}
    for job in jobs:
        for before in job.after:
            behind[before].append(job.id)
    order = {job.id: number for number, job in enumerate(jobs)}
    missing = {job.id: len(job.after) for job in jobs}
    ready: list[tuple[float, int, str]] = []
    for job in jobs:
        if not missing[job.id]:
            heappush(ready, (-paths[job.id], order[job.id], job.id))
    starts: dict[str, float] = {}
    running: list[tuple[float, int, str]] = []
    free, now = slots, 0.0
    while ready or running:
        while ready and free:
            name = heappop(ready)[2]
            starts[name] = now
            free -= 1
            heappush(running, (now + by_id[name].duration, order[name], name))
        now = running[0][0]
        while running and running[0][0] <= now:
            name = heappop(running)[2]
            free += 1
            for other in behind[name]:
                missing[other] -= 1
                if not missing[other]:
                    heappush(ready, (-paths[other], order[other], other))
    return starts


@dataclass(frozen=True)
class Bounds:
    """What no schedule of a workflow beats (`lower`), and what no list schedule exceeds (`graham`), in seconds."""

    path: float
    work: float
    slots: int

    @property
    def lower(self) -> float:
        """The longest path, or all work evenly on all slots."""
        return max(self.path, self.work / self.slots)

    @property
    def graham(self) -> float:
        """Graham (1969): work / m + (1 - 1/m) * longest path; at most (2 - 1/m) times the lower bound."""
        return self.work / self.slots + (1 - 1 / self.slots) * self.path


def bounds(jobs: Sequence[Job], slots: int) -> Bounds:
    """The bounds of the makespan of a workflow of jobs of one slot each."""
    return Bounds(max(longest_paths(jobs).values()), sum(job.duration for job in jobs), slots)


def order_violations(jobs: Iterable[Job], starts: Mapping[str, float], ends: Mapping[str, float]) -> list[str]:
    """Pairs `BEFORE -> AFTER` of which the second started before the first had ended, by over a microsecond."""
    return [
        f"{before} -> {job.id}" for job in jobs for before in job.after if starts[job.id] < ends[before] - 1e-6
    ]


def oversold(jobs: Iterable[Job], starts: Mapping[str, float], ends: Mapping[str, float], slots: int) -> float:
    """The first moment at which jobs without a break hold more than there is; infinity if there is none."""
    changes = []
    for job in jobs:
        changes += [(starts[job.id], job.slots), (ends[job.id], -job.slots)]
    held = 0
    for at, amount in sorted(changes):
        held += amount
        if held > slots:
            return at
    return float("inf")
