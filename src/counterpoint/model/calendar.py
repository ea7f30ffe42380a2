"""When clocks tick: cron expressions in time zones, and fixed distances.

A cron expression whose hour is `*` or `*/n` goes by elapsed time, so it ticks in both of two
repeated hours and never in a skipped one. Any other names local times of day: one that a clock
change skips runs at the next valid instant (`gap: next`), a repeated one once (`repeat: first`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from counterpoint.model.trigger import Clock, Cron, Every

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def next_tick(clock: Clock, after: datetime) -> datetime | None:
    """The first tick later than `after`, in UTC; None if there is none in the next 50 years."""
    if isinstance(clock, Every):
        return _nth(clock, _count(clock, after))
    return next(_ticks(clock, after), None)


def ticks_between(clock: Clock, after: datetime, until: datetime, most: int) -> tuple[int, list[datetime]]:
    """How many ticks are later than `after` and not later than `until`, and the last `most` of them, ascending."""
    if isinstance(clock, Every):
        first, end = _count(clock, after), _count(clock, until)
        return max(0, end - first), [_nth(clock, number) for number in range(max(first, end - most), end)]
    count, kept = 0, deque[datetime](maxlen=most)
    for tick in _ticks(clock, after):
        if tick > until:
            break
        count += 1
        kept.append(tick)
    return count, list(kept)


def _count(clock: Every, until: datetime) -> int:
    """How many ticks of a clock are not later than a moment."""
    return max(0, (until - clock.start) // clock.period + 1)


def _nth(clock: Every, number: int) -> datetime:
    return clock.start + number * clock.period


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name, looked up once."""
    return ZoneInfo(name)


def instant_of(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a local time in UTC: of a repeated one the first, for a skipped one the next valid one."""
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == local:
        return first
    # Both folds of a skipped time are wrong by the gap, on either side; its end lies between.
    return _end_of_gap(zone, local.replace(tzinfo=zone, fold=1).astimezone(UTC), first)


def _ticks(clock: Cron, after: datetime) -> Iterator[datetime]:
    """Ticks later than `after`, ascending."""
    from cronsim import CronSim  # here, because many scores have no clock

    expression = ALIASES.get(clock.expression, clock.expression)
    zone = zone_of(clock.timezone)
    if expression.split()[1].startswith("*"):
        for tick in CronSim(expression, after.astimezone(zone)):
            yield tick.astimezone(UTC)
        return
    yield from (tick for tick in _local_ticks(clock, expression, zone, after) if tick > after)


def _local_ticks(clock: Cron, expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Ticks of local times of day, ascending, from `after` or somewhat before on."""
    from cronsim import CronSim

    start = after.astimezone(zone).replace(tzinfo=None)
    if clock.repeat == "both":
        # The second pass of a local time before `after` may be later than `after`.
        start -= timedelta(days=1)
    previous: datetime | None = None
    repeated: list[datetime] = []
    for local in CronSim(expression, start):
        first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
        second = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
        is_skipped = first.astimezone(zone).replace(tzinfo=None) != local
        if is_skipped:
            if clock.gap == "skip":
                continue
            # Both folds of a skipped time are wrong by the gap, on either side; its end lies between.
            first = _end_of_gap(zone, second, first)
        while repeated and repeated[0] < first:
            yield (previous := repeated.pop(0))
        if first != previous:
            yield (previous := first)
        if clock.repeat == "both" and second > first and not is_skipped:
            repeated.append(second)


def _end_of_gap(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The instant at which the zone's offset changes between two instants, to the second."""
    low, high = min(low, high), max(low, high)
    offset = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)
