"""What must come about when attempts end and sources stop: convergence, and that nobody starves."""

from __future__ import annotations

from datetime import timedelta
from heapq import heappop, heappush
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from counterpoint.kernel import decisions as d
from counterpoint.model.pipeline import Pipeline, Retry
from counterpoint.model.plan import Plan
from counterpoint.model.trigger import Batch, OnAsset, OnEvent
from counterpoint.testing.builders import Kernel, pipeline, plan, task
from counterpoint.testing.worlds import TROUBLE, World

SEEDS = st.integers(0, 2**32)

# Invariant 4.


@given(SEEDS, st.integers(1, 150))
def test_in_the_end_every_asset_reflects_the_newest_of_all_that_triggers_it(seed: int, length: int) -> None:
    random = Random(seed)
    world = World(random, a_graph(random))
    for _ in range(length):
        world.anything(TROUBLE)

    assert world.settle()

    state = world.kernel.state
    assert not state.attempts and not state.suspects
    for each in state.plan.pipelines.values():
        sources = each.trigger.sources if each.trigger else ()
        triggers = {source.asset for source in sources if isinstance(source, OnAsset)}
        current = {asset: state.asset(asset, "").seq for asset in triggers}
        if any(current.values()):
            assert state.asset(each.writes[0], "").seq, f"{each.writes[0]} was never published"
            read = {pin.asset: pin.seq for pin in world.pins[each.writes[0], ""]}
            assert {asset: read[asset] for asset in triggers} == current


def a_graph(random: Random) -> Plan:
    """Chains and diamonds of assets: each is made of some before it, a root of an event."""
    pools = {"db": random.randint(1, 2)}
    pipelines: list[Pipeline] = []
    for number in range(random.randint(2, 7)):
        above = random.sample([each.writes[0] for each in pipelines], random.randint(0, min(3, len(pipelines))))
        slots = {"db": random.randint(1, pools["db"])} if random.random() < 0.6 else {}
        retry = Retry(attempts=random.randint(1, 3), backoff=(timedelta(seconds=5), timedelta(minutes=1)))
        batch = Batch(
            quiet=random.choice([None, timedelta(seconds=20)]),
            wait=random.choice([None, timedelta(minutes=1)]),
            max=random.choice([None, 1, 2]),
        )
        overlap: Any = random.choice(["coalesce", "coalesce", "queue", "cancel"])
        write: Any = random.choice(["in_place", "atomic"])
        pipelines.append(
            pipeline(
                f"p{number}",
                on=[OnAsset(asset) for asset in above] or [OnEvent(random.choice(["placed", "closed"]))],
                trigger={"batch": batch, "rearm": (timedelta(seconds=1), timedelta(minutes=1))},
                tasks=[task(pools=slots, retry=retry)],
                reads=above,
                writes=[f"ap{number}"],
                write=write,
                overlap=overlap,
                concurrency=random.choice([1, 1, 2]) if overlap != "queue" else 1,
            )
        )
    return plan(*pipelines, pools=pools)


# Invariant 5.

#: Every attempt of these worlds has ended after this long.
LONGEST = timedelta(minutes=2)


@given(SEEDS)
def test_nobody_waits_longer_than_the_class_says_and_those_in_front_take(seed: int) -> None:
    """Bound: a run that was raised with n others in front of it begins after 2 (n + 1) longest attempts at most.

    Two for each that gets its turn: what runs when something begins to be kept for it, and then those that went
    around it because they were wrongly expected to end before.
    """
    random, kernel = Random(seed), Kernel()
    kernel.declare(a_crowd(random))
    kernel.host()
    ends: list[tuple[Any, str]] = []
    due: dict[str, Any] = {}
    latest: dict[str, Any] = {}

    def note(decisions: list[d.AnyDecision]) -> None:
        for decision in decisions:
            match decision:
                case d.StartAttempt(attempt=attempt):
                    heappush(ends, (kernel.now + random.random() * LONGEST, attempt))
                case d.CreateRun(run=run):
                    due[run] = decision.due
                case d.RaiseRun(run=run):
                    own = kernel.state.queue.get(run, "")
                    if own is not None:
                        ahead = sum(other.key < own.key for other in kernel.state.queue)
                        latest[run] = decision.at + 2 * (ahead + 1) * LONGEST
                case d.AdmitRun(run=run):
                    assert kernel.now <= latest.get(run, due[run]), f"{run} waited too long"

    for arrival in range(random.randint(20, 150)):
        if arrival % 10 < 7:
            note(kernel.emit(random.choice(["placed", "closed"])))
        moment = kernel.now + random.random() * timedelta(minutes=random.choice([0.1, 1, 4]))
        while True:
            until = min(moment, ends[0][0]) if ends else moment
            for _, decisions in kernel.wake_until(until):
                note(decisions)
            if not ends or ends[0][0] > moment:
                break
            note(kernel.end(heappop(ends)[1]))
    while ends:
        for _, decisions in kernel.wake_until(ends[0][0]):
            note(decisions)
        note(kernel.end(heappop(ends)[1]))

    assert not kernel.state.runs


def a_crowd(random: Random) -> Plan:
    """Pipelines of all classes, large and small, readers and writers, that many runs go through at once."""
    pools = {"db": random.randint(1, 5), "gpu": random.randint(1, 3)}
    pipelines = []
    for number in range(random.randint(2, 6)):
        slots = {pool: random.randint(1, most) for pool, most in pools.items() if random.random() < 0.7}
        priority: Any = random.choice(["urgent", "normal", "bulk"])
        pipelines.append(
            pipeline(
                f"p{number}",
                on=[OnEvent(random.choice(["placed", "closed"]))],
                pools=slots,
                reads=random.sample(["x", "y"], random.randint(0, 1)),
                writes=random.sample(["x", "z"], random.randint(0, 1)) if number < 2 else [],
                overlap="queue",
                concurrency=1000,
                priority_class=priority,
            )
        )
    waits = {"urgent": timedelta(minutes=1), "normal": timedelta(minutes=5), "bulk": timedelta(minutes=15)}
    return plan(*pipelines, pools=pools, waits=waits)
