"""The store on PostgreSQL 14 or newer: for more than one machine, and for standing by.

Each commit is one prepared statement, so one way to the server and back: it checks the epoch and the
journal's end, and writes facts and rows only if both are right.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from counterpoint.adapters.stores.migrations import migrations, missing
from counterpoint.adapters.stores.schema import (
    CUT_CHUNK,
    DROPPABLE,
    TABLES,
    check_filter,
    fact_before,
    key_values,
    packed,
    refusal,
    rows_by_table,
    table_named,
    unpacked,
)
from counterpoint.errors import LeadershipLost, MissingExtra, Mistake, StoreError, StoreUnavailable
from counterpoint.ports.store import EventRow, Snapshot, StoredFact, Transaction

if TYPE_CHECKING:
    import asyncpg

_BIGGEST = 2**63 - 1
_SQL_TYPES: Mapping[type, str] = {int: "bigint", str: "text", bytes: "bytea", datetime: "timestamptz"}

#: How long the server may take over something large: a snapshot, a cut, a migration.
_LARGE_S = 300

#: How often one that stands by asks whether leadership is free.
_STANDBY_S = 0.5

#: For the connection that leads. The server gives its lock back within 4 s of the last sign of life, even if the
#: machine at the other end vanished; and nothing but that ends it.
_LEADING_SETTINGS = {
    "tcp_keepalives_idle": "1",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "4000",
    "idle_session_timeout": "0",
}


class PostgresStore:
    """A store in one schema of a PostgreSQL database. Methods as in `ports.store`.

    Args:
        url: as libpq reads it, and `schema=NAME` among its parameters (default `counterpoint`), which is made
            if it is not there.
        timeout_s: how long the server may take for one answer before it counts as away.
    """

    def __init__(self, url: str, *, timeout_s: float = 10) -> None:
        try:
            import asyncpg
        except ImportError as error:
            raise MissingExtra("the PostgreSQL store", "postgres") from error
        self._asyncpg = asyncpg
        self._url, self.schema = _without_schema(url)
        parts = urlsplit(self._url)
        self.name = f"{parts.hostname or 'localhost'}{parts.path}, schema {self.schema}"
        self._timeout_s = timeout_s
        # Advisory locks are the whole database's: the schema's name makes ours.
        digest = hashlib.sha256(f"counterpoint:{self.schema}".encode()).digest()
        self._lock_key = int.from_bytes(digest[:8], "big", signed=True)
        self._leader: asyncpg.Connection[Any] | None = None
        self._leader_in_use = asyncio.Lock()
        self._pool: asyncpg.Pool[Any] | None = None
        self._pool_opening = asyncio.Lock()
        self._leads = False
        self._closed = False

    async def lead(self, *, wait: bool = True) -> int:
        """Become the one writer. A wait goes on while the server is away.

        Raises:
            Mistake: the server refuses us: no such database, a wrong password, a missing right.
            StoreUnavailable: the server is away, and `wait` is false.
        """
        while True:
            try:
                return await self._try_to_lead()
            except StoreError:
                self._check_open()
                if not wait:
                    raise
            # Asking again and again, because a request that waits at the server for the lock would not notice that
            # the server's machine is gone.
            await asyncio.sleep(_STANDBY_S)

    async def _try_to_lead(self) -> int:
        self._check_open()
        async with self._leading() as connection:
            if connection is None:
                with self._refusals():
                    connection = self._leader = await self._connect()
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._lock_key):
                raise LeadershipLost(f"another engine leads {self.name}")
            with self._refusals():
                await self._migrate(connection, leading=True)
            epoch = int(await connection.fetchval("UPDATE head SET epoch = epoch + 1 RETURNING epoch"))
            self._leads = True
            return epoch

    async def append(self, transaction: Transaction) -> None:
        """Commit facts and rows durably. After an error the connection is given up, and leadership with it."""
        facts, rows = transaction.facts, rows_by_table(transaction.rows)
        before = fact_before(facts)
        values: list[Any] = [transaction.epoch, len(facts), before]
        if facts:
            values += ([getattr(fact, column) for fact in facts] for column in StoredFact.__struct_fields__)
        for name, changed in rows.items():
            values += ([getattr(row, column) for row in changed] for column in TABLES[name].columns)
        async with self._leading() as connection:
            if connection is None or not self._leads:
                raise LeadershipLost(f"this engine does not lead {self.name}")
            if not await connection.fetchval(_append_statement(bool(facts), tuple(rows)), *values):
                epoch, seq = await connection.fetchrow("SELECT epoch, seq FROM head")
                raise refusal(transaction.epoch, before, head_epoch=epoch, head_seq=seq)

    async def read(self, *, after: int = 0, limit: int = 1000) -> Sequence[StoredFact]:
        """Facts after that one, oldest first."""
        sql = "SELECT seq, at, kind, body FROM journal WHERE seq > $1 ORDER BY seq LIMIT $2"
        return [StoredFact(*record) for record in await self._fetch(sql, after, limit)]

    async def save(self, snapshot: Snapshot, *, epoch: int) -> None:
        """Keep a snapshot beside the others. A large one does not hold up commits."""
        self._check_leads()
        body = await asyncio.to_thread(packed, snapshot)
        async with self._beside() as connection, connection.transaction():
            await _check_epoch(connection, epoch)
            await connection.execute(
                "INSERT INTO snapshots (seq, version, body) VALUES ($1, $2, $3)"
                " ON CONFLICT (seq) DO UPDATE SET version = excluded.version, body = excluded.body",
                *(snapshot.seq, snapshot.version, body),
                timeout=_LARGE_S,
            )

    async def load(self, *, skip: int = 0) -> Snapshot | None:
        """The newest snapshot, or the one before it."""
        async with self._beside() as connection:
            sql = "SELECT seq, version, body FROM snapshots ORDER BY seq DESC LIMIT 1 OFFSET $1"
            found = await connection.fetchrow(sql, skip, timeout=_LARGE_S)
        return await asyncio.to_thread(unpacked, *found) if found else None

    async def cut(self, *, below: int, history_before: datetime, epoch: int) -> Mapping[str, int]:
        """Drop what is old and needed no more, in transactions of bounded size; commits go on beside them."""
        self._check_leads()
        newest = await self._fetch("SELECT seq FROM snapshots ORDER BY seq DESC LIMIT 2")
        reach = newest[0]["seq"] if newest else 0
        oldest = newest[-1]["seq"] if newest else 0
        conditions: list[tuple[str, str, str, Any]] = [
            ("journal", "seq", "seq <= $1", min(below, reach)),
            ("snapshots", "seq", "seq < $1", oldest),
        ]
        for name, condition in DROPPABLE.items():
            conditions.append((name, TABLES[name].place, condition.format(before="$1"), history_before))
        dropped: dict[str, int] = {}
        for name, place, condition, value in conditions:
            chosen = f"SELECT {place} FROM {name} WHERE {condition} LIMIT {CUT_CHUNK}"
            deletion = f"DELETE FROM {name} WHERE {place} IN ({chosen}) RETURNING 1"
            sql = f"WITH gone AS ({deletion}) SELECT count(*) FROM gone"
            dropped[name] = count = await self._drop(sql, value, epoch)
            while count == CUT_CHUNK:
                count = await self._drop(sql, value, epoch)
                dropped[name] += count
        return dropped

    async def _drop(self, sql: str, value: Any, epoch: int) -> int:
        async with self._beside() as connection, connection.transaction():
            await _check_epoch(connection, epoch)
            return int(await connection.fetchval(sql, value, timeout=_LARGE_S))

    async def release(self) -> None:
        """Give leadership back: the lock is its connection's."""
        async with self._leader_in_use:
            self._leads = False
            if self._leader is not None:
                connection, self._leader = self._leader, None
                with suppress(*self._errors):
                    await connection.close(timeout=self._timeout_s)

    async def close(self) -> None:
        """End every connection, and leadership with them."""
        self._closed = True
        await self.release()
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def page(
        self,
        table: str,
        *,
        where: Mapping[str, str | int] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Sequence[tuple[int, Any]]:
        """Rows of a table, newest first, each with its place."""
        wanted, of = check_filter(table, where), TABLES[table]
        conditions = [
            f"{of.place} < $1",
            *(f"{field} = ${number}" for number, field in enumerate(wanted, start=3)),
        ]
        sql = (
            f"SELECT {of.place} AS place, {', '.join(of.columns)} FROM {table} WHERE {' AND '.join(conditions)}"
            f" ORDER BY {of.place} DESC LIMIT $2"
        )
        found = await self._fetch(sql, _BIGGEST if before is None else before, limit, *wanted.values())
        return [(record[0], of.make(record[1:])) for record in found]

    async def row(self, table: str, key: Any) -> Any:
        """One row by its primary key."""
        of = table_named(table)
        condition = " AND ".join(f"{column} = ${number}" for number, column in enumerate(of.key, start=1))
        found = await self._fetch(
            f"SELECT {', '.join(of.columns)} FROM {table} WHERE {condition}", *key_values(key)
        )
        return of.make(found[0]) if found else None

    async def events(self, numbers: Sequence[int]) -> Sequence[EventRow]:
        """Changes by their numbers, in that order."""
        of = TABLES["events"]
        found = await self._fetch(
            f"SELECT {', '.join(of.columns)} FROM events WHERE number = ANY($1)", list(numbers)
        )
        by_number = {record["number"]: of.make(record) for record in found}
        return [by_number[number] for number in numbers if number in by_number]

    async def event(self, source: str, event_id: str) -> EventRow | None:
        """A change by its CloudEvents identity."""
        of = TABLES["events"]
        sql = f"SELECT {', '.join(of.columns)} FROM events WHERE id = $1 AND source = $2"
        found = await self._fetch(sql, event_id, source)
        return of.make(found[0]) if found else None

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("this store is closed")

    def _check_leads(self) -> None:
        self._check_open()
        if not self._leads:
            raise LeadershipLost(f"this engine does not lead {self.name}")

    async def _fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        async with self._beside() as connection:
            return list(await connection.fetch(sql, *values))

    @asynccontextmanager
    async def _leading(self) -> AsyncIterator[asyncpg.Connection[Any] | None]:
        """The connection to lead with, if there is one. Any error but a refusal ends it: it may be half dead."""
        self._check_open()
        async with self._leader_in_use:
            try:
                with self._troubles():
                    yield self._leader
            except LeadershipLost:
                raise
            except BaseException:
                self._leads = False
                if self._leader is not None:
                    self._leader.terminate()
                    self._leader = None
                raise

    @asynccontextmanager
    async def _beside(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A connection beside the leading one, so that questions and long writes do not hold up commits."""
        self._check_open()
        with self._troubles():
            async with self._pool_opening:
                if self._pool is None:
                    self._pool = await self._open_pool()
            async with self._pool.acquire(timeout=self._timeout_s) as connection:
                yield connection

    async def _open_pool(self) -> asyncpg.Pool[Any]:
        pool = await self._asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=4,
            timeout=self._timeout_s,
            command_timeout=self._timeout_s,
            server_settings=self._settings(),
        )
        try:
            async with pool.acquire() as connection:
                await self._migrate(connection, leading=False)
        except BaseException:
            pool.terminate()
            raise
        return pool

    async def _connect(self) -> asyncpg.Connection[Any]:
        connection = await self._asyncpg.connect(
            self._url,
            timeout=self._timeout_s,
            command_timeout=self._timeout_s,
            server_settings=self._settings() | _LEADING_SETTINGS,
        )
        # A commit that is not on disk is none; a stricter setting of the server's stays.
        if await connection.fetchval("SHOW synchronous_commit") == "off":
            await connection.execute("SET synchronous_commit = on")
        return connection

    def _settings(self) -> dict[str, str]:
        return {"search_path": self.schema, "application_name": "counterpoint"}

    async def _migrate(self, connection: asyncpg.Connection[Any], *, leading: bool) -> None:
        """Bring the schema up to date: all that is missing in one transaction, or nothing."""
        known = migrations("postgres")
        if not missing(known, await self._version(connection), where=self.name, leading=leading):
            return
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", self._lock_key ^ 1)
            # Asked again, because another process may have migrated while we waited for the lock.
            version = await self._version(connection)
            is_there = "SELECT 1 FROM pg_namespace WHERE nspname = $1"
            if version == 0 and not await connection.fetchval(is_there, self.schema):
                await connection.execute(f"CREATE SCHEMA {self.schema}")
            for migration in missing(known, version, where=self.name, leading=leading):
                await connection.execute(migration.sql, timeout=_LARGE_S)
                values = (migration.number, migration.name)
                await connection.execute("INSERT INTO migrations (number, name) VALUES ($1, $2)", *values)

    async def _version(self, connection: asyncpg.Connection[Any]) -> int:
        """The schema's version; 0 is an empty store."""
        # Read from the catalog: `to_regclass` may still answer as before a migration that we waited for.
        is_there = "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = 'migrations'"
        if not await connection.fetchval(is_there, self.schema):
            return 0
        return int(await connection.fetchval("SELECT max(number) FROM migrations"))

    @property
    def _errors(self) -> tuple[type[Exception], ...]:
        return (self._asyncpg.PostgresError, self._asyncpg.InterfaceError, OSError)

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        """Turn what the driver and the network raise into errors of ours."""
        try:
            yield
        except (self._asyncpg.IntegrityConstraintViolationError, self._asyncpg.DataError) as error:
            raise StoreError(f"{self.name} does not take the transaction: {error}") from error
        except self._errors as error:
            cause = str(error) or type(error).__name__
            raise StoreUnavailable(f"{self.name} failed: {cause}") from error

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turn what no waiting will cure into a mistake."""
        try:
            yield
        except (
            self._asyncpg.InvalidAuthorizationSpecificationError,
            self._asyncpg.InvalidCatalogNameError,
            self._asyncpg.InsufficientPrivilegeError,
            self._asyncpg.ClientConfigurationError,
        ) as error:
            raise Mistake(f"{self.name} cannot be used: {error}", code="store-refused") from error


def _without_schema(url: str) -> tuple[str, str]:
    """The URL without its `schema` parameter, and that parameter."""
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query))
    schema = parameters.pop("schema", "counterpoint")
    if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", schema):
        raise Mistake(
            f"a schema of small letters, digits and _ was expected, {schema!r} was found", code="store-url"
        )
    return parts._replace(query=urlencode(parameters)).geturl(), schema


@lru_cache
def _append_statement(has_facts: bool, tables: tuple[str, ...]) -> str:
    """One statement for a commit that touches these tables.

    Every part reads from `held`, which is empty where the epoch or the journal's end is another: then
    nothing is written, and the statement answers 0.
    """
    number = 3
    is_head = "epoch = $1 AND ($3::bigint IS NULL OR seq = $3)"
    parts = [f"held AS (UPDATE head SET seq = seq + $2 WHERE {is_head} RETURNING 1)"]

    def insert(table: str, types: Mapping[str, type]) -> str:
        nonlocal number
        arrays = []
        for type_ in types.values():
            number += 1
            arrays.append(f"${number}::{_SQL_TYPES[type_]}[]")
        columns = ", ".join(types)
        # Ordered, so that rows without a number of their own are counted in the order in which they were given.
        return (
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM held, unnest({', '.join(arrays)})"
            f" WITH ORDINALITY AS given ({columns}, ordinality) ORDER BY ordinality"
        )

    if has_facts:
        parts.append(
            f"new_facts AS ({insert('journal', {'seq': int, 'at': datetime, 'kind': str, 'body': bytes})})"
        )
    for name in tables:
        of = TABLES[name]
        changes = ", ".join(f"{column} = excluded.{column}" for column in of.columns if column not in of.key)
        upsert = f"{insert(name, of.types)} ON CONFLICT ({', '.join(of.key)}) DO UPDATE SET {changes}"
        parts.append(f"new_{name} AS ({upsert})")
    return f"WITH {', '.join(parts)} SELECT count(*) FROM held"


async def _check_epoch(connection: asyncpg.Connection[Any], epoch: int) -> None:
    # Not locked against a newer epoch: what is dropped or saved under an old one is right under the next as well.
    head_epoch, head_seq = await connection.fetchrow("SELECT epoch, seq FROM head")
    if epoch != head_epoch:
        raise refusal(epoch, None, head_epoch=head_epoch, head_seq=head_seq)
