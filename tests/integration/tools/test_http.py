"""The `http` tool against a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

JOB = {
    "headers": {"authorization": {"secret": "KEY", "prefix": "Bearer "}},
    "start": {"json": {"run": "{run_id}", "back": "{callback_url}", "day": "{params.day}"}, "id": "job.id"},
    "poll": {"every": "2s", "status": "state", "done": "ok", "failed": ["broken"], "running": ["queued", "going"]},
}
SECRETS = {"KEY": "s3cret-value"}
ENV = {"COUNTERPOINT_PARAMS": '{"day": "2026-01-31"}'}


@pytest.fixture
def job(server: Any) -> dict[str, Any]:
    """A job's settings, for the server; its start is answered with id 7."""
    server.on("POST", "/jobs", (202, {"job": {"id": 7}}))
    return JOB | {
        "start": JOB["start"] | {"url": f"{server.url}/jobs"},
        "poll": JOB["poll"] | {"url": f"{server.url}/jobs/{{id}}"},
    }


def test_one_request_is_done_with_what_was_answered(perform: Any, server: Any) -> None:
    server.on("POST", "/refresh", (201, {"views": 3}))

    answer = perform("http", {"method": "POST", "url": f"{server.url}/refresh", "json": {"all": True}})

    assert (answer.state, answer.result) == ("done", {"status": 201, "response": {"views": 3}})
    ((_, _, headers, body),) = server.requests
    assert headers["idempotency-key"] == "daily#1/load/1"
    assert (headers["content-type"], json.loads(body)) == ("application/json", {"all": True})


@pytest.mark.parametrize(("path", "header"), [("/a b", "canary"), ("/", "canary\n")])
def test_what_cannot_be_sent_is_a_failure_and_not_waited_for(
    perform: Any, server: Any, path: str, header: str
) -> None:
    node = {"url": f"{server.url}{path}", "headers": {"note": {"secret": "KEY"}}}

    asked = perform("http", node, secrets={"KEY": header})
    waited = perform("wait", {"http": node}, secrets={"KEY": header})

    for answer in (asked, waited):
        assert (answer.state, answer.failure) == ("failed", "error")
        assert "cannot be sent" in answer.detail
        assert "canary" not in answer.detail


def test_a_character_set_that_nobody_knows_fails_nothing(perform: Any, server: Any) -> None:
    server.on("GET", "/x", (200, "fine"), headers={"content-type": "text/plain; charset=utf8mb4"})

    assert perform("http", f"{server.url}/x").state == "done"


@pytest.mark.parametrize("status", [404, 302])
def test_a_status_that_was_not_expected_is_a_failure(perform: Any, server: Any, status: int) -> None:
    server.on("GET", "/x?key=abc", (status, {"error": "no"}), headers={"location": f"{server.url}/y"})

    answer = perform("http", f"{server.url}/x?key=abc")

    assert (answer.state, answer.failure) == ("failed", "error")
    assert f"answered {status}" in answer.detail
    assert "200 to 299 was expected" in answer.detail
    assert "abc" not in answer.detail, "an address's query may hold a key"
    assert len(server.requests) == 1, "a redirect is not followed: it would carry secrets elsewhere"


def test_a_server_that_is_away_is_a_failure_that_says_so(perform: Any) -> None:
    answer = perform("http", {"url": "http://127.0.0.1:9/x", "timeout": "1s"})

    assert (answer.state, answer.failure) == ("failed", "error")
    assert "refused" in answer.detail


def test_a_job_is_started_and_then_polled_without_a_process_in_between(
    perform: Any, server: Any, job: Any
) -> None:
    server.on("GET", "/jobs/7", (200, {"state": "going"}), (200, {"state": "ok", "rows": 5}))

    started = perform("http", job, env=ENV, secrets=SECRETS, callback_url="http://127.0.0.1/back")
    going = perform("http", job, env=ENV, secrets=SECRETS, look=1, carry=started.carry)
    done = perform("http", job, env=ENV, secrets=SECRETS, look=2, carry=going.carry)

    assert (started.state, started.external_id, started.look_after_s) == ("not-yet", "7", 2.0)
    assert (going.state, going.detail) == ("not-yet", "job 7 is going")
    assert done.state == "done"
    assert done.result == {"status": "ok", "job": "7", "response": {"state": "ok", "rows": 5}}
    start = server.requests[0]
    assert json.loads(start[3]) == {"run": "daily#1", "back": "http://127.0.0.1/back", "day": "2026-01-31"}
    assert start[2]["idempotency-key"] == "daily#1/load/1"
    assert {headers["authorization"] for _, _, headers, _ in server.requests} == {"Bearer s3cret-value"}


