from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoint.model.calendar import next_tick, ticks_between
from counterpoint.model.trigger import Clock, Cron, Every

SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 24, 12, tzinfo=UTC)


def ticks(clock: Clock, after: datetime, count: int) -> list[str]:
    found = []
    moment: datetime | None = after
    for _ in range(count):
        assert moment is not None
        moment = next_tick(clock, moment)
        assert moment is not None
        found.append(moment.strftime("%m-%d %H:%M"))
    return found


def berlin(expression: str, **settings: str) -> Cron:
    return Cron(expression, "Europe/Berlin", **settings)  # type: ignore[arg-type]


def test_a_time_that_is_skipped_runs_at_the_next_valid_instant() -> None:
    assert ticks(berlin("30 2 * * *"), SPRING, 2) == ["03-29 01:00", "03-30 00:30"]


def test_a_time_that_is_skipped_is_left_out_where_the_score_says_so() -> None:
    assert ticks(berlin("30 2 * * *", gap="skip"), SPRING, 2) == ["03-30 00:30", "03-31 00:30"]


def test_several_times_that_are_skipped_are_one_tick_and_no_tick_is_doubled() -> None:
    assert ticks(berlin("0,30 2,3 * * *"), SPRING, 3) == ["03-29 01:00", "03-29 01:30", "03-30 00:00"]


def test_a_time_that_is_repeated_runs_once_or_both_times() -> None:
    assert ticks(berlin("30 2 * * *"), AUTUMN, 2) == ["10-25 00:30", "10-26 01:30"]
    assert ticks(berlin("30 2 * * *", repeat="both"), AUTUMN, 3) == ["10-25 00:30", "10-25 01:30", "10-26 01:30"]


def test_both_passes_of_a_repeated_hour_come_in_order() -> None:
    found = ticks(berlin("0,30 1-3 * * *", repeat="both"), datetime(2026, 10, 25, 0, 15, tzinfo=UTC), 5)

    assert found == ["10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00", "10-25 02:30"]


def test_an_hourly_clock_goes_by_elapsed_time() -> None:
    assert ticks(berlin("15 * * * *"), datetime(2026, 3, 29, 0, 30, tzinfo=UTC), 2) == [
        "03-29 01:15",
        "03-29 02:15",
    ]
    assert ticks(berlin("15 * * * *"), datetime(2026, 10, 25, 0, 0, tzinfo=UTC), 3) == [
        "10-25 00:15",
        "10-25 01:15",
        "10-25 02:15",
    ]


def test_a_zone_that_skipped_a_whole_day_runs_what_it_skipped_at_its_end() -> None:
    samoa = Cron("0 9 * * *", "Pacific/Apia")

    found = ticks(samoa, datetime(2011, 12, 29, 12, tzinfo=UTC), 3)

    assert found == ["12-29 19:00", "12-30 10:00", "12-30 19:00"]


def test_every_is_anchored_at_its_start() -> None:
    clock = Every(timedelta(minutes=20), datetime(2026, 1, 1, 0, 5, tzinfo=UTC))

    assert next_tick(clock, datetime(2025, 6, 1, tzinfo=UTC)) == clock.start
    assert next_tick(clock, clock.start) == clock.start + clock.period
    assert ticks(clock, datetime(2026, 1, 1, 10, 7, tzinfo=UTC), 2) == ["01-01 10:25", "01-01 10:45"]


CLOCKS = [
    Every(timedelta(minutes=7), datetime(1970, 1, 1, tzinfo=UTC)),
    Every(timedelta(hours=5), SPRING + timedelta(hours=3)),
    berlin("*/20 * * * *"),
    berlin("30 2 * * *", repeat="both"),
    berlin("0 1-4 * * *"),
    Cron("@daily", "America/New_York"),
]


@pytest.mark.parametrize("clock", CLOCKS, ids=str)
@pytest.mark.parametrize("start", [SPRING, AUTUMN])
def test_ticks_between_are_those_that_one_meets_one_by_one(clock: Clock, start: datetime) -> None:
    until, met, moment = start + timedelta(days=2), [], start
    while (tick := next_tick(clock, moment)) is not None and tick <= until:
        met.append(tick)
        moment = tick

    assert ticks_between(clock, start, until, 10_000) == (len(met), met)
    assert ticks_between(clock, start, until, 2) == (len(met), met[-2:])
    assert ticks_between(clock, until, until, 2) == (0, [])


def test_a_clock_that_never_ticks_has_no_next_tick() -> None:
    assert next_tick(Cron("0 0 29 2 1", "UTC"), datetime(2026, 1, 1, tzinfo=UTC)) is not None


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]
MINUTES = st.sampled_from(["0", "30", "5,35", "*/20", "17"])
HOURS = st.sampled_from(["*", "2", "1-3", "*/6", "0,23"])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    MINUTES,
    HOURS,
    st.sampled_from(ZONES),
    st.sampled_from(["next", "skip"]),
    st.sampled_from(["first", "both"]),
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)),
)
def test_ticks_are_later_ascending_and_the_same_from_wherever_one_asks(
    minute: str, hour: str, zone: str, gap: str, repeat: str, naive: datetime
) -> None:
    clock = Cron(f"{minute} {hour} * * *", zone, gap=gap, repeat=repeat)  # type: ignore[arg-type]
    start = naive.replace(tzinfo=UTC)

    count, found = ticks_between(clock, start, start + timedelta(days=3), 1000)

    assert count == len(found)
    assert all(first < second for first, second in pairwise([start, *found]))
    for tick in found:
        assert next_tick(clock, tick - timedelta(seconds=1)) == tick
        local = tick.astimezone(ZoneInfo(zone))
        is_local_time = local.minute in _minutes(minute) and (hour == "*" or local.hour in _hours(hour))
        assert is_local_time or gap == "next", f"{local} is none of the times"


def _minutes(text: str) -> set[int]:
    return {0, 20, 40} if text == "*/20" else {int(part) for part in text.split(",")}


def _hours(text: str) -> set[int]:
    known = {"1-3": {1, 2, 3}, "*/6": {0, 6, 12, 18}, "0,23": {0, 23}}
    return known.get(text) or {int(text)}
