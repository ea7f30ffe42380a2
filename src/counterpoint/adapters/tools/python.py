"""`python`: a function, called in a fresh fork of a warm interpreter."""

from __future__ import annotations

from counterpoint.adapters.tools.settings import Anything, Field, Many, MapOf, Record, matching, text
from counterpoint.adapters.tools.translation import TableTool, call_function
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context

_FUNCTION = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"


class PythonTool(TableTool):
    """Calls a function: with the run if its first parameter is one, else with the arguments if it takes any."""

    name = "python"
    table = Record(
        {
            "function": Field(
                matching(_FUNCTION, "module:function"), "What to call: `module:function`.", required=True
            ),
            "arguments": Field(MapOf(Anything()), "A mapping that is handed to the function."),
            "python": Field(
                text(), "Another interpreter, such as `.venv/bin/python`; it need not have Counterpoint."
            ),
            "path": Field(Many(text(), single=True), "Folders to import from, after the score's own."),
        },
        short="function",
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
