"""A promise that will break is told beforehand, its incident afterwards; time moves only when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from counterpoint.adapters.clocks import ManualClock
from counterpoint.adapters.stores.memory import MemoryJournal
from counterpoint.engine.service import Blamed, PromiseStatus
from counterpoint.kernel.events import Woke
from counterpoint.model.plan import Plan
from counterpoint.testing.faults import ScriptedExecutor
from counterpoint.testing.rig import Running, event, plan

#: Noon of a Monday, somewhat after a full hour so that no bucket ends in between.
NOON = datetime(2026, 3, 2, 12, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

SHOP = """
score: shop
pools: {gpu: 1}
events: {order.placed: {}, model.wanted: {}}
assets:
  orders: {}
  marts: {freshness: {within: 30m, target: 90%, over: 7d}}
  report: {}
pipelines:
  ingest: {trigger: {event: order.placed}, writes: [orders], run: ingest, takes: 5m}
  train: {trigger: {event: model.wanted}, pools: {gpu: 1}, run: train, takes: 40m}
  build: {trigger: {asset: orders}, reads: [orders], writes: [marts], pools: {gpu: 1}, run: build, takes: 8m}
  mail: {owner: sales, trigger: {asset: marts}, reads: [marts], writes: [report], run: mail, takes: 1m}
  board: {owner: finance, trigger: {asset: report}, run: board, takes: 1m}
