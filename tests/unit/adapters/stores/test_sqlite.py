from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from counterpoint.adapters.stores.schema import DROPPABLE
from counterpoint.adapters.stores.sqlite import SqliteStore
from counterpoint.errors import Conflict, StoreError, StoreUnavailable
from counterpoint.ports.store import Snapshot, StoredFact, Transaction

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state" / "store.db")
    yield store
    await store.close()


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    """What a full disk is to a process: a write fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_the_folder_and_its_files_are_for_their_owner_only(store: SqliteStore) -> None:
    old = os.umask(0)
    try:
        await store.lead()
        await store.append(Transaction(1, [StoredFact(1, NOON, "Woke", b"{}")]))
    finally:
        os.umask(old)

    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    names = {path.name for path in store.path.parent.iterdir()}
    assert names == {"store.db", "store.db-wal", "store.db-shm", "store.db.lock"}
    assert {path.stat().st_mode & 0o777 for path in store.path.parent.iterdir()} == {0o600}


async def test_a_time_is_kept_to_the_microsecond(store: SqliteStore) -> None:
    times = [
        datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        NOON,
        datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    ]
    epoch = await store.lead()

    await store.append(Transaction(epoch, [StoredFact(n, at, "Woke", b"") for n, at in enumerate(times, start=1)]))

    assert [fact.at for fact in await store.read()] == times


async def test_a_full_disk_refuses_the_whole_transaction_and_the_store_goes_on_when_there_is_room(
    store: SqliteStore,
) -> None:
    epoch = await store.lead()
    small = StoredFact(1, NOON, "Woke", b"{}")
    await store.append(Transaction(epoch, [small]))
    large = [StoredFact(seq, NOON, "Woke", bytes(10_000)) for seq in range(2, 200)]

    with files_no_larger_than(500_000), pytest.raises(StoreUnavailable, match=r"store\.db.*(disk|look)"):
        await store.append(Transaction(epoch, large))

    assert list(await store.read()) == [small]
    await store.append(Transaction(await store.lead(), large))
    assert list(await store.read()) == [small, *large]


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteStore(tmp_path / "file" / "store.db")

    with pytest.raises(StoreUnavailable, match="look at its file, its folder"):
        await store.lead()
    with pytest.raises(StoreUnavailable):
        await store.read()
    await store.close()


async def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be one " * 100)
    before = path.read_bytes()
    store = SqliteStore(path)

    with pytest.raises(StoreUnavailable, match="not a database"):
        await store.lead()

    assert path.read_bytes() == before
    await store.close()


async def test_a_store_of_a_newer_release_is_refused_and_leadership_is_free_again(store: SqliteStore) -> None:
    await store.lead()
    await store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("INSERT INTO migrations (number, name) VALUES (99, 'of tomorrow')")
    connection.close()
    again, other = SqliteStore(store.path), SqliteStore(store.path)

    for refused in (again, other):
        with pytest.raises(Conflict, match="newer release"):
            await refused.lead(wait=False)
    with pytest.raises(Conflict, match="newer release"):
        await again.read()

    await again.close()
    await other.close()


async def test_a_snapshot_is_small_on_disk(store: SqliteStore) -> None:
    epoch = await store.lead()
    body = b'{"pipeline":"build","partition":"2026-03-01","phase":"waiting"},' * 100_000

    await store.save(Snapshot(0, 1, body), epoch=epoch)

    assert sum(path.stat().st_size for path in store.path.parent.iterdir()) < len(body) / 10
    assert await store.load() == Snapshot(0, 1, body)


async def test_what_one_process_commits_another_sees(store: SqliteStore) -> None:
    epoch = await store.lead()
    beside = SqliteStore(store.path)
    assert list(await beside.read()) == []

    fact = StoredFact(1, NOON + timedelta(seconds=1), "Woke", b"{}")
    await store.append(Transaction(epoch, [fact]))

    assert list(await beside.read()) == [fact]
    await beside.close()


async def test_text_that_is_no_text_refuses_the_whole_transaction(store: SqliteStore) -> None:
    epoch = await store.lead()

    with pytest.raises(StoreError):
        await store.append(
            Transaction(epoch, [StoredFact(1, NOON, "Woke", b""), StoredFact(2, NOON, "\ud800", b"")])
        )

    assert list(await store.read()) == []


async def test_many_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    for number in range(5):
        stores = [SqliteStore(tmp_path / str(number) / "store.db") for _ in range(6)]

        found = await asyncio.gather(*(store.read() for store in stores))

        assert [list(facts) for facts in found] == [[]] * len(stores)
        for store in stores:
            await store.close()


@pytest.mark.parametrize("table", DROPPABLE)
async def test_what_retention_drops_is_found_by_its_age(store: SqliteStore, table: str) -> None:
    await store.lead()
    with sqlite3.connect(store.path) as connection:
        question = f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE {DROPPABLE[table].format(before=0)}"
        plan = [step[3] for step in connection.execute(question)]
    connection.close()

    assert "_at (" in plan[0], plan
