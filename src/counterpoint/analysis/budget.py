"""How a promise stands over its window: the share held, what is left of the error budget, how fast it burns.

The budget is what the target leaves: of a promise of 99 % one obligation in a hundred (for `share: time`,
one second in a hundred) may be missed. Its burn rate over a span is the share missed in that span over the
share that may be missed: at 1 the budget lasts exactly as long as the window.

Alerts are those of the SRE workbook (multiple windows, multiple burn rates): the rate must be reached over a
long span and over a short one, a twelfth of it, so that an alert ends soon after its cause does. The
workbook's spans are for 30 days; for another window they are the same shares of it, and then a rate spends
the same share of the budget before it alerts (2 %, 5 % and 10 %). What is left alerts only: it changes no order.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from msgspec import Struct

from counterpoint.kernel.records import Counts

#: What an alert is worth.
Level: TypeAlias = Literal["page", "ticket"]
#: (burn rate, share of the window that is the long span, what it is worth): 1 h, 6 h and 3 d of 30 d.
ALERTS: tuple[tuple[float, float, Level], ...] = (
    (14.4, 1 / 720, "page"),
    (6.0, 1 / 120, "page"),
    (1.0, 1 / 10, "ticket"),
)
#: The short span is this share of the long one.
SHORT = 1 / 12
#: A target of 100 % leaves no budget to reckon with: it counts as one that leaves this share.
LEAST_ALLOWED = 1e-4

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: A span until now -> the share of what was owed in it that was missed.
_Shares: TypeAlias = Callable[[timedelta], float | None]


class Burn(Struct, frozen=True, kw_only=True):
    """One pair of spans.

    Attributes:
        level: what an alert is worth: `page` a person now, or open a `ticket`.
        rate: the rate from which on it alerts.
        long_s, short_s: lengths of the spans.
        long, short: rates over them; None where nothing was owed.
        is_firing: both have reached the rate.
    """

    level: Level
    rate: float
    long_s: float
    short_s: float
    long: float | None
    short: float | None
    is_firing: bool


class Budget(Struct, frozen=True, kw_only=True):
    """How a promise stands.

    Attributes:
        kept, missed: obligations of the window; `late_s` the seconds in which something was late.
        share: the share held; None where nothing was owed yet, which is not 100 %.
        left: share of the error budget that is left; below 0 it is overspent; None where nothing was owed.
        burn: the rate over the long span of the pair that alerts, else of the slowest pair.
        alert: `page`, `ticket` or "".
    """

    kept: int
    missed: int
    late_s: float
    share: float | None
    left: float | None
    burn: float | None
    alert: Literal["", "page", "ticket"]
    burns: tuple[Burn, ...]


def budget(
    counts: Counts,
    *,
    target: float,
    over: timedelta,
    width: timedelta,
    at: datetime,
    share: Literal["obligations", "time"] = "obligations",
    observed: timedelta | None = None,
) -> Budget:
    """Reckon how a promise stands.

    Args:
        counts: of the window.
        width: length of a bucket, counted from 1970; a span counts every bucket that it touches, so one shorter
            than a bucket counts the one or two that it lies in.
        at: now.
        observed: for `share: time`, how long the promise has been looked at; None is the whole window.
    """
    allowed = max(1 - target, LEAST_ALLOWED)
    watched = over if observed is None else min(over, observed)

    def missed_share(span: timedelta, first: int | None = None) -> float | None:
        kept, missed, late_s = counts.since((at - span - _EPOCH) // width if first is None else first)
        if share == "obligations":
            return missed / (kept + missed) if kept + missed else None
        seconds = min(span, watched).total_seconds()
        return min(1.0, late_s / seconds) if seconds > 0 else None

    # The bucket in which the window begins is out of it, so that its length does not depend on the moment.
    first = (at - over - _EPOCH) // width + 1
    kept, missed, late_s = counts.since(first)
    whole = missed_share(over, first)
    burns = tuple(_burn(over, missed_share, allowed, *alert) for alert in ALERTS)
    firing = next((burn for burn in burns if burn.is_firing), None)
    return Budget(
        kept=kept,
        missed=missed,
        late_s=round(late_s, 3),
        share=None if whole is None else round(1 - whole, 6),
        left=None if whole is None else round(1 - whole / allowed, 6),
        burn=(firing or burns[-1]).long,
        alert=firing.level if firing else "",
        burns=burns,
    )


def _burn(
    over: timedelta,
    missed_share: _Shares,
    allowed: float,
    rate: float,
    part: float,
    level: Level,
) -> Burn:
    long = over * part
    short = long * SHORT
    rates = [None if missed is None else round(missed / allowed, 3) for missed in map(missed_share, (long, short))]
    return Burn(
        level=level,
        rate=rate,
        long_s=round(long.total_seconds(), 3),
        short_s=round(short.total_seconds(), 3),
        long=rates[0],
        short=rates[1],
        is_firing=all(found is not None and found >= rate for found in rates),
    )
