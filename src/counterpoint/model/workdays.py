"""What a calendar says of a moment: whether its day counts, and how much time passes outside maintenance.

Everything is exact over clock changes: a local time that is skipped stands for the next valid instant, a
repeated one for the first. A window of maintenance holds from its start up to, but not at, its end.
Every function takes None for no calendar: each day counts, and no time is maintenance.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from msgspec import Struct

from counterpoint.model.calendar import instant_of, zone_of
from counterpoint.model.promise import Calendar, Completion

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING, _DAY, _WEEK = timedelta(0), timedelta(days=1), timedelta(weeks=1)
_MINUTES_OF_DAY, _MINUTES_OF_WEEK = 24 * 60, 7 * 24 * 60


class _Block(Struct, frozen=True, gc=False):
    """One week since the epoch, without maintenance.

    Attributes:
        starts, ends: its spans outside maintenance, ascending.
        before: how much time outside maintenance the block has before each of them.
        free: and in all.
    """

    starts: list[datetime]
    ends: list[datetime]
    before: list[timedelta]
    free: timedelta

    def until(self, moment: datetime) -> timedelta:
        """How much of the block's time outside maintenance is before a moment in it."""
        place = bisect_right(self.starts, moment) - 1
        return self.before[place] + min(moment, self.ends[place]) - self.starts[place] if place >= 0 else _NOTHING


def counts(calendar: Calendar | None, moment: datetime) -> bool:
    """Whether the local day of a moment is one that counts."""
    return calendar is None or _day_counts(calendar, moment.astimezone(zone_of(calendar.timezone)).date())


def in_maintenance(calendar: Calendar | None, moment: datetime) -> bool:
    """Whether a moment lies in a window of maintenance."""
    if calendar is None or not calendar.maintenance:
        return False
    block = _block(calendar, (moment - _EPOCH) // _WEEK)
    place = bisect_right(block.starts, moment) - 1
    return place < 0 or moment >= block.ends[place]


def elapsed(calendar: Calendar | None, start: datetime, end: datetime) -> timedelta:
    """How much time outside maintenance passes between two moments; none where `end` is not later."""
    if end <= start:
        return _NOTHING
    if calendar is None or not calendar.maintenance:
        return end - start
    first, last = (start - _EPOCH) // _WEEK, (end - _EPOCH) // _WEEK
    whole = sum((_block(calendar, number).free for number in range(first, last)), _NOTHING)
    return whole + _block(calendar, last).until(end) - _block(calendar, first).until(start)


def due_after(calendar: Calendar | None, start: datetime, length: timedelta) -> datetime:
    """The moment outside maintenance up to which `length` has passed since `start`, maintenance not counted.

    Raises:
        OverflowError: there is no such moment, because all time is maintenance or too far off.
    """
    if calendar is None or not calendar.maintenance:
        return start + length
    number = (start - _EPOCH) // _WEEK
    block = _block(calendar, number)
    length += block.until(start)
    while length >= block.free:
        length -= block.free
        number += 1
        block = _block(calendar, number)
    place = bisect_right(block.before, length) - 1
    return block.starts[place] + (length - block.before[place])


def next_cutoff(completion: Completion, calendar: Calendar | None, after: datetime) -> tuple[datetime, datetime]:
    """The first cut-off later than `after` on a day that counts, and when what came up to it is due, in UTC.

    Raises:
        OverflowError: no day of the calendar counts.
    """
    zone = zone_of(completion.timezone)
    day = after.astimezone(zone).date() - _DAY  # a skipped cut-off may lie on the day after its own
    while True:
        if calendar is None or _day_counts(calendar, day):
            cutoff = _instant(completion.timezone, day, completion.cutoff)
            if cutoff > after:
                is_later = completion.by > completion.cutoff
                due = _instant(completion.timezone, day if is_later else day + _DAY, completion.by)
                return cutoff, due
        day += _DAY


def is_always_in_maintenance(calendar: Calendar) -> bool:
    """Whether the windows of a calendar leave no minute of an ordinary week."""
    covered = bytearray(_MINUTES_OF_WEEK)
    for window in calendar.maintenance:
        start, end = _minute(window.start), _minute(window.end)
        length = end - start if end > start else end - start + _MINUTES_OF_DAY
        for day in window.days:
            for minute in range(start, start + length):
                covered[(day * _MINUTES_OF_DAY + minute) % _MINUTES_OF_WEEK] = 1
    return all(covered)


def _minute(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def _day_counts(calendar: Calendar, day: date) -> bool:
    return day.weekday() in calendar.days and day not in calendar.without


@lru_cache(maxsize=65536)
def _instant(timezone: str, day: date, text: str) -> datetime:
    return instant_of(datetime.combine(day, time.fromisoformat(text)), zone_of(timezone))


@lru_cache(maxsize=16384)
def _block(calendar: Calendar, number: int) -> _Block:
    """The week of that number since the epoch, as the calendar has it."""
    start = _EPOCH + number * _WEEK
    end, position = start + _WEEK, start
    starts: list[datetime] = []
    ends: list[datetime] = []
    for closes, opens in sorted(_windows(calendar, start, end)):
        if closes > position:
            starts.append(position)
            ends.append(min(closes, end))
        position = max(position, opens)
        if position >= end:
            break
    if position < end:
        starts.append(position)
        ends.append(end)
    before, free = [], _NOTHING
    for span_start, span_end in zip(starts, ends, strict=True):
        before.append(free)
        free += span_end - span_start
    return _Block(starts, ends, before, free)


def _windows(calendar: Calendar, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Windows of maintenance that may touch a span of time: from, to."""
    zone = zone_of(calendar.timezone)
    # A window lasts a day at most, and a skipped time moves by less than two.
    day, last = start.astimezone(zone).date() - 3 * _DAY, end.astimezone(zone).date() + _DAY
    found = []
    while day <= last:
        for window in calendar.maintenance:
            if day.weekday() in window.days:
                ends_on = day if window.end > window.start else day + _DAY
                closes = _instant(calendar.timezone, day, window.start)
                opens = _instant(calendar.timezone, ends_on, window.end)
                if opens > start and closes < end:
                    found.append((closes, opens))
        day += _DAY
    return found
