from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.evolve import evolve
from counterpoint.kernel.explain import why_run
from counterpoint.kernel.outlook import remaining_s
from counterpoint.kernel.records import Attempt
from counterpoint.kernel.rules.preemption import PATIENCE, Victim, smallest
from counterpoint.kernel.sentences import sentence
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.plan import Plan
from counterpoint.model.promise import Expected, Preempt
from counterpoint.model.trigger import OnEvent
from counterpoint.testing.builders import START, Kernel, pipeline, plan, task

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def training(name: str = "train", *, slots: int = 1, takes: timedelta | None = None, **fields: Any) -> Pipeline:
    """Long work that makes room."""
    expected = Expected(takes, takes) if takes else None
    given = {"preempt": Preempt(), "priority_class": "bulk", "concurrency": 9} | fields
    return pipeline(name, tasks=[task(pools={"gpu": slots}, takes=expected)], **given)


def inference(name: str = "infer", *, slots: int = 1, **fields: Any) -> Pipeline:
    given = {"pools": {"gpu": slots}, "priority_class": "urgent", "concurrency": 9} | fields
    return pipeline(name, **given)


def kernel_of(*pipelines: Pipeline, gpu: int = 1, **fields: Any) -> Kernel:
    kernel = Kernel()
    kernel.declare(plan(*pipelines, pools={"gpu": gpu, "db": 1}, **fields))
    kernel.host()
    return kernel


def stopped(decisions: list[Any]) -> list[str]:
    return [each.attempt for each in decisions if isinstance(each, d.StopAttempt) and each.why == "preempt"]


def started(decisions: list[Any]) -> list[str]:
    return [each.attempt for each in decisions if isinstance(each, d.StartAttempt)]


def test_urgent_work_takes_the_gpu_and_the_training_goes_on_from_its_checkpoint() -> None:
    kernel = kernel_of(training(), inference())
    kernel.run("train")
    kernel.wait(HOUR)
    kernel.take(e.CheckpointReached, attempt="train#1/run/1", name="epoch", data={"n": 7})
    kernel.wait(MINUTE)

    (stop,) = [each for each in kernel.run("infer") if isinstance(each, d.StopAttempt)]

    assert stop.attempt == "train#1/run/1"
    assert stop.reason.figures["lost_s"] == 60.0
    assert sentence(stop) == (
        "train#1/run/1 is stopped: it makes room for infer#1 (urgent before bulk): 1m of work lost, "
        "a wait of unknown length saved"
    )
    assert started(kernel.end("train#1/run/1", "failed")) == ["infer#1/run/1"]
    run = kernel.state.runs["train#1"]
    assert (run.evictions, run.tasks["run"].tries) == (1, 0)
    assert run.tasks["run"].checkpoint == {"name": "epoch", "data": {"n": 7}, "attempt": "train#1/run/1"}
    assert started(kernel.end("infer#1/run/1")) == ["train#1/run/2"]
    kernel.check_journal()


def test_work_that_ends_well_in_its_grace_is_done() -> None:
    kernel = kernel_of(training(), inference())
    kernel.run("train")
    kernel.wait(HOUR)
    kernel.run("infer")

    decided = kernel.end("train#1/run/1")

    assert [each.phase for each in decided if isinstance(each, d.FinishRun)] == ["succeeded"]
    assert started(decided) == ["infer#1/run/1"]


def test_why_says_of_taker_and_victim_until_when_the_grace_lasts() -> None:
    kernel = kernel_of(training(), inference())
    kernel.run("train")
    kernel.wait(HOUR)
    kernel.run("infer")
    grace = kernel.state.task_of(kernel.state.runs["train#1"], "run").grace

    taker, victim = (why_run(kernel.state, kernel.state.runs[name], kernel.now) for name in ("infer#1", "train#1"))

    assert taker.when == victim.when == kernel.now + grace
    assert any(line.startswith("train#1/run/1 was asked to stop; its grace ends at") for line in taker.lines)
    assert any(line.startswith("It was asked to stop, to make room") for line in victim.lines)


