"""Shares, error budgets and burn rates, worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from counterpoint.analysis.budget import Budget, budget
from counterpoint.kernel.records import Counts

HOUR = timedelta(hours=1)
MONTH = timedelta(days=30)
MINUTE = timedelta(minutes=1)
NOW = datetime(1970, 1, 1, tzinfo=UTC) + 100_000 * MINUTE


def counted(buckets: dict[int, tuple[int, int, float]]) -> Counts:
    """Number of the bucket -> kept, missed, seconds late."""
    counts = Counts()
    for number, figures in buckets.items():
        counts.add(number, *figures)
    return counts


def month(buckets: dict[int, tuple[int, int, float]], target: float = 0.99) -> Budget:
    """A promise over 30 days in buckets of a minute; the one going on is number 100,000."""
    return budget(counted(buckets), target=target, over=MONTH, width=MINUTE, at=NOW)


def test_nothing_owed_is_no_data_and_not_all_kept() -> None:
    found = month({})

    assert (found.share, found.left, found.burn, found.alert) == (None, None, None, "")


def test_the_budget_left_is_one_less_what_was_missed_over_what_may_be() -> None:
    # 1,000 obligations of which 10 may be missed; 4 were, long ago.
    found = month({60_000: (996, 4, 0.0)})

    assert (found.kept, found.missed, found.share) == (996, 4, 0.996)
    assert found.left == pytest.approx(0.6)
    assert (found.burn, found.alert) == (None, "")


def test_an_overspent_budget_is_below_zero() -> None:
    # 5 may be missed of 100 at 95 %, 12 were: 1 - 12/5.
    assert month({60_000: (88, 12, 0.0)}, target=0.95).left == pytest.approx(-1.4)


def test_what_is_older_than_the_window_does_not_count() -> None:
    minutes = 30 * 24 * 60

    assert month({100_000 - minutes: (0, 7, 0.0), 100_000 - minutes + 1: (3, 0, 0.0)}).share == 1.0


def test_the_spans_are_those_of_the_workbook_for_thirty_days() -> None:
    spans = [(burn.level, burn.rate, burn.long_s, burn.short_s) for burn in month({}).burns]

    assert spans == [
        ("page", 14.4, 3600, 300),
        ("page", 6.0, 6 * 3600, 1800),
        ("ticket", 1.0, 3 * 86400, 6 * 3600),
    ]


def test_the_spans_are_the_same_shares_of_another_window() -> None:
    found = budget(Counts(), target=0.99, over=timedelta(days=3), width=MINUTE, at=NOW)

    assert [burn.long_s for burn in found.burns] == [360, 2160, 25920]
    assert found.burns[0].short_s == 30


def test_a_fast_burn_pages() -> None:
    # In the last hour 20 of 100 were missed, a rate of 20; in the last 5 minutes 2 of 10, the same.
    found = month({99_950: (72, 18, 0.0), 99_998: (8, 2, 0.0)})

    assert (found.burns[0].long, found.burns[0].short) == (20.0, 20.0)
    assert (found.alert, found.burn) == ("page", 20.0)


def test_what_is_over_does_not_page_any_more() -> None:
    # The hour is as bad, but all of the last 5 minutes and of the last half hour were kept.
    found = month({99_950: (70, 20, 0.0), 99_998: (10, 0, 0.0)})

    assert found.burns[0].long == 20.0
    assert [burn.is_firing for burn in found.burns] == [False, False, True]
    assert found.alert == "ticket"


def test_a_slow_burn_is_a_ticket() -> None:
    # A rate of 2 over 3 days and over 6 hours; over 6 hours and 1 hour it stays below 6 and 14.4.
    counts = {98_000: (490, 10, 0.0), 99_900: (490, 10, 0.0)}

    found = month(counts)

    assert (found.alert, found.burn) == ("ticket", 2.0)


def test_a_span_shorter_than_a_bucket_counts_those_that_it_lies_in() -> None:
    # Of 7 d in buckets of an hour the first long span is 14 min: from 5 min past on it lies in two buckets.
    hours = counted({NOW.hour + 24 * 69 - 1: (9, 1, 0.0)})
    early = budget(hours, target=0.99, over=timedelta(days=7), width=HOUR, at=NOW.replace(minute=5))
    later = budget(hours, target=0.99, over=timedelta(days=7), width=HOUR, at=NOW.replace(minute=25))

    assert early.burns[0].long == 10.0
    assert later.burns[0].long is None


def test_a_share_of_time_goes_by_seconds() -> None:
    # In one hour of looking 36 s were late, 1 %, of the 5 % that may be.
    found = budget(
        counted({100_000: (1, 1, 36.0)}),
        target=0.95,
        over=MONTH,
        width=MINUTE,
        at=NOW,
        share="time",
        observed=HOUR,
    )

    assert found.share == pytest.approx(0.99)
    assert found.left == pytest.approx(0.8)


def test_a_target_of_all_has_a_budget_that_one_miss_overspends() -> None:
    assert month({60_000: (99, 0, 0.0)}, target=1.0).left == 1.0
    left = month({60_000: (99, 1, 0.0)}, target=1.0).left
    assert left is not None and left < 0
