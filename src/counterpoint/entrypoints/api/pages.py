"""Rows of history as the API shows them, and how lists of them are paged."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from counterpoint.ports.store import AttemptRow, EventRow, History, IncidentRow, ItemRow, Row, RunRow, VersionRow

Kind = TypeVar("Kind")

#: Rows of one page, at most.
LONGEST = 500
#: A number of something that is counted; a store cannot even be asked for a larger one.
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Page(Struct, Generic[Kind], kw_only=True):
    """A part of a list. Ask again with `cursor` set to `next` for what follows; None is the end."""

    rows: list[Kind]
    next: int | None = None


class Paging(Struct, kw_only=True):
    """Which part of a list is wanted."""

    cursor: Annotated[Number, Meta(description="`next` of the page before")] | None = None
    limit: Annotated[int, Meta(ge=1, le=LONGEST, description="rows at most")] = 50


class RunView(Struct, frozen=True, kw_only=True):
    """A run. `document` is all that the engine keeps of it: tasks, items, pins, cause."""

    run: str
    pipeline: str
    key: str
    partition: str
    phase: str
    lane: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    document: Raw


class AttemptView(Struct, frozen=True, kw_only=True):
    """An attempt: one try of one task in a run."""

    attempt: str
    run: str
    task: str
    number: int
    phase: str
    started_at: datetime
    ended_at: datetime | None
    document: Raw


class VersionView(Struct, frozen=True, kw_only=True):
    """A published version of an asset."""

    asset: str
    partition: str
    seq: int
    at: datetime
    by: str
    document: Raw


class ItemView(Struct, frozen=True, kw_only=True):
    """A change on its way to one subscriber, and what became of it."""

    number: int
    change: int
    pipeline: str
    state: str
    run: str
    at: datetime
    document: Raw


class IncidentView(Struct, frozen=True, kw_only=True):
    """A time in which a promise was broken; `document` says with which obligation it began."""

    incident: str
    asset: str
    promise: str
    missed: int
    begun_at: datetime
    ended_at: datetime | None
    document: Raw


class EventView(Struct, frozen=True, kw_only=True):
    """A change that was kept; `event` is the CloudEvent as it came."""

    number: int
    accepted_at: datetime
    event: Raw


def view(row: Row) -> Any:
    """A row as the API shows it: its fields, with its document as JSON in JSON."""
    match row:
        case EventRow():
            return EventView(number=row.number, accepted_at=row.accepted_at, event=Raw(row.envelope))
        case RunRow():
            kind: Any = RunView
        case AttemptRow():
            kind = AttemptView
        case VersionRow():
            kind = VersionView
        case ItemRow():
            kind = ItemView
        case IncidentRow():
            kind = IncidentView
    fields = {name: getattr(row, name) for name in kind.__struct_fields__}
    return kind(**{**fields, "document": Raw(row.document)})


async def page(
    history: History,
    table: Literal["events", "runs", "attempts", "versions", "items", "incidents"],
    query: Paging,
    **more: str | int,
) -> Page[Any]:
    """One page of a table, newest first; the query's other fields are what rows must equal."""
    wanted = {name: value for name, value in msgspec.structs.asdict(query).items() if value is not None}
    limit, before = wanted.pop("limit"), wanted.pop("cursor", None)
    rows = await history.page(table, where=wanted | more, before=before, limit=limit)
    return Page(rows=[view(row) for _, row in rows], next=rows[-1][0] if len(rows) == limit else None)
