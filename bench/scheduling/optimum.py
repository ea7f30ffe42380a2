"""The most obligations that any schedule of a small landscape keeps, with hindsight, by CP-SAT.

The model knows when every source will change and how long every run will take, and decides how
often each pipeline runs and when. It is the kernel's world: a run is never interrupted, the runs
of one pipeline follow each other, slots of a pool are never oversold; a run has what its inputs
had when it started, and its asset has that when it ends; the k-th run of a pipeline takes as long
as the k-th run takes in every other way of running it.

It keeps the rule of `trigger: auto`: no new change, no run. Else it could use up the long durations
in runs of nothing, before anything comes. So a pipeline runs at most once for each change that leads
to it, and each change is carried by one run of each pipeline: the first that finds it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ortools.sat.python import cp_model

from bench.scheduling.landscapes import Landscape, Obligation
from bench.scheduling.landscapes import kept as is_kept


@dataclass(frozen=True)
class Optimum:
    """What was found.

    Attributes:
        kept: obligations that the schedule keeps.
        most: no schedule keeps more.
        runs: the schedule: (step, start, end); its end is not later than anything is due.
        seconds: how long the search took, on this machine.
    """

    kept: int
    most: int
    runs: tuple[tuple[str, float, float], ...]
    seconds: float

    @property
    def is_proven(self) -> bool:
        """Whether `kept` is the optimum."""
        return self.kept == self.most


def optimum(
    world: Landscape,
    *,
    known: Sequence[tuple[str, float, float]] = (),
    limit_s: float = 60,
) -> Optimum:
    """The best schedule with hindsight, or the best found in time.

    Args:
        world: all its times and durations are whole seconds.
        known: a schedule of whole seconds (step, start, end) to begin with; one that keeps all is the optimum.
        limit_s: of search, in CP-SAT's deterministic time, so that it ends at the same place on every machine;
            the wall clock ends it after four times as long, should the machine be that slow.
    """
    at_first = sum(is_kept(world, known).values())
    if at_first == len(world.obligations):
        return Optimum(at_first, at_first, tuple(known), 0.0)
    model = cp_model.CpModel()
    end_of_all = round(world.settled)
    wanted = _wanted(world)
    starts: dict[str, list[Any]] = {}
    ends: dict[str, list[Any]] = {}
    present: dict[str, list[Any]] = {}
    intervals: dict[str, list[tuple[Any, int]]] = {pool: [] for pool in world.pools}
    #: (asset, source, number) -> when the change is there, and whether it ever is. A source has it at once.
    there: dict[tuple[str, str, int], tuple[Any, Any]] = {
        (source, source, number): (round(at), True)
        for source, times in world.changes.items()
        for number, at in enumerate(times, 1)
    }
    for step in world.steps:
        changes = wanted[step.name]
        runs = len(changes)
        starts[step.name], ends[step.name], present[step.name] = [], [], []
        for number in range(1, runs + 1):
            lasts = round(world.duration(step.name, number))
            start = model.new_int_var(0, end_of_all, f"start {step.name} {number}")
            end = model.new_int_var(0, end_of_all + lasts, f"end {step.name} {number}")
            runs_at_all = model.new_bool_var(f"runs {step.name} {number}")
            interval = model.new_optional_interval_var(start, lasts, end, runs_at_all, f"{step.name} {number}")
            intervals[step.pool].append((interval, step.slots))
            if number > 1:
                model.add(start >= ends[step.name][-1])
                model.add_implication(runs_at_all, present[step.name][-1])
            starts[step.name].append(start)
            ends[step.name].append(end)
            present[step.name].append(runs_at_all)
        #: Source -> which run carries the change before, of the same source.
        carried_before: dict[str, list[Any]] = {}
        #: Change -> whether each of the runs carries it.
        carried_by: list[list[Any]] = []
        for source, number in changes:
            carried = [model.new_bool_var(f"{step.name} {k} carries {source} {number}") for k in range(runs)]
            is_there = model.new_bool_var(f"{step.name} has {source} {number}")
            at = model.new_int_var(0, end_of_all * 2, f"{step.name} has {source} {number} at")
            model.add(sum(carried) == is_there)
            for k, carries in enumerate(carried):
                model.add_implication(carries, present[step.name][k])
                model.add(at == ends[step.name][k]).only_enforce_if(carries)
                #: Of each input that leads to it: whether it was not there yet for the run before.
                news = []
                for asset in step.reads:
                    if source not in world.sources_of[asset]:
                        continue
                    before, is_before = there[asset, source, number]
                    model.add(starts[step.name][k] >= before).only_enforce_if(carries)
                    if is_before is not True:
                        model.add_implication(carries, is_before)
                    if k:
                        news.append(model.new_bool_var(f"{step.name} {k - 1} has no {source} {number} of {asset}"))
                        model.add(starts[step.name][k - 1] < before).only_enforce_if(news[-1])
                if k:
                    model.add_bool_or(news).only_enforce_if(carries)
            there[step.name, source, number] = (at, is_there)
            if source in carried_before:
                # A run that has a change has those before it, so an older change comes with no later run.
                older = carried_before[source]
                for k in range(runs):
                    model.add(sum(carried[: k + 1]) <= sum(older[: k + 1]))
            carried_before[source] = carried
            carried_by.append(carried)
        for k in range(runs):
            model.add_bool_or(carried[k] for carried in carried_by).only_enforce_if(present[step.name][k])
    for pool, needs in intervals.items():
        model.add_cumulative([each for each, _ in needs], [slots for _, slots in needs], world.pools[pool])
    for step in world.steps:
        # Runs that ended after all that is owed are none of the model's.
        own = [(begun, ended) for name, begun, ended in known if name == step.name]
        for number, (begun, ended) in enumerate(own[: len(starts[step.name])]):
            model.add_hint(starts[step.name][number], round(begun))
            model.add_hint(ends[step.name][number], round(ended))
        for number, runs_at_all in enumerate(present[step.name]):
            model.add_hint(runs_at_all, number < len(own))
    kept = [_kept(model, owed, there) for owed in world.obligations]
    model.maximize(sum(kept))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_deterministic_time = limit_s
    solver.parameters.max_time_in_seconds = limit_s * 4
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        # Doing nothing is always possible, so there was no time for even that.
        return Optimum(at_first, len(kept), tuple(known), solver.wall_time)
    runs_found = tuple(
        (name, float(solver.value(begin)), float(solver.value(finish)))
        for name in starts
        for begin, finish, is_run in zip(starts[name], ends[name], present[name], strict=True)
        if solver.value(is_run)
    )
    return Optimum(
        round(solver.objective_value), int(solver.best_objective_bound + 1e-6), runs_found, solver.wall_time
    )


def _wanted(world: Landscape) -> dict[str, list[tuple[str, int]]]:
    """Step -> the changes that it may have to carry: those that anything after it owes, in order of time."""
    owed = {change for obligation in world.obligations for change in obligation.changes}
    return {
        step.name: sorted(
            (
                (source, number)
                for source in world.sources_of[step.name]
                for number in range(1, len(world.changes[source]) + 1)
                if (source, number) in owed
            ),
            key=lambda change: (world.changes[change[0]][change[1] - 1], change),
        )
        for step in world.steps
    }


def _kept(
    model: cp_model.CpModel, owed: Obligation, there: Mapping[tuple[str, str, int], tuple[Any, Any]]
) -> cp_model.IntVar:
    kept = model.new_bool_var(f"{owed.asset} keeps {owed.changes} by {owed.due}")
    for source, number in owed.changes:
        at, is_there = there[owed.asset, source, number]
        model.add_implication(kept, is_there)
        model.add(at <= int(owed.due)).only_enforce_if(kept)
    return kept
