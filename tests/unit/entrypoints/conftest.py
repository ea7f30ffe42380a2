"""A service that keeps what it was asked, and answers from what a test puts into it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from counterpoint.analysis.budget import budget
from counterpoint.analysis.forecast import Forecast
from counterpoint.engine.service import (
    Accepted,
    AssetStatus,
    Blamed,
    Declared,
    Downstream,
    Explanation,
    IncidentReport,
    Moment,
    PipelineStatus,
    PoolStatus,
    PromiseStatus,
    SourceStatus,
    Status,
    StreamMessage,
)
from counterpoint.entrypoints.api.app import create_app
from counterpoint.entrypoints.api.server import Listener
from counterpoint.entrypoints.api.settings import ApiSettings
from counterpoint.errors import NotFound
from counterpoint.kernel.events import Band
from counterpoint.kernel.records import Counts
from counterpoint.model.pipeline import Pipeline, Task
from counterpoint.model.plan import Asset, Plan, Pool
from counterpoint.model.trigger import Every, OnAsset, Trigger
from counterpoint.ports.store import AttemptRow, EventRow, IncidentRow, ItemRow, Row, RunRow, VersionRow

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEYS = {EventRow: "number", RunRow: "run", AttemptRow: "attempt", ItemRow: "number"}


class FakeHistory:
    """Rows in lists, newest last; a row's place is its position."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {
            name: [] for name in ("events", "runs", "attempts", "versions", "items", "incidents")
        }

    async def page(
        self,
        table: str,
        *,
        where: Mapping[str, str | int] | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Sequence[tuple[int, Row]]:
        found = [
            (place, row)
            for place, row in enumerate(self.rows[table], 1)
            if (before is None or place < before)
            and all(getattr(row, name) == value for name, value in (where or {}).items())
        ]
        return found[::-1][:limit]

    async def row(self, table: str, key: Any) -> Row | None:
        return next((row for row in self.rows[table] if getattr(row, KEYS[type(row)]) == key), None)

    async def events(self, numbers: Sequence[int]) -> Sequence[EventRow]:
        return [row for row in self.rows["events"] if isinstance(row, EventRow) and row.number in numbers]

    async def event(self, source: str, event_id: str) -> EventRow | None:
        return None


class FakeService:
    """Records calls as (name, arguments). What it answers can be set from a test."""

    def __init__(self) -> None:
        self.history = FakeHistory()
        self.max_event_bytes = 2000
        self.ready = True
        self.plan = a_plan()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.tokens: dict[str, str] = {}
        self.refusals: list[tuple[str, str]] = []
        self.accepted: Callable[[Mapping[str, Any]], Accepted] = lambda event: Accepted(
            source=event["source"], id=event["id"], status=202, change=7
        )
        self.messages: list[StreamMessage] = []
        self.phases: dict[str, str] = {}
        self.log_paths: list[tuple[str, str]] = []
        self.fails: Exception | None = None

    def _note(self, name: str, **arguments: Any) -> None:
        self.calls.append((name, arguments))
        if self.fails is not None:
            raise self.fails

    async def declare(self, plan: Plan, *, by: str, commit: str = "", dry_run: bool = False) -> Declared:
        self._note("declare", plan=plan, by=by, commit=commit, dry_run=dry_run)
        return Declared(digest=plan.digest, changed=True, added={"pipelines": ["load"]})

    async def accept(self, events: Sequence[Mapping[str, Any]], *, by: str, attempt: str = "") -> list[Accepted]:
        self._note("accept", events=list(events), by=by, attempt=attempt)
        return [self.accepted(event) for event in events]

    async def run(self, pipeline: str, **more: Any) -> str:
        self._note("run", pipeline=pipeline, **more)
        return f"{pipeline}#1"

    async def cancel(self, run: str, **more: Any) -> None:
        self._note("cancel", run=run, **more)

    async def retry(self, run: str, **more: Any) -> None:
        self._note("retry", run=run, **more)

    async def pause(self, pipeline: str, **more: Any) -> None:
        self._note("pause", pipeline=pipeline, **more)

    async def resume(self, pipeline: str, **more: Any) -> None:
        self._note("resume", pipeline=pipeline, **more)

    async def replay(self, pipeline: str, **more: Any) -> int:
        self._note("replay", pipeline=pipeline, **more)
        return 3

    async def discard(self, items: Sequence[int], **more: Any) -> int:
        self._note("discard", items=items, **more)
        return len(items)

    async def report_asset(self, report: Mapping[str, Any], *, by: str) -> AssetStatus:
        self._note("report_asset", report=report, by=by)
        return an_asset()

    async def callback(self, attempt: str, *, headers: Mapping[str, str], body: bytes) -> None:
        self._note("callback", attempt=attempt, signature=headers.get("webhook-signature"), body=body)

    async def report_attempt(self, attempt: str, line: Mapping[str, Any]) -> None:
        self._note("report_attempt", attempt=attempt, line=line)

    def refused(self, what: str, *, code: str, detail: str, by: str) -> None:
        self.refusals.append((what, code))

    def attempt_of(self, token: str) -> str | None:
        return self.tokens.get(token)

    async def status(self) -> Status:
        return a_status()

    async def incident(self, name: str) -> IncidentReport:
        if name != "raw.orders:freshness#1":
            raise NotFound(f"there is no incident {name!r}; `counterpoint incidents` lists them")
        return an_incident()

    def durations(self, pipeline: str) -> list[Band]:
        return [Band(pipeline=pipeline, p50=60, p90=150, wait_p90=5, samples=12)] if pipeline == "load" else []

    async def explain(self, name: str) -> Explanation:
        if name == "nothing":
            raise NotFound("nothing is called 'nothing'")
        return Explanation(
            subject=name,
            state="waiting",
            lines=["it waits for a slot of etl"],
            blockers=[{"what": "pool", "name": "etl", "detail": "2 of 2 slots are used", "holders": ["load#1"]}],
            frees="load#1 ends",
            when=NOON + timedelta(minutes=2),
            causes=[{"run": "load#1", "what": "raw.orders was published", "at": NOON.isoformat()}],
            blame=some_blame(),
        )

    async def wait_for_run(self, run: str) -> str:
        while run not in self.phases:
            await asyncio.sleep(0.01)
        return self.phases[run]

    async def stream(self, *, after: int | None = None) -> AsyncIterator[StreamMessage]:
        place = 0
        while True:
            while place < len(self.messages):
                place += 1
                if self.messages[place - 1].seq > (after or 0):
                    yield self.messages[place - 1]
            await asyncio.sleep(0.01)

    async def journal(self, *, after: int = 0, limit: int = 100) -> Sequence[StreamMessage]:
        return [message for message in self.messages if message.seq > after][:limit]

    async def logs(
        self, run: str, *, task: str | None = None, attempt: int | None = None
    ) -> Sequence[tuple[str, str]]:
        return self.log_paths


def a_plan() -> Plan:
    load = Pipeline(
        name="load",
        folder=".",
        owner="data",
        tasks={"load": Task(name="load", tool="command", spec={"argv": ["true"]})},
        trigger=Trigger(groups=((Every(period=timedelta(minutes=5), start=datetime(1970, 1, 1, tzinfo=UTC)),),)),
        writes=("raw.orders",),
    )
    marts = Pipeline(
        name="marts",
        folder=".",
        tasks={"build": Task(name="build", tool="command", spec={"argv": ["true"]})},
        trigger=Trigger(groups=((OnAsset(asset="raw.orders"),),)),
        reads=("raw.orders",),
    )
    return Plan(
        name="shop",
        pools={"etl": Pool(2)},
        assets={"raw.orders": Asset(), "country.codes": Asset()},
        pipelines={"load": load, "marts": marts},
    )


def an_asset() -> AssetStatus:
    return AssetStatus(
        asset="raw.orders",
        partition="",
        seq=4,
        label="",
        metadata={"rows": 12},
        published_at=NOON,
        by="load#3",
        suspect=False,
    )


def some_blame() -> list[Blamed]:
    later = NOON + timedelta(minutes=40)
    return [
        Blamed(
            start=NOON,
            end=later,
            seconds=2400,
            cause="pool",
            text="load#2 waited 40m for pool etl, held by marts#1/build/1",
        ),
        Blamed(
            start=later,
            end=later + timedelta(minutes=8),
            seconds=480,
            cause="ran",
            text="load#2/load ran 8m",
        ),
    ]


def a_promise() -> PromiseStatus:
    """A broken promise, of which 4 of 10 obligations were missed in the last minutes."""
    return PromiseStatus(
        asset="raw.orders",
        promise="freshness",
        owed="within 30m, 90 % over 7d",
        target=0.9,
        window_s=604800,
        budget=budget(
            Counts(int(NOON.timestamp()) // 60, [6], [4], [300.0]),
            target=0.9,
            over=timedelta(days=7),
            width=timedelta(minutes=1),
            at=NOON,
        ),
        freshness=[
            SourceStatus(source="event:order", age_s=540.0, newest=7, reflects=5),
            SourceStatus(source="world:load", age_s=None, newest=0, reflects=0),
        ],
        open=2,
        next_due=NOON + timedelta(minutes=4),
        forecast=Forecast(
            outlook="breaks",
            due=NOON + timedelta(minutes=4),
            expected=NOON + timedelta(minutes=9),
            text="will break at 12:04:00 UTC, because load#4/load/1 has been running 50m (p90 20m)",
            because="load#4/load/1 has been running 50m (p90 20m)",
        ),
        incident="raw.orders:freshness#1",
        breached_at=NOON - timedelta(minutes=10),
        incidents=1,
    )


def an_incident() -> IncidentReport:
    return IncidentReport(
        incident="raw.orders:freshness#1",
        asset="raw.orders",
        promise="freshness",
        begun_at=NOON,
        ended_at=NOON + timedelta(minutes=20),
        missed=4,
        since=NOON - timedelta(minutes=30),
        due=NOON,
        timeline=[Moment(at=NOON, text="the promise was missed: the incident began")],
        causes=some_blame(),
        downstream=[Downstream(pipeline="marts", owner="sales"), Downstream(pipeline="mail", owner="")],
    )


def an_incident_row(number: int) -> IncidentRow:
    return IncidentRow(
        incident=f"raw.orders:freshness#{number}",
        asset="raw.orders",
        promise="freshness",
        missed=4,
        begun_at=NOON,
        ended_at=NOON + timedelta(minutes=20) if number == 1 else None,
        document=b"{}",
    )


def a_status() -> Status:
    return Status(
        score="shop",
        digest="d" * 64,
        declared_at=NOON,
        at=NOON,
        wall=NOON,
        epoch=2,
        facts=40,
        hosts={"host-1": "appeared"},
        pipelines=[
            PipelineStatus(
                name="load",
                owner="data",
                state="running",
                because="load#4 runs since 12:00:00",
                running=["load#4"],
                waiting=[],
                pending=0,
                dead=0,
                oldest_pending=None,
                next_at=NOON + timedelta(minutes=5),
                last_run="load#3",
                last_phase="succeeded",
                last_ended_at=NOON - timedelta(minutes=5),
            ),
            PipelineStatus(
                name="marts",
                owner="",
                state="paused",
                because="anna paused it: a migration",
                running=[],
                waiting=["marts#2"],
                pending=3,
                dead=1,
                oldest_pending=NOON - timedelta(minutes=9),
                next_at=None,
                last_run="marts#1",
                last_phase="failed",
                last_ended_at=NOON - timedelta(hours=2),
                paused_by="anna",
            ),
        ],
        pools=[PoolStatus(name="etl", slots=2, used=1, holders={"load#4/load/1": 1}, waiting=["marts#2"])],
        assets=[an_asset()],
        notices=["the clock on the wall was set back by 40 s"],
        promises=[a_promise()],
    )


def a_run(number: int, *, phase: str = "succeeded", pipeline: str = "load") -> RunRow:
    return RunRow(
        run=f"{pipeline}#{number}",
        ordinal=number,
        pipeline=pipeline,
        key="",
        partition="",
        phase=phase,
        lane="live",
        created_at=NOON,
        started_at=NOON,
        ended_at=NOON + timedelta(seconds=3) if phase != "running" else None,
        document=b"{}",
    )


def an_event(number: int, **envelope: Any) -> EventRow:
    return EventRow(
        number=number,
        source="/shop",
        id=f"e-{number}",
        type="order.placed",
        subject="",
        time=NOON,
        accepted_at=NOON,
        digest="",
        envelope=msgspec.json.encode({"id": f"e-{number}", "type": "order.placed", **envelope}),
    )


@pytest.fixture
def make_incident() -> Callable[[int], IncidentRow]:
    return an_incident_row


@pytest.fixture
def service() -> FakeService:
    return FakeService()


class RunningServer:
    """The API of a fake service on a real port, in a thread of its own."""

    def __init__(self, service: FakeService, settings: ApiSettings) -> None:
        self.service = service
        self._opened = threading.Event()
        self._listener = Listener("127.0.0.1", 0, settings)
        self.url = self._listener.url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(settings),))

    def __enter__(self) -> RunningServer:
        self._thread.start()
        assert self._opened.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()
        assert not self._thread.is_alive()

    async def _serve(self, settings: ApiSettings) -> None:
        self._stop = asyncio.Event()
        await self._listener.open(create_app(self.service, settings))  # type: ignore[arg-type]
        self._opened.set()
        await self._stop.wait()
        await self._listener.close()


