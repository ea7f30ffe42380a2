"""What is kept, the same in every store: how facts follow each other, and the tables of history.

A table says what a row is, what names it, where it stands on a page, and when retention may drop it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, get_args

import msgspec
from msgspec import Struct

from counterpoint.errors import LeadershipLost, Mistake, StoreError, unknown_name
from counterpoint.ports.store import (
    FILTERS,
    AttemptRow,
    EventRow,
    IncidentRow,
    ItemRow,
    Row,
    RunRow,
    Snapshot,
    StoredFact,
    VersionRow,
)


class Table(Struct, frozen=True, dict=True):
    """One table of history.

    Attributes:
        key: the columns whose values name a row; writing it again replaces the rest.
        place: the column that pages are ordered by. Where it is none of the row's own, the store
            counts rows in the order in which they first came.
    """

    name: str
    row: type[Any]
    key: tuple[str, ...]
    place: str = "place"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The row's own columns, in the order of its fields."""
        return tuple(self.types)

    @cached_property
    def types(self) -> dict[str, type]:
        """Column -> the type of its values, whether or not they may be None."""
        found = {field.encode_name: field.type for field in msgspec.structs.fields(self.row)}
        return {column: get_args(hint)[0] if get_args(hint) else hint for column, hint in found.items()}

    def make(self, values: Iterable[Any]) -> Any:
        """The row with these values, in the order of the columns."""
        return self.row(**dict(zip(self.columns, values, strict=True)))

    def key_of(self, row: Row) -> tuple[Any, ...]:
        """What names this row."""
        return tuple(getattr(row, column) for column in self.key)


TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        Table("events", EventRow, ("number",), place="number"),
        Table("runs", RunRow, ("run",), place="ordinal"),
        Table("attempts", AttemptRow, ("attempt",)),
        Table("versions", VersionRow, ("asset", "partition", "seq")),
        Table("items", ItemRow, ("number",), place="number"),
        Table("incidents", IncidentRow, ("incident",)),
    )
}

_TABLE_OF = {table.row: table for table in TABLES.values()}

#: States in which an item is through; in any other, the change it stands for is still needed.
ENDED_ITEMS = ("done", "skipped")

#: Which rows retention may drop, as SQL that both dialects read; `{before}` is the time, as a parameter. The order
#: counts: attempts go with their runs, and an event that an item still needs stays.
DROPPABLE: Mapping[str, str] = {
    "runs": "ended_at < {before}",
    "attempts": "ended_at < {before} AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.run = attempts.run)",
    # IS TRUE keeps SQLite from walking the index of states, in which nearly all items have ended.
    "items": f"at < {{before}} AND (state IN {ENDED_ITEMS}) IS TRUE",
    "events": "accepted_at < {before} AND NOT EXISTS (SELECT 1 FROM items"
    f" WHERE items.change = events.number AND items.state NOT IN {ENDED_ITEMS})",
    "versions": "at < {before} AND EXISTS (SELECT 1 FROM versions AS newer"
    " WHERE newer.asset = versions.asset AND newer.partition = versions.partition AND newer.seq > versions.seq)",
    "incidents": "ended_at < {before}",
}

#: How many rows one transaction drops, so that no commit waits long behind it.
CUT_CHUNK = 5000


def fact_before(facts: Sequence[StoredFact]) -> int | None:
    """The fact that these must follow; None where there are none.

    Raises:
        StoreError: there is a gap between them.
    """
    if not facts:
        return None
    first = facts[0].seq
    for place, fact in enumerate(facts):
        if fact.seq != first + place:
            raise StoreError(f"fact {first + place} was expected in the transaction, fact {fact.seq} was found")
    return first - 1


def refusal(epoch: int, before: int | None, *, head_epoch: int, head_seq: int) -> StoreError:
    """Why a transaction of that epoch, following that fact, is not one for a journal with this head."""
    if epoch != head_epoch:
        return LeadershipLost(f"epoch {epoch} has ended: epoch {head_epoch} was taken since")
    return StoreError(f"the journal ends at fact {head_seq}, and the transaction follows fact {before}")


def rows_by_table(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Table name -> its rows in the order in which they first came, each key once with its last content."""
    found: dict[str, dict[tuple[Any, ...], Row]] = {}
    for row in rows:
        table = _TABLE_OF[type(row)]
        found.setdefault(table.name, {})[table.key_of(row)] = row
    # In the order of TABLES: a statement made for these tables is then the same each time.
    return {name: list(found[name].values()) for name in TABLES if name in found}


def packed(snapshot: Snapshot) -> bytes:
    """The body of a snapshot as it is kept: with a checksum, so that damage is noticed."""
    return zlib.compress(snapshot.body, 1)


def unpacked(seq: int, version: int, body: bytes) -> Snapshot:
    """The snapshot that was kept.

    Raises:
        StoreError: it is damaged.
    """
    try:
        return Snapshot(seq, version, zlib.decompress(body))
    except zlib.error as error:
        raise StoreError(f"the one of fact {seq} is damaged: {error}") from error


def table_named(name: str) -> Table:
    """The table of that name.

    Raises:
        NotFound: there is none.
    """
    if name not in TABLES:
        raise unknown_name("table", name, TABLES, remedy=f"one of {', '.join(TABLES)}")
    return TABLES[name]


def key_values(key: Any) -> tuple[Any, ...]:
    """A primary key as the values of its columns."""
    return tuple(key) if isinstance(key, tuple | list) else (key,)


def check_filter(table: str, where: Mapping[str, Any] | None) -> dict[str, Any]:
    """The filter with values of the columns' types, if the table has an index for each field.

    Raises:
        NotFound: there is no such table.
        Mistake: a field cannot be filtered by, or not by such a value.
    """
    types = table_named(table).types
    checked = {}
    for field, value in (where or {}).items():
        if field not in FILTERS[table]:
            known = ", ".join(FILTERS[table])
            raise Mistake(f"{table} can be filtered by {known}, not by {field!r}", code="no-filter")
        try:
            checked[field] = types[field](value)
        except ValueError as error:
            raise Mistake(f"a number was expected for {field!r}, {value!r} was found", code="no-filter") from error
    return checked
