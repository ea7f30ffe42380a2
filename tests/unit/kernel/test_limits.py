from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.explain import why_pipeline, why_run
from counterpoint.kernel.rules.splitting import deal
from counterpoint.kernel.sentences import sentence
from counterpoint.model.plan import Pool
from counterpoint.model.promise import Elastic, Rate
from counterpoint.model.trigger import Batch, OnEvent
from counterpoint.testing.builders import Kernel, pipeline, plan

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def kernel_of(*pipelines: Any, **pools: Pool) -> Kernel:
    kernel = Kernel()
    kernel.declare(msgspec.structs.replace(plan(*pipelines), pools=pools))
    kernel.host()
    return kernel


def starts(kernel: Kernel) -> list[datetime]:
    return [fact.at for fact in kernel.facts if isinstance(fact, d.StartAttempt)]


@given(st.integers(0, 2**32))
def test_in_no_span_more_start_than_the_rate_says_and_nothing_waits_longer_than_it_must(seed: int) -> None:
    random = Random(seed)
    rate = Rate(random.randint(1, 4), timedelta(seconds=random.choice([1, 30, 600])))
    kernel = kernel_of(pipeline("call", pools={"api": 1}, concurrency=1000), api=Pool(1000, rate=rate))
    asked = []
    for _ in range(random.randint(1, 40)):
        kernel.wait(timedelta(milliseconds=random.choice([0, 1, 500, 20_000])))
        if random.random() < 0.2:
            kernel.reload()
        kernel.run("call")
        asked.append(kernel.now)
    kernel.wait(timedelta(days=1))

    # What an exact sliding window gives, reckoned by hand.
    expected: list[datetime] = []
    for moment in asked:
        before = expected[-rate.count] + rate.per if len(expected) >= rate.count else moment
        expected.append(max(moment, before))
    assert starts(kernel) == expected


def test_a_rate_says_when_it_frees() -> None:
    kernel = kernel_of(pipeline("call", pools={"api": 1}, concurrency=9), api=Pool(9, rate=Rate(1, MINUTE)))
    kernel.run("call")
    kernel.run("call")

    why = why_run(kernel.state, kernel.state.runs["call#2"], kernel.now)

    assert why.when == kernel.now + MINUTE
    assert why.lines == [
        "call#2 waits for 0ms: at most 1 start of pool api in 1m, which are used up until 10:01:00 UTC."
    ]


def test_a_rate_costs_others_nothing_and_keeps_no_more_than_it_counts() -> None:
    kernel = kernel_of(pipeline("call", pools={"api": 1}, concurrency=99), api=Pool(99, rate=Rate(2, SECOND)))
    for _ in range(50):
        kernel.run("call")
    kernel.wait(timedelta(hours=1))

    assert len(starts(kernel)) == 50
    assert len(kernel.state.starts["rate:pool:api"]) <= 2
    # Nothing waits, so nothing is to be looked at.
    assert kernel.state.next_moment() is None


def test_attempts_of_runs_that_hold_their_slots_count_for_a_rate_as_well() -> None:
    held = pipeline("call", pools={"api": 1}, hold="run", concurrency=9)
    kernel = kernel_of(held, api=Pool(9, rate=Rate(1, MINUTE)))
    kernel.run("call")
    kernel.run("call")
    kernel.wait(MINUTE)

    first, second = starts(kernel)
    assert second - first == MINUTE


def stormy(**fields: Any) -> Kernel:
    return kernel_of(pipeline("bill", on=[OnEvent("x")], storm=Rate(2, MINUTE), overlap="queue", **fields))


