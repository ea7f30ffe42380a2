"""Minutes blamed on causes, worked out by hand; each account adds up to the whole time."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from counterpoint.analysis.blame import (
    Earlier,
    Held,
    Stretch,
    Surroundings,
    Try,
    blame_run,
    contiguous,
    say_stretch,
    totals,
)
from counterpoint.kernel.records import Run, TaskState
from counterpoint.model.pipeline import After, Pipeline
from counterpoint.testing.builders import START, pipeline, task


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def run_of(pipeline: Pipeline, *, admitted: float | None, ended: float | None, **more: Any) -> Run:
    """A run of a pipeline, created after 10 min."""
    return Run(
        **{
            "run": "build#4",
            "ordinal": 4,
            "pipeline": "build",
            "key": "",
            "partition": "",
            "phase": "succeeded" if ended is not None else "running",
            "rank": 2,
            "due": at(70),
            "created": at(10),
            "automatic": True,
            "digest": "",
            "tasks": {name: TaskState(phase="done") for name in pipeline.tasks},
            "admitted": None if admitted is None else at(admitted),
            "ended": None if ended is None else at(ended),
        }
        | more
    )


def tried(task: str, start: float, end: float | None, phase: str = "succeeded", number: int = 1) -> Try:
    return Try(
        attempt=f"build#4/{task}/{number}",
        task=task,
        phase=phase,
        started=at(start),
        ended=None if end is None else at(end),
    )


def told(stretches: list[Stretch]) -> list[str]:
    """The account as people read it; it must be without gaps."""
    for before, after in pairwise(stretches):
        assert before.end == after.start
    return [say_stretch(each) for each in stretches]


ONE = pipeline("build", pools={"gpu": 1})


def test_a_batch_a_pool_that_others_held_and_the_run_itself() -> None:
    around = Surroundings(
        held=[
            Held(resource="pool:gpu", holder="train#2/run/1", amount=1, started=at(0), ended=at(50)),
            Held(resource="pool:db", holder="ingest#1/run/1", amount=1, started=at(0), ended=at(60)),
        ],
        capacity={"pool:gpu": 1, "pool:db": 1},
        needs={"": {"pool:gpu": 1}},
    )
    found = blame_run(
        run_of(ONE, admitted=52, ended=60), ONE, [tried("run", 52, 60)], around, since=at(8), until=at(60)
    )

    assert told(found) == [
        "build gathered a batch for 2m",
        "build#4 waited 40m for pool gpu, held by train#2/run/1",
        "build#4 waited 2m for its turn",
        "build#4/run ran 8m",
    ]
    assert sum((each.length for each in found), timedelta()) == timedelta(minutes=52)


def test_what_failed_and_was_tried_again() -> None:
    tries = [tried("run", 10, 13, "failed"), tried("run", 15, 20, number=2)]
    found = blame_run(run_of(ONE, admitted=10, ended=20), ONE, tries, Surroundings(), since=at(10), until=at(20))

    assert told(found) == [
        "build#4/run ran 3m and failed",
        "build#4/run waited 2m before it was tried again",
        "build#4/run ran 5m",
    ]


def test_the_path_goes_by_the_task_that_ended_last() -> None:
    tasks = [task("load"), task("quick"), task("slow"), task("join", after=[After("quick"), After("slow")])]
    wide = pipeline("build", tasks=tasks)
    tries = [
        tried("load", 10, 11),
        tried("quick", 10, 12),
        tried("slow", 10, 30),
        tried("join", 31, 35),
    ]
    found = blame_run(run_of(wide, admitted=10, ended=35), wide, tries, Surroundings(), since=at(10), until=at(35))

    assert told(found) == [
        "build#4/slow ran 20m",
        "build#4/join waited 1m for its turn",
        "build#4/join ran 4m",
    ]


def test_a_failed_run_before_it_and_the_rest_after_that() -> None:
    lane = [Earlier(run="build#3", phase="failed", created=at(2), ended=at(7))]
    found = blame_run(
        run_of(ONE, admitted=10, ended=18),
        ONE,
        [tried("run", 10, 18)],
        Surroundings(lane=lane),
        since=at(0),
        until=at(18),
    )

    assert told(found) == [
        "build gathered a batch for 2m",
        "build#3 ran 5m and failed",
        "build#4 waited 3m after build#3 had failed",
        "build#4/run ran 8m",
    ]


def test_a_run_that_goes_on_is_blamed_until_now() -> None:
    going = run_of(ONE, admitted=10, ended=None, tasks={"run": TaskState(phase="running")})
    found = blame_run(going, ONE, [tried("run", 10, None, "running")], Surroundings(), since=at(9), until=at(40))

    assert told(found) == ["build gathered a batch for 1m", "build#4/run ran 30m"]


def test_a_run_that_waits_is_blamed_until_now() -> None:
    held = [Held(resource="asset:mart", holder="load#1", amount=1 << 30, started=at(0), ended=None)]
    around = Surroundings(held=held, capacity={"asset:mart": 1 << 30}, needs={"": {"asset:mart": 1}})
    waiting = run_of(ONE, admitted=None, ended=None, phase="waiting")

    found = blame_run(waiting, ONE, [], around, since=at(10), until=at(25))

    assert told(found) == ["build#4 waited 15m for asset mart, held by load#1"]


def test_a_preempted_attempt_waits_for_its_turn_and_not_for_a_retry() -> None:
    tries = [tried("run", 10, 20, "preempted"), tried("run", 25, 30, number=2)]
    found = blame_run(run_of(ONE, admitted=10, ended=30), ONE, tries, Surroundings(), since=at(10), until=at(30))

    assert told(found) == [
        "build#4/run ran 10m and made room for others",
        "build#4/run waited 5m for its turn",
        "build#4/run ran 5m",
    ]


def test_what_is_not_on_record_is_said_and_counted() -> None:
    found = contiguous([Stretch(start=at(5), end=at(9), cause="ran", run="a#1", name="run")], at(0), at(10))

    assert told(found) == ["5m are not on record", "a#1/run ran 4m", "1m are not on record"]


def test_stretches_that_overlap_are_cut() -> None:
    one = Stretch(start=at(0), end=at(6), cause="ran", run="a#1", name="run")
    two = Stretch(start=at(4), end=at(9), cause="ran", run="b#1", name="run")

    assert told(contiguous([one, two], at(1), at(8))) == ["a#1/run ran 5m", "b#1/run ran 2m"]


def test_causes_are_added_up_the_worst_first() -> None:
    one = Stretch(start=at(0), end=at(2), cause="ran", run="a#1", name="run")
    two = Stretch(start=at(2), end=at(7), cause="pool", run="b#1", name="gpu")
    three = Stretch(start=at(7), end=at(11), cause="ran", run="a#1", name="run")

    assert totals([one, two, three]) == [(one, timedelta(minutes=6)), (two, timedelta(minutes=5))]


def waiting_for(held: list[Held]) -> list[Stretch]:
    """The account of a run that waited from minute 10 to 20 for two of three slots."""
    around = Surroundings(held=held, capacity={"pool:gpu": 3}, needs={"": {"pool:gpu": 2}})
    waiting = run_of(ONE, admitted=None, ended=None, phase="waiting")
    return blame_run(waiting, ONE, [], around, since=at(10), until=at(20))


def held(holder: str, start: float, end: float | None) -> Held:
    return Held(
        resource="pool:gpu", holder=holder, amount=1, started=at(start), ended=None if end is None else at(end)
    )


def test_a_wait_is_cut_where_holders_change_and_where_enough_was_free() -> None:
    found = waiting_for([held("a#1/run/1", 0, 14), held("b#1/run/1", 0, 12), held("c#1/run/1", 13, None)])

    assert told(found) == [
        "build#4 waited 2m for pool gpu, held by a#1/run/1, b#1/run/1",
        "build#4 waited 1m for its turn",
        "build#4 waited 1m for pool gpu, held by a#1/run/1, c#1/run/1",
        "build#4 waited 6m for its turn",
    ]


def test_a_wait_behind_many_is_told_as_one() -> None:
    found = waiting_for([held(f"x#{n}/run/1", 9 + n / 2, 10 + n / 2) for n in range(22)])

    assert [(each.cause, each.name, len(each.holders)) for each in found] == [("pool", "gpu", 21)]
    assert told(found) == ["build#4 waited 10m for pool gpu, held by x#1/run/1, x#2/run/1, x#3/run/1 and 18 more"]