def test_an_urgent_run_behind_an_aged_one_of_a_lower_class_is_a_taker() -> None:
    kernel = kernel_of(
        training(preempt=Preempt(minimum=30 * MINUTE)),
        inference("low", priority_class="bulk"),
        inference(),
        waits={"urgent": MINUTE, "normal": MINUTE, "bulk": 5 * MINUTE},
    )
    # Each tells its own duration, so that durations do not keep them apart in the queue.
    kernel.run("train", takes_s=36000.0)
    kernel.run("low", takes_s=60.0)
    kernel.wait(10 * MINUTE)
    kernel.run("infer", takes_s=60.0)

    kernel.wait(5 * MINUTE)
    assert [kernel.state.runs[name].rank for name in ("low#1", "infer#1")] == [0, 0]

    heads = kernel.state.queue.heads_needing("pool:gpu", below=3)
    assert [head.run for head in heads] == ["infer#1"]


def test_nothing_stops_before_its_least_time_of_running_and_then_it_does() -> None:
    kernel = kernel_of(training(preempt=Preempt(minimum=10 * MINUTE)), inference())
    kernel.run("train")
    kernel.wait(MINUTE)
    assert stopped(kernel.run("infer")) == []

    assert stopped(kernel.wait(9 * MINUTE - SECOND)) == []
    assert stopped(kernel.wait(SECOND)) == ["train#1/run/1"]


def test_a_run_makes_room_as_often_as_it_may() -> None:
    kernel = kernel_of(training(preempt=Preempt(evictions=2, cooldown=timedelta())), inference())
    kernel.run("train")
    for number in (1, 2):
        kernel.wait(HOUR)
        assert stopped(kernel.run("infer")) == [f"train#1/run/{number}"]
        kernel.end(f"train#1/run/{number}", "failed")
        kernel.end(f"infer#{number}/run/1")

    kernel.wait(HOUR)

    assert stopped(kernel.run("infer") + kernel.wait(HOUR)) == []


def test_after_it_began_again_a_run_is_left_alone_for_a_while() -> None:
    kernel = kernel_of(training(preempt=Preempt(minimum=MINUTE, cooldown=30 * MINUTE)), inference())
    kernel.run("train")
    kernel.wait(HOUR)
    kernel.run("infer")
    kernel.end("train#1/run/1", "failed")
    kernel.wait(HOUR)
    kernel.end("infer#1/run/1")
    again = kernel.now

    decided = kernel.run("infer") + kernel.wait(HOUR)

    (stop,) = [each for each in decided if isinstance(each, d.StopAttempt)]
    assert stop.at == again + 30 * MINUTE


def test_one_large_victim_is_taken_rather_than_two_small_ones() -> None:
    kernel = kernel_of(training(), training("large", slots=2), inference(slots=2), gpu=4)
    kernel.run("large")
    kernel.wait(HOUR)
    kernel.run("train")
    kernel.run("train")
    kernel.wait(10 * MINUTE)

    assert stopped(kernel.run("infer")) == ["large#1/run/1"]


def test_of_those_that_would_do_the_one_that_loses_least() -> None:
    kernel = kernel_of(training(), inference(), gpu=3)
    for _ in range(3):
        kernel.run("train")
        kernel.wait(10 * MINUTE)
    kernel.take(e.CheckpointReached, attempt="train#2/run/1", name="epoch")
    kernel.wait(MINUTE)

    assert stopped(kernel.run("infer")) == ["train#2/run/1"]


def test_nobody_stops_where_that_would_not_be_enough() -> None:
    kernel = kernel_of(training(), inference("other"), inference(slots=2), gpu=2)
    kernel.run("train")
    kernel.run("other")
    kernel.wait(HOUR)

    assert stopped(kernel.run("infer") + kernel.wait(HOUR)) == []


