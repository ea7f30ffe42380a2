"""Which requests are refused, whoever sends them."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint.entrypoints.api.server import Listener
from counterpoint.entrypoints.api.settings import ApiSettings
from counterpoint.errors import Conflict, Mistake

EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.placed"}
JSON = "application/json"
OWN = "load#4/load/1"


@pytest.mark.parametrize("host", ["127.0.0.1:8700", "localhost:8700", "LOCALHOST:8700", "[::1]:8700"])
async def test_the_names_of_loopback_are_ours(client: Any, host: str) -> None:
    assert (await client.get("/api/v1/status", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8700",
        "127.0.0.1.evil.example:8700",
        "localhost:9999",
        "127.0.0.1",
        "localhost.:8700",
        "[::ffff:127.0.0.1]:8700",
        "user@127.0.0.1:8700",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/status", "/healthz", "/nowhere"])
async def test_a_name_that_is_not_ours_is_refused_as_after_dns_rebinding(
    client: Any, host: str, path: str
) -> None:
    answer = await client.get(path, headers={"Host": host})

    assert answer.status_code == 421
    assert answer.json()["code"] == "foreign-host"


async def test_a_configured_name_is_ours_with_our_port_or_its_own(make_client: Any) -> None:
    client = make_client(names=("plans.example", "proxied.example:443"))

    found = {
        host: (await client.get("/healthz", headers={"Host": host})).status_code
        for host in ("plans.example:8700", "plans.example", "proxied.example:443", "other.example:8700")
    }

    assert found == {
        "plans.example:8700": 200,
        "plans.example": 421,
        "proxied.example:443": 200,
        "other.example:8700": 421,
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "none", "Origin": "https://evil.example"},
    ],
)
async def test_a_page_of_another_site_changes_nothing(client: Any, service: Any, headers: dict[str, str]) -> None:
    answer = await client.post("/api/v1/pipelines/load/run", json={}, headers=headers)

    assert answer.status_code == 403
    assert answer.json()["code"] == "cross-site"
    assert service.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8700"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_our_own_pages_and_programs_may_change_things(client: Any, headers: dict[str, str]) -> None:
    assert (await client.post("/api/v1/pipelines/load/run", json={}, headers=headers)).status_code == 202


async def test_a_form_of_another_site_is_refused(client: Any, service: Any) -> None:
    for headers in ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, {}):
        answer = await client.post("/api/v1/pipelines/load/run", data={"reason": "a form"}, headers=headers)

        assert answer.status_code in (403, 415)
    assert service.calls == []


@pytest.mark.parametrize(
    "media", ["text/plain", "text/plain;application/json", "multipart/form-data", "application/xml", ""]
)
async def test_a_body_that_a_browser_may_send_unasked_is_refused(client: Any, service: Any, media: str) -> None:
    answer = await client.post("/api/v1/events", content=b"{}", headers={"Content-Type": media})

    assert answer.status_code == 415
    assert answer.json()["code"] == "media-type"
    assert service.calls == []


async def test_no_answer_invites_other_origins(client: Any) -> None:
    asked = await client.options(
        "/api/v1/events",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )
    read = await client.get("/api/v1/status", headers={"Origin": "https://evil.example"})

    assert asked.status_code == 405
    for answer in (asked, read):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_reading_has_no_effect(client: Any, service: Any) -> None:
    for path in ("/api/v1/pipelines/load/run", "/api/v1/pipelines/load/pause", "/api/v1/runs/load/1/cancel"):
        assert (await client.get(path)).status_code == 405

    assert service.calls == []


@pytest.mark.parametrize(
    "authorization", [None, "Bearer wrong", "Basic c2VjcmV0", "Bearer", "secret", "Bearer sécret"]
)
async def test_a_set_token_is_asked_for_on_loopback_too(make_client: Any, authorization: str | None) -> None:
    headers = {"Authorization": authorization.encode()} if authorization is not None else {}

    answer = await make_client(token="secret").get("/api/v1/status", headers=headers)

    assert answer.status_code == 401
    assert answer.json()["code"] == "token-needed"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_right_token_opens_everything_but_a_task_s_own_report(make_client: Any) -> None:
    client = make_client(token="secret")
    client.headers["Authorization"] = "Bearer secret"

    assert (await client.get("/api/v1/status")).status_code == 200
    assert (await client.post("/api/v1/events", json=EVENT)).status_code == 202
    assert (await client.post("/api/v1/attempts/load/4/load/1/report", json={})).status_code == 403


async def test_probes_need_no_token_and_metrics_do(make_client: Any) -> None:
    client = make_client(token="secret")

    found = {
        path: (await client.get(path)).status_code
        for path in ("/healthz", "/readyz", "/metrics", "/api/v1/stream")
    }

    assert found == {"/healthz": 200, "/readyz": 200, "/metrics": 401, "/api/v1/stream": 401}


async def test_a_task_emits_in_its_own_name_and_reports_for_its_own_attempt(
    make_client: Any, service: Any
) -> None:
    service.tokens["task"] = OWN
    client = make_client(token="secret")
    client.headers["Authorization"] = "Bearer task"

    emitted = await client.post("/api/v1/events", json=EVENT, headers={"Counterpoint-By": "root"})
    reported = await client.post("/api/v1/attempts/load%234/load/1/report", json={"kind": "progress"})

    assert (emitted.status_code, reported.status_code) == (202, 204)
    assert service.calls == [
        ("accept", {"events": [EVENT], "by": OWN, "attempt": OWN}),
        ("report_attempt", {"attempt": OWN, "line": {"kind": "progress"}}),
    ]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/events"),
        ("GET", "/api/v1/stream"),
        ("GET", "/api/v1/runs/load/4/logs"),
        ("POST", "/api/v1/pipelines/load/run"),
        ("POST", "/api/v1/runs/load/4/cancel"),
        ("POST", "/api/v1/plan"),
        ("POST", "/api/v1/assets/raw.orders/versions"),
        ("POST", "/api/v1/attempts/load/4/load/2/report"),
        ("POST", "/api/v1/attempts/load/5/load/1/report"),
    ],
)
@pytest.mark.parametrize("token", ["", "secret"])
async def test_a_task_s_token_opens_nothing_else(
    make_client: Any, service: Any, token: str, method: str, path: str
) -> None:
    service.tokens["task"] = OWN

    answer = await make_client(token=token).request(
        method, path, headers={"Authorization": "Bearer task", "Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert service.calls == []


async def test_a_task_s_token_dies_with_its_attempt(client: Any, service: Any) -> None:
    answer = await client.post("/api/v1/events", json=EVENT, headers={"Authorization": "Bearer task"})

    assert answer.status_code == 401
    assert service.calls == []


async def test_a_report_without_a_token_is_refused(client: Any, service: Any) -> None:
    assert (await client.post("/api/v1/attempts/load/4/load/1/report", json={})).status_code == 403
    assert service.calls == []


async def test_a_call_back_needs_its_signature_and_no_token(make_client: Any, service: Any) -> None:
    client = make_client(token="secret")

    taken = await client.post(
        "/api/v1/callbacks/load/4/load/1",
        content=b'{"done": true}',
        headers={"Content-Type": "application/json", "webhook-signature": "v1,abc"},
    )
    service.fails = Mistake("the signature is not right", code="bad-signature")
    refused = await client.post("/api/v1/callbacks/load/4/load/1", json={})

    assert taken.status_code == 204
    assert service.calls[0] == (
        "callback",
        {"attempt": OWN, "signature": "v1,abc", "body": b'{"done": true}'},
    )
    assert (refused.status_code, refused.json()["code"]) == (401, "bad-signature")
    assert service.refusals == [], "anybody can send what is not signed"


async def test_a_body_too_large_is_given_up_before_it_is_read(client: Any, service: Any) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 500

    answer = await client.post(
        "/api/v1/events", content=endless(), headers={"Content-Type": "application/cloudevents+json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert sent < 10
    assert service.calls == []


async def test_a_body_announced_as_too_large_is_not_read(client: Any) -> None:
    answer = await client.post(
        "/api/v1/events",
        content=b"{}",
        headers={"Content-Type": "application/cloudevents+json", "Content-Length": "99999"},
    )

    assert answer.status_code == 413


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_outside_of_loopback_needs_a_token(host: str) -> None:
    with pytest.raises(Mistake, match="a token is needed"):
        Listener(host, 0, ApiSettings())


def test_a_port_that_is_taken_is_said() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Conflict, match="is taken"):
        Listener("127.0.0.1", taken.getsockname()[1], ApiSettings())


async def test_a_body_without_a_type_is_refused_however_it_is_sent(client: Any, service: Any) -> None:
    async def in_chunks() -> Any:
        yield b'{"total": 3}'

    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "order.placed"}

    answer = await client.post("/api/v1/events", content=in_chunks(), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (415, "media-type")


@pytest.mark.parametrize(("levels", "status"), [(99, 202), (101, 400), (100_000, 400)])
async def test_what_is_nested_too_deeply_is_refused(client: Any, levels: int, status: int) -> None:
    text = b'"[[ \\" {{' + b"[" * 200 + b'"'  # brackets in a text are none
    body = b'{"params": {"a": ' + b"[" * (levels - 2) + text + b"]" * (levels - 2) + b"}}"

    answer = await client.post("/api/v1/pipelines/load/run", content=body, headers={"Content-Type": JSON})

    assert answer.status_code == status


async def test_the_search_for_nesting_is_linear_in_a_text_that_does_not_end(client: Any) -> None:
    body = b"[" * 101 + b'"' + b'\\"' * 500_000

    answer = await client.post("/api/v1/pipelines/load/run", content=body, headers={"Content-Type": JSON})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-json")


@pytest.mark.parametrize(
    "path", ["events?cursor=", "items?change=", "journal?cursor=", "runs?cursor=", "stream?after=", "events/"]
)
async def test_a_number_that_no_store_can_be_asked_for_is_refused(client: Any, path: str) -> None:
    answer = await client.get(f"/api/v1/{path}{2**63}")

    assert answer.status_code in (400, 404)


@pytest.mark.parametrize("name", ["host:port", "host:99999"])
def test_a_name_that_is_none_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(Mistake, match="HOST:PORT"):
        ApiSettings(names=(name,))
