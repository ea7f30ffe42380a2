"""How long a way takes with which chance."""

from __future__ import annotations

from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.kernel.tails import MOST_CERTAIN, Tail, chance, span

SECONDS = st.floats(0, 1e5)
CHANCES = st.floats(0.9, MOST_CERTAIN)


def test_one_step_is_as_long_as_its_quantile() -> None:
    z90 = NormalDist().inv_cdf(0.9)
    step = span(100, 100 + z90 * 10)

    assert step.within(0.9) == pytest.approx(100 + z90 * 10)
    assert step.within(0.99) == pytest.approx(100 + NormalDist().inv_cdf(0.99) * 10)


def test_a_long_way_needs_no_more_than_its_p90s() -> None:
    way = Tail()
    for _ in range(10):
        way = way.then(span(60, 90))

    assert way.within(0.99) == way.p90 == 900


def test_what_does_not_vary_needs_no_reserve() -> None:
    assert span(60, 60).within(MOST_CERTAIN) == 60


def test_waits_get_half_of_what_work_leaves_at_most() -> None:
    way = span(60, 60).then(Tail(p50=600, p90=900, waits=900))

    assert way.within(0.9) == way.within(0.9, 10_000) == 960
    assert way.within(0.9, 1060) == 60 + 500
    # No time is left: work is begun at once, and that is all that can be done.
    assert way.within(0.9, 30) == 60


def test_hardly_anything_is_asked_of_a_batch_whose_changes_are_many() -> None:
    assert chance(0.99, 1) == pytest.approx(1 - 0.01 / 3)
    assert chance(0.99, 30) == pytest.approx(0.9)
    assert chance(0.99, 1000) == 0.9
    assert chance(0.5, 1) == 0.9
    assert chance(1.0, 1) == MOST_CERTAIN


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=5), CHANCES, CHANCES)
def test_more_certainty_is_never_less_time(steps: list[tuple[float, float]], one: float, other: float) -> None:
    way = Tail()
    for step in steps:
        way = way.then(span(*step))

    low, high = sorted((one, other))
    assert way.p90 <= way.within(low) <= way.within(high)
