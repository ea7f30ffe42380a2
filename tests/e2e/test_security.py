"""Who may ask what, asked of a real `up` over real connections."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

SCORE = """\
score: s
events: {order.placed: {}}
pipelines:
  target: {run: "true"}
  task:
    run: >-
      sh -c 'echo "$COUNTERPOINT_TOKEN" > token.part; mv token.part token;
      while ! test -e go; do sleep 0.05; done'
"""
JSON = "application/json"
EVENTS = "application/cloudevents+json"
EVIL = "https://evil.example"


def event(number: int) -> bytes:
    return json.dumps(
        {"specversion": "1.0", "id": str(number), "source": "/test", "type": "order.placed", "data": {}}
    ).encode()


def facts(project: Any) -> int:
    return int(project.ask("status")["facts"])


def code_of(answer: tuple[int, bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["code"]


def test_a_page_of_another_site_changes_nothing_and_reads_nothing(project: Any) -> None:
    project.score(SCORE)
    project.up()
    before = facts(project)
    run, form = "/api/v1/pipelines/target/run", "application/x-www-form-urlencoded"

    # A form that a page sends by itself; with and without what newer browsers say of themselves.
    assert project.send("POST", run, b"a=b", Content_Type=form, Origin=EVIL, Sec_Fetch_Site="cross-site")[0] == 403
    assert project.send("POST", run, b"a=b", Content_Type=form)[0] == 415
    # `fetch` in the mode that needs no permission: JSON that calls itself text.
    assert project.send("POST", run, b"{}", Content_Type="text/plain", Origin=EVIL)[0] == 403
    assert project.send("POST", run, b"{}", Content_Type="text/plain")[0] == 415
    # From a sandboxed frame or a file.
    assert code_of(project.send("POST", run, b"{}", Content_Type=JSON, Origin="null")) == (403, "cross-site")
    # A name of the attacker's that leads to 127.0.0.1 since.
    assert code_of(project.send("POST", run, b"{}", Content_Type=JSON, Host="evil.example")) == (
        421,
        "foreign-host",
    )
    assert code_of(project.send("GET", "/api/v1/status", Host="evil.example:80")) == (421, "foreign-host")
    # An image, a link: reading has no effect, and no answer may be read elsewhere.
    assert project.send("GET", run)[0] == 405
    asked = project.send("OPTIONS", run, Origin=EVIL, Access_Control_Request_Method="POST")
    assert asked[0] == 405

    assert facts(project) == before
    assert project.ask("runs")["rows"] == []
    assert project.send("POST", run, b"{}", Content_Type=JSON)[0] == 202


def test_a_body_that_is_too_large_is_cut_early(project: Any) -> None:
    project.score(SCORE)
    project.up()
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b"x" * 65_536

    host, port = project.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as announced:
        head = f"POST /api/v1/events HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {EVENTS}\r\n"
        announced.sendall(f"{head}Content-Length: 99999999999\r\n\r\n".encode())
        assert announced.recv(100).startswith(b"HTTP/1.1 413 ")

    # The server stops reading, so that writing on fails, or its answer is there before the end.
    try:
        status, _ = project.send(
            "POST", "/api/v1/events", endless(), Content_Type=EVENTS, Transfer_Encoding="chunked"
        )
    except (ConnectionError, TimeoutError):
        status = 413
    assert status == 413
    assert sent < 64 * 2**20

    assert project.send("POST", "/api/v1/events", event(1), Content_Type=EVENTS)[0] == 202


def test_a_task_s_token_is_for_its_own_attempt_and_dies_with_it(project: Any) -> None:
    project.score(SCORE)
    project.up()
    project.ask("run", "task", "--no-wait")
    project.until((project.folder / "token").exists)
    shown = {"Authorization": f"Bearer {(project.folder / 'token').read_text().strip()}", "Content_Type": JSON}
    report = json.dumps({"kind": "checkpoint", "name": "half"}).encode()
    own, other = "/api/v1/attempts/task/1/run/1/report", "/api/v1/attempts/task/1/run/2/report"

    assert project.send("POST", "/api/v1/events", event(1), **shown)[0] == 202
    assert project.send("POST", own, report, **shown)[0] == 204
    assert code_of(project.send("POST", other, report, **shown)) == (403, "forbidden")
    for method, path in (
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/runs"),
        ("GET", "/api/v1/stream"),
        ("GET", "/metrics"),
        ("POST", "/api/v1/pipelines/target/run"),
        ("POST", "/api/v1/runs/task/1/cancel"),
        ("POST", "/api/v1/plan"),
    ):
        assert code_of(project.send(method, path, b"{}" if method == "POST" else None, **shown)) == (
            403,
            "forbidden",
        )

    (project.folder / "go").touch()
    project.until(lambda: project.phase("task#1") == "succeeded")
    assert code_of(project.send("POST", "/api/v1/events", event(2), **shown)) == (401, "token-needed")
    assert code_of(project.send("POST", own, report, **shown)) == (401, "token-needed")
    forged = shown | {"Authorization": shown["Authorization"][:-1] + "0"}
    assert code_of(project.send("POST", own, report, **forged)) == (401, "token-needed")


def test_a_set_token_is_asked_for_on_loopback_and_never_told(project: Any) -> None:
    project.score(SCORE)
    project.up("--token", "sesame-1234")

    assert code_of(project.send("GET", "/api/v1/status")) == (401, "token-needed")
    assert code_of(project.send("GET", "/api/v1/status", Authorization="Bearer wrong")) == (401, "token-needed")
    assert project.send("GET", "/api/v1/status", Authorization="Bearer sesame-1234")[0] == 200
    assert project.send("GET", "/healthz")[0] == 200
    assert project.send("GET", "/metrics")[0] == 401
    # Verbs in the folder find it in a file that is ours alone.
    assert project.type("status").returncode == 0
    assert (project.folder / ".counterpoint").stat().st_mode & 0o077 == 0
    assert "sesame" not in project.log()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_the_world_is_not_listened_to_without_a_token(project: Any, listen: str) -> None:
    project.score(SCORE)

    done = project.type("up", "--listen", listen)

    assert done.returncode == 2
    assert "a token is needed" in done.stderr
    assert not (project.folder / ".counterpoint").exists()