def test_a_storm_holds_back_and_says_so() -> None:
    kernel = stormy(concurrency=9)
    for _ in range(5):
        kernel.emit("x")

    why = why_pipeline(kernel.state, kernel.state.plan.pipelines["bill"], kernel.now)
    (trip,) = [fact for fact in kernel.facts if isinstance(fact, d.TripStorm)]
    assert sentence(trip) == "bill forms no runs until 10:01:00 UTC: more than 2 runs in 1m"
    assert why.lines[-1] == (
        "bill forms no runs from 10:00:00 UTC until 10:01:00 UTC: they came faster than its storm breaker allows."
    )

    (calm, *formed) = kernel.wait(MINUTE)

    assert isinstance(calm, d.CalmStorm) and (calm.items, calm.lanes) == (3, 1)
    assert sentence(calm) == (
        "bill forms runs again, 3 items in 1 lane were held back: 1m without a new run have passed"
    )
    assert [each.items for each in formed if isinstance(each, d.CreateRun)] == [(3, 4, 5)]
    kernel.check_journal()


def test_runs_that_people_ask_for_are_no_storm() -> None:
    kernel = stormy(concurrency=9)
    for _ in range(5):
        kernel.run("bill")
    kernel.emit("x")

    assert not kernel.state.storms and len(kernel.state.runs) == 6


def test_a_storm_outlives_a_restart() -> None:
    kernel = stormy(concurrency=9)
    for _ in range(4):
        kernel.emit("x")
    kernel.reload()
    kernel.emit("x")

    assert kernel.state.numbers["bill"] == 2
    kernel.wait(MINUTE)
    assert kernel.state.numbers["bill"] == 3


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=5), min_size=1, max_size=20), st.integers(1, 6))
def test_a_batch_is_dealt_out_by_value_without_loss(groups: list[list[int]], count: int) -> None:
    numbers = iter(range(1000))
    values = {str(place): [next(numbers) for _ in group] for place, group in enumerate(groups)}
    count = min(count, len(values))

    parts = deal(values, count, None)

    assert len(parts) == count and all(parts)
    assert sorted(number for part in parts for number in part) == sorted(
        number for group in values.values() for number in group
    )
    for group in values.values():
        assert sum(bool(set(group) & set(part)) for part in parts) == 1
    # The largest part is at most the largest value above the smallest.
    assert max(map(len, parts)) - min(map(len, parts)) <= max(map(len, values.values()))


def lagging(**fields: Any) -> Any:
    return pipeline(
        "index",
        on=[OnEvent("x")],
        trigger={"batch": Batch(max=3, wait=timedelta(hours=9))},
        elastic=Elastic(4, "event.data.k"),
        pools={"db": 1},
        writes=["index"],
        write="atomic",
        **fields,
    )


def parts(kernel: Kernel) -> list[tuple[int, ...]]:
    return [
        fact.items for fact in kernel.facts if isinstance(fact, d.CreateRun) and fact.reason.code == "split-up"
    ]


def test_a_lane_is_split_into_as_many_as_there_is_room_for_here_and_below() -> None:
    reader = pipeline("publish", reads=["index"], pools={"web": 2})
    kernel = kernel_of(lagging(), reader, db=Pool(9), web=Pool(5))
    pause(kernel)
    for key in "abcdabcd":
        kernel.emit("x", {"k": key})

    resume(kernel)

    # Two: the five slots of `web` take two runs of `publish`.
    assert parts(kernel) == [(1, 3, 5), (2, 4, 6)]


def pause(kernel: Kernel) -> None:
    kernel.take(e.PauseRequested, pipeline="index", by="anna")


def resume(kernel: Kernel) -> None:
    kernel.take(e.ResumeRequested, pipeline="index", by="anna")


def test_a_lane_that_lacked_room_is_split_further_when_there_is_some() -> None:
    kernel = kernel_of(lagging(), pipeline("other", pools={"db": 1}, concurrency=9), db=Pool(2))
    kernel.run("other")
    pause(kernel)
    for key in "abcdabcd":
        kernel.emit("x", {"k": key})
    resume(kernel)
    # One slot is free: an ordinary run.
    assert parts(kernel) == []

    kernel.end("other#1/run/1")

    assert len(parts(kernel)) == 1
    # No key of a run that goes on is in another one.
    going_on = [run for run in kernel.state.runs.values() if run.pipeline == "index"]
    keys = [{item.split for item in run.items.values()} for run in going_on]
    assert not keys[0] & keys[1]