@pytest.fixture
def server(service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.chdir(tmp_path)
    with RunningServer(service, ApiSettings(ping_s=0.2)) as running:
        monkeypatch.setenv("COUNTERPOINT_URL", running.url)
        monkeypatch.delenv("COUNTERPOINT_TOKEN", raising=False)
        yield running


@pytest.fixture
def make_message() -> Callable[..., StreamMessage]:
    def make(seq: int, kind: str = "AdmitRun", text: str = "", **more: Any) -> StreamMessage:
        given = {"run": "load#1", "pipeline": "load", **more}
        return StreamMessage(seq=seq, at=NOON, kind=kind, text=text or f"fact {seq}", **given)

    return make


@pytest.fixture
def make_item() -> Callable[..., ItemRow]:
    def make(number: int, *, change: int, state: str, pipeline: str = "load") -> ItemRow:
        return ItemRow(
            number=number,
            change=change,
            pipeline=pipeline,
            state=state,
            run="load#1",
            at=NOON,
            document=b"{}",
        )

    return make


@pytest.fixture
def make_run() -> Callable[..., RunRow]:
    return a_run


@pytest.fixture
def make_event() -> Callable[..., EventRow]:
    return an_event


@pytest.fixture
def make_version() -> Callable[..., VersionRow]:
    def make(seq: int, asset: str = "raw.orders") -> VersionRow:
        return VersionRow(asset=asset, partition="", seq=seq, at=NOON, by=f"load#{seq}", document=b'{"rows": 12}')

    return make
