"""Jobs: work that arrives at known times and takes known times, played through the kernel.

Jobs that wait for each other are one run of a pipeline with as many tasks; any other job is a run of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from counterpoint.errors import Mistake
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.model.pipeline import After, Pipeline, Task
from counterpoint.model.plan import DEFAULT_WAITS, Plan, Pool
from counterpoint.model.promise import Expected, Preempt
from counterpoint.sim.agenda import ARRIVES
from counterpoint.sim.learning import Learning
from counterpoint.sim.stage import START, Stage, quiet_collector
from counterpoint.sim.work import ZERO, Floor, Going, Work

PriorityClass: TypeAlias = Literal["urgent", "normal", "bulk"]
Policy: TypeAlias = Literal["promise", "priority", "fifo"]

#: The task that keeps a run of several jobs waiting until one of them arrives.
_ARRIVAL = "arrival of "
#: Concurrency must not hold back jobs.
_MANY = 1 << 30


class Job(Struct, frozen=True, kw_only=True):
    """Something to do.

    Attributes:
        id: its own name, as text; need not be unique unless another job is `after` it.
        arrival_s, deadline_s: seconds from the trace's start.
        duration_s: how long it takes; the scheduler is not told.
        slots: pool -> slots that it holds while it runs.
        estimate_s: how long it is expected to take; the scheduler is told.
        after: ids of jobs that must have ended before.
        preempt: it may be asked to make room; None is never.
        checkpoint_s: useful work between two checkpoints, of which the last is kept when it makes room.
        restart_s: what it needs each time before it goes on.
        template: jobs of one template, size, class and rule of preemption are runs of one pipeline, so that how
            long some took tells something of the others; no part of how they are played.
    """

    id: str
    arrival_s: float
    duration_s: float
    slots: Mapping[str, int]
    priority_class: str = "normal"
    estimate_s: float | None = None
    deadline_s: float | None = None
    after: tuple[str, ...] = ()
    preempt: Preempt | None = None
    checkpoint_s: float | None = None
    restart_s: float = 0.0
    template: str = ""


class Ended(Struct, frozen=True, kw_only=True):
    """What became of a job: seconds from the trace's start; `start_s` is its first start, `end_s` its last end."""

    id: str
    arrival_s: float
    start_s: float
    end_s: float
    slots: dict[str, int] = field(default_factory=dict)
    evictions: int = 0


def play_jobs(
    jobs: Sequence[Job],
    pools: Mapping[str, int],
    *,
    policy: str = "promise",
    waits: Mapping[str, timedelta] | None = None,
    learned: bool = True,
    watch: Callable[[int], None] | None = None,
) -> list[Ended]:
    """Play jobs through the kernel.

    Args:
        pools: pool -> slots. No job may ask for more than there is.
        policy: `promise`, `priority` or `fifo`, as in `model.plan.Plan`.
        waits: longest waits by class; the usual ones unless given.
        learned: the kernel is told how long jobs of one pipeline took (one template, size, class and rule of
            preemption).
        watch: told, now and then, how many jobs have ended.

    Returns:
        What became of each job, in the order of `jobs`.

    Raises:
        Mistake: a job asks for more than its pool has, or for a job that is not there; jobs wait in a circle.
    """
    play = _Play(jobs, pools, policy=policy, waits=waits, learned=learned, watch=watch)
    with quiet_collector():
        return play.to_the_end()


