"""Counts by bucket: more is counted, what is older is forgotten, and a part of the window is asked for."""

from __future__ import annotations

from counterpoint.kernel.records import Counts


def counted(*figures: tuple[int, int, int, float]) -> Counts:
    counts = Counts()
    for each in figures:
        counts.add(*each)
    return counts


def test_nothing_is_counted_at_first() -> None:
    assert list(Counts()) == []
    assert Counts().since(0) == (0, 0, 0.0)


def test_buckets_without_anything_count_nothing() -> None:
    counts = counted((7, 3, 1, 0.0), (9, 2, 0, 1.5), (9, 1, 0, 0.5))

    assert list(counts) == [(7, 3, 1, 0.0), (8, 0, 0, 0.0), (9, 3, 0, 2.0)]


def test_what_was_due_earlier_may_be_counted_later() -> None:
    assert list(counted((7, 1, 0, 0.0), (5, 0, 1, 0.0))) == [(5, 0, 1, 0.0), (6, 0, 0, 0.0), (7, 1, 0, 0.0)]


def test_the_newest_are_asked_for() -> None:
    counts = counted((7, 3, 1, 4.0), (8, 2, 2, 1.0))

    assert [counts.since(number) for number in (5, 7, 8, 9)] == [
        (5, 3, 5.0),
        (5, 3, 5.0),
        (2, 2, 1.0),
        (0, 0, 0.0),
    ]


def test_what_has_left_the_window_is_forgotten() -> None:
    counts = counted((7, 3, 1, 0.0), (8, 2, 0, 0.0))

    counts.forget(5)
    assert len(list(counts)) == 2
    counts.forget(8)
    assert list(counts) == [(8, 2, 0, 0.0)]
    counts.forget(1_000)
    counts.add(1_001, 1)
    assert list(counts) == [(1_001, 1, 0, 0.0)]
