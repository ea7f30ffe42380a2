"""The format of a score, as a table: each key once, with its kind and its meaning.

The reader, the JSON Schema for editors and the reference page all follow from what stands here.
Defaults are the model's own, unless the table says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from counterpoint.engine.declare.document import Node
from counterpoint.engine.declare.kinds import (
    ByType,
    Choice,
    Definitions,
    Integer,
    Key,
    Kind,
    Later,
    ListOf,
    MapOf,
    Name,
    NewName,
    Record,
    Schema,
    Slots,
    Text,
    Variants,
)
from counterpoint.engine.declare.notations import (
    EventSchema,
    Moment,
    Timezone,
    at_latest,
    cel,
    cron,
    duration,
    duration_range,
    factor,
    partition,
    size,
)
from counterpoint.engine.declare.reading import Reading, Reported
from counterpoint.model.pipeline import FAILURE_KINDS, After, OutOfMemory, Pipeline, Retry, Secret, Task
from counterpoint.model.plan import DEFAULT_WAITS, Asset, EventType, Pool
from counterpoint.model.quantity import format_duration
from counterpoint.model.trigger import (
    Batch,
    Cron,
    Delivery,
    Every,
    OnAsset,
    OnCheckpoint,
    OnEvent,
    OnState,
    Trigger,
)
from counterpoint.ports.tool import Tool

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)

_WIDE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,199}"


def _file_name(of: str, example: str) -> NewName:
    return NewName(
        f"a name for the {of}, of letters, digits and `_ . -`,", example, r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
    )


def _wide_name(of: str, example: str) -> NewName:
    return NewName(f"a name for the {of}, of letters, digits and `_ . : / @ + -`,", example, _WIDE_NAME)


# Triggers ------------------------------------------------------------------------------------


def _cron(values: dict[str, Any], node: Node, reading: Reading) -> Cron:
    return Cron(**{"timezone": reading.timezone} | values)


def _every(values: dict[str, Any], node: Node, reading: Reading) -> Every:
    return Every(**{"start": _EPOCH} | values)


def _on_pipeline(values: dict[str, Any], node: Node, reading: Reading) -> OnState | OnCheckpoint:
    if "state" in node.value and "checkpoint" in node.value:
        message = (
            "one of `state` and `checkpoint` was expected, both were found; put them into two triggers under `any`"
        )
        raise reading.refuse(node.value["checkpoint"], message, "wrong-value")
    if "state" not in node.value and "checkpoint" not in node.value:
        message = "a pipeline trigger needs `state` or `checkpoint`, none was found; write `state: completed`"
        raise reading.refuse(node, message, "missing-key")
    if "state" in values:
        return OnState(**values)
    if "checkpoint" in values:
        return OnCheckpoint(**values)
    raise Reported


_WHEN = Key("when", cel(), "Only changes for which this CEL expression over `event` is true.")
_CATCHUP = Key(
    "catchup", Choice("none", "latest", "all"), "Which ticks missed while nothing could run are made up for."
)
_SOURCES = (
    Record(
        "cron trigger",
        "Ticks of a cron expression.",
        Key("cron", cron(), "Five fields, or `@hourly` to `@yearly`.", field="expression", required=True),
        Key("timezone", Timezone(), "Time zone of the expression.", default="the score's `timezone`"),
        _CATCHUP,
        Key(
            "gap",
            Choice("next", "skip"),
            "A local time that a clock change skips: run at the next valid one, or not.",
        ),
        Key(
            "repeat", Choice("first", "both"), "A local time that a clock change repeats: run once, or both times."
        ),
        model=Cron,
        build=_cron,
    ),
    Record(
        "clock trigger",
        "Ticks at a fixed distance.",
        Key(
            "every",
            duration(at_least=_SECOND, example="5m"),
            "Distance of the ticks.",
            field="period",
            required=True,
        ),
        Key("from", Moment(), "A tick to count from.", field="start", default="1970-01-01T00:00Z"),
        _CATCHUP,
        model=Every,
        build=_every,
    ),
    Record(
        "event trigger",
        "Events of a declared type.",
        Key("event", Name("event"), "Type of the event.", field="type", required=True),
        _WHEN,
        model=OnEvent,
    ),
    Record(
        "asset trigger",
        "New versions of an asset.",
        Key("asset", Name("asset"), "Name of the asset.", required=True),
        _WHEN,
        model=OnAsset,
    ),
    Record(
        "pipeline trigger",
        "Runs of another pipeline that reach a state or a checkpoint.",
        Key("pipeline", Name("pipeline"), "Name of the other pipeline.", required=True),
        Key("state", Choice("completed", "failed", "started"), "The state that its runs reach."),
        Key("checkpoint", Text("the name of a checkpoint", "loaded"), "The checkpoint that its runs report."),
        _WHEN,
        model=OnState,
        build=_on_pipeline,
    ),
)
_BOTH_SOURCES = "put them under `any` or `all`"
_NO_NESTING = {
    "all": "`any` takes sources only: turn it round and put `any` inside `all`",
    "any": "put its sources into the `any` around it",
}
_SOURCE = Variants(
    "source", "One thing that a trigger listens to.", *_SOURCES, both=_BOTH_SOURCES, misplaced=_NO_NESTING
)
_ANY = Key("any", ListOf(_SOURCE, filled=True), "Sources; a change of any of them serves.", required=True)
_MEMBER = Variants(
    "member of all",
    "A source, or several of which any serves.",
    *_SOURCES,
    Record(
        "any trigger",
        "Several sources of which any serves.",
        _ANY,
        build=lambda values, node, reading: values["any"],
    ),
    both="make two entries of them",
    misplaced={"all": "put its members into the `all` around it"},
)

_BATCH = Record(
    "batch",
    "How pending items are gathered before a run takes them.",
    Key("quiet", duration(example="5s"), "Wait until nothing new has come for this long."),
    Key("wait", duration(example="1m"), "Run this long after the oldest item, quiet or not."),
    Key("max", Integer(), "A run takes at most this many; a full batch does not wait."),
    Key("by", cel(), "CEL expression whose value is the key; each key has its own batch."),
    model=Batch,
)


def _delivery(values: dict[str, Any], node: Node, reading: Reading) -> Delivery:
    delivery = Delivery(**values)
    unused = sorted(values.keys() - {"pattern"})
    if unused and delivery.pattern == "async":
        message = f"`pattern: sync` was expected beside `{unused[0]}`, it was not found; add it"
        raise reading.refuse(node.value[unused[0]], message, "wrong-value")
    return delivery


_DELIVERY = Record(
    "delivery",
    "How a change is handed over.",
    Key(
        "pattern",
        Choice("async", "sync", later=("reconcile",)),
        "`sync`: the producer's run is confirmed only when this pipeline is `until`.",
    ),
    Key("until", Choice("accepted", "started", "succeeded"), "How far this pipeline must be with the change."),
    Key("timeout", duration(at_least=_SECOND), "How long the producer's run waits for that."),
    Key("on_refusal", Choice("fail", "warn"), "What becomes of the producer's run otherwise."),
    model=Delivery,
    build=_delivery,
    short="pattern",
)
_TRIGGER_KEYS = (
    Key("batch", _BATCH, "How items are gathered.", default="each run takes what is pending"),
    Key("delivery", _DELIVERY, "How changes are handed over.", default="`async`"),
    Key("rearm", duration_range("1m..1h"), "Rest after a run that failed for good: from, doubling up to."),
    Key("give_up", Integer(), "After so many failed runs, event items become dead letters.", default="never"),
)
_TRIGGER_FIELDS = ("within", "at_latest", *(key.name for key in _TRIGGER_KEYS))


def _trigger(values: dict[str, Any], node: Node, reading: Reading) -> Trigger:
    """A trigger of what its own variant and the keys common to all gave."""
    common = {name: values.pop(name) for name in _TRIGGER_FIELDS if name in values}
    if "all" in values:
        members = values["all"]
        groups = tuple(member if isinstance(member, tuple) else (member,) for member in members)
    elif "any" in values:
        groups = (values["any"],)
    else:
        leading = next(record for record in _SOURCES if record.keys[0].name in node.value)
        groups = ((leading.build(values, node, reading),),)
    trigger = Trigger(groups=groups, **common)
    if trigger.give_up is not None and not any(isinstance(source, OnEvent) for source in trigger.sources):
        message = (
            "an event trigger was expected beside `give_up`, none was found; other items never become dead letters"
        )
        raise reading.refuse(node.value["give_up"], message, "wrong-value")
    return trigger


_TRIGGER = Variants(
    "trigger",
    "Why a pipeline starts by itself. Without one it is started by hand.",
    *(Record(source.name, source.doc, *source.keys, model=source.model, build=_trigger) for source in _SOURCES),
    Record("any trigger", "A change of any of several sources.", _ANY, build=_trigger),
    Record(
        "all trigger",
        "A change of each of several members; the run takes all that is pending of each.",
        Key("all", ListOf(_MEMBER, filled=True), "Members; each must have a pending item.", required=True),
        Key("within", duration(example="1h"), "The newest items of all members must lie within this span."),
        Key(
            "at_latest",
            at_latest(),
            "Then run with what is there, marked partial: after the oldest item, or at a time of day.",
        ),
        model=Trigger,
        build=_trigger,
    ),
    common=_TRIGGER_KEYS,
    both=_BOTH_SOURCES,
    later=("auto",),
)

# Tasks ---------------------------------------------------------------------------------------

_FAILURE = ByType({str: Choice(*FAILURE_KINDS, of="kind of failure"), int: Integer(1, 255)})
_RETRY = Record(
    "retry",
    "When a failed attempt is followed by another.",
    Key("attempts", Integer(), "All tries, the first included."),
    Key(
        "backoff", duration_range("10s..5m"), "Wait before the second try, and the longest; it doubles in between."
    ),
    Key("only", ListOf(_FAILURE), "Kinds of failure, or exit codes, that are retried.", default="all"),
    Key("never", ListOf(_FAILURE), "Kinds of failure, or exit codes, that are not retried.", default="none"),
    Key(
        "out_of_memory",
        Record(
            "out of memory",
            "What the attempt after one that ran out of memory may ask for.",
            Key("memory", factor(), "By how much its memory limit grows.", field="factor", default="x2"),
            Key("up_to", size(), "The highest limit it may get."),
            Key("pools", Slots(), "Slots it asks for instead."),
            model=OutOfMemory,
            short="memory",
        ),
        "What an attempt may ask for after one that ran out of memory.",
    ),
    model=Retry,
    short="attempts",
)
_SECRET = Record(
    "secret",
    "A reference to a secret; the value is never recorded.",
    Key("secret", Text("the name of a secret", "API_TOKEN"), "Name of the secret.", field="name", required=True),
    model=Secret,
)
_VARIABLE = NewName(
    "a name for a variable, of letters, digits and `_`, that does not begin with `COUNTERPOINT_`,",
    "REGION",
    r"(?!COUNTERPOINT_)[A-Za-z_][A-Za-z0-9_]*",
)
_PER_TASK = (
    Key("pools", Slots(), "Slots that each attempt holds, from start to certain end; `{}` is none."),
    Key("retry", _RETRY, "When a failed attempt is followed by another.", default="one attempt"),
    Key("timeout", duration(at_least=_SECOND), "Longest time of one attempt."),
    Key("grace", duration(example="10s"), "Time to end by itself after it was asked to stop."),
    Key("memory", size(), "Memory limit of an attempt."),
    Key(
        "env",
        MapOf(_VARIABLE, ByType({str: Text(), dict: _SECRET})),
        "Environment variables: text, or `{secret: NAME}`.",
    ),
)
_AFTER = Record(
    "after",
    "A task that must have ended before.",
    Key(
        "task", Text("the name of a task", "build"), "Name of the other task, in the same pipeline.", required=True
    ),
    Key("on", Choice("success", "failure", "end"), "How it must have ended."),
    model=After,
    short="task",
)
_TASK_KEYS = (
    Key("after", ListOf(_AFTER), "Tasks that must have ended before.", default="none: it starts with the run"),
    Key(
        "writes", ListOf(Name("asset")), "Assets published when the task and the checks directly after it passed."
    ),
    *_PER_TASK,
)


class ToolSpec(Kind):
    """What a tool takes under its own key; the tool reads it itself.

    Attributes:
        about: what the tool does, as its class says.
    """

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.phrase = f"what the tool `{tool.name}` takes"
        self.about = (type(tool).__doc__ or "").strip().split("\n")[0]
        self.example = str(tool.schema().get("examples", ["..."])[0])

    def read(self, node: Node, reading: Reading) -> dict[str, Any]:
        """Tool and settings, as a task takes them."""
        spec, mistakes = self.tool.read_spec(node.plain)
        for mistake in mistakes:
            reading.add(node.find(*mistake.path), mistake.message, mistake.code)
        return {"tool": self.tool.name, "spec": spec}

    def schema(self, definitions: Definitions) -> Schema:
        """The tool's own schema."""
        return self.tool.schema()


