"""Tools as the worker host uses them: what `prepare` asks for is carried out here, in this process."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest

from counterpoint.adapters.executors.process.output import Output
from counterpoint.adapters.tools import standard_tools
from counterpoint.model.pipeline import Secret, Task
from counterpoint.ports.executor import Ended, Invocation
from counterpoint.ports.tool import Answer, Context
from counterpoint.testing.contracts.tool import read_settings

Perform = Callable[..., Answer]


@pytest.fixture
def perform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Perform:
    """Carry out one look of a task in `tmp_path`; its answer. Keyword arguments are those of `Context`."""
    tools = standard_tools()
    monkeypatch.chdir(tmp_path)

    def perform(
        name: str,
        node: Any,
        *,
        env: dict[str, str] | None = None,
        secrets: dict[str, str] | None = None,
        **context: Any,
    ) -> Answer:
        tool = tools[name]
        spec, mistakes = read_settings(tool, node)
        assert not mistakes
        spec = json.loads(msgspec.json.encode(spec))
        task = Task(name="load", tool=name, spec=spec)
        given = {"COUNTERPOINT_RUN_ID": "daily#1", "COUNTERPOINT_TASK": "load", **(env or {})}
        invocation = tool.prepare(
            task, Context(folder=str(tmp_path), env=given, attempt="daily#1/load/1", **context)
        )
        assert not any(value in repr(invocation) for value in (secrets or {}).values())
        return tool.read(task, _carried_out(invocation, tmp_path, secrets or {}, monkeypatch))

    return perform


def _carried_out(
    invocation: Invocation, folder: Path, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Ended:
    output = folder / "spool" / "output"
    output.parent.mkdir(exist_ok=True)
    output.write_bytes(b"")
    invocation = msgspec.json.decode(msgspec.json.encode(invocation), type=Invocation)
    with monkeypatch.context() as patch:
        patch.setenv("COUNTERPOINT_OUTPUT", str(output))
        for name, value in invocation.env.items():
            patch.setenv(name, secrets[value.name] if isinstance(value, Secret) else value)
        module, _, function = invocation.function.partition(":")
        getattr(importlib.import_module(module), function)(**invocation.arguments)
    read = Output(str(output), None)
    list(read.read(at_end=True))
    lines = tuple(json.loads(line) for line in read.lines)
    return Ended(attempt="daily#1/load/1", look=0, succeeded=True, lines=lines, bad_lines=tuple(read.bad))


class Server:
    """An HTTP server that answers from a list and remembers what it was asked.

    Attributes:
        answers: (method, path) -> answers, each (status, headers, body); the last one stays.
        requests: (method, path, headers, body).
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[tuple[int, dict[str, str], Any]]] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    def on(self, method: str, path: str, *answers: tuple[int, Any], headers: dict[str, str] | None = None) -> None:
        """Answer this request so; several answers follow one another."""
        self.answers[method, path] = [(status, headers or {}, body) for status, body in answers]

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], Any]:
        """Remember the request and take the next answer."""
        self.requests.append((method, path, headers, body))
        answers = self.answers.get((method, path), [(404, {}, {"error": "nothing here"})])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on a free port of 127.0.0.1."""
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, content = served.answer(self.command, self.path, headers, body)
            payload = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            kind = "text/plain" if isinstance(content, str) else "application/json"
            for name, value in {"content-type": kind, "content-length": str(len(payload)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    http.shutdown()
    thread.join()
    http.server_close()
