"""CloudEvents in, in their three modes; what is kept and what became of it."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint.engine.service import Accepted

EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.placed", "data": {"total": 3}}
STRUCTURED = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


def answer_by_id(**answers: dict[str, Any]) -> Any:
    """What a service says to events, by their id."""
    return lambda event: Accepted(source=event["source"], id=event["id"], **answers[event["id"]])


async def test_a_structured_event_is_committed_before_it_is_answered(client: Any, service: Any) -> None:
    answer = await client.post("/api/v1/events", json=EVENT, headers=STRUCTURED)

    assert answer.status_code == 202
    assert answer.json() == {"source": "/shop", "id": "1", "status": 202, "change": 7}
    assert service.calls == [("accept", {"events": [EVENT], "by": "api", "attempt": ""})]


async def test_plain_json_may_be_an_event_or_a_list_of_them(client: Any, service: Any) -> None:
    assert (await client.post("/api/v1/events", json=EVENT)).json()["change"] == 7
    assert len((await client.post("/api/v1/events", json=[EVENT, EVENT])).json()) == 2


async def test_binary_mode_carries_attributes_in_headers(client: Any, service: Any) -> None:
    answer = await client.post(
        "/api/v1/events",
        json={"total": 3},
        headers={
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-source": "/shop",
            "ce-type": "order.placed",
            "ce-subject": "M%C3%BCller",
        },
    )

    assert answer.status_code == 202
    assert service.calls[0][1]["events"] == [{**EVENT, "subject": "Müller", "datacontenttype": "application/json"}]


async def test_binary_mode_without_data_needs_no_media_type(client: Any, service: Any) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "order.placed"}

    assert (await client.post("/api/v1/events", headers=headers)).status_code == 202
    assert "data" not in service.calls[0][1]["events"][0]


async def test_a_repeat_is_answered_200_and_a_clash_409(client: Any, service: Any) -> None:
    service.accepted = answer_by_id(
        again={"status": 200, "change": 7, "duplicate": True},
        other={"status": 409, "code": "conflict", "error": "the same id came with other content"},
    )

    again = await client.post("/api/v1/events", json={**EVENT, "id": "again"})
    other = await client.post("/api/v1/events", json={**EVENT, "id": "other"})

    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert other.status_code == 409
    assert other.json() == {"code": "conflict", "message": "the same id came with other content"}


@pytest.mark.parametrize(
    ("ids", "status"),
    [
        (["new", "again"], 202),
        (["again"], 200),
        (["new", "bad"], 207),
        (["bad", "other"], 400),
        ([], 200),
    ],
)
async def test_a_batch_is_answered_item_by_item(client: Any, service: Any, ids: list[str], status: int) -> None:
    answers = {
        "new": {"status": 202, "change": 8},
        "again": {"status": 200, "change": 7, "duplicate": True},
        "other": {"status": 409, "code": "conflict", "error": "another content"},
        "bad": {"status": 400, "code": "schema", "error": "total: a number was expected"},
    }
    service.accepted = answer_by_id(**answers)

    answer = await client.post("/api/v1/events", json=[{**EVENT, "id": id_} for id_ in ids], headers=BATCH)

    assert answer.status_code == status
    assert [(each["id"], each["status"]) for each in answer.json()] == [
        (id_, answers[id_]["status"]) for id_ in ids
    ]


@pytest.mark.parametrize(
    ("content", "headers", "code"),
    [
        (b"{", STRUCTURED, "bad-json"),
        (b"", STRUCTURED, "bad-json"),
        (b"[]", STRUCTURED, "bad-event"),
        (b"3", STRUCTURED, "bad-event"),
        (b"{}", BATCH, "bad-event"),
        (b"[1]", BATCH, "bad-event"),
        (b'{"id": "\xff"}', STRUCTURED, "bad-json"),
        (b"[" * 1900, STRUCTURED, "bad-json"),
        (b"{", {"Content-Type": "application/json", "ce-specversion": "1.0"}, "bad-json"),
    ],
)
async def test_what_is_no_event_is_refused(
    client: Any, service: Any, content: bytes, headers: dict[str, str], code: str
) -> None:
    answer = await client.post("/api/v1/events", content=content, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert service.calls == []


async def test_a_batch_may_be_larger_than_one_event(client: Any, service: Any) -> None:
    events = [{**EVENT, "id": str(number)} for number in range(100)]

    assert (await client.post("/api/v1/events", json=events, headers=BATCH)).status_code == 202


async def test_kept_events_are_listed_page_by_page_newest_first(
    client: Any, service: Any, make_event: Any
) -> None:
    service.history.rows["events"] += [make_event(number, data=number) for number in range(1, 6)]

    first = (await client.get("/api/v1/events?limit=3&type=order.placed")).json()
    second = (await client.get(f"/api/v1/events?limit=3&cursor={first['next']}")).json()

    assert [row["number"] for row in first["rows"]] == [5, 4, 3]
    assert [row["event"]["data"] for row in second["rows"]] == [2, 1]
    assert second["next"] is None


async def test_one_event_is_found_by_its_number(client: Any, service: Any, make_event: Any) -> None:
    service.history.rows["events"].append(make_event(7))

    assert (await client.get("/api/v1/events/7")).json()["event"]["id"] == "e-7"
    assert (await client.get("/api/v1/events/8")).status_code == 404
    assert (await client.get("/api/v1/events/x")).status_code == 404


async def test_dead_letters_are_dropped_by_number(client: Any, service: Any) -> None:
    answer = await client.post("/api/v1/items/discard", json={"items": [4, 5], "reason": "test data"})

    assert answer.json() == {"count": 2}
    assert service.calls == [("discard", {"items": [4, 5], "by": "api", "reason": "test data"})]


async def test_a_quoted_header_is_unquoted_before_it_is_decoded(client: Any, service: Any) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "order.placed"}

    await client.post("/api/v1/events", headers={**headers, "ce-subject": r'"a \"b\" %C3%BC"', "ce-data": "no"})

    assert service.calls[0][1]["events"] == [
        {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.placed", "subject": 'a "b" ü'}
    ]


async def test_a_batch_of_too_many_is_refused(client: Any, service: Any) -> None:
    answer = await client.post("/api/v1/events", content=b"[" + b"{}," * 10_000 + b"{}]", headers=BATCH)

    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert service.calls == []
