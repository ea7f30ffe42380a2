"""Executed workflows at several pool sizes: the makespan between what nothing beats and Graham's bound."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import exp, log
from pathlib import Path
from random import Random
from statistics import mean, median
from typing import Any

from bench.measuring import say, table, verdict, write
from bench.scheduling import references
from bench.scheduling.inputs import folder
from bench.scheduling.landscapes import Z90
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.model.pipeline import After, Pipeline, Task
from counterpoint.model.plan import Plan, Pool
from counterpoint.sim.jobs import Job, play_jobs
from counterpoint.sim.learning import Learning
from counterpoint.sim.stage import Stage
from counterpoint.sim.traces.files import read_trace
from counterpoint.sim.work import Floor, Going, Work

SIZES = (1, 2, 4, 8, 16)
#: Runs before the one that is measured, from which durations are learned; nine of ten of their tasks took
#: less than `NOISE` times what the recorded run's did, half of them more than it did.
BEFORE, NOISE = 5, 1.25


def run(*, quick: bool = False, data: str | None = None) -> None:
    """Play every workflow at every size, told the durations, having learned them, and knowing nothing."""
    say("executed workflows: makespan over the lower bound, max(longest path, work / slots)")
    place = folder("wfinstances", data)
    if place is None:
        return
    figures = []
    for path in sorted(place.glob("*.json"))[: 2 if quick else None]:
        jobs = read(path)
        for slots in SIZES:
            figures.append(measured(path.stem, jobs, slots))
    table(
        [
            "workflow",
            "tasks",
            "slots",
            "lower s",
            "Graham s",
            "known",
            "list",
            "learned",
            "list, taught",
            "first run",
            "",
        ],
        (
            [
                f["workflow"],
                f["tasks"],
                f["slots"],
                f"{f['lower_s']:.1f}",
                f"{f['graham_s']:.1f}",
                *(
                    f"{f[way] / f['lower_s']:.4f}"
                    for way in ("known_s", "list_s", "learned_s", "taught_list_s", "first_s")
                ),
                "ok" if not f["faults"] else "MISSED",
            ]
            for f in figures
        ),
    )
    means = {
        way: mean(f[way] / f["lower_s"] for f in figures)
        for way in ("known_s", "list_s", "learned_s", "taught_list_s", "first_s")
    }
    for name, way, plain in (("known", "known_s", "list_s"), ("learned", "learned_s", "taught_list_s")):
        is_met = verdict(means[way], means[plain] + 1e-9)
        say(f"   mean over lower bound, durations {name}: {means[way]:.4f}; "
            f"a plain critical-path list that is told the same: {means[plain]:.4f}  {is_met}")  # fmt: skip
    say(f"   mean over lower bound of the first run, nothing known: {means['first_s']:.4f}")
    faults = [fault for f in figures for fault in f["faults"]]
    say(f"   violations of order, of slots or of a bound: {len(faults)}  {verdict(len(faults), 0)}")
    for fault in faults:
        say(f"      {fault}")
    write("scheduling-workflows", {"figures": figures, "means": means})


def read(path: Path) -> list[references.Job]:
    """The tasks of an executed workflow; each takes one slot."""
    trace = read_trace(path)
    return [references.Job(job.id, 0.0, job.duration_s, 1, after=job.after) for job in trace.jobs]


def measured(name: str, jobs: Sequence[references.Job], slots: int) -> dict[str, Any]:
    """A workflow at one size: bounds, makespans, and what was wrong."""
    found = references.bounds(jobs, slots)
    known = _known(jobs, slots)
    first, learned, medians = _learned(name, jobs, slots)
    plain = references.critical_path_list(jobs, slots)
    taught = references.critical_path_list(jobs, slots, expected=medians)
    result: dict[str, Any] = {
        "workflow": name,
        "tasks": len(jobs),
        "slots": slots,
        "lower_s": found.lower,
        "graham_s": found.graham,
        "list_s": max(plain[job.id] + job.duration for job in jobs),
        "taught_list_s": max(taught[job.id] + job.duration for job in jobs),
        "faults": [],
    }
    for way, times in (("known_s", known), ("first_s", first), ("learned_s", learned)):
        starts = {job: start for job, (start, _) in times.items()}
        ends = {job: end for job, (_, end) in times.items()}
        result[way] = max(ends.values())
        result["faults"] += [
            f"{name} at {slots}, {way}: {pair}" for pair in references.order_violations(jobs, starts, ends)
        ]
        if references.oversold(jobs, starts, ends, slots) < float("inf"):
            result["faults"].append(f"{name} at {slots}, {way}: more than {slots} slots are held")
        # Times are rounded to a microsecond at each task.
        if not found.lower - 1e-4 <= result[way] <= found.graham + 1e-4:
            result["faults"].append(f"{name} at {slots}, {way}: {result[way]} s is outside the bounds")
    return result


def _known(jobs: Sequence[references.Job], slots: int) -> dict[str, tuple[float, float]]:
    ended = play_jobs(
        [
            Job(
                id=j.id,
                arrival_s=0,
                duration_s=j.duration,
                slots={"slots": 1},
                estimate_s=j.duration,
                after=j.after,
            )
            for j in jobs
        ],
        {"slots": slots},
    )
    return {each.id: (each.start_s, each.end_s) for each in ended}


def _learned(
    name: str, jobs: Sequence[references.Job], slots: int
) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]], dict[str, float]]:
    """The recorded run with nothing known; the recorded run after others with other durations; their medians.

    They are of two kernels, so that the recorded times are never known.
    """
    place = {job.id: str(number) for number, job in enumerate(jobs)}
    tasks = {
        place[job.id]: Task(
            name=place[job.id], tool="command", spec={}, pools={"slots": 1},
            after=tuple(After(place[other]) for other in job.after),
        )
        for job in jobs
    }  # fmt: skip
    random = Random(f"{name}/{slots}")
    exact = {place[job.id]: job.duration for job in jobs}
    before = [
        {task: took * exp(log(NOISE) / Z90 * random.gauss(0, 1)) for task, took in exact.items()}
        for _ in range(BEFORE)
    ]
    found = (_Workflow(tasks, slots).runs([exact])[0], _Workflow(tasks, slots).runs([*before, exact])[-1])
    first, learned = ({job.id: run[place[job.id]] for job in jobs} for run in found)
    return first, learned, {job.id: median(run[place[job.id]] for run in before) for job in jobs}


class _Workflow:
    """One pipeline whose runs follow each other; what they took is told to the kernel after each."""

    def __init__(self, tasks: dict[str, Task], slots: int) -> None:
        pipeline = Pipeline(name="workflow", tasks=tasks, folder=".")
        self._stage = Stage(Plan(name="workflow", pools={"slots": Pool(slots)}, pipelines={"workflow": pipeline}))
        floor = Floor(self._stage, self._work_for)
        floor.watchers.append(self._ended)
        Learning(self._stage, floor)
        self._stage.on(d.FinishRun, self._finished)
        self._takes: dict[str, float] = {}
        self._times: dict[str, tuple[float, float]] = {}
        self._begun, self._is_over = self._stage.now, False

    def runs(self, durations: Sequence[dict[str, float]]) -> list[dict[str, tuple[float, float]]]:
        """Task -> start and end of each run, in seconds from its request."""
        stage, found = self._stage, []
        stage.raise_curtain()
        for takes in durations:
            self._takes, self._times, self._is_over = takes, {}, False
            self._begun = stage.now
            stage.take(e.RunRequested(at=stage.now, wall=stage.now, pipeline="workflow", by="bench"))
            stage.play(rest=lambda: self._is_over)
            found.append(self._times)
            # What moved is told now and then; the next run comes a day later.
            stage.play(until=stage.now + timedelta(days=1))
        return found

    def _work_for(self, decision: d.StartAttempt) -> Work:
        return Work(length=timedelta(microseconds=round(self._takes[decision.task] * 1e6)))

    def _ended(self, going: Going, how: str, lost_s: float) -> None:
        start, end = going.started - self._begun, self._stage.now - self._begun
        self._times[going.task] = (start.total_seconds(), end.total_seconds())

    def _finished(self, decision: d.FinishRun) -> None:
        self._is_over = True