"""


class Shop:
    """An engine over the shop, whose time and whose attempts the test moves on."""

    def __init__(self, running: Running, clock: ManualClock) -> None:
        self.running, self.clock, self.service = running, clock, running.service

    async def wait(self, length: timedelta) -> None:
        """Let time pass, and let the engine notice."""
        self.clock.advance(length)
        await self.running.engine.decider.submit(lambda state, at, wall: Woke(at=at, wall=wall))

    async def emit(self, number: int = 1, kind: str = "order.placed") -> None:
        """Accept an event that happened now."""
        (answer,) = await self.service.accept(
            [event(number, type=kind, id=f"{kind}-{number}", time=self.clock.wall().isoformat())], by="test"
        )
        assert answer.status == 202, answer.error

    async def end(self, attempt: str, *, exit_code: int = 0) -> None:
        """End an attempt now."""
        executor = self.running.executor
        await self.running.until(lambda: attempt in self.running.engine.state.attempts)
        executor.end(attempt, exit_code=exit_code)
        await self.running.until(lambda: attempt not in self.running.engine.state.attempts)

    async def promise(self) -> PromiseStatus:
        (found,) = (await self.service.status()).promises
        return found


@pytest.fixture
async def open_shop() -> AsyncIterator[Callable[..., object]]:
    """Start an engine over the shop; call again with the same journal for the one after it."""
    started: list[Running] = []

    async def begin(
        journal: MemoryJournal, clock: ManualClock, executor: ScriptedExecutor, declared: Plan | None = None
    ) -> Shop:
        running = Running(journal, executor, declared or plan(SHOP), clock=lambda last: clock)
        started.append(running)
        return Shop(await running.ready(), clock)

    yield begin
    for running in started:
        if not running.task.done():
            running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)


@pytest.fixture
async def shop(open_shop: Callable[..., object]) -> Shop:
    found = await open_shop(MemoryJournal(), ManualClock(NOON), ScriptedExecutor())  # type: ignore[misc]
    assert isinstance(found, Shop)
    return found


def adds_up(blame: list[Blamed], start: datetime, end: datetime) -> bool:
    """Whether an account is without a gap from its start to its end."""
    places = [each.start for each in blame] + [end]
    return places[0] == start and all(each.end == after for each, after in zip(blame, places[1:], strict=True))


async def test_a_source_never_heard_of_is_unknown_and_nothing_owed_is_no_data(shop: Shop) -> None:
    promise = await shop.promise()

    assert promise.owed == "within 30m, 90 % over 7d"
    assert [(each.source, each.age_s) for each in promise.freshness] == [("event:order.placed", None)]
    assert (promise.budget.share, promise.forecast.outlook, promise.open) == (None, "idle", 0)


async def test_a_promise_that_can_be_kept_is_forecast_so_and_kept(shop: Shop) -> None:
    await shop.emit()

    promise = await shop.promise()
    assert (promise.open, promise.next_due) == (1, NOON + 30 * MINUTE)
    assert promise.forecast.text == "kept at 12:18:00 UTC, due 12:35:00 UTC"

    await shop.wait(5 * MINUTE)
    await shop.end("ingest#1/run/1")
    await shop.wait(8 * MINUTE)
    await shop.end("build#1/run/1")

    promise = await shop.promise()
    assert (promise.budget.share, promise.budget.left, promise.open) == (1.0, 1.0, 0)
    assert promise.freshness[0].age_s == 0


async def test_the_breach_is_foreseen_with_its_reason_and_told_as_an_incident(shop: Shop) -> None:
    await shop.emit(kind="model.wanted")
    await shop.emit()
    await shop.wait(5 * MINUTE)
    await shop.end("ingest#1/run/1")

    # Before the breach: train holds the GPU until 12:45, build is ready at 12:53, and it is due at 12:35.
    promise = await shop.promise()
    assert promise.forecast.outlook == "breaks"
    assert promise.forecast.expected == NOON + 48 * MINUTE
    assert promise.forecast.text == (
        "will break at 12:35:00 UTC, because build#1 waits for pool gpu, held by train#1/run/1 until 12:45:00 UTC"
    )
    assert (promise.incident, promise.budget.missed) == ("", 0)

    # The breach, with the run still waiting.
    await shop.wait(30 * MINUTE)
    promise = await shop.promise()
    assert promise.incident == "marts:freshness#1"
    assert (promise.breached_at, promise.budget.missed) == (NOON + 30 * MINUTE, 1)
    assert promise.budget.left == pytest.approx(-9.0)
    assert promise.budget.alert == "page"
    why = await shop.service.explain("marts")
    assert [each.text for each in why.blame] == [
        "ingest#1/run ran 5m",
        "build#1 waited 30m for pool gpu, held by train#1/run/1",
    ]
    assert adds_up(why.blame, NOON, NOON + 35 * MINUTE)
    assert any(
        "broken since 12:35:00 UTC; late, expected to have caught up at 12:53" in line for line in why.lines
    )

    # The end of it.
    await shop.wait(10 * MINUTE)
    await shop.end("train#1/run/1")
    await shop.wait(3 * MINUTE)
    await shop.end("build#1/run/1", exit_code=1)
    await shop.wait(2 * MINUTE)
    await shop.end("build#2/run/1")
    assert (await shop.promise()).incident == ""

    report = await shop.service.incident("marts:freshness#1")
    assert (report.since, report.due, report.missed) == (NOON, NOON + 30 * MINUTE, 1)
    assert (report.begun_at, report.ended_at) == (NOON + 30 * MINUTE, NOON + 50 * MINUTE)
    assert [(each.text, each.seconds / 60) for each in report.causes] == [
        ("ingest#1/run ran 5m", 5),
        ("build#1 waited 40m for pool gpu, held by train#1/run/1", 40),
        ("build#1/run ran 3m and failed", 3),
        ("build#2 waited 2m after build#1 had failed", 2),
    ]
    assert [(each.pipeline, each.owner) for each in report.downstream] == [("mail", "sales"), ("board", "finance")]
    assert [moment.text for moment in report.timeline] == [
        "what marts owes began: event:order.placed changed",
        "from here on ingest#1/run ran 5m",
        "from here on build#1 waited 40m for pool gpu, held by train#1/run/1",
        "marts was due to have it",
        "the promise was missed: the incident began",
        "from here on build#1/run ran 3m and failed",
        "from here on build#2 waited 2m after build#1 had failed",
        "nothing was late any more: the incident ended after 20m",
    ]

    # The version says the same, and so does the run.
    for name, start in (("marts", NOON), ("build#2", NOON)):
        told = await shop.service.explain(name)
        assert adds_up(told.blame, start, NOON + 50 * MINUTE), name


async def test_incidents_survive_a_restart(open_shop: Callable[..., object]) -> None:
    journal, clock, executor = MemoryJournal(), ManualClock(NOON), ScriptedExecutor()
    first = await open_shop(journal, clock, executor)  # type: ignore[misc]
    assert isinstance(first, Shop)
    await first.emit()
    await first.wait(31 * MINUTE)
    assert (await first.promise()).incident == "marts:freshness#1"
    await first.running.crash()

    second = await open_shop(journal, clock, executor)  # type: ignore[misc]
    assert isinstance(second, Shop)

    assert (await second.promise()).incident == "marts:freshness#1"
    report = await second.service.incident("marts:freshness#1")
    assert (report.missed, report.ended_at) == (1, None)
    assert [each.text for each in report.causes] == ["ingest#1/run ran 31m"]


async def test_why_says_why_now(shop: Shop) -> None:
    await shop.emit(kind="model.wanted")
    await shop.emit()
    await shop.wait(5 * MINUTE)
    await shop.end("ingest#1/run/1")
    await shop.wait(MINUTE)

    why = await shop.service.explain("build#1")

    assert "It began to wait at 12:10:00 UTC: 1 item ready." in why.lines
    assert (
        "It should start by 12:27:00 UTC to keep what is promised of marts; that is its place in the queue."
        in why.lines
    )
    assert [each.text for each in why.blame][-1] == "build#1 waited 1m for pool gpu, held by train#1/run/1"


async def test_a_late_change_is_told_from_when_it_happened(shop: Shop) -> None:
    happened = NOON - 10 * MINUTE
    (answer,) = await shop.service.accept([event(1, time=happened.isoformat())], by="test")
    assert answer.status == 202
    await shop.wait(2 * MINUTE)

    why = await shop.service.explain("ingest#1")

    assert [each.text for each in why.blame] == ["order.placed e1 took 10m to arrive", "ingest#1/run ran 2m"]
    assert adds_up(why.blame, happened, NOON + 2 * MINUTE)


DAILY = """
score: daily
events: {order.placed: {}}
assets: {orders: {}, figures: {completion: {by: "07:00", target: 95%, over: 28d}}}
pipelines:
  ingest: {trigger: {event: order.placed}, writes: [orders], run: ingest, takes: 1h}
  sum: {trigger: {asset: orders}, reads: [orders], writes: [figures], run: sum, takes: 1h}
