"""How fresh an asset is, and which share of a promise is held."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from counterpoint.kernel.obligations import freshness, share
from counterpoint.model.plan import Asset
from counterpoint.model.promise import Calendar, Freshness, Window
from counterpoint.model.trigger import OnAsset, OnEvent
from counterpoint.testing.builders import START, Kernel, pipeline, plan

MINUTE = timedelta(minutes=1)


def fresh(**terms: Any) -> Kernel:
    """A promise of ten minutes over what becomes of prices."""
    promise = Freshness(**{"within": 10 * MINUTE, "over": timedelta(hours=2)} | terms)
    kernel = Kernel()
    kernel.declare(
        plan(
            pipeline("build", on=[OnEvent("price")], writes=["mart"]),
            assets={"mart": Asset(freshness=promise)},
            calendars={"quiet": Calendar(maintenance=(Window("10:00", "10:30"),))},
        )
    )
    kernel.host()
    return kernel


def held(kernel: Kernel) -> tuple[int, int, float | None]:
    return share(kernel.state, kernel.state.promises["mart", "freshness"], kernel.now)


def age(kernel: Kernel) -> timedelta | None:
    return freshness(kernel.state, "mart", "event:price", kernel.now)


def test_what_was_never_heard_of_is_unknown_and_no_data_is_no_share() -> None:
    kernel = fresh()

    assert age(kernel) is None
    assert held(kernel) == (0, 0, None)


def test_age_is_that_of_the_oldest_change_that_is_missing() -> None:
    kernel = fresh()
    kernel.emit("price")
    kernel.wait(2 * MINUTE)
    kernel.emit("price")
    kernel.wait(MINUTE)

    assert age(kernel) == 3 * MINUTE
    kernel.end("build#1/run/1")
    assert age(kernel) == MINUTE
    kernel.end("build#2/run/1")
    assert age(kernel) == timedelta(0)


def test_data_that_comes_late_is_as_old_as_its_producer_says_and_never_younger_than_its_arrival() -> None:
    late, ahead = fresh(), fresh()
    late.emit("price", time=START - 5 * MINUTE)
    ahead.emit("price", time=START + 5 * MINUTE)
    for kernel in (late, ahead):
        kernel.wait(MINUTE)

    assert age(late) == 6 * MINUTE
    assert age(ahead) == MINUTE


def test_in_maintenance_age_stands_still() -> None:
    kernel = fresh(calendar="quiet")
    kernel.emit("price")
    kernel.wait(40 * MINUTE)

    assert age(kernel) == 10 * MINUTE
    assert held(kernel) == (0, 0, None)


def test_the_share_is_of_obligations_that_are_over() -> None:
    kernel = fresh()
    for attempt, length in (("build#1/run/1", 5), ("build#2/run/1", 15)):
        kernel.emit("price")
        kernel.wait(length * MINUTE)
        kernel.end(attempt)
    kernel.emit("price")

    assert held(kernel) == (1, 1, 0.5)


def test_what_ends_at_the_very_moment_it_is_due_is_kept() -> None:
    kernel = fresh()
    kernel.emit("price")
    kernel.wait(10 * MINUTE)
    kernel.end("build#1/run/1")

    assert held(kernel) == (1, 0, 1.0)


def test_the_share_of_time_counts_how_long_something_was_late() -> None:
    kernel = fresh(share="time")
    kernel.emit("price")
    kernel.wait(25 * MINUTE)

    assert held(kernel) == (0, 1, pytest.approx(1 - 15 / 25))
    kernel.end("build#1/run/1")
    kernel.wait(25 * MINUTE)
    assert held(kernel) == (0, 1, pytest.approx(1 - 15 / 50))


def test_what_is_older_than_the_window_counts_no_more() -> None:
    kernel = fresh()
    kernel.emit("price")
    kernel.wait(timedelta(hours=3))

    assert held(kernel) == (0, 0, None)
    assert kernel.state.promises["mart", "freshness"].breached == START + 10 * MINUTE


def test_a_sample_of_the_world_is_as_old_as_its_start() -> None:
    kernel = Kernel()
    kernel.declare(
        plan(
            pipeline("ingest", writes=["raw"]),
            pipeline("build", on=[OnAsset("raw")], writes=["mart"]),
            assets={"raw": Asset(), "mart": Asset(freshness=Freshness(10 * MINUTE))},
        )
    )
    kernel.host()
    kernel.run("ingest")
    kernel.wait(2 * MINUTE)
    assert freshness(kernel.state, "mart", "world:ingest", kernel.now) is None
    kernel.end("ingest#1/run/1")
    kernel.wait(MINUTE)
    kernel.end("build#1/run/1")
    kernel.wait(MINUTE)

    assert freshness(kernel.state, "mart", "world:ingest", kernel.now) == 4 * MINUTE


def test_of_many_changes_every_second_is_remembered_and_none_looks_younger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("counterpoint.kernel.folding.promises.MOST_HAPPENED", 4)
    kernel = fresh()
    for _ in range(5):
        kernel.emit("price")
        kernel.wait(MINUTE)

    source = kernel.state.sources["event:price"]
    assert source.changes == [2, 4, 5]
    assert source.happened == [START, START + 2 * MINUTE, START + 4 * MINUTE]
    assert freshness(kernel.state, "mart", "event:price", kernel.now) == 5 * MINUTE


def test_what_every_promise_has_is_forgotten_and_a_plan_without_promises_keeps_nothing() -> None:
    kernel = fresh()
    for attempt in ("build#1/run/1", "build#2/run/1"):
        kernel.emit("price")
        kernel.end(attempt)

    assert kernel.state.sources["event:price"].happened == []
    kernel.declare(plan(pipeline("build", on=[OnEvent("price")], writes=["mart"])))
    assert (kernel.state.sources, kernel.state.marks, kernel.state.promises) == ({}, {}, {})
    kernel.check_journal()


def test_an_asset_of_a_pipeline_with_other_inputs_is_not_claimed_until_it_is_published_again() -> None:
    kernel = fresh()
    kernel.emit("price")
    kernel.end("build#1/run/1")
    assert kernel.state.marks["mart"].reflects == {"event:price": 1}

    assets = {"mart": Asset(freshness=Freshness(10 * MINUTE)), "raw": Asset()}
    kernel.declare(plan(pipeline("build", on=[OnEvent("price"), OnAsset("raw")], writes=["mart"]), assets=assets))

    assert kernel.state.marks["mart"].reflects == {}
    kernel.emit("price")
    kernel.end("build#2/run/1")
    assert kernel.state.marks["mart"].reflects == {"event:price": 2}
    kernel.check_journal()
