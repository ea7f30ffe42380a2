"""Events in and out, their items, and what is dead among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from counterpoint.engine.service import Accepted
from counterpoint.entrypoints.api.pages import EventView, ItemView, Number, Page, Paging, page, view
from counterpoint.entrypoints.api.problems import Problem, refuse
from counterpoint.entrypoints.api.resources.pipelines import Count
from counterpoint.entrypoints.api.routing import Call, Endpoints, decode
from counterpoint.entrypoints.api.security import Access, media_type
from counterpoint.errors import Mistake, NotFound

routes = Endpoints("/api/v1")

#: Events of one batch at most: each is waited for by a task of its own.
MOST_AT_ONCE = 10_000

_STRUCTURED, _BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


class EventsQuery(Paging, kw_only=True):
    """Which changes are wanted."""

    type: str | None = None
    source: str | None = None
    id: str | None = None
    subject: str | None = None


class ItemsQuery(Paging, kw_only=True):
    """Which items are wanted; `state=dead` are the dead letters."""

    pipeline: str | None = None
    state: str | None = None
    run: str | None = None
    change: Number | None = None


class DiscardRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Dead letters to drop for good, by the numbers of their items."""

    items: list[Number]
    reason: Annotated[str, Meta(max_length=1000)] = ""


@routes.get("/events")
async def list_events(call: Call, query: EventsQuery) -> Page[EventView]:
    """Changes that were kept, newest first."""
    return await page(call.service.history, "events", query)


@routes.get("/events/{number:int}")
async def get_event(call: Call, number: int) -> EventView:
    """One change with its payload."""
    found = await call.service.history.events([number]) if number < 2**63 else ()
    if not found:
        raise NotFound(f"there is no change {number}; it may have been dropped after its time")
    shown: EventView = view(found[0])
    return shown


@routes.post(
    "/events",
    access=Access.EMITTER,
    takes=(_STRUCTURED, _BATCH, "application/json"),
    answers=Accepted | list[Accepted],
)
async def post_events(call: Call) -> Response:
    """Take CloudEvents: structured, as a batch, or in binary mode (`ce-` headers).

    A 2xx answer means that the event is committed: 202 for a new one, 200 for a repeat with the
    same content. Another content under the same source and id is a clash, 409. A batch is
    answered item by item: 202 or 200 if all are kept, 207 if some, 400 if none.
    """
    headers = call.request.headers
    media = media_type(headers)
    single = media != _BATCH
    limit = call.service.max_event_bytes if single else call.settings.body_max_bytes
    if media == "application/json" and "ce-specversion" not in headers:
        limit = call.settings.body_max_bytes  # may be an event or a list of them
    body = await call.read_body(limit)

    if "ce-specversion" in headers:
        given: Any = _from_headers(headers, body)
    else:
        given = decode(body, what="a CloudEvent")
    batch = media == _BATCH or (media == "application/json" and isinstance(given, list))
    events = given if batch else [given]
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        expected = "an array of objects" if batch else "an object"
        raise Mistake(f"{expected} was expected, as CloudEvents are written in JSON", code="bad-event")
    if len(events) > MOST_AT_ONCE:
        raise Mistake(
            f"at most {MOST_AT_ONCE} events at once were expected; send several batches", code="too-large"
        )
    answers = await call.service.accept(events, by=call.caller.by, attempt=call.caller.attempt)

    if batch:
        return Response(msgspec.json.encode(answers), _status_of(answers), media_type="application/json")
    answer = answers[0]
    if answer.status >= 300:
        return refuse(answer.status, Problem(code=answer.code or "bad-event", message=answer.error))
    return Response(msgspec.json.encode(answer), answer.status, media_type="application/json")


@routes.get("/items")
async def list_items(call: Call, query: ItemsQuery) -> Page[ItemView]:
    """Items, newest first: each is one change on its way to one subscriber."""
    return await page(call.service.history, "items", query)


@routes.post("/items/discard")
async def discard_items(call: Call, body: DiscardRequest) -> Count:
    """Drop dead letters for good."""
    return Count(count=await call.service.discard(body.items, by=call.caller.by, reason=body.reason))


def _from_headers(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """A CloudEvent in binary mode: attributes in `ce-` headers; the body is its data."""
    event: dict[str, Any] = {
        name.removeprefix("ce-"): _attribute(value) for name, value in headers.items() if name.startswith("ce-")
    }
    event.pop("data", None)  # no attribute; only the body is data
    if body:
        event["datacontenttype"] = headers["content-type"]
        event["data"] = decode(body, what="the event's data")
    return event


def _attribute(value: str) -> str:
    """The value of a header: perhaps a quoted string, and percent-encoded (HTTP Protocol Binding, 3.1.3.2)."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return unquote(value)


def _status_of(answers: list[Accepted]) -> int:
    kept = [answer for answer in answers if answer.status < 300]
    if not kept:
        return 400 if answers else 200
    if len(kept) < len(answers):
        return 207
    return 200 if all(answer.duplicate for answer in kept) else 202
