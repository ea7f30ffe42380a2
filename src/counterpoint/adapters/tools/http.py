"""`http`: one request, or a remote job that is started and then polled or calls back."""

from __future__ import annotations

from typing import Any

from counterpoint.adapters.tools.settings import (
    DURATION,
    FLAG,
    TEXT_OR_SECRET,
    Anything,
    Either,
    Field,
    Many,
    MapOf,
    Record,
    choice,
    integer,
    text,
)
from counterpoint.adapters.tools.translation import TableTool, call_runtime
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context

#: One status or several.
STATUSES = Many(integer(100, 599), single=True)

_METHOD = choice("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_WORD = Either((text(), FLAG, integer(-(2**31), 2**31)))


def _request(method: str) -> dict[str, Field]:
    return {
        "method": Field(_METHOD, f"{method} unless given.", default=method),
        "url": Field(TEXT_OR_SECRET, "The address; `{id}`, `{partition}` and the like are filled in."),
        "headers": Field(MapOf(TEXT_OR_SECRET), "Headers of the request."),
        "json": Field(Anything(), "The body, as JSON; `{secret: NAME}` in it is a reference."),
        "body": Field(text(), "The body, as it is."),
        "expect": Field(STATUSES, "Statuses that count as success; 200 to 299 unless given."),
        "timeout": Field(DURATION, "How long one request may take.", default=30.0),
    }


def _needing_url(fields: dict[str, Field], **more: Any) -> Record:
    return Record(fields | {"url": Field(TEXT_OR_SECRET, fields["url"].help, required=True)}, short="url", **more)


_STATES = {
    "status": Field(text(), "Where the job's status is in the answer: a dotted path such as `job.status`."),
    "done": Field(Many(_WORD, single=True), "Statuses of a job that succeeded."),
    "failed": Field(Many(_WORD, single=True), "Statuses of a job that failed."),
    "running": Field(Many(_WORD, single=True), "Statuses of a job that goes on; without it, all others."),
}
_NEEDED = {key: Field(_STATES[key].kind, _STATES[key].help, required=True) for key in ("status", "done")}

_START = _needing_url(
    _request("POST") | {"id": Field(text(), "Where the job's id is in the answer: a dotted path.", default="id")}
)
_POLL = Record(
    _request("GET")
    | _STATES
    | _NEEDED
    | {
        "url": Field(TEXT_OR_SECRET, "The address; `{id}` is the job's id.", required=True),
        "every": Field(DURATION, "Time between two looks.", default=5.0),
    }
)
_LOGS = _needing_url(
    _request("GET") | {"text": Field(text(), "Where the text is in a JSON answer: a dotted path.")},
)


class HttpTool(TableTool):
    """Asks a server, and for a job keeps asking, without a process of its own in between."""

    name = "http"
    table = Record(
        _request("GET")
        | {
            "start": Field(_START, "The request that starts a job."),
            "poll": Field(_POLL, "The request that asks for its status."),
            "callback": Field(
                Either((FLAG, Record(_STATES, together={"status": ("done",)}))),
                "The job calls `{callback_url}` when it ends.",
            ),
            "logs": Field(_LOGS, "The request for its log, which becomes the attempt's."),
            "cancel": Field(_needing_url(_request("POST")), "The request that ends it."),
        },
        short="url",
        one_of=("url", "start"),
        together={"poll": ("start",), "callback": ("start",), "logs": ("start",), "cancel": ("start",)},
        belongs={
            "start": ("poll", "callback"),
            **dict.fromkeys(("method", "json", "body", "expect"), ("url",)),
        },
    )

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The runtime's `http`; nothing where a job is to be stopped that cannot be."""
        if context.stopping and "cancel" not in task.spec:
            return Invocation()
        return call_runtime("http", task, context)
