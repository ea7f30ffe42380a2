"""Jobs through the kernel: exact times, order, what waits for what."""

from __future__ import annotations

import pytest

from counterpoint.errors import Mistake
from counterpoint.sim.jobs import Job, play_jobs


def job(id_: str, arrival_s: float, duration_s: float, slots: int = 1, **fields: object) -> Job:
    return Job(id=id_, arrival_s=arrival_s, duration_s=duration_s, slots={"p": slots}, **fields)  # type: ignore[arg-type]


def test_times_are_exact_to_the_microsecond() -> None:
    ended = play_jobs([job("a", 0.25, 10.123456), job("b", 1, 0.000001)], {"p": 1})

    assert [(each.start_s, each.end_s) for each in ended] == [(0.25, 10.373456), (10.373456, 10.373457)]


def test_a_job_waits_for_those_that_it_is_after_and_for_its_own_arrival() -> None:
    jobs = [job("a", 0, 10), job("b", 0, 5, after=("a",)), job("c", 100, 5, after=("b",))]

    ended = play_jobs(jobs, {"p": 4})

    assert [(each.id, each.start_s) for each in ended] == [("a", 0), ("b", 10), ("c", 100)]


def test_a_job_without_length_runs() -> None:
    (ended,) = play_jobs([job("a", 3, 0)], {"p": 1})

    assert (ended.start_s, ended.end_s) == (3, 3)


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([job("a", 0, 1, 3)], "needs 3 slots"),
        ([job("a", 0, 1, after=("b",))], "'b', which is not there"),
        ([job("a", 0, 1, after=("b",)), job("b", 0, 1, after=("a",))], "in a circle: a, b"),
        ([job("a", 0, 1, priority_class="high")], "there are urgent, normal and bulk"),
    ],
)
def test_what_can_never_run_is_said(jobs: list[Job], message: str) -> None:
    with pytest.raises(Mistake, match=message):
        play_jobs(jobs, {"p": 2})
