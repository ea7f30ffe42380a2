"""Drawn logs of a parallel machine."""

from __future__ import annotations

from itertools import pairwise

from bench.scheduling.logs import LONGEST, SLOTS, draw, offered_load, text
from counterpoint.sim.traces.swf import read_swf


def test_a_log_is_what_its_seed_says() -> None:
    assert draw(1, jobs=200) == draw(1, jobs=200)
    assert draw(1, jobs=200) != draw(2, jobs=200)


def test_a_log_asks_for_the_load_it_was_drawn_for() -> None:
    assert 0.8 < offered_load(draw(1)) < 1.0


def test_jobs_fit_the_machine_and_end_by_their_estimate() -> None:
    jobs = draw(3, jobs=1_000)

    assert all(1 <= job.slots <= SLOTS and 1 <= job.duration <= job.estimate <= LONGEST for job in jobs)
    assert all(before.arrival <= after.arrival for before, after in pairwise(jobs))


def test_a_log_reads_back_as_it_was_drawn() -> None:
    jobs = draw(1, jobs=100)

    trace = read_swf(text(jobs).splitlines(), "drawn")

    assert not trace.skipped
    assert [
        (job.id, job.arrival_s, job.duration_s, sum(job.slots.values()), job.estimate_s) for job in trace.jobs
    ] == [(job.id, job.arrival, job.duration, job.slots, job.estimate) for job in jobs]
