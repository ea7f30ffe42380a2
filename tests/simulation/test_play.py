"""Scores in virtual time: the same seed is the same play, and what is measured is what happened."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from counterpoint.model.pipeline import Retry
from counterpoint.model.plan import EPOCH, Asset, EventType, Plan
from counterpoint.model.promise import Expected, Freshness, Preempt
from counterpoint.model.trigger import Every, OnAsset, OnEvent
from counterpoint.sim.measure import Spread
from counterpoint.sim.play import Played, play
from counterpoint.sim.world import WorldSettings
from counterpoint.testing.builders import pipeline, plan, task

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def fixed(length: timedelta) -> Expected:
    return Expected(length, length)


def hourly(**fields: object) -> Plan:
    """A pipeline that runs each hour for ten minutes on one of two slots."""
    work = task(pools={"db": 1}, takes=fixed(10 * MINUTE), **fields)
    return plan(pipeline("load", on=[Every(60 * MINUTE, EPOCH)], tasks=[work], writes=["raw"]), pools={"db": 2})


def events(every: timedelta, *, takes: Expected | None = None, slots: int = 1) -> Plan:
    work = task(pools={"db": 1}, takes=takes or Expected(MINUTE, 3 * MINUTE))
    return plan(
        pipeline("count", on=[OnEvent("sold")], tasks=[work], overlap="queue", writes=["sums"]),
        pipeline("show", on=[OnAsset("sums")], tasks=[task(takes=fixed(MINUTE))], reads=["sums"]),
        pools={"db": slots},
        events={"sold": EventType(arrives=every)},
    )


def plain(played: Played) -> bytes:
    return msgspec.json.encode(played)


def test_a_score_by_the_clock_runs_as_often_as_it_says() -> None:
    played = play(hourly(), length=DAY)

    (load,) = played.pipelines
    assert (load.runs, load.succeeded, load.failed) == (23, 23, 0)
    assert load.waits.max_s == 0
    (pool,) = played.pools
    assert pool.peak == 1
    assert pool.slot_hours == pytest.approx(23 / 6)
    assert pool.mean == pytest.approx(23 / 6 / 48)
    assert sum(pool.line) / len(pool.line) == pytest.approx(pool.mean * 2)


def test_the_same_seed_is_the_same_play_and_another_is_not() -> None:
    declared = events(10 * MINUTE)

    assert plain(play(declared, length=DAY, seed=3)) == plain(play(declared, length=DAY, seed=3))
    assert plain(play(declared, length=DAY, seed=3)) != plain(play(declared, length=DAY, seed=4))


def test_two_policies_see_the_same_arrivals_and_the_same_durations() -> None:
    declared = events(5 * MINUTE, slots=1)

    first, second = (
        play(msgspec.structs.replace(declared, policy=policy), length=DAY, seed=1)
        for policy in ("fifo", "promise")
    )

    assert first.pipelines[0].runs == second.pipelines[0].runs > 200
    assert first.slot_hours == second.slot_hours


def test_arrivals_are_as_far_apart_as_the_score_says() -> None:
    played = play(events(10 * MINUTE, takes=fixed(timedelta(seconds=1))), length=30 * DAY)

    assert played.pipelines[0].runs == pytest.approx(30 * 144, rel=0.05)


def test_what_the_score_does_not_say_is_assumed_and_said() -> None:
    declared = plan(
        pipeline("count", on=[OnEvent("sold", when="event.data.n > 1")], reads=["prices"]),
        pipeline("by-hand"),
        events={"sold": EventType()},
        assets={"prices": Asset(arrives=60 * MINUTE)},
    )

    played = play(declared, length=DAY)

    assert [each.partition(",")[0] for each in played.assumed] == [
        "without `arrives`",
        "started by hand only",
        "without a schema",
        "without `takes`",
    ]
    assert played.assumed[0].endswith(": sold")


def test_events_have_payloads_that_fit_their_schema() -> None:
    schema = {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}}
    declared = plan(
        pipeline(
            "count", on=[OnEvent("sold", when="event.data.kind == 'a'")], tasks=[task(takes=fixed(MINUTE / 60))]
        ),
        events={"sold": EventType(schema=schema, arrives=10 * MINUTE)},
    )

    assert play(declared, length=10 * DAY).runs == pytest.approx(720, rel=0.1)


def test_a_share_of_attempts_fails_and_is_retried() -> None:
    played = play(hourly(fails=0.5, retry=Retry(attempts=5, backoff=(MINUTE, MINUTE))), length=20 * DAY)

    (load,) = played.pipelines
    assert load.failed_attempts == pytest.approx(load.attempts / 2, rel=0.15)
    assert load.attempts == load.runs + load.failed_attempts - load.failed


def test_lost_hosts_and_repeated_ends_change_no_outcome() -> None:
    world = WorldSettings(hosts_lost=timedelta(hours=6), repeated=0.5, late=0.2)

    played = play(events(10 * MINUTE), length=5 * DAY, seed=2, world=world)

    (count, show) = played.pipelines
    assert count.lost_attempts + show.lost_attempts > 0
    assert count.failed == show.failed == 0
    assert count.succeeded >= count.runs - 1


def test_what_was_learned_goes_before_what_the_score_says() -> None:
    from counterpoint.kernel.events import Band

    world = WorldSettings(bands=(Band(pipeline="load", task="run", p50=60, p90=60, samples=50),))

    assert play(hourly(), length=DAY, world=world).slot_hours == pytest.approx(23 / 60)


def test_a_spread_is_exact_for_a_few_and_within_half_a_percent_for_many() -> None:
    few, many = Spread(), Spread()
    for number in range(1, 101):
        few.add(number)
    for number in range(1, 100_001):
        many.add(number)

    assert (few.quantile(0.5), few.quantile(0.95), few.largest, few.mean) == (50, 95, 100, 50.5)
    assert many.quantile(0.5) == pytest.approx(50_000, rel=0.006)
    assert many.quantile(0.95) == pytest.approx(95_000, rel=0.006)
    assert many.quantile(1) <= 100_000


def promised(within: timedelta) -> Plan:
    declared = plan(
        pipeline("count", on=[OnEvent("sold")], tasks=[task(takes=fixed(10 * MINUTE))], writes=["sums"]),
        events={"sold": EventType(arrives=timedelta(hours=12))},
    )
    asset = Asset(freshness=Freshness(within=within))
    return msgspec.structs.replace(declared, assets={"sums": asset})


def test_freshness_is_measured_apart_from_the_kernel_and_agrees_with_its_obligations() -> None:
    for within, share in ((30 * MINUTE, 1.0), (5 * MINUTE, 0.0)):
        played = play(promised(within), length=60 * DAY, seed=5)

        (promise,), (fresh,) = played.promises, played.freshness
        assert promise.share == share
        assert fresh.delay.count == promise.kept + promise.missed + promise.open > 80
        assert fresh.delay.p50_s == 600
        # A change that comes while a run goes on waits for the next one.
        assert 600 <= fresh.delay.max_s <= 1200
        assert fresh.age.p50_s == 0
        assert 0 < fresh.age.max_s <= 1200


def test_what_is_stopped_to_make_room_goes_on_from_its_last_checkpoint() -> None:
    long = pipeline(
        "train",
        on=[Every(DAY, EPOCH)],
        tasks=[task(pools={"gpu": 1}, takes=fixed(timedelta(hours=8)))],
        priority_class="bulk",
        preempt=Preempt(),
    )
    short = pipeline(
        "serve",
        on=[Every(timedelta(hours=5), EPOCH)],
        tasks=[task(pools={"gpu": 1}, takes=fixed(7 * MINUTE))],
        priority_class="urgent",
    )
    declared = plan(long, short, pools={"gpu": 1})

    played = play(declared, length=4 * DAY, world=WorldSettings(restart=MINUTE))

    train, serve = played.pipelines
    assert train.preemptions > 0
    assert serve.waits.max_s < 3600
    # Nothing is lost but what came after the last checkpoint, ten minutes apart at most.
    assert 0 < train.lost_work_s <= 600 * train.preemptions
    assert train.succeeded == 3
