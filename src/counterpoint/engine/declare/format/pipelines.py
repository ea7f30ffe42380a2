"""The keys of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from counterpoint.engine.declare.format.tasks import ELSEWHERE, PER_TASK, task_format
from counterpoint.engine.declare.format.triggers import TRIGGER
from counterpoint.engine.declare.notations import cel, file_name, partition, rate
from counterpoint.model.pipeline import Pipeline, Task
from counterpoint.model.promise import Elastic, Preempt
from counterpoint.model.trigger import OnAsset
from counterpoint.ports.tool import Tool
from counterpoint.tables.kinds import Choice, Either, Flag, Integer, MapOf, Name, SetOf, Text, duration
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading
from counterpoint.tables.records import Key, Record, Variants

_CONCURRENCY = Record(
    "concurrency",
    "How many runs may go on at once.",
    Key("max", Integer(), "How many.", required=True),
    Key(
        "by",
        cel("event.data.shop"),
        "CEL expression over the change; runs with one value of it are counted together.",
        otherwise="runs of one partition and key are counted together",
    ),
    build=lambda values, node, reading: {"concurrency": values["max"], "concurrency_by": values.get("by")},
    short="max",
    phrase="`concurrency`",
    sample="concurrency: {max: 2, by: event.data.shop}",
)
_ELASTIC = Record(
    "elastic",
    "A pipeline that lags may split its batch by a key and have more runs at once.",
    Key("max", Integer(2), "So many runs at once at most.", required=True),
    Key(
        "by",
        cel("event.data.shop"),
        "CEL expression over the change; changes with one value stay in one run.",
        required=True,
    ),
    model=Elastic,
    phrase="`elastic`",
    sample="elastic: {max: 4, by: event.data.shop}",
)
_PREEMPT = Record(
    "preempt",
    "Attempts may be asked to make room for more urgent work, and go on later.",
    Key("minimum", duration(example="1m"), "An attempt is left alone for so long after it started."),
    Key("evictions", Integer(), "So many times at most for one run."),
    Key(
        "cooldown",
        duration(example="5m"),
        "A run that made room is left alone for so long after it started again.",
    ),
    model=Preempt,
    phrase="a mapping of limits",
    sample="preempt: {minimum: 5m, evictions: 2, cooldown: 10m}",
)


class _Preemption(Either):
    """Whether room may be made, or how."""

    def __init__(self) -> None:
        super().__init__(Flag(), _PREEMPT)

    def convert(self, node: Node, reading: Reading) -> Preempt | None:
        """What was agreed; None where its attempts are left alone."""
        if isinstance(node.value, bool):
            return Preempt() if node.value else None
        agreed: Preempt = _PREEMPT.read(node, reading)
        return agreed


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
    Key(
        "concurrency",
        _CONCURRENCY,
        "How many runs of one partition and key, or of one value of `by`, may go on at once.",
    ),
    Key("elastic", _ELASTIC, "More runs at once while it lags."),
    Key("rate", rate("10/1m"), "So many of its runs may be admitted in a time; the others wait."),
    Key(
        "storm",
        rate("100/1m"),
        "Where more runs than that would be formed, what comes is gathered in one batch until things calm down.",
    ),
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
    Key("preempt", _Preemption(), "Its attempts may be asked to make room.", otherwise="`false`"),
)
#: A tool that waits keeps no process, so it holds no slots unless it asks for some.
_WAITING_TOOLS = ("wait",)


def _pipeline(values: dict[str, Any], node: Node, reading: Reading) -> Pipeline:
    shared = {key.name: values.pop(key.name) for key in PER_TASK if key.name in values}
    run = values.pop("run", None)
    tasks = {"run": {"tool": "command", "spec": run}} if run else values.pop("tasks", {})
    values |= values.pop("concurrency", {})
    pipeline = Pipeline(
        name=node.key,
        tasks={name: _task_of(name, own, shared) for name, own in tasks.items()},
        folder=str(reading.folder),
        where=node.where,
        **{"team": values.get("owner", "")} | values,
    )
    return _listening(pipeline)


def _listening(pipeline: Pipeline) -> Pipeline:
    """The pipeline; one that runs by promises listens to all that it reads, but to nothing of its own."""
    trigger = pipeline.trigger
    read = tuple(OnAsset(asset) for asset in pipeline.reads if asset not in pipeline.written)
    if trigger is None or trigger.auto is None or not read:
        return pipeline
    return replace(pipeline, trigger=replace(trigger, groups=(read,)))


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
    **ELSEWHERE,
    "priority": "write `class: urgent`, `class: normal` or `class: bulk`",
    **dict.fromkeys(("preemptible", "preemptable", "interruptible"), "write `preempt: true`"),
    **dict.fromkeys(("rate_limit", "throttle", "limit"), "write `rate: 10/1m`"),
    **dict.fromkeys(("max_active_runs", "parallelism", "max_parallel"), "write `concurrency: 2`"),
    **dict.fromkeys(("circuit_breaker", "breaker"), "write `storm: 100/1m`"),
    "auto": "write `trigger: auto`",
    "batch": "it stands under `trigger`",
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