class _Play:
    def __init__(
        self,
        jobs: Sequence[Job],
        pools: Mapping[str, int],
        *,
        policy: str,
        waits: Mapping[str, timedelta] | None,
        learned: bool,
        watch: Callable[[int], None] | None,
    ) -> None:
        _check(jobs, pools)
        self._jobs, self._watch = jobs, watch
        self._groups = _groups(jobs)
        pipelines, self._pipeline_of = _pipelines(jobs, self._groups)
        plan = Plan(
            name="trace",
            pools={name: Pool(slots) for name, slots in pools.items()},
            pipelines=pipelines,
            waits=DEFAULT_WAITS | dict(waits or {}),
            policy=_policy(policy),
        )
        self._stage = Stage(plan)
        floor = Floor(self._stage, self._work_for)
        floor.watchers.append(self._attempt_ended)
        if learned:
            Learning(self._stage, floor)
        self._stage.on(d.CreateRun, self._created)
        self._stage.on(d.FinishRun, self._finished)
        self._work = [
            Work(
                length=_span(job.duration_s),
                checkpoint=_span(job.checkpoint_s) if job.checkpoint_s and job.preempt else None,
                restart=_span(job.restart_s),
            )
            for job in jobs
        ]
        self._started: list[datetime | None] = [None] * len(jobs)
        self._ended: list[datetime | None] = [None] * len(jobs)
        #: Run -> its group of jobs.
        self._of_run: dict[str, int] = {}
        self._left = len(self._groups)
        self._jobs_ended = 0

    def to_the_end(self) -> list[Ended]:
        stage = self._stage
        stage.raise_curtain()
        arrivals = [min(_moment(self._jobs[number].arrival_s) for number in group) for group in self._groups]
        for number in sorted(range(len(self._groups)), key=lambda number: arrivals[number]):
            stage.agenda.note(arrivals[number], ARRIVES, self._arrive, number)
        stage.play(rest=lambda: not self._left)
        return [self._ended_job(number) for number in range(len(self._jobs))]

    def _ended_job(self, number: int) -> Ended:
        job, start, end = self._jobs[number], self._started[number], self._ended[number]
        assert start is not None and end is not None, f"the job {job.id!r} was never run to its end"
        return Ended(
            id=job.id,
            arrival_s=job.arrival_s,
            start_s=(start - START).total_seconds(),
            end_s=(end - START).total_seconds(),
            slots=dict(job.slots),
            evictions=self._work[number].stops,
        )

    def _arrive(self, number: int) -> None:
        stage, group = self._stage, self._groups[number]
        job = self._jobs[group[0]]
        deadlines = [each.deadline_s for each in map(self._jobs.__getitem__, group) if each.deadline_s is not None]
        stage.take(
            e.RunRequested(
                at=stage.now,
                wall=stage.now,
                pipeline=self._pipeline_of[number],
                by="trace",
                key=str(number),
                takes_s=job.estimate_s if len(group) == 1 else None,
                deadline=_moment(max(deadlines)) if deadlines else None,
            )
        )

    def _created(self, decision: d.CreateRun) -> None:
        self._of_run[decision.run] = int(decision.key)

    def _finished(self, decision: d.FinishRun) -> None:
        del self._of_run[decision.run]
        self._left -= 1

    def _work_for(self, decision: d.StartAttempt) -> Work:
        group = self._groups[self._of_run[decision.run]]
        if decision.task.startswith(_ARRIVAL):
            number = group[int(decision.task.removeprefix(_ARRIVAL))]
            return Work(length=_moment(self._jobs[number].arrival_s) - self._stage.now)
        number = group[int(decision.task)]
        if self._started[number] is None:
            self._started[number] = self._stage.now
        return self._work[number]

    def _attempt_ended(self, going: Going, how: str, lost_s: float) -> None:
        if how != "succeeded" or going.task.startswith(_ARRIVAL):
            return
        group = self._groups[self._of_run[going.run]]
        self._ended[group[int(going.task)]] = self._stage.now
        self._jobs_ended += 1
        if self._watch is not None and not self._jobs_ended % 1000:
            self._watch(self._jobs_ended)


def _moment(seconds: float) -> datetime:
    return START + timedelta(microseconds=round(seconds * 1e6))


def _span(seconds: float | None) -> timedelta:
    return timedelta(microseconds=round(seconds * 1e6)) if seconds else ZERO


def _policy(name: str) -> Policy:
    match name:
        case "promise" | "priority" | "fifo":
            return name
    raise Mistake(f"a policy is promise, priority or fifo, not {name!r}", code="unknown-name")


def _check(jobs: Sequence[Job], pools: Mapping[str, int]) -> None:
    for job in jobs:
        for pool, slots in job.slots.items():
            if pool not in pools:
                raise Mistake(
                    f"the job {job.id!r} needs the pool {pool!r}, which is not there", code="unknown-name"
                )
            if slots > pools[pool]:
                raise Mistake(
                    f"the job {job.id!r} needs {slots} slots of {pool!r}, which has {pools[pool]}",
                    code="wrong-value",
                )


