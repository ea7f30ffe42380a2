"""`http`: one request, or a remote job that is started and then polled or calls back."""

from __future__ import annotations

from typing import Any

from counterpoint.adapters.tools.settings import HEADERS, seconds, text, text_or_secret
from counterpoint.adapters.tools.translation import LineTool, call_runtime
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context
from counterpoint.tables.kinds import Anything, Choice, Either, Flag, Integer, ListOf
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading
from counterpoint.tables.records import Key, Record, Variants

#: One status or several.
STATUSES = ListOf(Integer(100, 599), filled=True, single=True)

_WORDS = ListOf(Either(text("ok"), Flag(), Integer(None)), filled=True, single=True)
_AT = text("job.status", "a dotted path such as `job.status`")
_HEADERS = Key("headers", HEADERS, "Headers of the request; for a job, of each of its requests.")


def _request(method: str, url: str) -> tuple[Key, ...]:
    """The keys of a request, but for its headers."""
    return (
        Key(
            "url",
            text_or_secret(url),
            "The address; `{id}`, `{partition}` and the like are filled in.",
            required=True,
        ),
        Key("method", Choice("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), "Its method.", default=method),
        Key("json", Anything(), "The body, as JSON; `{secret: NAME}` in it is a reference."),
        Key("body", text(), "The body, as it is."),
        Key("expect", STATUSES, "Statuses that count as success.", otherwise="200 to 299"),
        Key("timeout", seconds("30s"), "How long it may take.", default="30s"),
    )


_STATES = (
    Key("status", _AT, "Where the job's status is in the answer.", required=True),
    Key("done", _WORDS, "Statuses of a job that succeeded.", required=True),
    Key("failed", _WORDS, "Statuses of a job that failed.", otherwise="none"),
    Key("running", _WORDS, "Statuses of a job that goes on; any other fails.", otherwise="all others"),
)
_START = Record(
    "start of a job",
    "The request that starts a job.",
    *_request("POST", "http://127.0.0.1:9000/jobs"),
    _HEADERS,
    Key("id", _AT, "Where the job's id is in the answer.", default="id"),
    short="url",
)
_POLL = Record(
    "poll of a job",
    "The request that asks for the status of a job.",
    *_request("GET", '"http://127.0.0.1:9000/jobs/{id}"'),
    _HEADERS,
    *_STATES,
    Key("every", seconds("5s"), "Time between two looks.", default="5s"),
)
_CALLBACK = Record(
    "call-back of a job", "What a call-back says of the job. `true`: it means that it is done.", *_STATES
)
_LOGS = Record(
    "log of a job",
    "The request for the log of a job.",
    *_request("GET", '"http://127.0.0.1:9000/jobs/{id}/log"'),
    _HEADERS,
    Key("text", _AT, "Where the text is in a JSON answer.", otherwise="the whole answer"),
    short="url",
)
_CANCEL = Record(
    "end of a job",
    "The request that ends a job.",
    *_request("POST", '"http://127.0.0.1:9000/jobs/{id}/cancel"'),
    _HEADERS,
    short="url",
)


def _job(values: dict[str, Any], node: Node, reading: Reading) -> dict[str, Any]:
    if "poll" not in node.value and node.at("callback").value in (None, False):
        message = "a job needs `poll` or `callback`, none was found; say how its end is noticed"
        raise reading.refuse(node, message, "missing-key")
    return values


class HttpTool(LineTool):
    """Asks a server, and for a job keeps asking, without a process of its own in between."""

    name = "http"
    settings = Variants(
        "tool http",
        "One request, or a job on a server that is started and then looked at until it ends. "
        "`{partition}`, `{params.NAME}`, `{run_id}` and the like are filled in, in any text.",
        Record(
            "request",
            "One request; its answer is the task's result.",
            *_request("GET", "http://127.0.0.1:9000/x"),
            short="url",
        ),
        Record(
            "job",
            "A job that is started, and then polled or calls back.",
            Key("start", _START, "The request that starts it.", required=True),
            Key("poll", _POLL, "The request that asks for its status."),
            Key(
                "callback",
                Either(Flag(), _CALLBACK),
                "The job calls `{callback_url}` when it ends.",
                otherwise="false",
            ),
            Key("logs", _LOGS, "The request for its log, which becomes the attempt's."),
            Key("cancel", _CANCEL, "The request that ends it when the task is stopped."),
            build=_job,
        ),
        common=(_HEADERS,),
        both="make two tasks of them",
        phrase="`http`",
        sample="""\
http: http://127.0.0.1:9000/refresh
http: {method: PUT, url: "http://127.0.0.1:9000/days/{partition}", json: {rows: 3}, expect: [200, 409]}
http:
  headers: {authorization: {secret: API_TOKEN, prefix: "Bearer "}}
  start: {url: "http://127.0.0.1:9000/jobs", json: {kind: export}, id: job.id}
  poll: {url: "http://127.0.0.1:9000/jobs/{id}", every: 10s, status: job.state, done: ok, failed: [broken, gone]}
  cancel: {method: DELETE, url: "http://127.0.0.1:9000/jobs/{id}"}""",
    )

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The runtime's `http`; nothing where a job is to be stopped that cannot be."""
        if context.stopping and "cancel" not in task.spec:
            return Invocation()
        return call_runtime("http", task, context)
