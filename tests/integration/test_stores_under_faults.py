"""What stores promise when processes are killed and connections are cut. Each fault is a real one."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from counterpoint.adapters.stores import open_store
from counterpoint.adapters.stores.postgres import PostgresStore
from counterpoint.errors import LeadershipLost, Mistake, StoreError, StoreUnavailable
from counterpoint.ports.store import StoredFact, Transaction
from counterpoint.testing.wire import Wire

if TYPE_CHECKING:
    from counterpoint.adapters.stores import AnyStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

#: A process that leads and appends for ever, and says each fact when the store has told it that it is kept.
WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from counterpoint.adapters.stores import open_store
from counterpoint.ports.store import ItemRow, StoredFact, Transaction

async def main():
    store = open_store(sys.argv[1])
    epoch = await store.lead()
    kept = await store.read(limit=1_000_000)
    seq = kept[-1].seq if kept else 0
    now = datetime.now(UTC)
    while True:
        seq += 1
        row = ItemRow(number=seq, change=seq, pipeline="p", state="done", run="", at=now, document=b"{}")
        await store.append(Transaction(epoch, [StoredFact(seq, now, "Woke", b"x" * 500)], [row]))
        print(seq, flush=True)

asyncio.run(main())
"""


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A writer that has committed at least once; it is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, url, stdout=asyncio.subprocess.PIPE, limit=2**20
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def opened(url: str, **options: float) -> AsyncIterator[AnyStore]:
    store = PostgresStore(url, **options) if options else open_store(url)
    try:
        yield store
    finally:
        await store.close()


def facts(first: int, last: int) -> list[StoredFact]:
    return [StoredFact(seq, NOON, "Woke", b"{}") for seq in range(first, last + 1)]


class Durability:
    """What both stores must stand; each in its own time."""

    takeover_s: float

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    async def test_what_a_killed_process_was_told_is_kept_is_there_and_nothing_is_there_by_half(
        self, url: str
    ) -> None:
        moments = random.Random(7)
        for _ in range(4):
            async with writing(url) as process:
                await asyncio.sleep(moments.uniform(0, 0.1))
                process.send_signal(signal.SIGKILL)
                said, _ = await process.communicate()
            last_said = int(said.split()[-1]) if said.split() else 1

            async with opened(url) as store:
                await store.lead()  # from here on no commit of the killed one is under way
                kept = [fact.seq for fact in await store.read(limit=1_000_000)]
                newest_row = (await store.page("items", limit=1))[0][0]

            assert kept == list(range(1, len(kept) + 1))
            assert newest_row == kept[-1]
            assert (
                last_said <= kept[-1] <= last_said + 1
            )  # the commit it had not been told of may be there, or not

    async def test_one_that_stands_by_takes_over_when_the_leader_is_killed(self, url: str) -> None:
        async with writing(url) as process, opened(url) as standby:
            waiting = asyncio.create_task(standby.lead())
            await asyncio.sleep(0.1)
            assert not waiting.done()

            process.kill()
            killed = time.monotonic()
            epoch = await asyncio.wait_for(waiting, 10)

            assert time.monotonic() - killed < self.takeover_s
            last = len(await standby.read(limit=1_000_000))
            await standby.append(Transaction(epoch, facts(last + 1, last + 1)))


class TestSqlite(Durability):
    takeover_s = 1

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/store.db"


class TestPostgres(Durability):
    takeover_s = 5

    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url


@pytest.fixture
def wire(postgres_url: str) -> Iterator[Wire]:
    wire = Wire(postgres_url)
    yield wire
    wire.close()


@pytest.mark.parametrize(("cut", "is_kept"), [("request", False), ("answer", True)])
async def test_a_connection_cut_during_a_commit_leaves_it_whole_or_not_there(
    wire: Wire, postgres_url: str, cut: str, is_kept: bool
) -> None:
    async with opened(wire.url) as store, opened(postgres_url) as beside:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 1)))

        wire.cut = cut
        with pytest.raises(StoreUnavailable):
            await store.append(Transaction(epoch, facts(2, 3)))
        wire.cut = ""
        newer = await asyncio.wait_for(store.lead(), 5)

        last = 3 if is_kept else 1
        assert [fact.seq for fact in await beside.read()] == list(range(1, last + 1))
        with pytest.raises(LeadershipLost):
            await store.append(Transaction(epoch, facts(last + 1, last + 1)))
        await store.append(Transaction(newer, facts(last + 1, last + 1)))


