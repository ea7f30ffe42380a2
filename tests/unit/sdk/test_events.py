"""Emitting to a server that a thread plays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from counterpoint.sdk import EmitError, current, events
from counterpoint.sdk.__main__ import main


class Server:
    """Answers with `statuses`, the last of which stays; keeps (path, headers, body)."""

    def __init__(self) -> None:
        self.statuses: list[int] = [202]
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            served.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status = served.statuses.pop(0) if len(served.statuses) > 1 else served.statuses[0]
            payload = json.dumps({"error": "the reason"}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    given = {
        "URL": f"http://127.0.0.1:{http.server_address[1]}/",
        "TOKEN": "t0ken",
        "RUN_ID": "daily#1",
        "PIPELINE": "daily",
        "TASK": "load",
        "OUTPUT": str(tmp_path / "output"),
    }
    for name, value in given.items():
        monkeypatch.setenv(f"COUNTERPOINT_{name}", value)
    monkeypatch.setenv("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    yield served
    http.shutdown()
    thread.join()
    http.server_close()


def test_an_event_is_posted_as_a_cloudevent_with_the_tasks_token(server: Server) -> None:
    assert current().emit("order.placed", {"id": 7}, subject="7") == "daily#1/load/1"

    ((path, headers, body),) = server.requests
    assert path == "/api/v1/events"
    assert headers["authorization"] == "Bearer t0ken"
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["traceparent"].startswith("00-0af7")
    assert body == {
        "specversion": "1.0",
        "id": "daily#1/load/1",
        "source": "/pipelines/daily/tasks/load",
        "type": "order.placed",
        "subject": "7",
        "datacontenttype": "application/json",
        "data": {"id": 7},
    }


def test_ids_ascend_over_processes_and_begin_again_with_a_new_attempt(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    current().emit("a")
    assert main(["emit", "a", '{"n": 2}']) == 0
    monkeypatch.setenv("COUNTERPOINT_OUTPUT", str(tmp_path / "output-of-the-next-attempt"))
    current().emit("a")

    assert [body["id"] for _, _, body in server.requests] == ["daily#1/load/1", "daily#1/load/2", "daily#1/load/1"]
    assert capsys.readouterr().out == "daily#1/load/2\n"


def test_an_id_of_ones_own_is_kept(server: Server) -> None:
    assert current().emit("a", id="mine") == "mine"
    assert current().emit("a") == "daily#1/load/1"


def test_a_server_that_is_being_restarted_is_tried_again(server: Server) -> None:
    server.statuses = [503, 503, 202]

    current().emit("a")

    assert [body["id"] for _, _, body in server.requests] == ["daily#1/load/1"] * 3


def test_a_refused_event_is_an_error_with_the_servers_reason(server: Server, capsys: Any) -> None:
    server.statuses = [400]

    with pytest.raises(EmitError, match="refused with 400: the reason"):
        current().emit("a")
    assert main(["emit", "a"]) == 1
    assert "the reason" in capsys.readouterr().err


def test_what_an_earlier_attempt_emitted_is_not_emitted_again(server: Server, capsys: Any) -> None:
    server.statuses = [409]

    assert current().emit("a", {"n": 2}) == "daily#1/load/1"
    assert "emitted before" in capsys.readouterr().err
    with pytest.raises(EmitError):
        current().emit("a", id="mine")


def test_a_server_that_is_away_is_an_error_in_the_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(events, "_TRY_FOR_S", 0.2)

    with pytest.raises(EmitError, match="not reachable"):
        current().emit("a")


def test_without_a_server_it_is_said(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUNTERPOINT_URL")

    with pytest.raises(EmitError, match="COUNTERPOINT_URL is not set"):
        current().emit("a")
