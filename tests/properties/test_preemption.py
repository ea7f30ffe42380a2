"""Invariant 8: who makes room does so seldom, not at once, and only for a class above its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.kernel import decisions as d
from counterpoint.kernel.state import RANKS, State
from counterpoint.model.pipeline import Pipeline, Retry
from counterpoint.model.plan import Plan
from counterpoint.model.promise import Expected, Preempt
from counterpoint.model.trigger import OnEvent
from counterpoint.testing.builders import Kernel, pipeline, plan, task
from counterpoint.testing.worlds import World

SEEDS = st.integers(0, 2**32)
LENGTHS = st.integers(20, 150)

#: What happens on a crowded machine; nobody declares anew, so that every run keeps the budget it began with.
BUSY = (
    *[World.request] * 6,
    *[World.event] * 2,
    *[World.wait] * 4,
    World.end,
    *[World.fail] * 3,
    World.lose,
    World.checkpoint,
    World.cancel,
    World.defer,
)


def a_crowded_machine(seed: int) -> World:
    random = Random(seed)
    return World(random, a_plan(random))


def a_plan(random: Random) -> Plan:
    """Pipelines of all classes that fight for two pools; most of them may be asked to make room."""
    pools = {"db": random.randint(1, 3), "gpu": random.randint(1, 4)}
    pipelines: list[Pipeline] = []
    for number in range(random.randint(3, 5)):
        chosen: Any = ("urgent", "bulk", "normal")[number % 3]
        hold: Any = random.choice(["attempt", "attempt", "attempt", "run"])
        tasks = []
        for place in range(random.choice([1, 1, 2])):
            slots = {pool: random.randint(1, most) for pool, most in pools.items() if random.random() < 0.8}
            takes = timedelta(minutes=random.choice([1, 5, 60]))
            expected = random.choice([None, Expected(takes, takes)])
            tasks.append(task(f"t{place}", pools=slots, takes=expected, retry=Retry(attempts=3)))
        preempt = Preempt(
            minimum=timedelta(seconds=random.choice([0, 30, 90])),
            evictions=random.randint(1, 3),
            cooldown=timedelta(seconds=random.choice([0, 60, 300])),
        )
        pipelines.append(
            pipeline(
                f"p{number}",
                on=[OnEvent("placed")] if random.random() < 0.5 else [],
                tasks=tasks,
                priority_class=chosen,
                hold=hold,
                concurrency=9,
                overlap="queue",
                preempt=preempt if random.random() < 0.8 else None,
            )
        )
    waits = {"urgent": timedelta(minutes=1), "normal": timedelta(minutes=5), "bulk": timedelta(minutes=20)}
    fed = pipeline("fed", on=[OnEvent("placed"), OnEvent("closed")])
    return plan(*pipelines, fed, pools=pools, waits=waits)


def evictions(kernel: Kernel) -> list[d.StopAttempt]:
    return [fact for fact in kernel.facts if isinstance(fact, d.StopAttempt) and fact.why == "preempt"]


def played(seed: int, length: int) -> World:
    world = a_crowded_machine(seed)
    for _ in range(length):
        world.anything(BUSY)
    return world


def pipeline_of(state: State, run: str) -> Pipeline:
    return state.plan.pipelines[run.partition("#")[0]]


@given(SEEDS, LENGTHS)
def test_no_run_makes_room_more_often_than_its_budget_says(seed: int, length: int) -> None:
    kernel = played(seed, length).kernel

    counts: dict[str, int] = {}
    for stop in evictions(kernel):
        run = stop.attempt.partition("/")[0]
        counts[run] = counts.get(run, 0) + 1
        preempt = pipeline_of(kernel.state, run).preempt
        assert preempt is not None and counts[run] <= preempt.evictions


@given(SEEDS, LENGTHS)
def test_no_attempt_makes_room_before_its_least_time_or_while_its_run_cools_down(seed: int, length: int) -> None:
    kernel = played(seed, length).kernel

    began: dict[str, datetime] = {}
    evicted: dict[str, datetime] = {}
    for fact in kernel.facts:
        if isinstance(fact, d.StartAttempt):
            began[fact.attempt] = fact.at
        if isinstance(fact, d.StopAttempt) and fact.why == "preempt":
            run = fact.attempt.partition("/")[0]
            preempt = pipeline_of(kernel.state, run).preempt
            assert preempt is not None and fact.at - began[fact.attempt] >= preempt.minimum
            # Several of one run may be asked at once; after that it is left alone.
            if run in evicted and evicted[run] != fact.at:
                assert fact.at - max(began[fact.attempt], evicted[run]) >= preempt.cooldown
            evicted[run] = fact.at


@given(SEEDS, LENGTHS)
def test_only_a_class_above_its_own_pushes_a_run_out_so_that_there_is_no_cycle(seed: int, length: int) -> None:
    kernel = played(seed, length).kernel

    for stop in evictions(kernel):
        taker = pipeline_of(kernel.state, stop.reason.figures["taker"].partition("/")[0])
        victim = pipeline_of(kernel.state, stop.attempt)
        assert RANKS[taker.priority_class] < RANKS[victim.priority_class]
        assert victim.hold == "attempt"


@given(SEEDS, LENGTHS)
def test_nobody_stops_twice_for_one_taker_while_room_is_kept_for_it(seed: int, length: int) -> None:
    world = a_crowded_machine(seed)
    for _ in range(length):
        known, before = len(world.kernel.facts), dict(world.kernel.state.queue.claims)

        world.anything(BUSY)

        for fact in world.kernel.facts[known:]:
            if isinstance(fact, d.KeepRoom) and (fact.run, fact.task) in before:
                assert fact.at >= before[fact.run, fact.task].until
        # What is kept is there, or is about to be, unless a host does not answer or an asset was lost.
        state = world.kernel.state
        assert {(run, task) for run, task in state.queue.claims} <= {(each.run, each.task) for each in state.queue}


@given(SEEDS, LENGTHS)
def test_a_restart_in_the_middle_changes_nothing(seed: int, length: int) -> None:
    kernel = played(seed, length).kernel
    random, twin = Random(seed), Kernel(kernel.facts[0].at)

    for fact in kernel.facts:
        if not isinstance(fact, d.Decision):
            if random.random() < 0.3:
                twin.reload()
            fields = msgspec.structs.asdict(fact)
            twin.now = fields.pop("at")
            twin.ahead = fields.pop("wall") - twin.now
            twin.take(type(fact), **fields)

    assert twin.journal() == kernel.journal()


def test_these_worlds_are_crowded_enough_for_somebody_to_make_room() -> None:
    stops = sum(len(evictions(played(seed, 150).kernel)) for seed in range(30))

    assert stops > 15
