"""WfFormat 1.5: an executed workflow as JSON.

Every task takes one slot, whatever its `coreCount`, and lasts `runtimeInSeconds`; transfers and the speed of
machines are left out. All tasks arrive at 0, and each waits for its parents. A task without a run time is not run;
what comes after it waits for what comes before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from counterpoint.errors import Mistake
from counterpoint.sim.jobs import Job
from counterpoint.sim.traces.trace import POOL, Skipped, Trace, number, within_reach


def read_wfformat(text: str, name: str) -> Trace:
    """Read a workflow.

    Raises:
        Mistake: it is no JSON, or no workflow of WfFormat 1.5.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Mistake(f"JSON was expected: {error}", where=name, code="broken-trace") from error
    specified, executed = _tasks(document, name)
    skipped: list[Skipped] = []
    lengths = _lengths(executed, skipped)
    parents = _parents(specified, skipped)
    for task in parents:
        if task not in lengths:
            reason = "no run time; what comes after it waits for what comes before it"
            skipped.append(Skipped(id=task, reason=reason))
    skipped += [Skipped(id=task, reason="no task of the specification") for task in lengths if task not in parents]
    jobs = [
        Job(
            id=task,
            arrival_s=0.0,
            duration_s=lengths[task],
            slots={POOL: 1},
            estimate_s=lengths[task],
            after=_runnable(task, parents, lengths),
        )
        for task in parents
        if task in lengths
    ]
    notes = ("the scheduler is told how long each task takes",)
    return Trace(name=name, format="wfformat", jobs=tuple(jobs), skipped=tuple(skipped), notes=notes)


def _tasks(document: Any, name: str) -> tuple[list[Any], list[Any]]:
    found: list[list[Any]] = []
    for part in ("specification", "execution"):
        value: Any = document
        for key in ("workflow", part, "tasks"):
            value = value.get(key) if isinstance(value, Mapping) else None
        if not isinstance(value, list):
            version = document.get("schemaVersion", "none") if isinstance(document, Mapping) else "none"
            raise Mistake(
                f"a workflow of WfFormat 1.5 was expected: `workflow.{part}.tasks` is no list "
                f"(schemaVersion: {version})",
                where=name,
                code="broken-trace",
            )
        found.append(value)
    return found[0], found[1]


def _lengths(executed: list[Any], skipped: list[Skipped]) -> dict[str, float]:
    lengths: dict[str, float] = {}
    for place, task in enumerate(executed):
        id_ = task.get("id") if isinstance(task, Mapping) else None
        if id_ is None:
            skipped.append(Skipped(reason=f"broken: `workflow.execution.tasks[{place}]` has no id"))
            continue
        length = task.get("runtimeInSeconds")
        if isinstance(length, int | float) and not isinstance(length, bool) and length >= 0:
            try:
                lengths[str(id_)] = within_reach(number(str(length)))
            except ValueError as error:
                skipped.append(Skipped(id=str(id_), reason=f"broken: {error}"))
    return lengths


def _parents(specified: list[Any], skipped: list[Skipped]) -> dict[str, dict[str, None]]:
    """Task -> those it waits for, told by itself as by them."""
    parents: dict[str, dict[str, None]] = {}
    known: list[Mapping[str, Any]] = []
    for place, task in enumerate(specified):
        id_ = task.get("id") if isinstance(task, Mapping) else None
        if id_ is None:
            skipped.append(Skipped(reason=f"broken: `workflow.specification.tasks[{place}]` has no id"))
        elif str(id_) in parents:
            skipped.append(Skipped(id=str(id_), reason="broken: a second task of this id"))
        else:
            parents[str(id_)] = {}
            known.append(task)
    for task in known:
        id_ = str(task["id"])
        edges = [(str(parent), id_) for parent in task.get("parents") or ()]
        edges += [(id_, str(child)) for child in task.get("children") or ()]
        for before, behind in edges:
            if before in parents and behind in parents:
                parents[behind][before] = None
            else:
                missing = before if before not in parents else behind
                skipped.append(Skipped(id=id_, reason=f"broken: an edge to {missing!r}, which is no task"))
    return parents


def _runnable(task: str, parents: Mapping[str, dict[str, None]], lengths: Mapping[str, float]) -> tuple[str, ...]:
    """The nearest tasks before this one that are run."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    to_look_at: list[str] = list(reversed(parents[task]))
    while to_look_at:
        other = to_look_at.pop()
        if other in lengths:
            found[other] = None
        elif other not in seen:
            seen.add(other)
            to_look_at += reversed(parents[other])
    return tuple(found)
