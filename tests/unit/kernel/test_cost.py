"""A step costs what it changes. Counted, not timed: how many requests are looked at, and nothing is walked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any, NoReturn

import msgspec
import pytest

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel import state as state_module
from counterpoint.kernel.queue import Queue
from counterpoint.kernel.rules import automatic, batching
from counterpoint.model.plan import Asset
from counterpoint.model.promise import Expected, Freshness
from counterpoint.model.trigger import Auto, Batch, Cron, OnAsset, OnEvent
from counterpoint.testing.builders import Kernel, pipeline, plan, task

SHAPES, POOLS = 200, 50


class Looks:
    """How many requests were looked at."""

    def __init__(self) -> None:
        self.count = 0

    def taken(self) -> int:
        taken, self.count = self.count, 0
        return taken


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    counted, offer = Looks(), Queue._offer

    def counting(queue: Queue, profile: Any, ground: Any) -> Any:
        counted.count += 1
        return offer(queue, profile, ground)

    monkeypatch.setattr(Queue, "_offer", counting)
    return counted


class Unwalked(dict[Any, Any]):
    """A dict that may be asked for one entry, and never be gone through."""

    def _refuse(self) -> NoReturn:
        raise AssertionError("a step walks over all of something")

    def __iter__(self) -> Iterator[Any]:
        self._refuse()

    keys = values = items = _refuse  # type: ignore[assignment]


def crowded(waiting: int) -> Kernel:
    """That many runs of 200 shapes over 50 pools, of which nearly all have to wait."""
    random, kernel = Random(1), Kernel()
    names = [f"pool{number}" for number in range(POOLS)]
    pipelines = [
        pipeline(
            f"p{number}",
            pools={name: random.randint(1, 2) for name in random.sample(names, random.randint(1, 2))},
            on=[OnEvent(f"e{number}")],
            writes=[f"a{number}"],
            write="atomic",
            overlap="queue",
            concurrency=1_000_000,
        )
        for number in range(SHAPES)
    ]
    assets = [f"a{number}" for number in range(SHAPES)]
    readers = [pipeline(f"reads-{asset}", on=[OnAsset(asset)], reads=[asset]) for asset in assets]
    kernel.declare(plan(*pipelines, *readers, pools=dict.fromkeys(names, 2)))
    kernel.host()
    for number in range(waiting):
        kernel.emit(f"e{number % SHAPES}")
    return kernel


def guard(kernel: Kernel) -> None:
    """From now on no step may walk over all runs, lanes, assets or pipelines."""
    state = kernel.state
    stored = ("runs", "attempts", "backlogs", "assets", "dead", "ticks")
    for name in (*stored, "lanes", "places", "behind", "live", "waiting_lanes"):
        setattr(state, name, Unwalked(getattr(state, name)))
    _ = state.plan.subscribers, state.plan.clocks
    msgspec.structs.force_setattr(state.plan, "pipelines", Unwalked(state.plan.pipelines))
    msgspec.structs.force_setattr(state.plan, "pools", Unwalked(state.plan.pools))
    state.queue._requests = Unwalked(state.queue._requests)


def test_an_end_of_an_attempt_looks_at_as_many_heads_among_10000_as_among_1000(looks: Looks) -> None:
    most = {}
    for waiting in (1_000, 10_000):
        kernel = crowded(waiting)
        assert len(kernel.state.queue) > 0.9 * waiting
        running = list(kernel.state.attempts)
        guard(kernel)
        looks.taken()
        counts = []
        for attempt in running:
            kernel.end(attempt)
            counts.append(looks.taken())
        most[waiting] = max(counts)

    # A freed slot meets the heads that watch its pool: 200 shapes of 1.5 pools each, over 50 pools. An attempt
    # frees up to two pools, and a head that would fit is looked at again after another was started.
    assert most[10_000] <= most[1_000] + 2
    assert most[10_000] <= 30


def test_flowing_events_walk_over_nothing(looks: Looks) -> None:
    kernel = crowded(2_000)
    running = next(iter(kernel.state.attempts))
    guard(kernel)
    looks.taken()

    kernel.emit("e7")
    kernel.take(e.CheckpointReached, attempt=running, name="half")
    kernel.take(e.AttemptDeferred, attempt=running, look_at=kernel.now + timedelta(seconds=1))
    kernel.wait(timedelta(minutes=1))
    kernel.end(running)
    kernel.take(e.CancelRequested, run="p9#3", by="test")
    kernel.run("p8")

    assert looks.taken() < 30


def test_a_new_item_meets_no_other_waiting_request(looks: Looks) -> None:
    kernel = crowded(5_000)
    looks.taken()

    for _ in range(50):
        kernel.emit("e3")

    # Each new request joins a shape whose head is known to wait.
    assert looks.taken() == 0


def test_raising_many_runs_looks_at_each_shape_not_at_each_run(looks: Looks) -> None:
    kernel = crowded(2_000)
    looks.taken()

    decisions = kernel.wait(timedelta(hours=1))

    assert sum(isinstance(decision, d.RaiseRun) for decision in decisions) > 1_000
    # Once for each head that became a top one, and once for each reservation.
    assert looks.taken() < 3 * SHAPES


def test_ten_thousand_clocks_that_tick_together_cost_one_wake_up() -> None:
    """All at once is one step, and nobody is polled (DG#20484)."""
    kernel = Kernel()
    cron = Cron("0 * * * *", "UTC")
    kernel.declare(plan(*(pipeline(f"p{number}", on=[cron]) for number in range(2_000))))
    kernel.host()

    decisions = kernel.wait(timedelta(minutes=59))
    assert not decisions
    steps = [decided for _, decided in kernel.wake_until(kernel.now + timedelta(minutes=2))]

    assert len(steps) == 1
    assert sum(isinstance(decision, d.StartAttempt) for decision in steps[0]) == 2_000


def test_what_waits_is_not_written_anew_when_others_move() -> None:
    """Only what changed is written to history: cost must not grow with the queue (AW#12039)."""
    kernel = crowded(2_000)
    kernel.state.written.runs.clear()
    kernel.state.written.items.clear()

    kernel.end(next(iter(kernel.state.attempts)))

    assert len(kernel.state.written.runs) <= 4
    assert len(kernel.state.written.items) <= 4


def test_a_debounced_flood_asks_for_few_wake_ups() -> None:
    """Each item of a quiet window does not ask for a wake-up of its own."""
    kernel = Kernel()
    quiet = Batch(quiet=timedelta(seconds=10))
    kernel.declare(plan(pipeline("p", on=[OnEvent("e")], trigger={"batch": quiet})))
    kernel.host()
    for _ in range(1_000):
        kernel.now += timedelta(milliseconds=10)
        kernel.emit("e")

    steps = list(kernel.wake_until(kernel.now + timedelta(minutes=1)))

    assert len(steps) <= 3
    assert len(kernel.state.agenda) <= 3


def test_moments_of_what_has_ended_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run notes when its class's wait is over, up to a day ahead; ended runs must not fill the memory."""
    monkeypatch.setattr(state_module, "MOST_STALE", 100)
    kernel = Kernel()
    kernel.declare(plan(pipeline("p", priority_class="bulk")))
    kernel.host()

    for number in range(1, 501):
        kernel.run("p")
        kernel.end(f"p#{number}/run/1")

    assert len(kernel.state.agenda) <= 101


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pipelines of lanes whose moment was asked for, one for each time."""
    found: list[str] = []
    ready = batching.ready

    def noting(state: Any, backlog: Any, declared: Any) -> Any:
        found.append(declared.name)
        return ready(state, backlog, declared)

    monkeypatch.setattr(batching, "ready", noting)
    return found


def test_an_automatic_lane_is_looked_at_when_what_is_owed_below_it_changes_only(
    looked: list[str],
) -> None:
    """Of 300 chains that wait for their latest start, a change of one looks at that one."""
    names = [str(number) for number in range(300)]
    took = Expected(timedelta(minutes=1), timedelta(minutes=1))
    chains = [
        pipeline(
            f"p{name}",
            on=[OnAsset(f"raw{name}")],
            trigger={"auto": Auto()},
            tasks=[task(takes=took)],
            reads=[f"raw{name}"],
            writes=[f"mart{name}"],
        )
        for name in names
    ]
    promised = Asset(freshness=Freshness(timedelta(hours=1)))
    assets = {f"raw{name}": Asset() for name in names} | {f"mart{name}": promised for name in names}
    kernel = Kernel()
    kernel.declare(plan(*chains, assets=assets))
    kernel.host()
    for name in names:
        kernel.take(e.AssetReported, report=e.Report(asset=f"raw{name}"), by="test")
    looked.clear()

    kernel.take(e.AssetReported, report=e.Report(asset="raw7"), by="test")
    kernel.take(e.DurationsLearned, bands=(e.Band(pipeline="p9", p50=90.0, p90=120.0, samples=9),))

    assert sorted(set(looked)) == ["p7", "p9"]
    assert len(looked) <= 4


@pytest.fixture
def sharing() -> Kernel:
    """Twenty automatic pipelines that share one slot, each with a promise below it."""
    took = Expected(timedelta(minutes=1), timedelta(minutes=1))
    readers = [
        pipeline(
            f"p{number}",
            on=[OnAsset("raw")],
            trigger={"auto": Auto()},
            tasks=[task(takes=took, pools={"slots": 1})],
            reads=["raw"],
            writes=[f"mart{number}"],
        )
        for number in range(20)
    ]
    promised = Asset(freshness=Freshness(timedelta(hours=1)))
    assets = {"raw": Asset()} | {f"mart{number}": promised for number in range(20)}
    kernel = Kernel()
    kernel.declare(plan(*readers, assets=assets, pools={"slots": 1}))
    kernel.host()
    return kernel


def test_a_success_of_what_is_declared_says_nothing_new_to_those_that_share_its_pool(
    looked: list[str], sharing: Kernel
) -> None:
    sharing.run("p3")
    sharing.take(e.AssetReported, report=e.Report(asset="raw"), by="test")
    looked.clear()

    sharing.end("p3#1/run/1")

    assert set(looked) <= {"p3"}


def test_those_that_share_a_pool_are_looked_at_when_it_has_other_work_to_do(
    looked: list[str], sharing: Kernel
) -> None:
    sharing.take(e.AssetReported, report=e.Report(asset="raw"), by="test")
    sharing.take(e.DurationsLearned, bands=(e.Band(pipeline="p3", p50=60.0, p90=60.0, samples=9),))
    looked.clear()

    waits_longer = e.Band(pipeline="p3", p50=60.0, p90=60.0, wait_p90=5.0, samples=9)
    sharing.take(e.DurationsLearned, bands=(waits_longer,))

    assert set(looked) == {"p3"}

    lasts_longer = e.Band(pipeline="p3", p50=90.0, p90=90.0, wait_p90=5.0, samples=9)
    sharing.take(e.DurationsLearned, bands=(lasts_longer,))

    assert set(looked) == {f"p{number}" for number in range(20)}


def test_when_a_lane_runs_is_reckoned_once_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, first_need = Looks(), automatic.first_need

    def counting(*about: Any) -> Any:
        asked.count += 1
        return first_need(*about)

    monkeypatch.setattr(automatic, "first_need", counting)
    promised = Asset(freshness=Freshness(timedelta(hours=1)))
    took = Expected(timedelta(minutes=1), timedelta(minutes=1))
    build = pipeline(
        "build", on=[OnAsset("raw")], trigger={"auto": Auto()}, tasks=[task(takes=took)], reads=["raw"],
        writes=["mart"],
    )  # fmt: skip
    kernel = Kernel()
    kernel.declare(plan(build, assets={"raw": Asset(), "mart": promised}))
    kernel.host()

    kernel.take(e.AssetReported, report=e.Report(asset="raw"), by="test")
    decided = kernel.wait(timedelta(hours=1))

    assert any(isinstance(each, d.CreateRun) for each in decided)
    assert asked.count == 1


def test_what_was_reckoned_for_an_hour_that_is_over_is_dropped() -> None:
    promised = Asset(freshness=Freshness(timedelta(minutes=30)))
    build = pipeline("build", on=[OnAsset("raw")], trigger={"auto": Auto()}, reads=["raw"], writes=["mart"])
    kernel = Kernel()
    kernel.declare(plan(build, assets={"raw": Asset(), "mart": promised}))
    kernel.host()
    hours = {str(hour): (60.0, 90.0) for hour in range(168)}
    kernel.take(e.DurationsLearned, bands=(e.Band(pipeline="build", p50=60, p90=90, samples=1000, hours=hours),))
    reckoned, most = kernel.state.reckoned, 0

    for number in range(48):
        kernel.take(e.AssetReported, report=e.Report(asset="raw"), by="test")
        kernel.wait(timedelta(minutes=45))
        most = max(most, len(reckoned.distances["build"]), len(reckoned.tails["build"]["mart"]))
        attempt = f"build#{number + 1}/run/1"
        if attempt in kernel.state.attempts:
            kernel.end(attempt)

    assert reckoned.by_hour
    assert 1 < most <= 4