def _groups(jobs: Sequence[Job]) -> list[list[int]]:
    """Jobs that hang together, each group in an order that respects `after`."""
    if not any(job.after for job in jobs):
        return [[number] for number in range(len(jobs))]
    place = {job.id: number for number, job in enumerate(jobs)}
    before: list[list[int]] = []
    for job in jobs:
        missing = [other for other in job.after if other not in place]
        if missing:
            raise Mistake(f"the job {job.id!r} is after {missing[0]!r}, which is not there", code="unknown-name")
        before.append([place[other] for other in dict.fromkeys(job.after)])
    behind: list[list[int]] = [[] for _ in jobs]
    for number, others in enumerate(before):
        for other in others:
            behind[other].append(number)
    groups, seen = [], [False] * len(jobs)
    for first in range(len(jobs)):
        if seen[first]:
            continue
        seen[first], group, to_look_at = True, [], [first]
        while to_look_at:
            number = to_look_at.pop()
            group.append(number)
            for other in (*before[number], *behind[number]):
                if not seen[other]:
                    seen[other] = True
                    to_look_at.append(other)
        groups.append(_in_order(sorted(group), before, behind, jobs))
    return groups


def _in_order(
    group: list[int], before: list[list[int]], behind: list[list[int]], jobs: Sequence[Job]
) -> list[int]:
    waits_for = {number: len(before[number]) for number in group}
    ready, ordered = deque(number for number in group if not waits_for[number]), list[int]()
    while ready:
        number = ready.popleft()
        ordered.append(number)
        for other in behind[number]:
            waits_for[other] -= 1
            if not waits_for[other]:
                ready.append(other)
    if len(ordered) < len(group):
        names = ", ".join(jobs[number].id for number in group if waits_for[number])
        raise Mistake(f"these jobs wait for each other in a circle: {names}", code="cycle")
    return ordered


def _pipelines(jobs: Sequence[Job], groups: Sequence[Sequence[int]]) -> tuple[dict[str, Pipeline], list[str]]:
    """A pipeline for each kind of job and each group of several; and which one each group is a run of."""
    pipelines: dict[str, Pipeline] = {}
    of_group: list[str] = []
    kinds: dict[Any, str] = {}
    for number, group in enumerate(groups):
        if len(group) > 1:
            name = f"workflow-{number}"
            pipelines[name] = _workflow(name, [jobs[place] for place in group])
        else:
            job = jobs[group[0]]
            kind = (tuple(sorted(job.slots.items())), job.priority_class, job.preempt, job.template)
            name = kinds.get(kind, "")
            if not name:
                held = "-".join(f"{slots}-{pool}" for pool, slots in sorted(job.slots.items()))
                name = kinds[kind] = f"{job.priority_class}-{held}-{len(kinds)}"
                task = Task(name="0", tool="command", spec={}, pools=dict(job.slots))
                pipelines[name] = _pipeline(name, {"0": task}, job)
        of_group.append(name)
    return pipelines, of_group


def _workflow(name: str, jobs: Sequence[Job]) -> Pipeline:
    kinds = {(job.priority_class, job.preempt) for job in jobs}
    if len(kinds) > 1:
        raise Mistake(
            "jobs that wait for each other must have one class and one rule of preemption", code="wrong-value"
        )
    place = {job.id: str(number) for number, job in enumerate(jobs)}
    first = min(job.arrival_s for job in jobs)
    tasks: dict[str, Task] = {}
    for number, job in enumerate(jobs):
        after = tuple(After(place[other]) for other in dict.fromkeys(job.after))
        if job.arrival_s > first:
            waiting = Task(name=f"{_ARRIVAL}{number}", tool="wait", spec={})
            tasks[waiting.name] = waiting
            after += (After(waiting.name),)
        task = Task(name=str(number), tool="command", spec={}, pools=dict(job.slots), after=after)
        if job.estimate_s is not None:
            task = replace(task, takes=Expected(_span(job.estimate_s), _span(job.estimate_s)))
        tasks[task.name] = task
    return _pipeline(name, tasks, jobs[0])


def _pipeline(name: str, tasks: dict[str, Task], job: Job) -> Pipeline:
    match job.priority_class:
        case "urgent" | "normal" | "bulk" as priority_class:
            return Pipeline(
                name=name,
                tasks=tasks,
                folder=".",
                concurrency=_MANY,
                priority_class=priority_class,
                preempt=job.preempt,
            )
    raise Mistake(
        f"the job {job.id!r} is of class {job.priority_class!r}; there are urgent, normal and bulk",
        code="unknown-name",
    )
