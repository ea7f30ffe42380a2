"""What the routes ask of the service, and how errors are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from counterpoint.entrypoints.api import app as api
from counterpoint.entrypoints.api.resources import assets, events, promises, runs
from counterpoint.errors import (
    Conflict,
    DeclarationError,
    HostUnreachable,
    LeadershipLost,
    Mistake,
    NotFound,
    StoreUnavailable,
)
from counterpoint.ports.store import FILTERS


async def test_status_shows_everything_now(client: Any) -> None:
    status = (await client.get("/api/v1/status")).json()

    assert [pipeline["name"] for pipeline in status["pipelines"]] == ["load", "marts"]
    assert status["pools"][0]["used"] == 1


async def test_a_run_is_asked_for_once_per_idempotency_key(client: Any, service: Any) -> None:
    answer = await client.post(
        "/api/v1/pipelines/load/run",
        json={"params": {"day": 3}, "reason": "again"},
        headers={"Idempotency-Key": "abc", "Counterpoint-By": "anna"},
    )

    assert (answer.status_code, answer.json()) == (202, {"run": "load#1"})
    [(name, arguments)] = service.calls
    assert name == "run"
    assert arguments["request"] == "abc"
    assert arguments["by"] == "anna"
    assert arguments["params"] == {"day": 3}


@pytest.mark.parametrize("path", ["load%23412", "load/412", "load%2F412"])
async def test_a_run_may_be_named_with_a_hash_or_a_slash(client: Any, service: Any, path: str) -> None:
    await client.post(f"/api/v1/runs/{path}/cancel", json={"skip": True, "reason": "wrong day"})

    assert service.calls == [("cancel", {"run": "load#412", "by": "api", "reason": "wrong day", "skip": True})]


@pytest.mark.parametrize(
    ("path", "body", "name", "status"),
    [
        ("runs/load/1/retry", {}, "retry", 204),
        ("pipelines/load/pause", {"reason": "a migration"}, "pause", 204),
        ("pipelines/load/resume", {}, "resume", 204),
        ("pipelines/load/replay", {"dead": True}, "replay", 200),
        ("assets/country.codes/versions", {"metadata": {"rows": 3}}, "report_asset", 201),
    ],
)
async def test_what_a_person_asks_reaches_the_service(
    client: Any, service: Any, path: str, body: dict[str, Any], name: str, status: int
) -> None:
    answer = await client.post(f"/api/v1/{path}", json=body)

    assert answer.status_code == status
    assert [call for call, _ in service.calls] == [name]


async def test_runs_are_listed_by_what_they_equal(client: Any, service: Any, make_run: Any) -> None:
    service.history.rows["runs"] += [make_run(1), make_run(2, phase="failed"), make_run(3)]

    failed = (await client.get("/api/v1/runs?phase=failed")).json()
    one = (await client.get("/api/v1/runs/load/3")).json()

    assert [row["run"] for row in failed["rows"]] == ["load#2"]
    assert one["document"] == {}


async def test_versions_are_listed_per_asset(client: Any, service: Any, make_version: Any) -> None:
    service.history.rows["versions"] += [make_version(1), make_version(2), make_version(9, "country.codes")]

    versions = (await client.get("/api/v1/assets/raw.orders/versions")).json()

    assert [row["seq"] for row in versions["rows"]] == [2, 1]


def test_every_filter_of_history_can_be_asked_for() -> None:
    asked = {
        "events": events.EventsQuery,
        "items": events.ItemsQuery,
        "runs": runs.RunsQuery,
        "attempts": runs.AttemptsQuery,
        "versions": assets.AnyVersionsQuery,
        "incidents": promises.IncidentsQuery,
    }

    for table, query in asked.items():
        assert set(FILTERS[table]) <= set(query.__struct_fields__)


SCORE = """\
score: shop
assets: {orders: {}}
pipelines:
  load: {run: ./load, writes: [orders]}