def test_a_job_that_failed_fails_the_task_with_the_answer(perform: Any, server: Any, job: Any) -> None:
    server.on("GET", "/jobs/7", (200, {"state": "broken", "why": "disk"}))

    answer = perform("http", job, env=ENV, secrets=SECRETS, look=1, carry={"id": "7"})

    assert (answer.state, answer.failure) == ("failed", "error")
    assert "job 7 is broken" in answer.detail
    assert "disk" in answer.detail


def test_a_status_that_nobody_named_is_a_failure_and_not_an_endless_wait(
    perform: Any, server: Any, job: Any
) -> None:
    server.on("GET", "/jobs/7", (200, {"state": "gone"}))

    answer = perform("http", job, env=ENV, secrets=SECRETS, look=1, carry={"id": "7"})

    assert answer.state == "failed"
    assert "'gone', which is none of the statuses known: ok, broken, queued, going" in answer.detail


def test_a_busy_server_is_a_failed_start_and_a_later_look(perform: Any, server: Any, job: Any) -> None:
    server.on("POST", "/jobs", (503, {"error": "busy"}), headers={"retry-after": "30"})
    server.on("GET", "/jobs/7", (429, {"error": "slowly"}), headers={"retry-after": "9"})

    start = perform("http", job, env=ENV, secrets=SECRETS)
    look = perform("http", job, env=ENV, secrets=SECRETS, look=1, carry={"id": "7", "printed": 3})

    assert (start.state, start.failure) == ("failed", "error")
    assert "asks for another try in 30s" in start.detail
    assert (look.state, look.look_after_s, look.carry) == ("not-yet", 9.0, {"id": "7", "printed": 3})


def test_the_jobs_log_is_printed_as_it_grows(perform: Any, server: Any, job: Any, capsys: Any) -> None:
    server.on("GET", "/jobs/7", (200, {"state": "going"}), (200, {"state": "ok"}))
    server.on("GET", "/jobs/7/log", (200, "one\n"), (200, "one\ntwo\n"))
    job |= {"logs": f"{server.url}/jobs/{{id}}/log"}

    going = perform("http", job, env=ENV, secrets=SECRETS, look=1, carry={"id": "7"})
    first = capsys.readouterr().out
    done = perform("http", job, env=ENV, secrets=SECRETS, look=2, carry=going.carry)

    assert first == "one\njob 7 is going\n"
    assert capsys.readouterr().out == "two\njob 7 is ok\n"
    assert done.state == "done"


def test_a_job_that_calls_back_is_done_by_the_call(perform: Any, server: Any) -> None:
    server.on("POST", "/jobs", (202, {"id": "a1"}))
    node = {"start": f"{server.url}/jobs", "callback": {"status": "data.status", "done": "ok", "failed": "no"}}

    waits = perform("http", node)
    done = perform("http", node, look=1, carry=waits.carry, callback={"data": {"status": "ok"}})
    failed = perform("http", node, look=1, carry=waits.carry, callback={"data": {"status": "no"}})
    looked = perform("http", node, look=1, carry=waits.carry)

    assert (waits.state, waits.callback, waits.external_id) == ("not-yet", True, "a1")
    assert done.state == "done"
    assert failed.state == "failed"
    assert (looked.state, looked.callback) == ("not-yet", True)
    assert len(server.requests) == 1


def test_a_job_is_ended_by_its_own_request(perform: Any, server: Any, job: Any) -> None:
    server.on("DELETE", "/jobs/7", (204, ""))
    job |= {"cancel": {"method": "DELETE", "url": f"{server.url}/jobs/{{id}}"}}

    answer = perform("http", job, env=ENV, secrets=SECRETS, look=3, carry={"id": "7"}, stopping=True)

    assert answer.state == "done"
    assert [request[:2] for request in server.requests] == [("DELETE", "/jobs/7")]


def test_a_value_cannot_leave_its_place_in_an_address(perform: Any, server: Any) -> None:
    server.on("GET", "/day/..%2Fadmin%3Fx", (200, {}))

    answer = perform("http", f"{server.url}/day/{{partition}}", env={"COUNTERPOINT_PARTITION": "../admin?x"})

    assert answer.state == "done"


def test_a_parameter_that_the_run_does_not_have_is_said(perform: Any, server: Any) -> None:
    answer = perform("http", f"{server.url}/{{params.day}}")

    assert (answer.state, answer.failure) == ("failed", "error")
    assert "'day'" in answer.detail