def _task(values: dict[str, Any], node: Node, reading: Reading) -> dict[str, Any]:
    """What is known of a task without its pipeline."""
    return {**values.pop("invocation"), **values}


def _task_format(tools: Mapping[str, Tool]) -> Variants:
    return Variants(
        "task",
        "One invocation of a tool.",
        *(
            Record(
                f"{name} task",
                f"A task that the tool `{name}` carries out.",
                Key(name, spec := ToolSpec(tool), spec.about, field="invocation", required=True),
                model=Task,
                build=_task,
            )
            for name, tool in tools.items()
        ),
        common=_TASK_KEYS,
        both="make two tasks of them",
    )


# Pipelines -----------------------------------------------------------------------------------

_PIPELINE_KEYS = (
    Key("description", Text(), "What it is for."),
    Key("owner", Text("the name of a person or team", "data-platform"), "Who answers for it."),
    Key(
        "team",
        Text("the name of a team", "data-platform"),
        "Whose share of the resources it uses.",
        default="`owner`",
    ),
    Key("trigger", _TRIGGER, "Why it starts by itself.", default="none: it is started by hand"),
    Key("reads", ListOf(Name("asset")), "Assets it reads; their versions are pinned when a run is admitted."),
    Key("writes", ListOf(Name("asset")), "Assets published together when a run succeeds."),
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
    *(Key(key.name, key.kind, f"Default of its tasks: {key.doc[0].lower()}{key.doc[1:]}") for key in _PER_TASK),
    Key("preempt", Later(), "Preemption."),
)
#: A tool that waits keeps no process, so it holds no slots unless it asks for some.
_WAITING_TOOLS = ("wait",)


