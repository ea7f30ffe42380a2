"""Clocks: the machine's, and one that is set by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SystemClock:
    """Engine time is an anchor plus the time since boot, which counts a suspended machine and cannot be set.

    Args:
        last: `at` of the last fact, if there is one. Engine time begins there if the wall clock is behind
            it, so that it never goes back across a restart either.
    """

    def __init__(self, *, last: datetime | None = None) -> None:
        wall = self.wall()
        self._anchor = max(wall, last) if last else wall
        self._boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.ahead = self._anchor - wall  # of the wall clock, at the start; worth a word if it is much

    def at(self) -> datetime:
        """See `ports.clock`."""
        elapsed_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - self._boot_ns
        return self._anchor + timedelta(microseconds=elapsed_ns // 1000)

    def wall(self) -> datetime:
        """See `ports.clock`."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that moves only when it is told to.

    >>> clock = ManualClock()
    >>> clock.advance(timedelta(minutes=1))
    >>> clock.at().isoformat()
    '1970-01-01T00:01:00+00:00'
    """

    def __init__(self, now: datetime = _EPOCH) -> None:
        self._at = self._wall = now

    def at(self) -> datetime:
        """See `ports.clock`."""
        return self._at

    def wall(self) -> datetime:
        """See `ports.clock`."""
        return self._wall

    def advance(self, by: timedelta) -> None:
        """Let time pass, on both.

        Raises:
            ValueError: it would go back.
        """
        if by < timedelta(0):
            raise ValueError(f"engine time never goes back; {by} was asked for")
        self._at += by
        self._wall += by

    def set_wall(self, wall: datetime) -> None:
        """Set the clock on the wall; engine time stays."""
        self._wall = wall
