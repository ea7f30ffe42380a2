"""`wait`: answers *not yet* until something is there. No process lives between two looks."""

from __future__ import annotations

from counterpoint.adapters.tools.check import EXPECTATION
from counterpoint.adapters.tools.http import STATUSES
from counterpoint.adapters.tools.settings import (
    DURATION,
    SIZE,
    TEXT_OR_SECRET,
    Anything,
    Field,
    MapOf,
    Record,
    choice,
    text,
)
from counterpoint.adapters.tools.sql import DATABASE
from counterpoint.adapters.tools.translation import TableTool, call_runtime
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context

_PAGE = Record(
    {
        "url": Field(TEXT_OR_SECRET, "The address to ask.", required=True),
        "method": Field(choice("GET", "HEAD", "POST"), "GET unless given."),
        "headers": Field(MapOf(TEXT_OR_SECRET), "Headers of the request."),
        "expect": Field(STATUSES, "Statuses that end the wait; 200 to 299 unless given."),
        "timeout": Field(DURATION, "How long one request may take.", default=30.0),
    },
    short="url",
)


class WaitTool(TableTool):
    """Waits for a file, a value in a database, an answer over HTTP, or for a while."""

    name = "wait"
    table = Record(
        {
            "file": Field(text(), "A file, or a pattern such as `in/*.csv` that at least one must match."),
            "newer_than": Field(DURATION, "The file was changed within this time."),
            "min_size": Field(SIZE, "The file has at least this size."),
            "sql": Field(text(), "A query whose first value is compared."),
            "database": Field(DATABASE, "Where the query runs."),
            "expect": Field(EXPECTATION, "What that value should be; `> 0` unless given."),
            "params": Field(MapOf(Anything()), "Values for `$name`; the run's own parameters come first."),
            "http": Field(_PAGE, "A page that answers as expected."),
            "duration": Field(DURATION, "Just this long."),
            "every": Field(DURATION, "Time between two looks.", default=10.0),
        },
        one_of=("file", "sql", "http", "duration"),
        together={"sql": ("database",)},
        belongs={
            **dict.fromkeys(("newer_than", "min_size"), ("file",)),
            **dict.fromkeys(("database", "expect", "params"), ("sql",)),
        },
    )

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The runtime's `wait`; a wait that is to be stopped has nothing outside to end."""
        return Invocation() if context.stopping else call_runtime("wait", task, context)
