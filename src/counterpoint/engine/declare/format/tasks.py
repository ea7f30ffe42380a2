"""The keys of a task, and those that a pipeline may set for all of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from counterpoint.engine.declare.document import Node
from counterpoint.engine.declare.kinds import (
    ByType,
    Choice,
    Definitions,
    Integer,
    Kind,
    ListOf,
    MapOf,
    Name,
    Schema,
    Slots,
    Text,
)
from counterpoint.engine.declare.notations import duration, duration_range, factor, size, variable_name
from counterpoint.engine.declare.reading import Reading
from counterpoint.engine.declare.records import Key, Record, Variants
from counterpoint.model.pipeline import FAILURE_KINDS, After, OutOfMemory, Retry, Secret, Task
from counterpoint.ports.tool import Tool

_SECOND = timedelta(seconds=1)

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
PER_TASK = (
    Key("pools", Slots(), "Slots that each attempt holds, from start to certain end; `{}` is none."),
    Key("retry", _RETRY, "When a failed attempt is followed by another.", default="one attempt"),
    Key("timeout", duration(at_least=_SECOND), "Longest time of one attempt."),
    Key("grace", duration(example="10s"), "Time to end by itself after it was asked to stop."),
    Key("memory", size(), "Memory limit of an attempt."),
    Key(
        "env",
        MapOf(variable_name(), ByType({str: Text(), dict: _SECRET})),
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
    *PER_TASK,
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


def task_format(tools: Mapping[str, Tool]) -> Variants:
    """The format of a task that may use these tools."""
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