def test_nobody_stops_while_something_else_is_missing() -> None:
    both = inference(pools={"gpu": 1, "db": 1})
    kernel = kernel_of(training(), both, pipeline("query", pools={"db": 1}))
    kernel.run("train")
    kernel.run("query")
    kernel.wait(HOUR)
    assert stopped(kernel.run("infer")) == []

    assert stopped(kernel.end("query#1/run/1")) == ["train#1/run/1"]


def test_the_end_of_a_holder_is_expected_as_it_is_for_the_queue() -> None:
    kernel = kernel_of(training(), inference())
    # Of the only task nothing is known but what whole runs take.
    kernel.take(e.DurationsLearned, bands=(e.Band(pipeline="train", task="", p50=3600.0, p90=3600.0, samples=30),))
    kernel.run("train")
    kernel.wait(59 * MINUTE)

    assert stopped(kernel.run("infer")) == []
    assert remaining_s(kernel.state, "train#1/run/1") == 60.0
    assert stopped(kernel.wait(MINUTE - SECOND)) == []
    assert stopped(kernel.wait(SECOND)) == ["train#1/run/1"]


def test_an_expected_end_that_lies_between_two_microseconds_is_waited_for_once() -> None:
    kernel = kernel_of(training(), inference())
    kernel.run("train", takes_s=3600.0000004)
    kernel.wait(59 * MINUTE)

    assert stopped(kernel.run("infer") + kernel.wait(MINUTE - SECOND)) == []
    assert stopped(kernel.wait(SECOND)) == ["train#1/run/1"]


def test_a_victim_that_is_about_to_end_is_left_alone_until_it_lasts_longer_than_expected() -> None:
    kernel = kernel_of(training(takes=HOUR), inference())
    kernel.run("train")
    kernel.wait(59 * MINUTE)
    assert stopped(kernel.run("infer")) == []

    assert stopped(kernel.wait(59 * SECOND)) == []
    assert stopped(kernel.wait(SECOND)) == ["train#1/run/1"]


def test_a_taker_waits_as_long_as_its_promise_allows() -> None:
    kernel = kernel_of(training(takes=5 * HOUR), inference())
    kernel.run("train")
    kernel.wait(HOUR)
    latest = kernel.now + 30 * MINUTE
    asked = {"automatic": False, "rank": 1, "due": latest, "top_at": latest, "latest": latest}
    begin_to_wait(kernel, asked)

    decided = kernel.host() + kernel.wait(HOUR)

    (stop,) = [each for each in decided if isinstance(each, d.StopAttempt)]
    assert stop.at == latest - 10 * SECOND


def begin_to_wait(kernel: Kernel, fields: Mapping[str, Any]) -> None:
    """Fold a run whose place in the queue some other rule has set."""
    run = d.CreateRun(
        at=kernel.now, reason=d.Reason("asked"), run="infer#1", pipeline="infer", key="", partition="", **fields
    )
    evolve(kernel.state, run)


def test_two_urgent_requests_do_not_stop_two_for_one_slot() -> None:
    kernel = kernel_of(
        training(), inference(slots=1), inference("other", slots=1), training("wide", slots=2), gpu=2
    )
    kernel.run("wide")
    kernel.wait(HOUR)

    assert stopped(kernel.run("infer")) == ["wide#1/run/1"]
    # The second slot that gets free serves the second one.
    assert stopped(kernel.run("other")) == []
    assert started(kernel.end("wide#1/run/1", "failed")) == ["infer#1/run/1", "other#1/run/1"]


