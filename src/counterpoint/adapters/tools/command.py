"""`command`: a program with its arguments, as any crontab line has them."""

from __future__ import annotations

import shlex

from counterpoint.adapters.tools.settings import text
from counterpoint.adapters.tools.translation import LineTool, run_command
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context
from counterpoint.tables.kinds import Either, Flag, ListOf, Parsed
from counterpoint.tables.records import Key, Record


def _splittable(line: str) -> str:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ValueError(f"a command was expected, {line!r} cannot be split: {error}") from None
    if not words:
        raise ValueError("a command was expected, an empty text was found")
    return line


class CommandTool(LineTool):
    """Runs a program; a text is split as a shell would, but only `shell: true` starts a shell."""

    name = "command"
    settings = Record(
        "tool command",
        "A program with its arguments, run in the score's folder.",
        Key(
            "run",
            Either(Parsed("a command", "python3 ingest.py", _splittable), ListOf(text(), filled=True)),
            "The command, as a text or as a list of words.",
            required=True,
        ),
        Key("shell", Flag(), "Hand the text to /bin/sh: pipes, globs and variables work.", otherwise="false"),
        short="run",
        phrase="`command`",
        sample="""\
command: python3 ingest.py --day today
command: [python3, ingest.py, --title, "two words"]
command: {run: "sort orders.csv | uniq > unique.csv", shell: true}""",
    )

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The words of the command, or the shell with the text."""
        run = task.spec["run"]
        if task.spec.get("shell"):
            # -e: a step of a script that fails must not be hidden by the next one.
            return run_command(("/bin/sh", "-ec", run if isinstance(run, str) else shlex.join(run)), task, context)
        return run_command(shlex.split(run) if isinstance(run, str) else run, task, context)
