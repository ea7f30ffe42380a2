"""Promises: what an asset owes its users, as a share of obligations over a window.

A *freshness* promise makes one obligation for each change of a source: it must be in the asset
`within` so long after it happened. A *completion* promise makes one for each day of its calendar:
everything up to the cut-off must be in the asset by a time of day. Everything else (urgency,
forecast, budget, incidents) knows only obligations.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal, TypeAlias

from msgspec import Struct

#: The two promises that an asset may make; with its name they identify a promise.
PromiseKind: TypeAlias = Literal["freshness", "completion"]


class Freshness(Struct, frozen=True, gc=False):
    """A share `target` of the changes is in the asset at most `within` after they happened, `over` a window.

    Attributes:
        calendar: days on which changes count, and maintenance in which age stands still; "" is always.
        share: of what the target is a share: `obligations`, or the `time` in which nothing was late.
    """

    within: timedelta
    target: float = 0.99
    over: timedelta = timedelta(days=7)
    calendar: str = ""
    share: Literal["obligations", "time"] = "obligations"


class Completion(Struct, frozen=True, gc=False):
    """On each day of its calendar, all that came up to `cutoff` is in the asset `by` a time of day.

    Attributes:
        by, cutoff: local times of day, `HH:MM`; a `by` that is not after `cutoff` is of the next day.
        timezone: where the times of day are local.
    """

    by: str
    target: float = 0.95
    over: timedelta = timedelta(days=28)
    cutoff: str = "00:00"
    calendar: str = ""
    timezone: str = "UTC"


class Window(Struct, frozen=True, gc=False):
    """A span of local time that comes again: from `start` to `end` (`HH:MM`, over midnight if not later).

    Attributes:
        days: weekdays on which it begins, Monday is 0.
    """

    start: str
    end: str
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class Calendar(Struct, frozen=True, kw_only=True, gc=False):
    """Days that count, and windows of maintenance in which nothing can be asked for.

    Attributes:
        days: weekdays that count, Monday is 0.
        without: dates that do not count (`except` in a score).
        timezone: whose days these are.
    """

    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    without: tuple[date, ...] = ()
    maintenance: tuple[Window, ...] = ()
    timezone: str = "UTC"


class Rate(Struct, frozen=True, gc=False):
    """At most `count` in any span of length `per`."""

    count: int
    per: timedelta


class Expected(Struct, frozen=True, gc=False):
    """How long something is expected to take: in half of the cases, and in nine of ten."""

    p50: timedelta
    p90: timedelta


class Preempt(Struct, frozen=True, gc=False):
    """Attempts of a pipeline may be asked to make room for urgent work, and go on later.

    Attributes:
        minimum: an attempt is left alone for so long after it started.
        evictions: so many times at most for one run.
        cooldown: a run that made room is left alone for so long after it started again.
    """

    minimum: timedelta = timedelta(minutes=1)
    evictions: int = 3
    cooldown: timedelta = timedelta(minutes=5)


class Elastic(Struct, frozen=True, gc=False):
    """A pipeline that lags may split its batch by a key and have more runs at once.

    Attributes:
        max: so many runs of a lane at once at most.
        by: CEL expression over the change; items with one value stay in one run.
    """

    max: int
    by: str


class Team(Struct, frozen=True, gc=False):
    """A team's share of the pools is its weight over the weights of all teams."""

    weight: float = 1.0