def test_each_of_two_takers_gets_a_victim_of_its_own() -> None:
    kernel = kernel_of(training(), inference(), gpu=2)
    kernel.run("train")
    kernel.run("train")
    kernel.wait(HOUR)

    assert stopped(kernel.run("infer")) == ["train#1/run/1"]
    assert stopped(kernel.run("infer")) == ["train#2/run/1"]
    assert started(kernel.end("train#2/run/1", "failed")) == ["infer#1/run/1"]
    assert started(kernel.end("train#1/run/1", "failed")) == ["infer#2/run/1"]


def test_what_the_victim_leaves_goes_to_the_taker_and_to_nobody_before_it() -> None:
    kernel = kernel_of(
        training(), training("second"), inference("large", slots=2), inference("small", slots=1), gpu=2
    )
    kernel.run("train")
    kernel.run("second")
    kernel.wait(HOUR)
    assert stopped(kernel.run("large")) == ["second#1/run/1", "train#1/run/1"]
    kernel.run("small")

    assert started(kernel.end("train#1/run/1", "failed")) == []
    why = why_run(kernel.state, kernel.state.runs["small#1"], kernel.now)
    assert "What gets free of pool gpu is kept for large#1, which goes first." in why.lines
    assert started(kernel.end("second#1/run/1", "failed")) == ["large#1/run/1"]


def test_what_is_kept_is_free_again_when_the_taker_is_cancelled() -> None:
    kernel = kernel_of(training(), inference())
    kernel.run("train")
    kernel.wait(HOUR)
    kernel.run("infer")
    kernel.take(e.CancelRequested, run="infer#1", by="anna")

    assert started(kernel.end("train#1/run/1", "failed")) == ["train#1/run/2"]


def test_what_is_kept_is_free_again_when_the_taker_cannot_start_after_all() -> None:
    kernel = kernel_of(training(), inference(slots=2), pipeline("small", pools={"gpu": 1}), training("b"), gpu=2)
    kernel.run("train")
    kernel.run("b")
    kernel.wait(HOUR)
    kernel.run("infer")
    kernel.end("train#1/run/1", "failed")
    kernel.run("small")

    # The second victim does not end: its host cannot be reached.
    decided = kernel.wait(10 * SECOND + PATIENCE)

    assert started(decided) == ["small#1/run/1"]
    assert decided[0].at == START + HOUR + 10 * SECOND + PATIENCE


@pytest.mark.parametrize("policy", ["fifo", "priority"])
def test_other_policies_stop_nobody(policy: str) -> None:
    kernel = kernel_of(training(), inference(), policy=policy)
    kernel.run("train")
    kernel.wait(HOUR)

    assert stopped(kernel.run("infer") + kernel.wait(HOUR)) == []


def test_age_makes_no_taker_and_protects_no_victim() -> None:
    kernel = kernel_of(training(), training("aged", preempt=None), inference())
    kernel.run("train")
    kernel.run("aged")
    # Raised to the top by now.
    assert stopped(kernel.wait(30 * HOUR)) == []

    kernel.run("train")
    kernel.end("train#1/run/1")
    kernel.end("aged#1/run/1")
    kernel.wait(30 * HOUR)
    assert stopped(kernel.run("infer")) == ["train#2/run/1"]


def test_a_pipeline_that_holds_its_slots_throughout_is_no_victim() -> None:
    kernel = kernel_of(training(hold="run"), inference())
    kernel.run("train")
    kernel.wait(HOUR)

    assert stopped(kernel.run("infer") + kernel.wait(HOUR)) == []


def test_a_deferred_attempt_is_no_victim() -> None:
    kernel = kernel_of(training(), inference())
    kernel.run("train")
    kernel.take(e.AttemptDeferred, attempt="train#1/run/1", look_at=kernel.now + 9 * HOUR)
    kernel.wait(HOUR)

    assert stopped(kernel.run("infer")) == []


