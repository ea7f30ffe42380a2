"""What every store must do. An adapter passes if a subclass of `StoreContract` does.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda: MyStore(tmp_path / "store")

Tests are coroutines: set `asyncio_mode = auto` for pytest-asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest

from counterpoint.errors import LeadershipLost, Mistake, NotFound, StoreError
from counterpoint.ports.store import (
    FILTERS,
    AttemptRow,
    EventRow,
    History,
    IncidentRow,
    ItemRow,
    Row,
    RunRow,
    Snapshot,
    Store,
    StoredFact,
    Transaction,
    VersionRow,
)

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DAY = timedelta(days=1)

#: How soon one that stands by must lead once leadership is free.
TAKEOVER_S = 5


class StoreAndHistory(Store, History, Protocol):
    """What an adapter offers: both sides of the same data."""


def fact(seq: int, *, kind: str = "Woke", body: bytes = b'{"kind":"Woke"}') -> StoredFact:
    """A fact at that place."""
    return StoredFact(seq, NOON + timedelta(microseconds=seq), kind, body)


def facts(first: int, last: int) -> list[StoredFact]:
    """Facts from one place to another, both included."""
    return [fact(seq) for seq in range(first, last + 1)]


def event(number: int, **changes: Any) -> EventRow:
    """An event with its number in its id."""
    fields: dict[str, Any] = {
        "number": number,
        "source": "shop",
        "id": f"e{number}",
        "type": "product.updated",
        "subject": "event:product.updated",
        "time": NOON,
        "accepted_at": NOON,
        "digest": "ab" * 32,
        "envelope": b'{"specversion":"1.0"}',
    }
    return EventRow(**fields | changes)


def run(ordinal: int, **changes: Any) -> RunRow:
    """A run that ended, named `build#ORDINAL`."""
    fields: dict[str, Any] = {
        "run": f"build#{ordinal}",
        "ordinal": ordinal,
        "pipeline": "build",
        "key": "",
        "partition": "2026-03-01",
        "phase": "succeeded",
        "lane": "live",
        "created_at": NOON,
        "started_at": NOON,
        "ended_at": NOON,
        "document": b'{"items":[1]}',
    }
    return RunRow(**fields | changes)


def attempt(of: int, number: int = 1, **changes: Any) -> AttemptRow:
    """A try of the task `load` in the run of that ordinal."""
    fields: dict[str, Any] = {
        "attempt": f"build#{of}/load/{number}",
        "run": f"build#{of}",
        "task": "load",
        "number": number,
        "phase": "succeeded",
        "started_at": NOON,
        "ended_at": NOON,
        "document": b"{}",
    }
    return AttemptRow(**fields | changes)


def version(seq: int, **changes: Any) -> VersionRow:
    """A version of the asset `mart.gmv`."""
    fields: dict[str, Any] = {
        "asset": "mart.gmv",
        "partition": "",
        "seq": seq,
        "at": NOON,
        "by": "build#1",
        "document": b"{}",
    }
    return VersionRow(**fields | changes)


def item(number: int, **changes: Any) -> ItemRow:
    """An item that stands for the event of the same number."""
    fields: dict[str, Any] = {
        "number": number,
        "change": number,
        "pipeline": "build",
        "state": "pending",
        "run": "",
        "at": NOON,
        "document": b"{}",
    }
    return ItemRow(**fields | changes)


def incident(number: int, **changes: Any) -> IncidentRow:
    """An incident of `mart.gmv` that ended."""
    fields: dict[str, Any] = {
        "incident": f"mart.gmv:freshness#{number}",
        "asset": "mart.gmv",
        "promise": "freshness",
        "missed": 1,
        "begun_at": NOON,
        "ended_at": NOON,
        "document": b"{}",
    }
    return IncidentRow(**fields | changes)


ONE_OF_EACH: dict[str, tuple[Row, Any]] = {
    "events": (event(1), 1),
    "runs": (run(1, started_at=None, ended_at=None), "build#1"),
    "attempts": (attempt(1, ended_at=None), "build#1/load/1"),
    "versions": (version(1), ("mart.gmv", "", 1)),
    "items": (item(1), 1),
    "incidents": (incident(1, ended_at=None), "mart.gmv:freshness#1"),
}


async def rows_of(store: History, table: Any, **where: str | int) -> list[Any]:
    """The rows of a table, newest first."""
    return [row for _, row in await store.page(table, where=where)]


class StoreContract:
    """The suite. `open_store` opens the same data again each time it is called."""

    @pytest.fixture
    def open_store(self) -> Callable[[], StoreAndHistory]:
        """Return a function that opens a store, empty at first; the suite closes what it opened."""
        raise NotImplementedError

    @pytest.fixture
    async def another(
        self, open_store: Callable[[], StoreAndHistory]
    ) -> AsyncIterator[Callable[[], StoreAndHistory]]:
        """`open_store`, and what it opened is closed at the end."""
        opened: list[StoreAndHistory] = []

        def another() -> StoreAndHistory:
            opened.append(open_store())
            return opened[-1]

        yield another
        for store in reversed(opened):
            await store.close()

    @pytest.fixture
    def store(self, another: Callable[[], StoreAndHistory]) -> StoreAndHistory:
        """A store that does not lead yet."""
        return another()

    # The journal

    async def test_a_new_store_is_empty(self, store: StoreAndHistory) -> None:
        assert list(await store.read()) == []
        assert await store.load() is None
        for table in FILTERS:
            assert await rows_of(store, table) == []

    async def test_facts_are_read_in_order_as_they_were_written(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        written = [fact(1, body=b""), fact(2, kind="Declared"), fact(3, body='{"é":"\\u0000"}'.encode())]

        await store.append(Transaction(epoch, written[:2]))
        await store.append(Transaction(epoch, written[2:]))

        assert list(await store.read()) == written

    async def test_facts_are_read_from_any_place_and_in_parts(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 10)))

        assert list(await store.read(after=3, limit=4)) == facts(4, 7)
        assert list(await store.read(after=10)) == []

    async def test_a_gap_between_transactions_is_refused(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 2)))

        with pytest.raises(StoreError):
            await store.append(Transaction(epoch, facts(4, 4), [run(1)]))

        assert list(await store.read()) == facts(1, 2)
        assert await rows_of(store, "runs") == []

    async def test_a_gap_within_a_transaction_is_refused(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()

        with pytest.raises(StoreError):
            await store.append(Transaction(epoch, [fact(1), fact(3)]))

        assert list(await store.read()) == []

    async def test_a_fact_is_not_written_twice(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 2)))

        with pytest.raises(StoreError):
            await store.append(Transaction(epoch, [fact(2, body=b"other")]))

        assert list(await store.read()) == facts(1, 2)

    async def test_a_transaction_may_have_rows_and_no_facts(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 1)))

        await store.append(Transaction(epoch, [], [run(1)]))
        await store.append(Transaction(epoch, facts(2, 2)))

        assert await rows_of(store, "runs") == [run(1)]
        assert list(await store.read()) == facts(1, 2)

    async def test_a_store_that_is_opened_again_has_everything(
        self, store: StoreAndHistory, another: Callable[[], StoreAndHistory]
    ) -> None:
        epoch = await store.lead()
        rows = [row for row, _ in ONE_OF_EACH.values()]
        await store.append(Transaction(epoch, facts(1, 3), rows))
        await store.save(Snapshot(3, 1, b"state"), epoch=epoch)
        await store.close()

        again = another()

        assert list(await again.read()) == facts(1, 3)
        assert await again.load() == Snapshot(3, 1, b"state")
        for table, (row, key) in ONE_OF_EACH.items():
            assert await again.row(table, key) == row

    # Leadership

    async def test_each_leader_gets_a_higher_epoch(
        self, store: StoreAndHistory, another: Callable[[], StoreAndHistory]
    ) -> None:
        first = await store.lead()
        second = await store.lead()
        await store.release()
        third = await another().lead()

        assert first < second < third

    async def test_a_stale_epoch_is_refused(self, store: StoreAndHistory) -> None:
        stale = await store.lead()
        epoch = await store.lead()

        with pytest.raises(LeadershipLost):
            await store.append(Transaction(stale, facts(1, 1), [run(1)]))
        with pytest.raises(LeadershipLost):
            await store.save(Snapshot(1, 1, b""), epoch=stale)
        with pytest.raises(LeadershipLost):
            await store.cut(below=1, history_before=NOON, epoch=stale)

        assert list(await store.read()) == []
        assert await rows_of(store, "runs") == []
        assert await store.load() is None
        await store.append(Transaction(await store.lead(), facts(1, 1)))
        assert epoch > stale

    async def test_one_that_does_not_lead_cannot_write(
        self, store: StoreAndHistory, another: Callable[[], StoreAndHistory]
    ) -> None:
        epoch = await store.lead()
        bystander = another()
        with pytest.raises(LeadershipLost):
            await bystander.lead(wait=False)

        with pytest.raises(LeadershipLost):
            await bystander.append(Transaction(epoch, facts(1, 1)))

        await store.release()
        with pytest.raises(LeadershipLost):
            await store.append(Transaction(epoch, facts(1, 1)))
        assert list(await store.read()) == []

    async def test_a_second_leader_is_refused_if_it_will_not_wait(
        self, store: StoreAndHistory, another: Callable[[], StoreAndHistory]
    ) -> None:
        await store.lead()

        with pytest.raises(LeadershipLost):
            await another().lead(wait=False)

    async def test_a_second_leader_waits_and_takes_over(
        self, store: StoreAndHistory, another: Callable[[], StoreAndHistory]
    ) -> None:
        epoch = await store.lead()
        standby = another()
        waiting = asyncio.create_task(standby.lead())
        await store.append(Transaction(epoch, facts(1, 1)))
        assert not waiting.done()

        await store.release()
        newer = await asyncio.wait_for(waiting, TAKEOVER_S)

        assert newer > epoch
        await standby.append(Transaction(newer, facts(2, 2)))
        assert list(await store.read()) == facts(1, 2)

    async def test_one_that_gave_up_waiting_does_not_hold_leadership(
        self, store: StoreAndHistory, another: Callable[[], StoreAndHistory]
    ) -> None:
        await store.lead()
        gave_up, patient = another(), another()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gave_up.lead(), 0.05)

        waiting = asyncio.create_task(patient.lead())
        await store.release()

        assert await asyncio.wait_for(waiting, TAKEOVER_S) > 0

    async def test_one_that_is_closed_while_it_waits_gives_up(
        self, store: StoreAndHistory, another: Callable[[], StoreAndHistory]
    ) -> None:
        await store.lead()
        standby = another()
        waiting = asyncio.create_task(standby.lead())
        await asyncio.sleep(0.05)

        await standby.close()

        with pytest.raises(StoreError):
            await asyncio.wait_for(waiting, TAKEOVER_S)

    # Rows

    @pytest.mark.parametrize("table", ONE_OF_EACH)
    async def test_a_row_is_found_by_its_key_as_it_was_written(self, store: StoreAndHistory, table: str) -> None:
        row, key = ONE_OF_EACH[table]

        await store.append(Transaction(await store.lead(), [], [row]))

        assert await store.row(table, key) == row
        assert await rows_of(store, table) == [row]

    @pytest.mark.parametrize("table", ONE_OF_EACH)
    async def test_a_row_that_is_not_there_is_none(self, store: StoreAndHistory, table: str) -> None:
        _, key = ONE_OF_EACH[table]

        assert await store.row(table, key) is None

    async def test_a_row_replaces_the_one_of_the_same_key(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        before: list[Row] = [
            run(1, phase="running", ended_at=None),
            attempt(1, phase="running"),
            version(1),
            item(1),
            event(1),
        ]
        after: list[Row] = [
            run(1),
            attempt(1),
            version(1, by="build#2"),
            item(1, state="done"),
            event(1, digest="cd"),
        ]

        await store.append(Transaction(epoch, [], list(before)))
        await store.append(Transaction(epoch, [], list(after)))

        for table, row in zip(("runs", "attempts", "versions", "items", "events"), after, strict=True):
            assert await rows_of(store, table) == [row]

    async def test_the_last_of_several_rows_of_one_key_counts(self, store: StoreAndHistory) -> None:
        rows: list[Row] = [
            run(1, phase="waiting"),
            attempt(1),
            run(1, phase="running"),
            attempt(1, phase="failed"),
        ]

        await store.append(Transaction(await store.lead(), [], rows))

        assert await rows_of(store, "runs") == [run(1, phase="running")]
        assert await rows_of(store, "attempts") == [attempt(1, phase="failed")]

    async def test_an_event_identity_is_kept_once_or_the_whole_transaction_is_refused(
        self, store: StoreAndHistory
    ) -> None:
        await store.append(Transaction(await store.lead(), facts(1, 1), [event(1, id="order-7")]))

        with pytest.raises(StoreError):
            await store.append(Transaction(await store.lead(), facts(2, 2), [run(1), event(2, id="order-7")]))

        assert list(await store.read()) == facts(1, 1)
        assert await rows_of(store, "runs") == []
        assert await rows_of(store, "events") == [event(1, id="order-7")]

    async def test_one_id_of_two_sources_is_two_events(self, store: StoreAndHistory) -> None:
        rows = [event(1, id="7"), event(2, id="7", source="till")]

        await store.append(Transaction(await store.lead(), [], list(rows)))

        assert await store.event("shop", "7") == rows[0]
        assert await store.event("till", "7") == rows[1]
        assert await store.event("till", "8") is None

    async def test_events_come_in_the_order_asked_for_and_missing_ones_are_left_out(
        self, store: StoreAndHistory
    ) -> None:
        await store.append(Transaction(await store.lead(), [], [event(1), event(2), event(3)]))

        assert list(await store.events([3, 9, 1])) == [event(3), event(1)]
        assert list(await store.events([])) == []

    # Pages

    async def test_pages_run_from_the_newest_to_the_oldest_without_gap_or_repeat(
        self, store: StoreAndHistory
    ) -> None:
        epoch = await store.lead()
        for ordinal in range(1, 8):
            await store.append(Transaction(epoch, [], [run(ordinal), attempt(ordinal), version(ordinal)]))
        # A row that is written again keeps its place.
        await store.append(Transaction(epoch, [], [attempt(2, phase="failed"), version(2, by="build#9")]))

        assert await self._ordinals(store, "runs") == [7, 6, 5, 4, 3, 2, 1]
        assert await self._ordinals(store, "attempts") == [7, 6, 5, 4, 3, 2, 1]
        assert await self._ordinals(store, "versions") == [7, 6, 5, 4, 3, 2, 1]

    async def _ordinals(self, store: History, table: Any) -> list[int]:
        found: list[int] = []
        before: int | None = None
        while page := await store.page(table, before=before, limit=3):
            assert len(page) <= 3
            found += (self._ordinal(row) for _, row in page)
            before = page[-1][0]
        return found

    def _ordinal(self, row: Row) -> int:
        match row:
            case RunRow(ordinal=ordinal):
                return ordinal
            case AttemptRow(run=of):
                return int(of.removeprefix("build#"))
            case VersionRow(seq=seq):
                return seq
        raise AssertionError(row)

    async def test_rows_of_one_commit_stand_in_the_order_given(self, store: StoreAndHistory) -> None:
        rows: list[Row] = [attempt(ordinal) for ordinal in (3, 1, 2)]

        await store.append(Transaction(await store.lead(), [], rows))

        assert await rows_of(store, "attempts") == rows[::-1]

    async def test_a_page_is_filtered_by_one_field_or_several(self, store: StoreAndHistory) -> None:
        rows: list[Row] = [
            run(1, pipeline="build", phase="failed"),
            run(2, pipeline="build"),
            run(3, pipeline="load", phase="failed"),
            item(4, change=40),
        ]
        await store.append(Transaction(await store.lead(), [], rows))

        assert await rows_of(store, "runs", pipeline="build") == [rows[1], rows[0]]
        assert await rows_of(store, "runs", pipeline="build", phase="failed") == [rows[0]]
        assert await rows_of(store, "items", change=40) == [rows[3]]
        assert await rows_of(store, "items", change="40") == [rows[3]]
        assert await rows_of(store, "items", change=41) == []

    @pytest.mark.parametrize(("table", "field"), [(table, field) for table in FILTERS for field in FILTERS[table]])
    async def test_every_filter_works(self, store: StoreAndHistory, table: str, field: str) -> None:
        row, _ = ONE_OF_EACH[table]
        await store.append(Transaction(await store.lead(), [], [row]))

        assert await rows_of(store, table, **{field: getattr(row, field)}) == [row]

    async def test_a_filter_that_there_is_not_is_a_mistake(self, store: StoreAndHistory) -> None:
        with pytest.raises(Mistake, match="pipeline, phase, key, partition"):
            await store.page("runs", where={"document": "x"})
        with pytest.raises(Mistake, match="a number"):
            await store.page("items", where={"change": "x"})
        with pytest.raises(NotFound, match="did you mean 'runs'"):
            await store.row("run", "build#1")

    # Snapshots

    async def test_the_newest_snapshot_is_loaded(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 9)))
        body = bytes(range(256)) * 4096

        for seq in (3, 6, 9):
            await store.save(Snapshot(seq, 2, body + str(seq).encode()), epoch=epoch)

        assert await store.load() == Snapshot(9, 2, body + b"9")
        assert await store.load(skip=2) == Snapshot(3, 2, body + b"3")
        assert await store.load(skip=3) is None

    async def test_a_cut_leaves_the_newest_two_snapshots(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 9)))
        for seq in (3, 6, 9):
            await store.save(Snapshot(seq, 1, str(seq).encode()), epoch=epoch)

        await store.cut(below=0, history_before=NOON, epoch=epoch)

        assert [await store.load(skip=skip) for skip in range(3)] == [
            Snapshot(9, 1, b"9"),
            Snapshot(6, 1, b"6"),
            None,
        ]

    async def test_a_snapshot_of_the_same_place_replaces_the_one_before(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()

        await store.save(Snapshot(0, 1, b"one"), epoch=epoch)
        await store.save(Snapshot(0, 2, b"two"), epoch=epoch)

        assert await store.load() == Snapshot(0, 2, b"two")

    # Cutting

    async def test_facts_are_cut_only_behind_the_newest_snapshot(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 10)))

        none = await store.cut(below=9, history_before=NOON, epoch=epoch)
        await store.save(Snapshot(6, 1, b""), epoch=epoch)
        some = await store.cut(below=9, history_before=NOON, epoch=epoch)

        assert none["journal"] == 0
        assert some["journal"] == 6
        assert list(await store.read()) == facts(7, 10)

    async def test_the_journal_goes_on_where_it_was_after_all_of_it_is_cut(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 3)))
        await store.save(Snapshot(3, 1, b""), epoch=epoch)
        await store.cut(below=3, history_before=NOON, epoch=epoch)

        with pytest.raises(StoreError):
            await store.append(Transaction(epoch, facts(1, 1)))
        await store.append(Transaction(await store.lead(), facts(4, 4)))

        assert list(await store.read()) == facts(4, 4)

    async def test_what_is_needed_is_not_cut(self, store: StoreAndHistory) -> None:
        epoch, old = await store.lead(), NOON - 30 * DAY
        kept: list[Row] = [
            run(1, created_at=old, phase="running", ended_at=None),
            attempt(1, started_at=old, ended_at=old),
            run(2, created_at=old),
            attempt(2, started_at=old, ended_at=old),
            *(
                item(number, at=old, state=state)
                for number, state in enumerate(("pending", "taken", "dead"), start=1)
            ),
            *(event(number, accepted_at=old) for number in (1, 2, 3)),
            event(4, accepted_at=NOON),
            version(2, at=old),
            version(1, partition="de", at=old),
            incident(1, begun_at=old, ended_at=None),
            incident(2, begun_at=old),
        ]
        dropped: list[Row] = [
            run(3, created_at=old, ended_at=old),
            attempt(3, started_at=old, ended_at=old),
            item(5, at=old, state="done"),
            item(6, at=old, state="skipped"),
            event(5, accepted_at=old),
            event(6, accepted_at=old),
            version(1, at=old),
            incident(3, begun_at=old, ended_at=old),
        ]
        await store.append(Transaction(epoch, [], kept + dropped))

        counts = await store.cut(below=0, history_before=NOON - DAY, epoch=epoch)

        assert counts == {
            "journal": 0,
            "snapshots": 0,
            "runs": 1,
            "attempts": 1,
            "items": 2,
            "events": 2,
            "versions": 1,
            "incidents": 1,
        }
        for row in kept:
            assert row in await rows_of(store, self._table_of(row))
        for row in dropped:
            assert row not in await rows_of(store, self._table_of(row))

    def _table_of(self, row: Row) -> str:
        return next(table for table, (other, _) in ONE_OF_EACH.items() if type(other) is type(row))

    async def test_the_identity_of_a_cut_event_is_free_again(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        await store.append(Transaction(epoch, [], [event(1, id="7")]))
        await store.cut(below=0, history_before=NOON + DAY, epoch=epoch)

        await store.append(Transaction(epoch, [], [event(2, id="7")]))

        assert await store.event("shop", "7") == event(2, id="7")

    async def test_a_large_cut_is_complete(self, store: StoreAndHistory) -> None:
        epoch = await store.lead()
        await store.append(Transaction(epoch, facts(1, 11_000)))
        await store.save(Snapshot(11_000, 1, b""), epoch=epoch)

        dropped = await store.cut(below=10_999, history_before=NOON, epoch=epoch)

        assert dropped["journal"] == 10_999
        assert list(await store.read()) == facts(11_000, 11_000)

    async def test_a_closed_store_says_so(self, store: StoreAndHistory) -> None:
        await store.lead()

        await store.close()

        with pytest.raises(StoreError, match="closed"):
            await store.read()
        await store.close()
