from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from counterpoint.adapters.clocks import ManualClock, SystemClock


def test_engine_time_begins_at_the_wall_clock() -> None:
    clock = SystemClock()

    assert abs(clock.at() - datetime.now(UTC)) < timedelta(seconds=1)
    assert clock.ahead == timedelta(0)


def test_engine_time_begins_at_the_last_fact_if_that_is_later() -> None:
    last = datetime.now(UTC) + timedelta(hours=1)
    clock = SystemClock(last=last)

    assert last <= clock.at() < last + timedelta(seconds=1)
    assert timedelta(minutes=59) < clock.ahead <= timedelta(hours=1)
    assert clock.wall() < last


def test_an_old_fact_does_not_hold_engine_time_back() -> None:
    clock = SystemClock(last=datetime(2020, 1, 1, tzinfo=UTC))

    assert abs(clock.at() - datetime.now(UTC)) < timedelta(seconds=1)


def test_engine_time_follows_the_time_since_boot_and_not_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    boot_ns = 0
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _clock: boot_ns)
    clock = SystemClock()
    before = clock.at()
    boot_ns = 90_000_000_000

    assert clock.at() - before == timedelta(seconds=90)


def test_a_manual_clock_moves_when_told_and_its_wall_can_be_set_apart() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(timedelta(minutes=5))
    clock.set_wall(datetime(2025, 1, 1, tzinfo=UTC))

    assert clock.at() == datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
    assert clock.wall() == datetime(2025, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(timedelta(seconds=-1))
