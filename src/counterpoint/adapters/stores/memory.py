"""A store that forgets: for tests and for virtual time, with the meaning of the durable ones."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from counterpoint.adapters.stores.schema import (
    ENDED_ITEMS,
    TABLES,
    check_filter,
    fact_before,
    key_values,
    refusal,
    rows_by_table,
    table_named,
)
from counterpoint.errors import LeadershipLost, StoreError, StoreUnavailable
from counterpoint.ports.store import EventRow, Row, Snapshot, StoredFact, Transaction

Kept = dict[Any, tuple[int, Row]]  # key -> (place, row)


class MemoryJournal:
    """What stores that share it keep: give it to a second `MemoryStore` to start again, or to stand by."""

    def __init__(self) -> None:
        self.leader: MemoryStore | None = None
        self.freed = asyncio.Condition()
        self.epoch = 0
        self.seq = 0
        self.facts: list[StoredFact] = []
        self.snapshots: list[Snapshot] = []
        self.tables: dict[str, Kept] = {name: {} for name in TABLES}
        self.identities: dict[tuple[str, str], int] = {}  # (source, id) of an event -> its number
        self.places = 0


class MemoryStore:
    """A store over a `MemoryJournal`; one of those that share it leads. Methods as in `ports.store`."""

    def __init__(self, journal: MemoryJournal | None = None) -> None:
        self.journal = journal or MemoryJournal()
        self._closed = False

    async def lead(self, *, wait: bool = True) -> int:
        """Become the one writer."""
        self._check_open()
        journal = self.journal
        if journal.leader not in (None, self):
            if not wait:
                raise LeadershipLost("another engine leads this store")
            async with journal.freed:
                await journal.freed.wait_for(lambda: self._closed or journal.leader is None)
            self._check_open()
        journal.leader = self
        journal.epoch += 1
        return journal.epoch

    async def append(self, transaction: Transaction) -> None:
        """Keep facts and rows, or refuse all of them."""
        journal = self.journal
        before = fact_before(transaction.facts)
        self._check_leads(transaction.epoch)
        if before not in (None, journal.seq):
            raise refusal(transaction.epoch, before, head_epoch=journal.epoch, head_seq=journal.seq)
        rows = rows_by_table(transaction.rows)
        identities = self._new_identities(rows.get("events", ()))

        journal.facts.extend(transaction.facts)
        journal.seq += len(transaction.facts)
        journal.identities.update(identities)
        for name, changed in rows.items():
            kept = journal.tables[name]
            for row in changed:
                key = TABLES[name].key_of(row)
                kept[key] = (self._place(name, row, kept.get(key)), row)

    def _place(self, table: str, row: Row, old: tuple[int, Row] | None) -> int:
        if TABLES[table].place != "place":
            return int(getattr(row, TABLES[table].place))
        if old is not None:
            return old[0]
        self.journal.places += 1
        return self.journal.places

    def _new_identities(self, events: Sequence[Any]) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for event in events:
            identity = (event.source, event.id)
            number = found.get(identity, self.journal.identities.get(identity, event.number))
            if number != event.number:
                raise StoreError(f"the event {event.id!r} of {event.source!r} is already kept as number {number}")
            found[identity] = event.number
        return found

    async def read(self, *, after: int = 0, limit: int = 1000) -> Sequence[StoredFact]:
        """Facts after that one, oldest first."""
        self._check_open()
        start = bisect_right(self.journal.facts, after, key=attrgetter("seq"))
        return self.journal.facts[start : start + limit]

    async def save(self, snapshot: Snapshot, *, epoch: int) -> None:
        """Keep a snapshot beside the others."""
        self._check_leads(epoch)
        others = [kept for kept in self.journal.snapshots if kept.seq != snapshot.seq]
        self.journal.snapshots = sorted([*others, snapshot], key=attrgetter("seq"))

    async def load(self, *, skip: int = 0) -> Snapshot | None:
        """The newest snapshot, or the one before it."""
        self._check_open()
        return next(iter(self.journal.snapshots[::-1][skip:]), None)

    async def cut(self, *, below: int, history_before: datetime, epoch: int) -> Mapping[str, int]:
        """Drop what is old and needed no more."""
        self._check_leads(epoch)
        journal = self.journal
        newest = journal.snapshots[-1].seq if journal.snapshots else 0
        count = bisect_right(journal.facts, min(below, newest), key=attrgetter("seq"))
        del journal.facts[:count]
        dropped = {"journal": count, "snapshots": len(journal.snapshots[:-2])}
        del journal.snapshots[:-2]
        for name, keys in _droppable(journal.tables, history_before):
            for key in keys:
                del journal.tables[name][key]
            dropped[name] = len(keys)
        numbers = {number for (number,) in journal.tables["events"]}
        journal.identities = {known: number for known, number in journal.identities.items() if number in numbers}
        return dropped

    async def release(self) -> None:
        """Give leadership back."""
        if self.journal.leader is self:
            self.journal.leader = None
        async with self.journal.freed:
            self.journal.freed.notify_all()

    async def close(self) -> None:
        """Release leadership; what is kept stays in the journal."""
        self._closed = True
        await self.release()

    async def page(
        self,
        table: str,
        *,
        where: Mapping[str, str | int] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Sequence[tuple[int, Any]]:
        """Rows of a table, newest first, each with its place."""
        self._check_open()
        wanted = check_filter(table, where)
        found = [
            (place, row)
            for place, row in self.journal.tables[table].values()
            if (before is None or place < before)
            and all(getattr(row, field) == value for field, value in wanted.items())
        ]
        return sorted(found, key=lambda entry: entry[0], reverse=True)[:limit]

    async def row(self, table: str, key: Any) -> Any:
        """One row by its primary key."""
        self._check_open()
        return self.journal.tables[table_named(table).name].get(key_values(key), (0, None))[1]

    async def events(self, numbers: Sequence[int]) -> Sequence[EventRow]:
        """Changes by their numbers, in that order."""
        found = [await self.row("events", number) for number in numbers]
        return [row for row in found if row is not None]

    async def event(self, source: str, event_id: str) -> EventRow | None:
        """A change by its CloudEvents identity."""
        self._check_open()
        number = self.journal.identities.get((source, event_id))
        return None if number is None else await self.row("events", number)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("this store is closed")

    def _check_leads(self, epoch: int) -> None:
        self._check_open()
        if self.journal.leader is not self:
            raise LeadershipLost("this store does not lead")
        if epoch != self.journal.epoch:
            raise refusal(epoch, None, head_epoch=self.journal.epoch, head_seq=self.journal.seq)


def _droppable(
    tables: Mapping[str, Mapping[Any, tuple[int, Any]]], before: datetime
) -> Iterator[tuple[str, list[Any]]]:
    """The keys that `schema.DROPPABLE` lets go, a table at a time: each looks at what the ones before it left."""

    def keys(table: str, is_droppable: Callable[[Any], bool]) -> tuple[str, list[Any]]:
        return table, [key for key, (_, row) in tables[table].items() if is_droppable(row)]

    def has_ended(row: Any) -> bool:
        return row.ended_at is not None and row.ended_at < before

    yield keys("runs", has_ended)
    yield keys("attempts", lambda attempt: has_ended(attempt) and (attempt.run,) not in tables["runs"])
    yield keys("items", lambda item: item.at < before and item.state in ENDED_ITEMS)
    needed = {item.change for _, item in tables["items"].values() if item.state not in ENDED_ITEMS}
    yield keys("events", lambda event: event.accepted_at < before and event.number not in needed)
    newest: dict[tuple[str, str], int] = {}
    for _, version in tables["versions"].values():
        of = (version.asset, version.partition)
        newest[of] = max(version.seq, newest.get(of, 0))
    yield keys(
        "versions", lambda version: version.at < before and version.seq < newest[version.asset, version.partition]
    )
    yield keys("incidents", has_ended)
