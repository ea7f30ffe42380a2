"""The keys of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoint.engine.declare.format.tasks import PER_TASK, task_format
from counterpoint.engine.declare.format.triggers import TRIGGER
from counterpoint.engine.declare.notations import file_name, partition
from counterpoint.model.pipeline import Pipeline, Task
from counterpoint.ports.tool import Tool
from counterpoint.tables.kinds import Choice, Integer, Later, MapOf, Name, SetOf, Text
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading
from counterpoint.tables.records import Key, Record, Variants

_PIPELINE_KEYS = (
    Key("description", Text(), "What it is for."),
    Key("owner", Text("the name of a person or team", "data-platform"), "Who answers for it."),
    Key(
        "team",
        Text("the name of a team", "data-platform"),
        "Whose share of the resources it uses.",
        otherwise="`owner`",
    ),
    Key("trigger", TRIGGER, "Why it starts by itself.", otherwise="none: it is started by hand"),
    Key("reads", SetOf(Name("asset")), "Assets it reads; their versions are pinned when a run is admitted."),
    Key("writes", SetOf(Name("asset")), "Assets published together when a run succeeds."),
    Key("concurrency", Integer(), "How many runs of one partition and key may go on at once."),
    Key(
        "overlap",
        Choice("coalesce", "queue", "skip", "cancel"),
        "What pending items do meanwhile: wait as one run, wait as a run each, end, or stop the run that goes on.",
    ),
    Key(
        "class", Choice("urgent", "normal", "bulk", of="class"), "Its place in the queue.", field="priority_class"
    ),
    Key("hold", Choice("attempt", "run"), "Slots are held by each attempt, or the largest need by the whole run."),
    Key(
        "partition",
        partition(),
        "The slice of data a run covers: `day`, `hour`, or a CEL expression over the item.",
    ),
    Key("write", Choice("in_place", "atomic"), "In place keeps its readers apart from it while it writes."),
    Key("suspect", Choice("hold", "use"), "What it does while an asset it reads may be half written."),
    *(Key(key.name, key.kind, f"Default of its tasks: {key.doc[0].lower()}{key.doc[1:]}") for key in PER_TASK),
    Key("preempt", Later(), "Preemption."),
)
#: A tool that waits keeps no process, so it holds no slots unless it asks for some.
_WAITING_TOOLS = ("wait",)


def _pipeline(values: dict[str, Any], node: Node, reading: Reading) -> Pipeline:
    shared = {key.name: values.pop(key.name) for key in PER_TASK if key.name in values}
    run = values.pop("run", None)
    tasks = {"run": {"tool": "command", "spec": run}} if run else values.pop("tasks", {})
    return Pipeline(
        name=node.key,
        tasks={name: _task_of(name, own, shared) for name, own in tasks.items()},
        folder=str(reading.folder),
        where=node.where,
        **{"team": values.get("owner", "")} | values,
    )


def _task_of(name: str, own: dict[str, Any], shared: dict[str, Any]) -> Task:
    """A task with what it takes over from its pipeline."""
    inherited = dict(shared)
    if own["tool"] in _WAITING_TOOLS:
        inherited.pop("pools", None)
    merged = inherited | own
    if "env" in merged:
        merged["env"] = shared.get("env", {}) | own.get("env", {})
    return Task(name=name, **merged)


_AS_TASK = "write `run: ...` for a command, or give it a name under `tasks`"
_MISPLACED = {
    **dict.fromkeys(("cron", "schedule"), 'write `trigger: {cron: "..."}`'),
    **dict.fromkeys(("every", "event", "asset", "any", "all"), "it stands under `trigger`"),
    **dict.fromkeys(
        ("after", "depends_on", "needs"), "write `trigger: {asset: ...}` or `{pipeline: ..., state: completed}`"
    ),
    **dict.fromkeys(("steps", "jobs"), "write `tasks`"),
}
_SAMPLE = """\
load-orders:
  trigger: {cron: "*/15 * * * *"}
  writes: [raw.orders]
  run: python3 load_orders.py
  retry: 3
build-sales:
  trigger: {asset: raw.orders}
  reads: [raw.orders]
  writes: [mart.sales]
  pools: {warehouse: 1}
  tasks:
    wait: {wait: {file: rates.csv}}
    build: {dbt: {project: warehouse, select: +sales}, after: [wait], timeout: 10m}"""


def pipeline_format(tools: Mapping[str, Tool]) -> Variants:
    """The format of a pipeline whose tasks may use these tools."""
    tasks = Record(
        "pipeline of tasks",
        "Several tasks, some after others.",
        Key(
            "tasks",
            MapOf(file_name("task", "build"), task_format(tools), filled=True),
            "Name of each task, and what it does.",
        ),
        model=Pipeline,
        build=_pipeline,
        phrase="a pipeline",
    )
    short: tuple[Record, ...] = ()
    if "command" in tools:
        run = Key(
            "run", tools["command"].settings, "Short form of a pipeline whose one task, `run`, is this command."
        )
        short = (
            Record(
                "pipeline of one command",
                "One command.",
                run,
                model=Pipeline,
                build=_pipeline,
                phrase="a pipeline",
            ),
        )
    return Variants(
        "pipeline",
        "What runs together, why it starts, and what it needs.",
        *short,
        tasks,
        common=_PIPELINE_KEYS,
        both="make a task of the command",
        misplaced=dict.fromkeys(tools, _AS_TASK) | _MISPLACED,
        sample=_SAMPLE,
    )