def _pipeline(values: dict[str, Any], node: Node, reading: Reading) -> Pipeline:
    shared = {key.name: values.pop(key.name) for key in _PER_TASK if key.name in values}
    run = values.pop("run", None)
    tasks = {"run": run} if run else values.pop("tasks", {})
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


def _pipeline_format(tools: Mapping[str, Tool]) -> Variants:
    names = _file_name("task", "build")
    tasks = Record(
        "pipeline of tasks",
        "A pipeline with tasks that come after one another.",
        Key("tasks", MapOf(names, _task_format(tools)), "Name of each task, and what it does."),
        model=Pipeline,
        build=_pipeline,
    )
    if "command" not in tools:
        short: tuple[Record, ...] = ()
    else:
        run = Key(
            "run", ToolSpec(tools["command"]), "Short form of a pipeline whose one task, `run`, is this command."
        )
        short = (
            Record(
                "pipeline of one command", "A pipeline with one command.", run, model=Pipeline, build=_pipeline
            ),
        )
    return Variants(
        "pipeline",
        "What runs together, why it starts, and what it needs.",
        *short,
        tasks,
        common=_PIPELINE_KEYS,
        both="make a task of the command",
    )


# Score ---------------------------------------------------------------------------------------


def _class(name: str) -> Key:
    wait = Key("wait", duration(example=format_duration(DEFAULT_WAITS[name])), "Longest wait.", required=True)
    record = Record(
        "class",
        "How long runs of a class wait at most before they move to the top.",
        wait,
        build=lambda values, node, reading: values["wait"],
        short="wait",
    )
    return Key(name, record, f"Runs with `class: {name}`.", default=format_duration(DEFAULT_WAITS[name]))


