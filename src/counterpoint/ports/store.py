"""Where facts are kept: a journal and, in the same transaction, the rows that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from msgspec import Struct, field


class StoredFact(Struct, frozen=True):
    """A fact as the journal keeps it: its place, its kind and its JSON."""

    seq: int
    at: datetime
    kind: str
    body: bytes


class EventRow(Struct, frozen=True, kw_only=True):
    """A change with its payload; (source, id) is unique. `number` ascends.

    Attributes:
        digest: SHA-256 of the content, to tell a repeat from a clash.
        envelope: the CloudEvent as JSON, payload included.
    """

    number: int
    source: str
    id: str
    type: str
    subject: str
    time: datetime
    accepted_at: datetime
    digest: str
    envelope: bytes


class RunRow(Struct, frozen=True, kw_only=True):
    """A run as history keeps it; written anew each time its phase changes."""

    run: str
    ordinal: int
    pipeline: str
    key: str
    partition: str
    phase: str
    lane: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    document: bytes


class AttemptRow(Struct, frozen=True, kw_only=True):
    """An attempt as history keeps it."""

    attempt: str
    run: str
    task: str
    number: int
    phase: str
    started_at: datetime
    ended_at: datetime | None
    document: bytes


class VersionRow(Struct, frozen=True, kw_only=True):
    """A published version of an asset."""

    asset: str
    partition: str
    seq: int
    at: datetime
    by: str
    document: bytes


class ItemRow(Struct, frozen=True, kw_only=True):
    """What became of one item: pending, taken, done, skipped or dead."""

    number: int
    change: int
    pipeline: str
    state: str
    run: str
    at: datetime
    document: bytes


class IncidentRow(Struct, frozen=True, kw_only=True):
    """A time in which a promise was broken; written anew with each obligation missed, and at its end."""

    incident: str
    asset: str
    promise: str
    missed: int
    begun_at: datetime
    ended_at: datetime | None
    document: bytes


Row = EventRow | RunRow | AttemptRow | VersionRow | ItemRow | IncidentRow


class Transaction(Struct):
    """What one commit writes: all of it, or nothing.

    Attributes:
        epoch: the leadership under which it was decided.
        facts: in order; their `seq` follow the last one of the journal without a gap.
        rows: upserts by primary key (the first field; asset, partition and seq for a version).
    """

    epoch: int
    facts: list[StoredFact] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)


class Snapshot(Struct, frozen=True):
    """State after fact `seq`, as a versioned document."""

    seq: int
    version: int
    body: bytes


class Store(Protocol):
    """The journal and its views; one writer at a time.

    Every method but `lead` and `close` raises `StoreUnavailable` when the store does not answer. After any
    error of `append` the caller must stop leading: the outcome of the commit may be unknown.
    """

    async def lead(self, *, wait: bool = True) -> int:
        """Become the one writer, and get the epoch: higher than any before.

        Args:
            wait: stand by until leadership is free; else raise at once.

        Raises:
            LeadershipLost: another engine leads, and `wait` is false.
            StoreUnavailable: the store does not answer, and `wait` is false.
            Mistake: waiting will not help: a newer release has used the store, or it refuses us.
        """
        ...

    async def append(self, transaction: Transaction) -> None:
        """Commit the transaction durably.

        Raises:
            LeadershipLost: this store does not lead under that epoch (any more).
            StoreUnavailable: the outcome is unknown.
            StoreError: the facts do not follow the journal's last one, or an event's identity is taken; nothing
                was written.
        """
        ...

    async def read(self, *, after: int = 0, limit: int = 1000) -> Sequence[StoredFact]:
        """Facts with a seq above `after`, oldest first."""
        ...

    async def save(self, snapshot: Snapshot, *, epoch: int) -> None:
        """Keep a snapshot, beside those before it: it is not known yet whether it can be loaded."""
        ...

    async def load(self, *, skip: int = 0) -> Snapshot | None:
        """The newest snapshot, or the one before it (`skip` 1), and so on; None where there is none.

        Raises:
            StoreError: it is damaged.
        """
        ...

    async def cut(self, *, below: int, history_before: datetime, epoch: int) -> Mapping[str, int]:
        """Drop facts with a seq up to `below`, and history rows that ended before that time.

        Facts that the newest snapshot does not contain, and rows that pending items or running runs need, are not
        dropped. Of the snapshots the newest two are left.

        Returns:
            Table -> number of rows dropped.
        """
        ...

    async def release(self) -> None:
        """Give leadership back."""
        ...

    async def close(self) -> None:
        """Release everything held; the store cannot be used any more."""
        ...


#: Which rows of history are asked for, newest first: table -> the fields that may be filtered by.
FILTERS: Mapping[str, tuple[str, ...]] = {
    "events": ("type", "source", "id", "subject"),
    "runs": ("pipeline", "phase", "key", "partition"),
    "attempts": ("run", "task", "phase"),
    "versions": ("asset", "partition", "by"),
    "items": ("pipeline", "state", "run", "change"),
    "incidents": ("asset", "promise"),
}


class History(Protocol):
    """Questions to the views. Safe to ask from anywhere, also beside a writer in another process."""

    async def page(
        self,
        table: Literal["events", "runs", "attempts", "versions", "items", "incidents"],
        *,
        where: Mapping[str, str | int] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Sequence[tuple[int, Row]]:
        """Rows of a table, newest first, each with its place for `before` of the next page."""
        ...

    async def row(self, table: str, key: Any) -> Row | None:
        """One row by its primary key."""
        ...

    async def events(self, numbers: Sequence[int]) -> Sequence[EventRow]:
        """Changes by their numbers, in that order; those that retention dropped are left out."""
        ...

    async def event(self, source: str, event_id: str) -> EventRow | None:
        """A change by its CloudEvents identity."""
        ...