"""


def posted(folder: Path, **texts: str) -> dict[str, Any]:
    """A declaration of scores, by the names of their files."""
    scores = [{"name": f"{name}.yaml", "folder": str(folder), "text": text} for name, text in texts.items()]
    return {"scores": scores}


async def test_scores_are_declared_as_one_plan_or_only_compared(client: Any, service: Any, tmp_path: Path) -> None:
    more = "pipelines: {build: {run: ./build, trigger: {asset: orders}}}"

    answer = await client.post(
        "/api/v1/plan?dry_run=true&commit=abc", json=posted(tmp_path, shop=SCORE, more=more)
    )

    assert answer.json()["added"] == {"pipelines": ["load"]}
    [(_, arguments)] = service.calls
    assert list(arguments["plan"].pipelines) == ["load", "build"]
    assert arguments["plan"].pipelines["load"].folder == str(tmp_path)
    assert arguments["plan"].pipelines["load"].where == "shop.yaml:4"
    assert (arguments["dry_run"], arguments["commit"]) == (True, "abc")


async def test_a_plan_with_mistakes_is_refused_with_all_of_them(client: Any, service: Any, tmp_path: Path) -> None:
    unknown = "pipelines: {build: {run: ./build, reads: [ordres]}}"
    cycle = "pipelines:\n  a: {run: x, trigger: {pipeline: b, state: completed}}\n"
    cycle += "  b: {run: x, trigger: {pipeline: a, state: completed}}\n"

    answer = await client.post("/api/v1/plan", json=posted(tmp_path, shop=SCORE, more=unknown, loop=cycle))

    assert answer.status_code == 400
    assert answer.json()["code"] == "declaration"
    mistakes = answer.json()["mistakes"]
    assert [(mistake["where"], mistake["code"]) for mistake in mistakes] == [
        ("more.yaml:1", "unknown-name"),
        ("loop.yaml:2", "cycle"),
    ]
    assert "did you mean 'orders'?" in mistakes[0]["message"]
    assert service.calls == []


async def test_schemas_named_by_a_path_are_read_beside_the_score(
    client: Any, service: Any, tmp_path: Path
) -> None:
    (tmp_path / "placed.json").write_text('{"type": "object"}')
    score = "events: {order.placed: {schema: placed.json}}"

    assert (await client.post("/api/v1/plan", json=posted(tmp_path, shop=score))).status_code == 200
    assert (await client.post("/api/v1/plan", json=posted(tmp_path / "none", shop=score))).status_code == 400

    [(_, arguments)] = service.calls
    assert arguments["plan"].events["order.placed"].schema == {"type": "object"}


async def test_a_plan_that_nobody_checked_is_not_taken(client: Any, service: Any) -> None:
    plan = (await client.get("/api/v1/plan")).json()

    answer = await client.post("/api/v1/plan", json=plan)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-body")
    assert service.calls == []


async def test_versions_can_be_asked_for_by_who_published_them(
    client: Any, service: Any, make_version: Any
) -> None:
    service.history.rows["versions"] += [make_version(1), make_version(2, asset="country.codes")]

    found = (await client.get("/api/v1/versions", params={"by": "load#2"})).json()["rows"]

    assert [(row["asset"], row["seq"]) for row in found] == [("country.codes", 2)]


async def test_why_takes_runs_as_they_may_be_written(client: Any) -> None:
    assert (await client.get("/api/v1/why/load/4")).json()["subject"] == "load#4"
    assert (await client.get("/api/v1/why/load%234")).json()["subject"] == "load#4"
    assert (await client.get("/api/v1/why/nothing")).status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "problem"),
    [
        (NotFound("no run"), 404, {"code": "unknown-name", "message": "no run"}),
        (Conflict("it ended"), 409, {"code": "conflict", "message": "it ended"}),
        (Mistake("bad", where="a:1"), 400, {"code": "mistake", "message": "bad", "where": "a:1"}),
        (
            DeclarationError([Mistake("one", where="s.yaml:2", code="x")]),
            400,
            {
                "code": "declaration",
                "message": "the declaration is refused: 1 mistake",
                "mistakes": [{"code": "x", "message": "one", "where": "s.yaml:2"}],
            },
        ),
        (
            LeadershipLost("another leads"),
            503,
            {"code": "leadership-lost", "message": "another leads; ask again"},
        ),
        (
            StoreUnavailable(),
            503,
            {"code": "store-unavailable", "message": "the store did not answer; ask again"},
        ),
        (HostUnreachable("host-1"), 503, {"code": "host-unreachable", "message": "host-1; ask again"}),
        (
            ZeroDivisionError("secret"),
            500,
            {"code": "internal", "message": "this is a mistake of ours; the log says more"},
        ),
    ],
)
async def test_errors_are_told_with_a_status_a_code_and_a_remedy(
    client: Any, service: Any, error: Exception, status: int, problem: dict[str, Any]
) -> None:
    service.fails = error

    answer = await client.post("/api/v1/pipelines/load/pause", json={})

    assert (answer.status_code, answer.json()) == (status, problem)
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/v1/nothing", None, 404, "unknown-path"),
        ("GET", "/api/v1/status/", None, 404, "unknown-path"),
        ("GET", "/api/v1/pipelines/laod", None, 404, "unknown-name"),
        ("POST", "/api/v1/pipelines/laod/run", {}, 404, "unknown-name"),
        ("GET", "/api/v1/assets/raw/versions", None, 404, "unknown-name"),
        ("GET", "/api/v1/runs/nothing", None, 404, "unknown-name"),
        ("GET", "/api/v1/runs?limit=0", None, 400, "bad-query"),
        ("GET", "/api/v1/runs?limit=5000", None, 400, "bad-query"),
        ("GET", "/api/v1/runs?pipline=load", None, 400, "bad-query"),
        ("GET", "/api/v1/runs?pipeline=lo%00ad", None, 400, "bad-query"),
        ("GET", "/api/v1/runs/lo%00ad/1", None, 400, "bad-query"),
        ("POST", "/api/v1/pipelines/load/run", {"parms": {}}, 400, "bad-body"),
        ("POST", "/api/v1/pipelines/load/run", {"params": []}, 400, "bad-body"),
        ("POST", "/api/v1/pipelines/load/run", [], 400, "bad-body"),
        ("POST", "/api/v1/plan", {"scores": []}, 400, "bad-body"),
        ("POST", "/api/v1/plan", {}, 400, "bad-body"),
        ("DELETE", "/api/v1/pipelines/load", {}, 405, "method"),
    ],
)
async def test_wrong_requests_are_refused_and_change_nothing(
    client: Any, service: Any, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = await client.request(method, path, json=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert service.calls == []


async def test_a_refused_request_is_put_on_record_and_a_wrong_question_is_not(client: Any, service: Any) -> None:
    await client.get("/api/v1/runs?pipelin=load")
    assert service.refusals == []

    await client.post("/api/v1/pipelines/load/run", json={"params": []})

    assert service.refusals == [("POST /api/v1/pipelines/load/run", "bad-body")]


async def test_a_wrong_body_says_where(client: Any) -> None:
    answer = await client.post("/api/v1/pipelines/load/run", json={"params": []})

    assert answer.json()["where"] == "$.params"


async def test_a_near_name_is_offered(client: Any) -> None:
    assert "did you mean 'load'?" in (await client.get("/api/v1/pipelines/laod")).json()["message"]


async def test_probes_tell_life_and_readiness_apart(client: Any, service: Any) -> None:
    service.ready = False

    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 503


async def test_metrics_are_prometheus_text(client: Any) -> None:
    answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'counterpoint_runs{pipeline="load",phase="running"} 1' in lines
    assert 'counterpoint_pool_slots{pool="etl"} 2' in lines
    assert 'counterpoint_items_pending{pipeline="marts"} 3' in lines
    assert "counterpoint_facts_total 40" in lines
    assert 'counterpoint_items_dead{pipeline="marts"} 1' in lines
    assert 'counterpoint_hosts{state="appeared"} 1' in lines
    assert 'counterpoint_pool_waiting{pool="etl"} 1' in lines
    assert 'counterpoint_asset_published_timestamp_seconds{asset="raw.orders"} 1795262400' in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


async def test_openapi_describes_every_route_with_schemas_that_exist(client: Any) -> None:
    document = (await client.get("/api/v1/openapi.json")).json()

    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert len(described) == len(api.ENDPOINTS)
    assert ("POST", "/api/v1/runs/{run}/cancel") in described
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all(operation["summary"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)


async def test_answers_are_what_openapi_says(client: Any, service: Any, make_run: Any) -> None:
    import jsonschema_rs

    service.history.rows["runs"].append(make_run(1))
    document = (await client.get("/api/v1/openapi.json")).json()

    for path in ("/api/v1/status", "/api/v1/plan", "/api/v1/runs", "/api/v1/pools", "/api/v1/pipelines"):
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        schema = {**content["application/json"]["schema"], "components": document["components"]}
        jsonschema_rs.validate(schema, (await client.get(path)).json())


async def test_facts_of_the_journal_are_paged(client: Any, service: Any, make_message: Any) -> None:
    service.messages += [make_message(number) for number in range(1, 6)]

    first = (await client.get("/api/v1/journal?limit=3")).json()
    second = (await client.get(f"/api/v1/journal?limit=3&cursor={first['next']}")).json()

    assert [fact["seq"] for fact in first["rows"]] == [1, 2, 3]
    assert ([fact["seq"] for fact in second["rows"]], second["next"]) == ([4, 5], None)


async def test_a_log_is_plain_text_and_may_be_read_in_part(client: Any, service: Any, tmp_path: Path) -> None:
    log = tmp_path / "load.1.log"
    log.write_text("one\ntwo\n")
    service.log_paths = [("load#1/load/1", str(log))]

    whole = await client.get("/api/v1/runs/load/1/logs")
    part = await client.get("/api/v1/runs/load/1/logs", headers={"Range": "bytes=4-"})

    assert whole.text == "one\ntwo\n"
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert (part.status_code, part.text) == (206, "two\n")


async def test_logs_of_several_attempts_are_told_apart(client: Any, service: Any, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.log").write_text(f"try {number}\n")
    service.log_paths = [(f"load#1/load/{number}", str(tmp_path / f"{number}.log")) for number in (1, 2, 3)]

    text = (await client.get("/api/v1/runs/load/1/logs")).text

    assert text == "==> load#1/load/1 <==\ntry 1\n==> load#1/load/2 <==\ntry 2\n==> load#1/load/3 <==\n"


def test_the_description_can_be_encoded_alone() -> None:
    assert msgspec.json.encode(api.description())


async def test_promises_are_listed_with_what_is_to_come(client: Any) -> None:
    [promise] = (await client.get("/api/v1/promises")).json()

    assert (promise["asset"], promise["open"], promise["budget"]["alert"]) == ("raw.orders", 2, "ticket")
    assert promise["forecast"]["outlook"] == "breaks"
    assert [source["age_s"] for source in promise["freshness"]] == [540.0, None]
    assert (await client.get("/api/v1/status")).json()["promises"] == [promise]


async def test_incidents_are_listed_in_pages_and_reviewed_by_name(
    client: Any, service: Any, make_incident: Any
) -> None:
    service.history.rows["incidents"] += [make_incident(1), make_incident(2)]

    first = (await client.get("/api/v1/incidents", params={"limit": 1})).json()
    [newest] = first["rows"]
    assert newest["incident"] == "raw.orders:freshness#2"
    rest = (await client.get("/api/v1/incidents", params={"limit": 1, "cursor": first["next"]})).json()
    assert [row["incident"] for row in rest["rows"]] == ["raw.orders:freshness#1"]
    assert (await client.get("/api/v1/incidents", params={"asset": "other"})).json()["rows"] == []

    found = (await client.get("/api/v1/incidents/raw.orders:freshness%231")).json()
    assert (found["missed"], found["downstream"][0]["owner"]) == (4, "sales")
    assert (await client.get("/api/v1/incidents/raw.orders:freshness/9")).status_code == 404


async def test_a_pipeline_is_shown_with_its_learned_durations(client: Any) -> None:
    found = (await client.get("/api/v1/pipelines/load")).json()

    assert [(band["p50"], band["p90"]) for band in found["durations"]] == [(60, 150)]


async def test_metrics_tell_promises_and_leave_out_what_is_unknown(client: Any) -> None:
    text = (await client.get("/metrics")).text

    of = 'asset="raw.orders",promise="freshness"'
    assert f"counterpoint_promise_held_ratio{{{of}}} 0.6\n" in text
    assert f"counterpoint_promise_budget_left_ratio{{{of}}} -3\n" in text
    assert f'counterpoint_promise_burn_rate{{{of},level="page",alerts_at="14.4",span="long"}} 4\n' in text
    assert f'counterpoint_promise_alert{{{of},level="ticket",alerts_at="1"}} 1\n' in text
    assert f"counterpoint_obligations_open{{{of}}} 2\n" in text
    assert f"counterpoint_promise_forecast_breaks{{{of}}} 1\n" in text
    assert 'counterpoint_asset_age_seconds{asset="raw.orders",source="event:order"} 540\n' in text
    assert "world:load" not in text
