"""The store on SQLite: one file, one writer, no server. Durable at each commit (WAL, synchronous=FULL).

Statements run in two threads, one that writes and one that reads, each with its own connection. A
transaction is handed over whole: the way to the thread and back costs more than most statements.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from counterpoint.adapters.stores.file_lock import FileLock
from counterpoint.adapters.stores.migrations import Migration, migrations, missing
from counterpoint.adapters.stores.schema import (
    CUT_CHUNK,
    DROPPABLE,
    TABLES,
    Table,
    check_filter,
    fact_before,
    key_values,
    packed,
    refusal,
    rows_by_table,
    table_named,
    unpacked,
)
from counterpoint.errors import LeadershipLost, StoreError, StoreUnavailable
from counterpoint.ports.store import EventRow, Snapshot, StoredFact, Transaction

Result = TypeVar("Result")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BIGGEST = 2**63 - 1

#: How long to wait for another connection's transaction.
_BUSY_S = 10


class SqliteStore:
    """A store in a SQLite file; a lock on the file beside it decides who leads. Methods as in `ports.store`.

    The folder is made, for its owner only, if it is not there.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self._lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        self._writer = _Connection("store-writer", partial(_open, self.path))
        self._reader = _Connection("store-reader", partial(_open_to_read, self.path))
        self._closed = False

    async def lead(self, *, wait: bool = True) -> int:
        """Become the one writer: take the lock, bring the schema up to date, raise the epoch."""
        self._check_open()
        with self._troubles():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._lock.try_acquire():
                if not wait:
                    raise LeadershipLost(f"another engine leads {self.path}")
                await self._lock.acquire()
        try:
            return await self._run(self._writer, partial(_take_epoch, where=str(self.path)))
        except BaseException:
            self._lock.release()
            raise

    async def append(self, transaction: Transaction) -> None:
        """Commit facts and rows durably."""
        self._check_leads()
        await self._run(self._writer, partial(_append, transaction=transaction))

    async def read(self, *, after: int = 0, limit: int = 1000) -> Sequence[StoredFact]:
        """Facts after that one, oldest first."""
        sql = "SELECT seq, at, kind, body FROM journal WHERE seq > ? ORDER BY seq LIMIT ?"
        found = await self._query(sql, (after, limit))
        return [StoredFact(seq, _time(at), kind, body) for seq, at, kind, body in found]

    async def save(self, snapshot: Snapshot, *, epoch: int) -> None:
        """Keep a snapshot beside the others. Compressing a large one does not hold up commits."""
        self._check_leads()
        body = await asyncio.to_thread(packed, snapshot)
        await self._run(self._writer, partial(_save, snapshot=snapshot, body=body, epoch=epoch))

    async def load(self, *, skip: int = 0) -> Snapshot | None:
        """The newest snapshot, or the one before it."""
        sql = "SELECT seq, version, body FROM snapshots ORDER BY seq DESC LIMIT 1 OFFSET ?"
        found = await self._query(sql, (skip,))
        return await asyncio.to_thread(unpacked, *found[0]) if found else None

    async def cut(self, *, below: int, history_before: datetime, epoch: int) -> Mapping[str, int]:
        """Drop what is old and needed no more, in transactions of bounded size; commits go on in between."""
        self._check_leads()
        newest = await self._query("SELECT seq FROM snapshots ORDER BY seq DESC LIMIT 2")
        reach = newest[0][0] if newest else 0
        oldest = newest[-1][0] if newest else 0
        conditions = [
            ("journal", "seq", "seq <= ?", min(below, reach)),
            ("snapshots", "seq", "seq < ?", oldest),
        ]
        for name, condition in DROPPABLE.items():
            conditions.append((name, TABLES[name].place, condition.format(before="?"), _stored(history_before)))
        dropped = {}
        for name, place, condition, value in conditions:
            chosen = f"SELECT {place} FROM {name} WHERE {condition} LIMIT {CUT_CHUNK}"
            sql = f"DELETE FROM {name} WHERE {place} IN ({chosen})"
            dropped[name] = count = await self._run(
                self._writer, partial(_drop, sql=sql, value=value, epoch=epoch)
            )
            while count == CUT_CHUNK:
                count = await self._run(self._writer, partial(_drop, sql=sql, value=value, epoch=epoch))
                dropped[name] += count
        return dropped

    async def release(self) -> None:
        """Give leadership back."""
        self._lock.release()

    async def close(self) -> None:
        """End both threads, then give leadership back."""
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await self._reader.close()
        self._lock.close()

    async def page(
        self,
        table: str,
        *,
        where: Mapping[str, str | int] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Sequence[tuple[int, Any]]:
        """Rows of a table, newest first, each with its place."""
        wanted = check_filter(table, where)
        sql = _page_statement(TABLES[table], tuple(wanted))
        found = await self._query(sql, (*wanted.values(), _BIGGEST if before is None else before, limit))
        return [(values[0], _row(TABLES[table], values[1:])) for values in found]

    async def row(self, table: str, key: Any) -> Any:
        """One row by its primary key."""
        of = table_named(table)
        condition = " AND ".join(f"{column} = ?" for column in of.key)
        found = await self._query(
            f"SELECT {', '.join(of.columns)} FROM {table} WHERE {condition}", key_values(key)
        )
        return _row(of, found[0]) if found else None

    async def events(self, numbers: Sequence[int]) -> Sequence[EventRow]:
        """Changes by their numbers, in that order."""
        of = TABLES["events"]
        asked = "SELECT value FROM json_each(?)"
        found = await self._query(
            f"SELECT {', '.join(of.columns)} FROM events WHERE number IN ({asked})", (str(list(numbers)),)
        )
        by_number = {values[0]: _row(of, values) for values in found}
        return [by_number[number] for number in numbers if number in by_number]

    async def event(self, source: str, event_id: str) -> EventRow | None:
        """A change by its CloudEvents identity."""
        of = TABLES["events"]
        found = await self._query(
            f"SELECT {', '.join(of.columns)} FROM events WHERE id = ? AND source = ?", (event_id, source)
        )
        return _row(of, found[0]) if found else None

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("this store is closed")

    def _check_leads(self) -> None:
        self._check_open()
        if not self._lock.is_held:
            raise LeadershipLost(f"this engine does not lead {self.path}")

    async def _query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return await self._run(self._reader, lambda connection: connection.execute(sql, values).fetchall())

    async def _run(self, connection: _Connection, work: Callable[[sqlite3.Connection], Result]) -> Result:
        self._check_open()
        with self._troubles():
            return await connection.run(work)

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        """Turn what SQLite and the file system raise into errors of ours."""
        try:
            yield
        except (sqlite3.IntegrityError, UnicodeError) as error:
            raise StoreError(f"{self.path} does not take the transaction: {error}") from error
        except (sqlite3.Error, OSError) as error:
            is_full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
            remedy = "make room on its disk" if is_full else "look at its file, its folder and its disk"
            raise StoreUnavailable(f"{self.path} cannot be used: {error}; {remedy}") from error


class _Connection:
    """A connection and the one thread that uses it; opened when first needed, and again after an error."""

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._connect = connect
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Carry out `work` in the thread. If it raises, what it had begun is rolled back."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._carry_out, work)

    async def close(self) -> None:
        """End what is going on, and the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    def _carry_out(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            if self._connection is None:
                self._connection = self._connect()
            return work(self._connection)
        except BaseException:
            # After an error nothing is known of the connection (a full disk may refuse even the rollback);
            # closing it rolls back in any case.
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # SQLite would make it with the umask's permissions; its side files take over those of the file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "PRAGMA journal_size_limit = 67108864"
        )  # else a large snapshot leaves a large WAL behind
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Write ahead. Where two open a new file at once SQLite does not wait here, so we do."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _open_to_read(path: Path) -> sqlite3.Connection:
    connection = _open(path)
    try:
        _migrate(connection, migrations("sqlite"), where=str(path), leading=False)
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, known: tuple[Migration, ...], *, where: str, leading: bool) -> None:
    """Bring the schema up to date: all that is missing in one transaction, or nothing."""
    if not missing(known, _version(connection), where=where, leading=leading):
        return
    with _transaction(connection):
        # Asked again, because another process may have migrated while we waited for the transaction.
        for migration in missing(known, _version(connection), where=where, leading=leading):
            for statement in _statements(migration.sql):
                connection.execute(statement)
            values = (migration.number, migration.name)
            connection.execute("INSERT INTO migrations (number, name) VALUES (?, ?)", values)


def _version(connection: sqlite3.Connection) -> int:
    """The schema's version; 0 is an empty store."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchone():
        return 0
    return int(connection.execute("SELECT max(number) FROM migrations").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. After an error the connection is closed by its owner, which rolls back."""
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")


def _take_epoch(connection: sqlite3.Connection, *, where: str) -> int:
    _migrate(connection, migrations("sqlite"), where=where, leading=True)
    with _transaction(connection):
        connection.execute("UPDATE head SET epoch = epoch + 1")
        (epoch,) = connection.execute("SELECT epoch FROM head").fetchone()
    return int(epoch)


def _append(connection: sqlite3.Connection, *, transaction: Transaction) -> None:
    facts = [(fact.seq, _stored(fact.at), fact.kind, fact.body) for fact in transaction.facts]
    before = fact_before(transaction.facts)
    with _transaction(connection):
        _check_head(connection, transaction.epoch, before)
        if facts:
            connection.execute("UPDATE head SET seq = ?", (facts[-1][0],))
            connection.executemany("INSERT INTO journal (seq, at, kind, body) VALUES (?, ?, ?, ?)", facts)
        for name, rows in rows_by_table(transaction.rows).items():
            values_of = attrgetter(*TABLES[name].columns)
            connection.executemany(
                _upsert_statement(TABLES[name]), ([*map(_stored, values_of(row))] for row in rows)
            )


def _save(connection: sqlite3.Connection, *, snapshot: Snapshot, body: bytes, epoch: int) -> None:
    with _transaction(connection):
        _check_head(connection, epoch)
        connection.execute(
            "INSERT OR REPLACE INTO snapshots (seq, version, body) VALUES (?, ?, ?)",
            (snapshot.seq, snapshot.version, body),
        )


def _drop(connection: sqlite3.Connection, *, sql: str, value: Any, epoch: int) -> int:
    with _transaction(connection):
        _check_head(connection, epoch)
        return connection.execute(sql, (value,)).rowcount


def _check_head(connection: sqlite3.Connection, epoch: int, before: int | None = None) -> None:
    head_epoch, head_seq = connection.execute("SELECT epoch, seq FROM head").fetchone()
    if epoch != head_epoch or before not in (None, head_seq):
        raise refusal(epoch, before, head_epoch=head_epoch, head_seq=head_seq)


@lru_cache
def _upsert_statement(table: Table) -> str:
    columns = table.columns
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in table.key)
    return (
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {changes}"
    )


@lru_cache
def _page_statement(table: Table, fields: tuple[str, ...]) -> str:
    conditions = " AND ".join(
        f"{column} {sign} ?" for column, sign in [*((f, "=") for f in fields), (table.place, "<")]
    )
    columns = ", ".join((table.place, *table.columns))
    return f"SELECT {columns} FROM {table.name} WHERE {conditions} ORDER BY {table.place} DESC LIMIT ?"


def _stored(value: Any) -> Any:
    """A value as SQLite keeps it: times as microseconds since 1970."""
    return (value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else value


def _time(stored: int) -> datetime:
    return _EPOCH + timedelta(microseconds=stored)


def _row(table: Table, values: Sequence[Any]) -> Any:
    """A row from its values as they are kept."""
    kinds = table.types.values()
    return table.make(
        _time(value) if kind is datetime and value is not None else value
        for kind, value in zip(kinds, values, strict=True)
    )
