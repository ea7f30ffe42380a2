"""The schedulers that the bench compares with, against cases worked out by hand."""

from __future__ import annotations

from math import inf

import pytest

from bench.scheduling.references import (
    Job,
    bounds,
    critical_path_list,
    easy,
    first_come,
    longest_paths,
    order_violations,
    oversold,
    strict_priority,
)

# Ten slots. A runs; B needs all ten and waits for A; C is short, D long, both small.
QUEUE = [
    Job("a", 0, 100, slots=6, estimate=100),
    Job("b", 1, 50, slots=10, estimate=50),
    Job("c", 2, 90, slots=4, estimate=90),
    Job("d", 3, 200, slots=4, estimate=200),
]


def test_first_come_lets_nobody_pass_the_head() -> None:
    assert first_come(QUEUE, 10) == {"a": 0, "b": 100, "c": 150, "d": 150}


def test_easy_lets_pass_who_ends_before_the_reservation() -> None:
    # At 2 the head is promised 100, and 2 + 90 is before that; d would end at 203 and waits for b.
    assert easy(QUEUE, 10) == {"a": 0, "c": 2, "b": 100, "d": 150}


def test_easy_lets_pass_who_needs_only_what_the_head_leaves() -> None:
    jobs = [
        Job("a", 0, 100, slots=6, estimate=100),
        Job("b", 1, 50, slots=8, estimate=50),
        Job("long", 2, 500, slots=2, estimate=500),
        Job("longer", 3, 500, slots=2, estimate=500),
    ]

    # At 100 ten are free, eight for b: two are left over, once.
    assert easy(jobs, 10) == {"a": 0, "long": 2, "b": 100, "longer": 150}


def test_easy_goes_by_what_was_estimated_and_uses_what_ends_early() -> None:
    jobs = [
        Job("a", 0, 10, slots=6, estimate=100),
        Job("b", 1, 5, slots=10, estimate=50),
        Job("c", 2, 90, slots=4, estimate=99),
        Job("d", 3, 1, slots=4, estimate=90),
    ]

    # c would end by its estimate at 101, after the reservation at 100; d by 93. a ends early, b follows at once.
    assert easy(jobs, 10) == {"a": 0, "d": 3, "b": 10, "c": 15}


def test_strict_priority_holds_everything_behind_a_high_head() -> None:
    jobs = [
        Job("running", 0, 10, slots=3),
        Job("low", 1, 5),
        Job("high", 2, 5, slots=2, high=True),
        Job("higher", 2, 5, high=True),
    ]

    # At 1 the low one fits; at 2 the high ones wait for two slots, and the second does not pass the first.
    assert strict_priority(jobs, 4) == {"running": 0, "low": 1, "high": 10, "higher": 10}


# A fork and join: a -> (b, c, d) -> e, and a short path beside it.
WORKFLOW = [
    Job("a", 0, 2),
    Job("b", 0, 3, after=("a",)),
    Job("c", 0, 5, after=("a",)),
    Job("d", 0, 4, after=("a",)),
    Job("e", 0, 1, after=("b", "c", "d")),
    Job("beside", 0, 1),
]


def test_longest_paths_count_to_the_end() -> None:
    assert longest_paths(WORKFLOW) == {"a": 8, "b": 4, "c": 6, "d": 5, "e": 1, "beside": 1}


def test_a_critical_path_list_takes_the_longest_way_first() -> None:
    starts = critical_path_list(WORKFLOW, 2)

    # Two slots: a and `beside`; then c and d; b when d ends at 6; e after b at 9.
    assert starts == {"a": 0, "beside": 0, "c": 2, "d": 2, "b": 6, "e": 9}


def test_the_bounds_enclose_a_list_schedule() -> None:
    found = bounds(WORKFLOW, 2)

    assert (found.path, found.work) == (8, 16)
    assert found.lower == 8
    assert found.graham == 8 + 0.5 * 8


def test_an_order_that_goes_round_is_refused() -> None:
    with pytest.raises(ValueError, match="cycle"):
        longest_paths([Job("a", 0, 1, after=("b",)), Job("b", 0, 1, after=("a",))])


def test_violations_of_order_and_oversold_slots_are_found() -> None:
    jobs = [Job("a", 0, 2), Job("b", 0, 2, after=("a",))]

    assert order_violations(jobs, {"a": 0, "b": 1}, {"a": 2, "b": 3}) == ["a -> b"]
    assert order_violations(jobs, {"a": 0, "b": 2}, {"a": 2, "b": 4}) == []
    assert oversold(jobs, {"a": 0, "b": 1}, {"a": 2, "b": 3}, 1) == 1
    assert oversold(jobs, {"a": 0, "b": 2}, {"a": 2, "b": 4}, 1) == inf
