"""Who goes first, in whole kernels: policies for comparison, shares of teams, lanes, and what `why` says of it."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from counterpoint.kernel import decisions as d
from counterpoint.kernel.explain import why_run
from counterpoint.kernel.records import Run
from counterpoint.kernel.sentences import say
from counterpoint.kernel.shares import entitlement_of, is_borrowing, share_of
from counterpoint.model.pipeline import After
from counterpoint.model.plan import Plan, Pool
from counterpoint.model.promise import Expected, Team
from counterpoint.testing.builders import START, Kernel, pipeline, plan, task

MINUTE = timedelta(minutes=1)


def kernel_of(declared: Plan) -> Kernel:
    kernel = Kernel()
    kernel.declare(declared)
    kernel.host()
    return kernel


def started(decisions: list[d.AnyDecision]) -> list[str]:
    return [decision.run for decision in decisions if isinstance(decision, d.StartAttempt)]


def why(kernel: Kernel, run: str) -> str:
    return " ".join(why_run(kernel.state, kernel.state.runs[run], kernel.now).lines)


# Policies for comparison.


def test_nothing_passes_the_first_under_fifo_not_even_for_another_pool_and_nobody_is_raised() -> None:
    kernel = kernel_of(
        plan(
            pipeline("first", pools={"db": 1}),
            pipeline("large", pools={"db": 2}),
            pipeline("urgent", pools={"gpu": 1}, priority_class="urgent"),
            pools={"db": 2, "gpu": 1},
            policy="fifo",
        )
    )
    kernel.run("first")
    kernel.run("large")

    assert started(kernel.run("urgent")) == []
    assert "nothing passes it" in why(kernel, "urgent#1")
    assert not kernel.wait(timedelta(days=2))
    assert started(kernel.end("first#1/run/1")) == ["large#1", "urgent#1"]


def test_under_priority_the_class_goes_first_and_nothing_passes_a_head_that_does_not_fit() -> None:
    kernel = kernel_of(
        plan(
            pipeline("first", pools={"db": 1}),
            pipeline("small", pools={"db": 1}),
            pipeline("large", pools={"db": 2}, priority_class="urgent"),
            pools={"db": 2},
            policy="priority",
        )
    )
    kernel.run("first")
    kernel.run("large")

    assert started(kernel.run("small")) == []
    assert started(kernel.end("first#1/run/1")) == ["large#1"]


def test_a_task_stands_where_it_began_to_wait_under_fifo() -> None:
    tasks = [task("one", pools={"db": 1}), task("two", pools={"db": 1}, after=[After("one")])]
    kernel = kernel_of(
        plan(pipeline("chain", tasks=tasks), pipeline("other", pools={"db": 1}), pools={"db": 1}, policy="fifo")
    )
    kernel.run("chain")
    kernel.now += MINUTE
    kernel.run("other")
    kernel.now += MINUTE

    assert started(kernel.end("chain#1/one/1")) == ["other#1"]
    kernel.reload()
    assert started(kernel.end("other#1/run/1")) == ["chain#1"]


@pytest.mark.parametrize("policy", ["fifo", "priority"])
def test_what_holds_an_asset_between_its_tasks_is_not_held_up_by_who_waits_for_the_asset(policy: Any) -> None:
    tasks = [task("one", pools={"db": 1}), task("two", pools={"db": 1}, after=[After("one")])]
    kernel = kernel_of(
        plan(
            pipeline("writer", tasks=tasks, writes=["a"]),
            pipeline("reader", reads=["a"], pools={"db": 1}, suspect="use"),
            pools={"db": 1},
            policy=policy,
        )
    )
    kernel.run("writer")
    kernel.now += MINUTE
    kernel.run("reader")
    kernel.now += MINUTE

    assert started(kernel.end("writer#1/one/1")) == ["writer#1"]
    assert started(kernel.end("writer#1/two/1")) == ["reader#1"]


# The longest path first.


def test_on_slots_that_are_all_alike_tasks_start_in_the_order_of_their_longest_path() -> None:
    def timed(name: str, minutes: int, *after: str) -> Any:
        takes = Expected(minutes * MINUTE, minutes * MINUTE)
        return task(name, pools={"cpu": 1}, takes=takes, after=[After(each) for each in after])

    tasks = [
        timed("root", 1),
        timed("a", 2, "root"),
        timed("b", 9, "root"),
        timed("c", 1, "root"),
        timed("d", 5, "c"),
    ]
    kernel = kernel_of(plan(pipeline("dag", tasks=tasks), pools={"cpu": 1}))
    kernel.run("dag")
    order = []
    attempt = "dag#1/root/1"
    while attempt:
        starts = [each for each in kernel.end(attempt) if isinstance(each, d.StartAttempt)]
        attempt = starts[0].attempt if starts else ""
        order += [each.task for each in starts]

    assert order == ["b", "c", "d", "a"]


# Teams.


def teams() -> Kernel:
    declared = plan(
        pipeline("a", pools={"db": 1}, concurrency=9, team="red"),
        pipeline("b", pools={"gpu": 1}, concurrency=9, owner="blue"),
        pools={"db": 4, "gpu": 4},
        teams={"red": Team(weight=1), "blue": Team(weight=3)},
    )
    return kernel_of(declared)


def test_a_share_is_the_largest_of_any_pool_and_an_entitlement_the_weight_over_all_weights() -> None:
    kernel = teams()
    kernel.run("a")
    assert (share_of(kernel.state, "red"), entitlement_of(kernel.state, "red")) == (0.25, 0.25)
    assert not is_borrowing(kernel.state, kernel.state.attempts["a#1/run/1"])

    kernel.run("a")
    kernel.run("b")

    assert is_borrowing(kernel.state, kernel.state.attempts["a#2/run/1"])
    assert not is_borrowing(kernel.state, kernel.state.attempts["b#1/run/1"])
    kernel.reload()
    assert (share_of(kernel.state, "red"), share_of(kernel.state, "blue")) == (0.5, 0.25)
    kernel.end("a#1/run/1")
    assert share_of(kernel.state, "red") == 0.25


def crowded(slots: int, *, large: bool = False) -> tuple[dict[str, int], list[timedelta]]:
    """What two teams of weights 2 and 1 use of a pool in hours in which both have more work than it can do.

    Also how long requests for all of the pool waited, of the team with less.
    """
    kernel = kernel_of(
        plan(
            pipeline("red", team="red", pools={"db": 1}, concurrency=10_000),
            pipeline("blue", team="blue", pools={"db": 1}, concurrency=10_000),
            pipeline("large", team="blue", pools={"db": slots}, concurrency=10_000),
            pools={"db": slots},
            waits={"urgent": 5 * MINUTE, "normal": 20 * MINUTE, "bulk": 60 * MINUTE},
            teams={"red": Team(2.0), "blue": Team(1.0)},
        )
    )
    used, waited = {"red": 0, "blue": 0, "large": 0}, []
    for minute in range(400):
        # Where there are large ones, blue asks for no more than its share beside them.
        asked = ["red"] * slots + ["blue"] * (slots // 3 if large else slots)
        for name in asked + (["large"] if large and minute % 100 == 30 else []):
            kernel.run(name)
        kernel.now += MINUTE
        for attempt in list(kernel.state.attempts):
            used[kernel.state.runs[kernel.state.attempts[attempt].run].pipeline] += 1
            for decision in kernel.end(attempt):
                if isinstance(decision, d.AdmitRun) and decision.run.startswith("large"):
                    waited.append(kernel.now - kernel.state.runs[decision.run].created)
    return used, waited


@pytest.mark.parametrize("slots", [3, 6])
def test_teams_that_always_have_work_use_a_pool_by_their_weights_however_long_their_runs_have_waited(
    slots: int,
) -> None:
    used, _ = crowded(slots)

    assert used["red"] / used["blue"] == pytest.approx(2.0, rel=0.03)


def test_a_request_larger_than_its_teams_share_is_not_starved_by_a_flood() -> None:
    _, waited = crowded(6, large=True)

    assert len(waited) == 4 and max(waited) <= 25 * MINUTE


def test_why_names_the_share_of_a_team_that_borrows() -> None:
    kernel = teams()
    for _ in range(5):
        kernel.run("a")

    assert "Team red has 100% of a pool, and 25% is its share" in why(kernel, "a#5")


# What is kept for a run that needs several slots and must be in time.


def sharing() -> Kernel:
    """Four slots, one of them taken for 10 minutes; `wide` needs all, and must start within 30 minutes."""
    kernel = kernel_of(
        plan(
            pipeline("first", tasks=[task(pools={"db": 1}, takes=Expected(10 * MINUTE, 10 * MINUTE))]),
            pipeline("wide", pools={"db": 4}),
            pipeline("small", pools={"db": 1}, concurrency=9),
            pipeline("urgent", pools={"db": 1}, priority_class="urgent"),
            pools={"db": 4},
        )
    )
    kernel.run("first")
    kernel.run("wide", deadline=START + 40 * MINUTE, takes_s=600.0)
    return kernel


def test_who_would_still_run_when_another_must_start_does_not_go_around_it() -> None:
    kernel = sharing()
    assert started(kernel.run("small", takes_s=20 * 60.0)) == ["small#1"]
    assert started(kernel.run("small", takes_s=40 * 60.0)) == []
    assert started(kernel.run("small")) == []
    assert "is kept for wide#1, which must start by 10:30:00 UTC to be in time" in why(kernel, "small#2")
    assert "expected to be there at 10:20:00 UTC" in why(kernel, "wide#1")
    assert "is kept for it; only who ends by 10:30:00 UTC goes around it" in why(kernel, "wide#1")

    kernel.wait(20 * MINUTE)
    kernel.end("small#1/run/1")
    assert started(kernel.end("first#1/run/1")) == ["wide#1"]


def test_a_higher_class_goes_before_what_is_kept_for_a_run_that_must_be_in_time() -> None:
    kernel = sharing()

    assert started(kernel.run("urgent", takes_s=40 * 60.0)) == ["urgent#1"]


def test_a_task_of_a_run_that_must_be_in_time_has_slots_kept_as_soon_as_it_waits() -> None:
    takes = Expected(5 * MINUTE, 5 * MINUTE)
    tasks = [
        task("prepare", pools={"db": 1}, takes=takes),
        task("train", pools={"db": 4}, after=[After("prepare")]),
    ]
    small = pipeline("small", pools={"db": 1}, concurrency=9)
    kernel = kernel_of(plan(pipeline("wide", tasks=tasks), small, pools={"db": 4}))
    kernel.run("wide", deadline=START + 40 * MINUTE, takes_s=600.0)
    kernel.run("small", takes_s=5 * 60.0)
    decided = kernel.end("wide#1/prepare/1")

    kept = next(decision for decision in decided if isinstance(decision, d.ReserveFor))
    assert (kept.run, kept.task, kept.start) == ("wide#1", "train", START + 5 * MINUTE)
    assert say(kept.reason) == "to be in time it must start as soon as it can, and it lacks pool db"
    assert started(kernel.run("small", takes_s=10 * 60.0)) == []
    assert "kept for wide#1, which must start as soon as it can to be in time" in why(kernel, "small#2")
    assert started(kernel.run("small", takes_s=4 * 60.0)) == ["small#3"]


def test_who_waited_too_long_takes_over_what_is_kept_for_a_run_that_must_be_in_time() -> None:
    names = ("first", "old", "wide")
    kernel = kernel_of(plan(*(pipeline(name, pools={"db": 4}) for name in names), pools={"db": 4}))
    for name in names[:2]:
        kernel.run(name)
    kernel.wait(30 * MINUTE)
    kernel.run("wide", deadline=kernel.now + 120 * MINUTE, takes_s=600.0)
    assert kernel.state.queue.reserved["pool:db"] == ("wide#1", "")

    kernel.wait(30 * MINUTE)
    assert kernel.state.queue.reserved["pool:db"] == ("old#1", "")
    assert started(kernel.end("first#1/run/1")) == ["old#1"]
    assert kernel.state.queue.reserved["pool:db"] == ("wide#1", "")


# What `why` says.


def test_why_names_whom_a_run_goes_around_and_when_there_will_be_enough() -> None:
    takes = Expected(10 * MINUTE, 10 * MINUTE)
    kernel = kernel_of(
        plan(
            pipeline("first", tasks=[task(pools={"db": 2}, takes=takes)]),
            pipeline("large", pools={"db": 3}),
            pipeline("small", pools={"db": 2}),
            pools={"db": 3},
        )
    )
    for name in ("first", "large", "small"):
        kernel.run(name)

    assert "large#1 comes before it and does not fit" in why(kernel, "small#1")
    assert "expected to be there at 10:10:00" in why(kernel, "small#1")
    assert why_run(kernel.state, kernel.state.runs["small#1"], kernel.now).when == START + 10 * MINUTE


def test_why_tells_of_a_target_and_until_when_there_is_slack() -> None:
    kernel = kernel_of(plan(pipeline("late", pools={"db": 2}), pools={}))
    declared = msgspec.structs.replace(kernel.state.plan, pools={"db": Pool(3, target=0.5)})
    kernel.declare(declared)
    kernel.run("late", deadline=START + 30 * MINUTE, takes_s=600.0)

    found = why_run(kernel.state, kernel.state.runs["late#1"], kernel.now)

    assert [blocker.what for blocker in found.blockers] == ["target"]
    assert found.when == START + 20 * MINUTE
    assert started(kernel.wait(21 * MINUTE)) == ["late#1"]


# Backfills.


@pytest.mark.parametrize("seed", range(5))
def test_neither_a_flood_of_live_work_nor_one_of_backfills_starves_the_other(seed: int) -> None:
    random = Random(seed)
    waits = {"urgent": 5 * MINUTE, "normal": 10 * MINUTE, "bulk": 30 * MINUTE}
    kernel = kernel_of(
        plan(
            pipeline("live", pools={"db": 1}, concurrency=10_000),
            pipeline("past", pools={"db": 1}, concurrency=10_000),
            pools={"db": 4},
            waits=waits,
        )
    )
    for _ in range(30):
        kernel.run("past", lane="backfill")
    admitted: list[tuple[str, timedelta]] = []
    for _ in range(400):
        # Twice as much live work as the pool can do.
        kernel.run("live")
        kernel.run("live")
        kernel.now += MINUTE / 2
        for decision in kernel.end(random.choice(list(kernel.state.attempts))):
            if isinstance(decision, d.AdmitRun):
                run = kernel.state.runs[decision.run]
                admitted.append((run.pipeline, kernel.now - run.created))
    names = [name for name, _ in admitted]
    last = len(names) - names[::-1].index("past")
    mixed = names[names.index("past") : last]

    # Each got a third of the slots at least while both wanted them; none of the 30 backfills is left.
    assert names.count("past") >= 26 and not [run for run in kernel.state.runs.values() if _is_left(run)]
    assert mixed.count("live") >= len(mixed) / 3
    assert max(waited for name, waited in admitted if name == "past") <= waits["bulk"] + 3 * 30 * MINUTE / 2


def _is_left(run: Run) -> bool:
    return run.pipeline == "past" and run.phase == "waiting"