async def test_a_server_that_does_not_answer_is_not_waited_for(wire: Wire) -> None:
    async with opened(wire.url, timeout_s=0.3) as store:
        epoch = await store.lead()

        wire.cut = "answer lost"
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(store.append(Transaction(epoch, facts(1, 1))), 5)
        with pytest.raises(LeadershipLost):
            await store.append(Transaction(epoch, facts(2, 2)))


async def test_one_that_stands_by_takes_over_when_the_leaders_connection_is_cut(
    wire: Wire, postgres_url: str
) -> None:
    async with opened(wire.url) as leader, opened(postgres_url) as standby:
        epoch = await leader.lead()
        waiting = asyncio.create_task(standby.lead())
        await asyncio.sleep(0.1)

        wire.break_off()
        newer = await asyncio.wait_for(waiting, 5)
        await standby.append(Transaction(newer, facts(1, 1)))

        with pytest.raises(StoreUnavailable):
            await leader.append(Transaction(epoch, facts(1, 1)))
        with pytest.raises(LeadershipLost):
            await leader.lead(wait=False)


async def test_one_that_stands_by_outlasts_a_server_that_is_away(wire: Wire, postgres_url: str) -> None:
    async with opened(postgres_url) as leader, opened(wire.url) as standby:
        await leader.lead()
        waiting = asyncio.create_task(standby.lead())
        await asyncio.sleep(0.1)

        wire.cut = "request"
        await asyncio.sleep(0.6)
        wire.cut = ""
        await leader.release()

        assert await asyncio.wait_for(waiting, 5) == 2


async def test_history_answers_again_after_its_connections_were_cut(wire: Wire) -> None:
    async with opened(wire.url) as store:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 1)))
        await store.read()

        wire.break_off()
        with pytest.raises(StoreUnavailable):
            await store.append(Transaction(epoch, facts(2, 2)))

        assert len(await store.read()) == 1


async def test_what_no_waiting_cures_is_said_at_once(postgres_server: str) -> None:
    async with opened(postgres_server.replace("/postgres", "/no_such_database")) as store:
        with pytest.raises(Mistake, match="no_such_database"):
            await asyncio.wait_for(store.lead(), 5)


async def test_a_server_that_is_away_is_said_if_nobody_waits() -> None:
    async with opened("postgresql://postgres@127.0.0.1:1/postgres") as store:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1/postgres"):
            await store.lead(wait=False)
        with pytest.raises(StoreUnavailable):
            await store.read()


async def test_the_server_looks_for_signs_of_life_of_the_leader(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        await store.lead()
        assert isinstance(store, PostgresStore)
        assert store._leader is not None

        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
        found = [await store._leader.fetchval(f"SHOW {name}") for name in names]

        assert found == ["1", "1", "3", "4000"]


async def test_a_commit_waits_for_the_disk_even_where_the_server_would_not(postgres_url: str) -> None:
    import asyncpg

    url, schema = postgres_url.split("?schema=")
    admin = await asyncpg.connect(url)
    try:
        await admin.execute(
            f"CREATE ROLE {schema} LOGIN SUPERUSER; ALTER ROLE {schema} SET synchronous_commit = off"
        )
    finally:
        await admin.close()

    async with opened(postgres_url.replace("postgres@", f"{schema}@")) as store:
        await store.lead()
        assert isinstance(store, PostgresStore)
        assert store._leader is not None

        assert await store._leader.fetchval("SHOW synchronous_commit") == "on"


async def test_text_that_the_server_cannot_keep_refuses_the_whole_transaction(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        epoch = await store.lead()

        with pytest.raises(StoreError, match="does not take"):
            await store.append(Transaction(epoch, [*facts(1, 1), StoredFact(2, NOON, "a\0b", b"")]))

        assert list(await store.read()) == []


async def test_many_may_open_a_new_store_at_once(postgres_url: str) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(postgres_url)) for _ in range(5)]

        found = await asyncio.gather(*(store.read() for store in stores))

        assert [list(kept) for kept in found] == [[]] * len(stores)
