"""Whatever happens to a random plan, after each step the invariants hold."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.evolve import fold
from counterpoint.kernel.explain import why_pipeline, why_run
from counterpoint.kernel.records import Backlog, Run
from counterpoint.kernel.rules.admission import lacks
from counterpoint.kernel.snapshots import Document, document_of
from counterpoint.kernel.state import WHOLE_ASSET, State
from counterpoint.kernel.step import step
from counterpoint.model.trigger import OnEvent
from counterpoint.testing.worlds import World, random_plan

SEEDS = st.integers(0, 2**32)
LENGTHS = st.integers(1, 120)


def a_world(seed: int) -> World:
    random = Random(seed)
    return World(random, random_plan(random))


def used_by(state: State) -> dict[str, int]:
    """What runs and attempts hold, summed anew."""
    held: Counter[str] = Counter()
    for attempt in state.attempts.values():
        held.update({f"pool:{pool}": slots for pool, slots in attempt.slots.items()})
    for run in state.runs.values():
        held.update(run.holds)
    return {resource: amount for resource, amount in held.items() if amount}


def reloaded(state: State) -> State:
    document = msgspec.json.decode(msgspec.json.encode(document_of(state)), type=Document)
    return fold(document, ())


# Invariant 1.


@given(SEEDS, LENGTHS)
def test_no_pool_is_oversold_and_no_asset_written_beside_a_reader(seed: int, length: int) -> None:
    world = a_world(seed)
    for _ in range(length):
        before = dict(world.kernel.state.used)

        world.anything()

        state = world.kernel.state
        assert {resource: amount for resource, amount in state.used.items() if amount} == used_by(state)
        for resource, amount in state.used.items():
            # A pool that was made smaller may be over; then it may only become less.
            assert amount <= max(state.capacity(resource), before.get(resource, 0)), resource
            assert amount >= 0 and (not resource.startswith("asset:") or amount <= WHOLE_ASSET)


@given(SEEDS, LENGTHS)
def test_after_loading_a_snapshot_as_much_is_held_and_waits_as_before(seed: int, length: int) -> None:
    world = a_world(seed)
    for _ in range(length):
        world.anything()
        if world.random.random() < 0.2:
            state, again = world.kernel.state, reloaded(world.kernel.state)
            assert indexes(again) == indexes(state)
            assert msgspec.json.encode(document_of(again)) == msgspec.json.encode(document_of(state))


def indexes(state: State) -> dict[str, Any]:
    return {
        "used": {resource: amount for resource, amount in state.used.items() if amount},
        "queue": {(request.run, request.task): (request.key, request.shape) for request in state.queue},
        "reserved": state.queue.reserved,
        "lanes": {lane: set(runs) for lane, runs in state.lanes.items()},
        "places": {lane: set(runs) for lane, runs in state.places.items()},
        "behind": {run.run for run in state.runs.values() if run.held},
        "live": {pipeline: set(runs) for pipeline, runs in state.live.items() if runs},
        "waiting lanes": {pipeline: list(lanes) for pipeline, lanes in state.waiting_lanes.items() if lanes},
        "suspects": {asset: set(partitions) for asset, partitions in state.suspects.items()},
        "revisions": state.revisions,
        "rests": {rest for rest in state.rests if state.rested(*rest)},
        "next tick": state.ticks_to_come[0] if state.ticks_to_come else None,
    }


# Invariant 2.


@given(SEEDS, LENGTHS)
def test_each_item_is_somewhere_until_it_ends_exactly_once(seed: int, length: int) -> None:
    world = a_world(seed)
    for _ in range(length):
        world.anything()

        state = world.kernel.state
        places = Counter(
            number for backlog in state.backlogs.values() for item in backlog.items for number in [item.number]
        )
        places.update(number for run in state.runs.values() for number in run.items)
        places.update(list(state.dead))
        over = {number for number, fates in world.fates.items() if fates[-1] != "dead"} | world.dealt_with
        assert set(places.values()) <= {1}
        assert set(places) == set(world.delivered) - over
        assert all(len([fate for fate in fates if fate != "dead"]) <= 1 for fates in world.fates.values())


@given(SEEDS, LENGTHS)
def test_each_accepted_event_reaches_each_subscriber(seed: int, length: int) -> None:
    world = a_world(seed)
    for _ in range(length):
        known = len(world.kernel.facts)

        world.anything()

        facts = world.kernel.facts[known:]
        for number, fact in enumerate(facts):
            if isinstance(fact, e.EventAccepted) and fact.change.hops <= 64:
                wanted = {
                    (pipeline, group)
                    for pipeline, group, source in world.kernel.state.plan.subscribers.get(fact.change.subject, ())
                    if isinstance(source, OnEvent) and (source.when is None or fact.change.data["n"] > 1)
                }
                delivered = [each for each in facts[number:] if isinstance(each, d.Deliver)]
                items = [item for each in delivered if each.change.id == fact.change.id for item in each.items]
                assert {(item.pipeline, item.group) for item in items} == wanted


# Invariant 3.


@given(SEEDS, LENGTHS)
def test_an_attempt_is_started_once_and_nothing_done_is_done_again(seed: int, length: int) -> None:
    world = a_world(seed)
    done: set[tuple[str, str]] = set()
    for _ in range(length):
        known = len(world.kernel.facts)

        world.anything()

        for fact in world.kernel.facts[known:]:
            if isinstance(fact, e.RetryRequested):
                # A person may ask for all of it again, where nothing had failed but what came after.
                done -= {(run, task) for run, task in done if run == fact.run}
            if isinstance(fact, d.StartAttempt):
                assert (fact.run, fact.task) not in done
        done = {
            (run.run, name)
            for run in world.kernel.state.runs.values()
            for name, task in run.tasks.items()
            if task.phase == "done"
        }
    assert set(world.started.values()) <= {1}


# Invariant 7.


@given(SEEDS, LENGTHS)
def test_the_same_facts_lead_to_the_same_decisions(seed: int, length: int) -> None:
    world = a_world(seed)
    for _ in range(length):
        world.anything()

    world.kernel.check_journal()


@given(SEEDS, LENGTHS)
def test_a_kernel_that_starts_again_now_and_then_decides_the_same(seed: int, length: int) -> None:
    world = a_world(seed)
    for _ in range(length):
        world.anything()
    random, state, twin = Random(seed), State(), list[Any]()

    for fact in world.kernel.facts:
        if isinstance(fact, e.Event):
            if random.random() < 0.2:
                state = reloaded(state)
            twin += [fact, *step(state, fact)]

    assert world.kernel.journal(twin) == world.kernel.journal()


# What must be so in any State.


@given(SEEDS, LENGTHS)
def test_the_queue_holds_what_may_start_and_nothing_that_fits_is_left_in_it(seed: int, length: int) -> None:
    world = a_world(seed)
    for _ in range(length):
        world.anything()

        state = world.kernel.state
        assert {(request.run, request.task) for request in state.queue} == set(expected_requests(state))
        if state.host():
            for request in state.queue:
                assert lacks(state, request) is not None, f"{request.run} {request.task} fits and is not started"


def expected_requests(state: State) -> list[tuple[str, str]]:
    found = []
    for run in state.runs.values():
        if run.ending:
            continue
        is_stopped = run.held or (run.automatic and run.pipeline in state.paused)
        if run.phase == "waiting" and not is_stopped:
            found.append((run.run, ""))
        if run.phase == "running":
            found += [(run.run, name) for name, task in run.tasks.items() if task.phase == "ready"]
    return found


@given(SEEDS, LENGTHS)
def test_every_run_waits_for_something_that_will_come(seed: int, length: int) -> None:
    world = a_world(seed)
    for _ in range(length):
        world.anything()

        state = world.kernel.state
        for run in state.runs.values():
            assert is_going_on(run), f"{run.run} is stuck"
        for lane, places in state.places.items():
            limit = max(state.pipeline_of(state.runs[name]).concurrency for name in places)
            begun = [name for name in places if state.runs[name].phase != "waiting"]
            # A plan with a smaller concurrency lets what has begun go on.
            assert len(places) <= max(limit, len(begun)), lane
            assert not state.behind.get(lane) or len(places) >= 1


def is_going_on(run: Run) -> bool:
    if run.phase == "waiting":
        return True
    if run.phase == "confirming":
        return bool(run.confirming) or bool(run.ending)
    phases = {task.phase for task in run.tasks.values() if not task.attempt}
    return any(task.attempt for task in run.tasks.values()) or (
        not run.ending and bool(phases & {"ready", "resting"})
    )


@given(SEEDS, LENGTHS)
def test_it_can_always_be_said_why_something_waits(seed: int, length: int) -> None:
    world = a_world(seed)
    for _ in range(length):
        world.anything()

        state, now = world.kernel.state, world.kernel.now
        for run in state.runs.values():
            why = why_run(state, run, now)
            assert why.lines and (why.blockers or why.state != "waiting"), f"{run.run} waits for nothing"
        for pipeline in state.plan.pipelines.values():
            assert why_pipeline(state, pipeline, now).lines


@given(SEEDS, LENGTHS)
def test_nothing_is_forgotten(seed: int, length: int) -> None:
    world = a_world(seed)
    for _ in range(length):
        world.anything()

    world.make_room()
    if not world.settle():
        # The one thing that goes on for ever: a producer whose sync subscriber waits for what does not come.
        assert any(last.failure == "refused" for last in world.kernel.state.last.values())
        return

    state = world.kernel.state
    assert not state.attempts
    assert not [run for run in state.runs if state.runs[run].phase != "waiting"]
    for run in state.runs.values():
        request = state.queue.get(run.run, "")
        lacking = lacks(state, request) if request is not None else None
        # Readers of a suspect asset, and those behind them, wait for somebody to publish it.
        assert run.held or (lacking or "").startswith("fresh:"), f"{run.run} is left over"
    for backlog in state.backlogs.values():
        lane = (backlog.pipeline, backlog.partition, backlog.key)
        has_run = any(state.runs[name].automatic for name in state.lanes.get(lane, {}))
        # A person who cancelled keeps items back; the attempt may have ended after everybody resumed.
        may_wait = has_run or backlog.kept or is_incomplete(state, backlog)
        assert not len(backlog) or may_wait, f"items of {lane} are left over"


def is_incomplete(state: State, backlog: Backlog) -> bool:
    """Whether a lane waits for what has not come: a member of `all`, or one nearer to the others."""
    trigger = state.plan.pipelines[backlog.pipeline].trigger
    assert trigger is not None
    has_all = all(backlog.groups.get(group) for group in range(len(trigger.groups)))
    return trigger.at_latest is None and (not has_all or trigger.within is not None)
