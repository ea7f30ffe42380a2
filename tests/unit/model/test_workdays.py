from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.model.promise import Calendar, Completion, Window
from counterpoint.model.workdays import (
    counts,
    due_after,
    elapsed,
    in_maintenance,
    is_always_in_maintenance,
    next_cutoff,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NIGHTLY = Calendar(maintenance=(Window("02:00", "04:00"),), timezone="Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_day_counts_by_weekday_and_date_where_the_calendar_is() -> None:
    calendar = Calendar(days=(0, 1, 2, 3, 4), without=(date(2026, 12, 25),), timezone="Asia/Tokyo")

    assert counts(calendar, utc("2026-12-24T14:59"))
    assert not counts(calendar, utc("2026-12-24T15:00"))  # the 25th has begun in Tokyo
    assert not counts(calendar, utc("2026-12-26T12:00"))
    assert counts(calendar, utc("2026-12-27T15:00"))
    assert counts(None, utc("2026-12-26T12:00"))


def test_time_in_maintenance_does_not_count() -> None:
    start = utc("2026-01-05T00:30")  # 01:30 in Berlin

    assert due_after(NIGHTLY, start, HOUR) == utc("2026-01-05T03:30")
    assert elapsed(NIGHTLY, start, utc("2026-01-05T03:30")) == HOUR
    assert elapsed(NIGHTLY, start, utc("2026-01-07T00:30")) == 44 * HOUR
    assert due_after(NIGHTLY, start, 44 * HOUR) == utc("2026-01-07T00:30")
    assert elapsed(NIGHTLY, utc("2026-01-05T05:00"), start) == timedelta(0)


def test_nothing_is_due_in_maintenance_or_at_its_start() -> None:
    assert due_after(NIGHTLY, utc("2026-01-05T00:30"), HOUR / 2) == utc("2026-01-05T03:00")
    assert due_after(NIGHTLY, utc("2026-01-05T02:00"), timedelta(0)) == utc("2026-01-05T03:00")
    assert in_maintenance(NIGHTLY, utc("2026-01-05T01:00"))
    assert not in_maintenance(NIGHTLY, utc("2026-01-05T03:00"))


def test_windows_of_a_weekday_begin_on_it_and_may_end_on_the_next() -> None:
    calendar = Calendar(maintenance=(Window("23:00", "01:00", (6,)), Window("00:30", "02:00", (0,))))

    assert [in_maintenance(calendar, utc(f"2026-01-04T{text}")) for text in ("00:30", "22:59", "23:00")] == [
        False,
        False,
        True,
    ]
    assert elapsed(calendar, utc("2026-01-04T22:00"), utc("2026-01-05T03:00")) == 2 * HOUR


@pytest.mark.parametrize(
    ("window", "start", "expected"),
    [
        # The clock goes from 02:00 to 03:00: 02:30 is 03:00, an hour later than on other days in UTC.
        (Window("02:30", "03:30"), "2026-03-29T00:00", "2026-03-29T01:30"),
        (Window("02:00", "03:00"), "2026-03-29T00:00", "2026-03-29T01:00"),
        # The clock goes from 03:00 to 02:00: the first of two times is meant.
        (Window("02:30", "03:30"), "2026-10-25T00:15", "2026-10-25T02:45"),
    ],
)
def test_windows_are_exact_when_the_clock_changes(window: Window, start: str, expected: str) -> None:
    calendar = Calendar(maintenance=(window,), timezone="Europe/Berlin")

    # An hour after the start, or two and a half in all.
    assert due_after(calendar, utc(start), HOUR if "03-29" in start else HOUR / 2) == utc(expected)


def test_a_cut_off_is_the_next_of_a_day_that_counts() -> None:
    calendar = Calendar(days=(0, 1, 2, 3, 4), timezone="Europe/Berlin")
    promise = Completion("07:00", timezone="Europe/Berlin")

    friday = next_cutoff(promise, calendar, utc("2026-01-08T23:00") - MINUTE)
    monday = next_cutoff(promise, calendar, utc("2026-01-08T23:00"))

    assert friday == (utc("2026-01-08T23:00"), utc("2026-01-09T06:00"))
    assert monday == (utc("2026-01-11T23:00"), utc("2026-01-12T06:00"))
    assert next_cutoff(promise, None, utc("2026-01-08T23:00"))[0] == utc("2026-01-09T23:00")


def test_a_time_that_is_not_after_the_cut_off_is_of_the_next_day() -> None:
    promise = Completion("06:00", cutoff="22:00")

    assert next_cutoff(promise, None, utc("2026-01-05T21:00")) == (
        utc("2026-01-05T22:00"),
        utc("2026-01-06T06:00"),
    )
    assert next_cutoff(Completion("22:00", cutoff="22:00"), None, utc("2026-01-05T21:00"))[1] == utc(
        "2026-01-06T22:00"
    )


def test_skipped_and_repeated_times_of_a_completion() -> None:
    spring = Completion("02:30", timezone="Europe/Berlin")
    autumn = Completion("02:30", cutoff="02:15", timezone="Europe/Berlin")

    assert next_cutoff(spring, None, utc("2026-03-28T12:00")) == (
        utc("2026-03-28T23:00"),
        utc("2026-03-29T01:00"),
    )
    assert next_cutoff(autumn, None, utc("2026-10-24T12:00")) == (
        utc("2026-10-25T00:15"),
        utc("2026-10-25T00:30"),
    )


def test_a_calendar_that_is_always_in_maintenance_is_told() -> None:
    halves = (Window("00:00", "12:00"), Window("12:00", "00:00"))

    assert is_always_in_maintenance(Calendar(maintenance=halves))
    assert not is_always_in_maintenance(Calendar(maintenance=(Window("00:01", "00:00"),)))
    assert not is_always_in_maintenance(Calendar())


def test_questions_that_were_asked_before_are_cheap() -> None:
    start = utc("2026-01-05T00:30")
    due_after(NIGHTLY, start, DAY)

    began = time.perf_counter()
    for minutes in range(10_000):
        due_after(NIGHTLY, start + minutes * MINUTE, HOUR)

    assert time.perf_counter() - began < 1.0


#: Mostly of the hours in which clocks change.
TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 3) | st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
DAYS = st.just((0, 1, 2, 3, 4, 5, 6)) | st.sets(st.integers(0, 6), min_size=1).map(
    lambda days: tuple(sorted(days))
)
#: A zone, and a day before the one on which its clocks change; and a zone whose clocks never change.
CHANGES = st.sampled_from(
    [
        ("Europe/Berlin", "2026-03-28"),
        ("Europe/Berlin", "2026-10-24"),
        ("America/New_York", "2026-03-07"),
        ("America/New_York", "2026-10-31"),
        ("Australia/Lord_Howe", "2026-04-03"),
        ("Australia/Lord_Howe", "2026-10-02"),
        ("America/Santiago", "2026-04-04"),
        ("America/Santiago", "2026-09-05"),
        ("UTC", "2026-06-10"),
    ]
)


@st.composite
def calendars(draw: st.DrawFn) -> tuple[Calendar, datetime]:
    """A calendar, and a moment shortly before its clocks change."""
    zone, day = draw(CHANGES)
    windows = draw(st.lists(st.builds(Window, TIMES, TIMES, DAYS), max_size=3))
    start = utc(f"{day}T00:00") + draw(st.integers(0, 36 * 60)) * MINUTE
    return Calendar(days=draw(DAYS), maintenance=tuple(windows), timezone=zone), start


class Minutes:
    """The naive model: every minute of some days by itself, and whether a window covers it."""

    def __init__(self, calendar: Calendar, start: datetime, days: int) -> None:
        zone = ZoneInfo(calendar.timezone)
        self.first = start - 4 * DAY
        self.all = [self.first + number * MINUTE for number in range((days + 6) * 24 * 60)]
        self.local = [moment.astimezone(zone).replace(tzinfo=None) for moment in self.all]
        self.covered = [False] * len(self.all)
        for day in dict.fromkeys(local.date() for local in self.local[: (days + 5) * 24 * 60]):
            for window in calendar.maintenance:
                if day.weekday() in window.days:
                    later = day if window.end > window.start else day + DAY
                    for number in range(self.at(day, window.start), self.at(later, window.end)):
                        self.covered[number] = True

    def at(self, day: date, text: str) -> int:
        """The first minute at or after which the clock on the wall shows so much."""
        wanted = datetime.fromisoformat(f"{day}T{text}")
        found = (number for number, local in enumerate(self.local) if local >= wanted)
        return next(found, len(self.all))

    def number(self, moment: datetime) -> int:
        return (moment - self.first) // MINUTE


@settings(max_examples=60, deadline=None)
@given(calendars(), st.integers(0, 2 * 24 * 60))
def test_any_calendar_agrees_with_a_count_of_minutes(drawn: tuple[Calendar, datetime], minutes: int) -> None:
    calendar, start = drawn
    naive = Minutes(calendar, start, 4)
    begin, end = naive.number(start), naive.number(start) + minutes

    assert elapsed(calendar, start, naive.all[end]) == naive.covered[begin:end].count(False) * MINUTE
    assert [in_maintenance(calendar, naive.all[number]) for number in range(begin, end, 7)] == naive.covered[
        begin:end:7
    ]


@settings(max_examples=150, deadline=None)
@given(calendars(), st.integers(0, 30 * 24 * 60))
def test_what_is_due_is_due_when_so_much_time_has_passed(drawn: tuple[Calendar, datetime], minutes: int) -> None:
    calendar, start = drawn
    if is_always_in_maintenance(calendar):
        return
    due = due_after(calendar, start, minutes * MINUTE)

    assert elapsed(calendar, start, due) == minutes * MINUTE
    assert not in_maintenance(calendar, due)


@settings(max_examples=60, deadline=None)
@given(TIMES, TIMES, calendars())
def test_any_cut_off_is_the_first_on_a_day_that_counts(
    by: str, cutoff: str, drawn: tuple[Calendar, datetime]
) -> None:
    calendar, after = drawn
    zone = calendar.timezone
    found, due = next_cutoff(Completion(by, cutoff=cutoff, timezone=zone), calendar, after)

    naive = Minutes(Calendar(timezone=zone), after, 8)
    on_days = [
        day for day in dict.fromkeys(local.date() for local in naive.local) if day.weekday() in calendar.days
    ]
    expected = next(day for day in on_days if naive.at(day, cutoff) > naive.number(after))
    assert naive.number(found) == naive.at(expected, cutoff)
    assert naive.number(due) == naive.at(expected if by > cutoff else expected + DAY, by)
    assert due >= found
