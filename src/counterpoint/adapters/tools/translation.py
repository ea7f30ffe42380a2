"""What all tools share: invocations with their variables, ends by their lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from counterpoint.adapters.tools.lines import read_lines
from counterpoint.model.pipeline import Secret, Task
from counterpoint.ports.executor import Ended, Invocation
from counterpoint.ports.tool import Answer, Context

#: Variables in which a runtime function gets its secrets.
SECRET_VARIABLE = "COUNTERPOINT_SECRET_"  # noqa: S105 - the name of a variable, not a secret


class LineTool:
    """A tool whose answer follows from the end of its process and the lines it wrote."""

    def read(self, task: Task, ended: Ended) -> Answer:
        """What the end of the invocation means."""
        return read_lines(ended)


def run_command(argv: Sequence[str], task: Task, context: Context) -> Invocation:
    """An invocation of a program."""
    return Invocation(argv=tuple(argv), **_surroundings(task, context))


def call_function(
    function: str,
    arguments: Mapping[str, Any],
    task: Task,
    context: Context,
    *,
    python: str = "",
    paths: Sequence[str] = (),
) -> Invocation:
    """An invocation of a Python function with these keyword arguments."""
    return Invocation(
        function=function,
        arguments=dict(arguments),
        python=python,
        paths=tuple(paths),
        **_surroundings(task, context),
    )


def call_runtime(name: str, task: Task, context: Context, **more: Any) -> Invocation:
    """An invocation of `runtime/NAME.py:run` with the task's settings and what looking again needs.

    A secret's reference becomes the name of a variable; only the host puts its value there.
    """
    secrets: dict[str, Secret] = {}
    arguments = {
        "spec": _with_variables(task.spec, secrets),
        "look": context.look,
        "carry": context.carry or {},
        "callback": context.callback,
        "callback_url": context.callback_url,
        "stopping": context.stopping,
        "attempt": context.attempt,
        "writes": json.loads(context.env.get("COUNTERPOINT_WRITES", "[]")),
        **more,
    }
    surroundings = _surroundings(task, context)
    surroundings["env"].update(secrets)
    return Invocation(
        function=f"counterpoint.adapters.tools.runtime.{name}:run", arguments=arguments, **surroundings
    )


def _surroundings(task: Task, context: Context) -> dict[str, Any]:
    return {"folder": context.folder, "env": {**context.env, **task.env}, "memory": task.memory}


def _with_variables(node: Any, secrets: dict[str, Secret]) -> Any:
    if isinstance(node, Mapping):
        if "secret" in node and isinstance(node["secret"], str) and set(node) <= {"secret", "prefix"}:
            variable = f"{SECRET_VARIABLE}{len(secrets)}"
            secrets[variable] = Secret(node["secret"])
            return {"variable": variable, "prefix": node.get("prefix", "")}
        return {key: _with_variables(value, secrets) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_with_variables(value, secrets) for value in node]
    return node