"""


async def test_a_completion_is_blamed_from_its_cut_off(open_shop: Callable[..., object]) -> None:
    midnight = datetime(2026, 3, 3, tzinfo=UTC)
    shop = await open_shop(MemoryJournal(), ManualClock(NOON), ScriptedExecutor(), plan(DAILY))  # type: ignore[misc]
    assert isinstance(shop, Shop)
    await shop.wait(midnight - timedelta(hours=3) - NOON)
    await shop.emit(1)
    await shop.wait(timedelta(hours=1))
    await shop.end("ingest#1/run/1")
    await shop.wait(timedelta(hours=2))
    promise = await shop.promise()
    assert (promise.open, promise.next_due) == (1, midnight + timedelta(hours=7))
    assert promise.forecast.text == "kept at 00:00:00 UTC, due 07:00:00 UTC"
    await shop.emit(2)
    await shop.wait(timedelta(hours=8))

    promise = await shop.promise()
    assert promise.incident == "figures:completion#1"
    report = await shop.service.incident(promise.incident)
    assert (report.since, report.begun_at) == (midnight, midnight + timedelta(hours=7))
    assert [each.text for each in report.causes] == ["sum#1/run ran 8h"]
    assert adds_up(report.causes, midnight, midnight + timedelta(hours=8))