_POOL = Record(
    "pool",
    "A limited resource: connections, a GPU, an API's tokens.",
    Key("slots", Integer(), "How many slots there are.", required=True),
    Key("target", Later(), "Share of the slots to aim at."),
    model=Pool,
    short="slots",
)
_EVENT_TYPE = NewName(
    "a type of event, of letters, digits and `_ . : / @ + -`, that does not begin with `counterpoint.`,",
    "order.placed",
    rf"(?!counterpoint\.){_WIDE_NAME}",
)
_EVENT = Record(
    "event",
    "A type of event that may come from outside or from a task.",
    Key("description", Text(), "What it says."),
    Key("schema", EventSchema(), "JSON Schema of its payload: a path beside the score, or the schema itself."),
    model=EventType,
    bare=True,
)
_ASSET = Record(
    "asset",
    "Something that pipelines read and write: a table, a file, an index, a model.",
    Key("description", Text(), "What it holds."),
    Key("writers", Choice("one", "many"), "Whether more than one pipeline may write it."),
    Key("freshness", Later(), "A promise on its age."),
    Key("completion", Later(), "A promise on when it is done."),
    model=Asset,
    bare=True,
)
_CLASSES = Record("mapping of classes", "Longest waits by class.", *(_class(name) for name in DEFAULT_WAITS))


def score_format(tools: Mapping[str, Tool]) -> Record:
    """The format of a score whose tasks may use these tools (key of a task -> tool)."""
    return Record(
        "score",
        "What a file declares. Several files together are one plan.",
        Key("score", Text("the name of the score", "shop"), "Name of the score.", default="the file's name"),
        Key("timezone", Timezone(), "Default time zone of schedules.", default="UTC"),
        Key("classes", _CLASSES, "Longest waits by class."),
        Key("pools", MapOf(_wide_name("pool", "warehouse"), _POOL, bare=True), "Limited resources."),
        Key(
            "events",
            MapOf(_EVENT_TYPE, _EVENT, bare=True),
            "Types of events; `counterpoint.` is kept for our own.",
        ),
        Key("assets", MapOf(_wide_name("asset", "raw.orders"), _ASSET, bare=True), "What is read and written."),
        Key(
            "pipelines",
            MapOf(_file_name("pipeline", "load-orders"), _pipeline_format(tools), bare=True),
            "What runs.",
        ),
        Key("calendars", Later(), "Days on which promises hold."),
        Key("teams", Later(), "Shares of teams."),
    )