def test_a_task_of_a_run_that_goes_on_is_a_taker_too() -> None:
    two = inference(tasks=[task("read"), task("answer", after=[], pools={"gpu": 1})])
    kernel = kernel_of(training(), two)
    kernel.run("train")
    kernel.wait(HOUR)

    assert stopped(kernel.run("infer")) == ["train#1/run/1"]
    assert kernel.state.queue.claims.keys() == {("infer#1", "answer")}
    assert started(kernel.end("train#1/run/1", "failed")) == ["infer#1/answer/1"]


def test_a_taker_that_is_moved_to_the_top_keeps_what_is_kept_for_it() -> None:
    waits = {"urgent": 5 * SECOND, "normal": HOUR, "bulk": 24 * HOUR}
    kernel = kernel_of(training(), inference(), waits=waits)
    kernel.run("train")
    kernel.wait(HOUR)
    kernel.run("infer")

    assert stopped(kernel.wait(7 * SECOND)) == []

    assert kernel.state.runs["infer#1"].rank == 0
    assert started(kernel.end("train#1/run/1", "failed")) == ["infer#1/run/1"]


def test_what_is_kept_outlives_a_restart_and_a_new_plan() -> None:
    kernel = kernel_of(training(), training("b"), inference(slots=2), inference("small"), gpu=2)
    kernel.run("train")
    kernel.run("b")
    kernel.wait(HOUR)
    kernel.run("infer")
    kernel.end("b#1/run/1", "failed")
    kernel.reload()
    renamed: Plan = msgspec.structs.replace(kernel.state.plan, name="other")
    kernel.declare(renamed)

    assert started(kernel.run("small")) == []
    assert started(kernel.end("train#1/run/1", "failed")) == ["infer#1/run/1"]


def test_thousands_of_waiting_runs_are_not_walked() -> None:
    kernel = kernel_of(
        training(), inference("low", on=[OnEvent("x")], overlap="queue", priority_class="bulk", concurrency=10_000)
    )
    kernel.run("train")
    for _ in range(300):
        kernel.emit("x")

    assert len(kernel.state.queue) == 300
    assert len(kernel.state.queue.heads_needing("pool:gpu", below=4)) == 1


def victim(name: str, lost: float, budget: int = 1, **slots: int) -> Victim:
    run = name.partition("/")[0]
    attempt = Attempt(name, run, "t", 1, "h", slots, datetime(2026, 1, 5))
    return Victim(attempt, 3, budget, lost, SECOND, {f"pool:{pool}": amount for pool, amount in slots.items()})


def names(chosen: tuple[Victim, ...]) -> list[str]:
    return [each.attempt.attempt for each in chosen]


def test_the_smallest_set_covers_every_pool() -> None:
    only_gpu, only_db = victim("a/t/1", 1, gpu=1), victim("b/t/1", 2, db=1)
    both = victim("c/t/1", 900, gpu=1, db=1)

    assert names(smallest([only_gpu, only_db, both], {"pool:gpu": 1, "pool:db": 1})) == ["c/t/1"]
    assert names(smallest([only_gpu, only_db], {"pool:gpu": 1, "pool:db": 1})) == ["a/t/1", "b/t/1"]
    assert smallest([only_gpu], {"pool:gpu": 1, "pool:db": 1}) == ()


def test_a_run_gives_no_more_attempts_at_once_than_it_has_evictions_left() -> None:
    first, second, other = victim("a/t/1", 1, gpu=1), victim("a/u/1", 2, gpu=1), victim("b/t/1", 9, gpu=1)

    assert names(smallest([first, second, other], {"pool:gpu": 2})) == ["a/t/1", "b/t/1"]
    assert smallest([first, second], {"pool:gpu": 2}) == ()


def test_of_many_victims_as_few_are_chosen_as_are_needed() -> None:
    many = [victim(f"r{number}/t/1", number, gpu=1) for number in range(60)] + [victim("big/t/1", 99, gpu=8)]

    assert names(smallest(many, {"pool:gpu": 9})) == ["big/t/1", "r0/t/1"]
    assert len(smallest(many[:60], {"pool:gpu": 20})) == 20
