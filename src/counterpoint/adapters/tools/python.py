"""`python`: a function, called in a fresh fork of a warm interpreter."""

from __future__ import annotations

from counterpoint.adapters.tools.settings import text
from counterpoint.adapters.tools.translation import LineTool, call_function
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context
from counterpoint.tables.kinds import Anything, ListOf, MapOf, Text
from counterpoint.tables.records import Key, Record

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_FUNCTION = rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*"


class PythonTool(LineTool):
    """Calls a Python function with keyword arguments; a dict that it returns is the task's result."""

    name = "python"
    settings = Record(
        "tool python",
        "A function of a module in the score's folder. A first parameter that is named `run`, or annotated with "
        "`Run`, gets the run (`counterpoint.sdk`). A dict that is returned is the task's result.",
        Key(
            "function",
            Text("`module:function`", "train:fit", pattern=_FUNCTION),
            "What to call.",
            required=True,
        ),
        Key(
            "arguments",
            MapOf(Text("the name of a parameter", "epochs", pattern=_NAME), Anything()),
            "Its keyword arguments: `{epochs: 3}` calls `f(epochs=3)`.",
        ),
        Key(
            "python",
            text(".venv/bin/python", "the path of a Python"),
            "Another interpreter; it need not have Counterpoint.",
            otherwise="Counterpoint's own",
        ),
        Key(
            "path",
            ListOf(text("lib", "the path of a folder"), filled=True, single=True),
            "Folders to import from, after the score's own.",
        ),
        short="function",
        phrase="`python`",
        sample="""\
python: train:fit
python: {function: train:fit, arguments: {epochs: 3}, python: .venv/bin/python}""",
    )

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The function with its arguments; the score's folder comes first on the path."""
        return call_function(
            task.spec["function"],
            task.spec.get("arguments", {}),
            task,
            context,
            python=task.spec.get("python", ""),
            paths=(context.folder, *task.spec.get("path", ())),
        )
