"""`wait`: answers *not yet* until something is there. No process lives between two looks."""

from __future__ import annotations

from counterpoint.adapters.tools.http import STATUSES
from counterpoint.adapters.tools.settings import (
    DATABASE,
    EXPECTATION,
    FILE_KEYS,
    HEADERS,
    PARAMS,
    QUERY,
    seconds,
    text_or_secret,
)
from counterpoint.adapters.tools.translation import LineTool, call_runtime
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context
from counterpoint.tables.kinds import Choice
from counterpoint.tables.records import Key, Record, Variants

_EVERY = Key("every", seconds("10s"), "Time between two looks.", default="10s")
_PAGE = Record(
    "page",
    "A request whose answer is waited for.",
    Key("url", text_or_secret("http://127.0.0.1:9000/ready"), "The address to ask.", required=True),
    Key("method", Choice("GET", "HEAD", "POST"), "Method of the request.", default="GET"),
    Key("headers", HEADERS, "Headers of the request."),
    Key("expect", STATUSES, "Statuses that end the wait.", otherwise="200 to 299"),
    Key("timeout", seconds("30s"), "How long one request may take.", default="30s"),
    short="url",
)


class WaitTool(LineTool):
    """Waits for a file, a value in a database, an answer over HTTP, or for a while."""

    name = "wait"
    settings = Variants(
        "tool wait",
        "Answers *not yet* until something is there. Between two looks there is no process. "
        "It holds slots only if the task itself asks for `pools`; the task's `timeout` limits the whole wait.",
        Record("wait for a file", "Until a file is there.", *FILE_KEYS, _EVERY),
        Record(
            "wait for a value",
            "Until a query gives the value that is expected.",
            QUERY,
            Key("database", DATABASE, "Where the query runs.", required=True),
            Key("expect", EXPECTATION, "What its first value should be.", default="> 0"),
            PARAMS,
            _EVERY,
        ),
        Record(
            "wait for a page",
            "Until a server answers as expected.",
            Key("http", _PAGE, "The page.", required=True),
            _EVERY,
        ),
        Record("pause", "For a while.", Key("duration", seconds("5m"), "Just this long.", required=True)),
        both="make two tasks of them",
        phrase="`wait`",
        misplaced={"timeout": "it is a key of the task, beside `wait`"},
        sample="""\
wait: {file: "in/*.csv", newer_than: 1h, every: 30s}
wait: {sql: select count(*) from orders, database: shop.sqlite, expect: "> 100"}
wait: {http: "http://127.0.0.1:9000/ready"}
wait: {duration: 5m}""",
    )

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The runtime's `wait`; a wait that is to be stopped has nothing outside to end."""
        return Invocation() if context.stopping else call_runtime("wait", task, context)
