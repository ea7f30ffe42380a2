"""The keys of a task, and those that a pipeline may set for all of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from counterpoint.engine.declare.notations import expected_time, factor, variable_name
from counterpoint.model.pipeline import FAILURE_KINDS, After, OutOfMemory, Retry, Secret, Task
from counterpoint.ports.tool import Tool
from counterpoint.tables.kinds import (
    Choice,
    Either,
    Integer,
    MapOf,
    Name,
    SetOf,
    Text,
    duration,
    duration_range,
    percentage,
    size,
)
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading, Use
from counterpoint.tables.records import Key, Record, Variants

_SECOND = timedelta(seconds=1)


class Slots(MapOf):
    """Slots of pools, asked for together."""

    def __init__(self) -> None:
        super().__init__(Text("the name of a pool", "warehouse"), Integer())

    def convert(self, node: Node, reading: Reading) -> dict[str, Any]:
        """Pool -> slots; they are compared with the pools when all are known."""
        request = super().convert(node, reading)
        reading.uses.extend(Use("pool", pool, node.value[pool], slots) for pool, slots in request.items())
        return request


_FAILURE = Either(Choice(*FAILURE_KINDS, of="kind of failure"), Integer(1, 255))
_RETRY = Record(
    "retry",
    "When a failed attempt is followed by another.",
    Key("attempts", Integer(), "All tries, the first included."),
    Key(
        "backoff", duration_range("10s..5m"), "Wait before the second try, and the longest; it doubles in between."
    ),
    Key("only", SetOf(_FAILURE), "Kinds of failure, or exit codes, that are retried.", otherwise="all"),
    Key("never", SetOf(_FAILURE), "Kinds of failure, or exit codes, that are not retried.", otherwise="none"),
    Key(
        "out_of_memory",
        Record(
            "out of memory",
            "What the attempt after one that ran out of memory may ask for.",
            Key("memory", factor(), "By how much its memory limit grows.", field="factor", otherwise="x2"),
            Key("up_to", size(), "The highest limit it may get."),
            Key("pools", Slots(), "Slots it asks for instead."),
            model=OutOfMemory,
            short="memory",
        ),
        "What an attempt may ask for after one that ran out of memory.",
    ),
    model=Retry,
    short="attempts",
    sample="""\
retry:
  attempts: 3
  backoff: 10s..5m
  only: [timeout, out-of-memory, 75]
  out_of_memory: {memory: x2, up_to: 8GB}""",
)
_SECRET = Record(
    "secret",
    "A reference to a secret; the value is never recorded.",
    Key("secret", Text("the name of a secret", "API_TOKEN"), "Name of the secret.", field="name", required=True),
    model=Secret,
    sample="env: {API_TOKEN: {secret: API_TOKEN}}",
)
PER_TASK = (
    Key("pools", Slots(), "Slots that each attempt holds, from start to certain end; `{}` is none."),
    Key("retry", _RETRY, "When a failed attempt is followed by another.", otherwise="one attempt"),
    Key("timeout", duration(at_least=_SECOND), "Longest time of one attempt."),
    Key("grace", duration(example="10s"), "Time to end by itself after it was asked to stop."),
    Key("memory", size(), "Memory limit of an attempt."),
    Key(
        "env",
        MapOf(variable_name(), Either(Text(), _SECRET)),
        "Environment variables: text, or `{secret: NAME}`.",
    ),
    Key("takes", expected_time(), "How long an attempt is expected to take, until that is learned."),
    Key("fails", percentage(with_zero=True), "Share of attempts that fail; for simulation only."),
)
#: What other systems call what a task or a pipeline may say here, and how it is said.
ELSEWHERE = {
    **dict.fromkeys(
        ("sla", "slo", "deadline", "freshness", "completion", "promise"),
        "a promise stands with the asset: write `assets: {NAME: {freshness: 30m}}`",
    ),
    **dict.fromkeys(("duration", "runtime", "estimate"), "write `takes: 5m`"),
}
_AFTER = Record(
    "after",
    "A task that must have ended before.",
    Key(
        "task", Text("the name of a task", "build"), "Name of the other task, in the same pipeline.", required=True
    ),
    Key("on", Choice("success", "failure", "end"), "How it must have ended."),
    model=After,
    short="task",
    phrase="the name of a task",
    sample="after: [load, {task: clean, on: failure}]",
)
_TASK_KEYS = (
    Key("after", SetOf(_AFTER), "Tasks that must have ended before.", otherwise="none: it starts with the run"),
    Key("writes", SetOf(Name("asset")), "Assets published when the task and the checks directly after it passed."),
    *PER_TASK,
)


_MISPLACED = {
    **ELSEWHERE,
    "run": "`run` stands for a pipeline of one command; in a task write `command`",
    **dict.fromkeys(("type", "tool"), "the tool is a key itself, as in `http: {url: ...}`"),
    **dict.fromkeys(("depends_on", "needs"), "write `after: [...]`"),
    "trigger": "only a pipeline has a trigger; make the task a pipeline of its own",
    **dict.fromkeys(("priority", "class"), "only a pipeline has a place in the queue: write `class` there"),
    **dict.fromkeys(("preempt", "preemptible"), "write `preempt` for the pipeline"),
}


def task_format(tools: Mapping[str, Tool]) -> Variants:
    """The format of a task that may use these tools."""
    return Variants(
        "task",
        "One invocation of a tool.",
        *(_tool_format(name, tool) for name, tool in tools.items()),
        common=_TASK_KEYS,
        both="make two tasks of them",
        misplaced=_MISPLACED,
        sample="orders-are-fresh: {check: {file: landing/orders.csv, newer_than: 1h}, after: [load], timeout: 5m}",
    )


def _tool_format(name: str, tool: Tool) -> Record:
    about = (type(tool).__doc__ or "").strip().split("\n")[0]

    def build(values: dict[str, Any], node: Node, reading: Reading) -> dict[str, Any]:
        """What is known of a task without its pipeline."""
        return {"tool": tool.name, "spec": {}, **values}

    key = Key(name, tool.settings, about, field="spec")
    return Record(f"{name} task", f"A task that the tool `{name}` carries out.", key, model=Task, build=build)
