"""Worlds side by side: the same measures of each, and which of two is better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Literal, TypeAlias

from msgspec import Struct

from counterpoint.model.quantity import format_duration
from counterpoint.sim.play import Played
from counterpoint.sim.replay import Replayed

#: How a value is written, and which direction is better where there is one.
Unit: TypeAlias = Literal["seconds", "share", "count", "hours"]
Better: TypeAlias = Literal["low", "high", ""]
#: A difference of less than this is none.
_SAME = 0.005


class Named(Struct, frozen=True):
    """A play under the name by which people tell it from others."""

    name: str
    played: Played


class Line(Struct, frozen=True, kw_only=True):
    """One measure in every world; None where a world does not have it."""

    about: str
    measure: str
    unit: Unit
    better: Better
    values: tuple[float | None, ...]

    @property
    def best(self) -> int | None:
        """The world in which it is best, if one is better than all others by more than next to nothing."""
        if not self.better or any(value is None for value in self.values) or len(self.values) < 2:
            return None
        values = [value for value in self.values if value is not None]
        if self.better == "high":
            values = [-value for value in values]
        ordered = sorted(values)
        if ordered[1] - ordered[0] <= _SAME * max(abs(ordered[0]), abs(ordered[1])):
            return None
        return values.index(ordered[0])


def compare(worlds: Sequence[Named]) -> list[Line]:
    """The measures of every world, line by line: the whole, each promise, each class, each pool."""
    played = [world.played for world in worlds]
    return [*_whole(played), *_promises(played), *_waits(played), *_pools(played)]


def _whole(played: Sequence[Played]) -> Iterator[Line]:
    yield _line("all", "share kept", "share", "high", (each.share for each in played))
    yield _line("all", "obligations missed", "count", "low", (each.missed for each in played))
    yield _line("all", "runs", "count", "low", (each.runs for each in played))
    yield _line("all", "slot-hours", "hours", "low", (each.slot_hours for each in played))
    yield _line("all", "overlaps", "count", "low", (each.overlaps for each in played))
    yield _line("all", "preemptions", "count", "", (each.preemptions for each in played))
    failed = [sum(pipeline.failed for pipeline in each.pipelines) for each in played]
    yield _line("all", "failed runs", "count", "low", failed)


def _promises(played: Sequence[Played]) -> Iterator[Line]:
    shares = [{(each.asset, each.promise): each.share for each in one.promises} for one in played]
    names = dict.fromkeys(name for found in shares for name in found)
    fresh = [{each.asset: each for each in one.freshness} for one in played]
    for asset in dict.fromkeys(asset for asset, _ in names):
        for name in names:
            if name[0] == asset:
                yield _line(asset, f"{name[1]} kept", "share", "high", (found.get(name) for found in shares))
        at = [found.get(asset) for found in fresh]
        ages = [each.age if each and each.age.count else None for each in at]
        delays = [each.delay if each and each.delay.count else None for each in at]
        yield _line(asset, "age p50", "seconds", "low", (each.p50_s if each else None for each in ages))
        yield _line(asset, "age p95", "seconds", "low", (each.p95_s if each else None for each in ages))
        yield _line(asset, "delay p95", "seconds", "low", (each.p95_s if each else None for each in delays))


def _waits(played: Sequence[Played]) -> Iterator[Line]:
    for name in dict.fromkeys(name for one in played for name in one.waits):
        at = [one.waits.get(name) for one in played]
        about = f"waits, {name}"
        yield _line(about, "p50", "seconds", "low", (each.p50_s if each else None for each in at))
        yield _line(about, "p95", "seconds", "low", (each.p95_s if each else None for each in at))
        yield _line(about, "longest", "seconds", "low", (each.max_s if each else None for each in at))


def _pools(played: Sequence[Played]) -> Iterator[Line]:
    pools = [{each.pool: each for each in one.pools} for one in played]
    for name in dict.fromkeys(name for found in pools for name in found):
        at = [found.get(name) for found in pools]
        yield _line(f"pool {name}", "mean use", "share", "", (each.mean if each else None for each in at))
        yield _line(f"pool {name}", "peak", "count", "", (each.peak if each else None for each in at))


def _line(about: str, measure: str, unit: Unit, better: Better, values: Iterable[float | None]) -> Line:
    return Line(about=about, measure=measure, unit=unit, better=better, values=tuple(values))


def compare_traces(worlds: Sequence[Replayed]) -> list[Line]:
    """The measures of a trace under every policy."""
    all_ = [world.summary for world in worlds]
    lines = [
        _line("jobs", "run", "count", "", (each.jobs for each in all_)),
        _line("waits", "mean", "seconds", "low", (each.mean_wait_s for each in all_)),
        _line("waits", "p50", "seconds", "low", (each.p50_wait_s for each in all_)),
        _line("waits", "p95", "seconds", "low", (each.p95_wait_s for each in all_)),
        _line("waits", "longest", "seconds", "low", (each.max_wait_s for each in all_)),
        _line("all", "makespan", "seconds", "low", (each.makespan_s for each in all_)),
        _line("all", "slot-hours", "hours", "", (each.slot_hours for each in all_)),
        _line("all", "evictions", "count", "", (each.evictions for each in all_)),
    ]
    for pool in all_[0].utilisation:
        lines.append(_line(f"pool {pool}", "use", "share", "", (each.utilisation.get(pool) for each in all_)))
    return lines


def written(value: float | None, unit: Unit) -> str:
    """A value as people read it; a dash for none."""
    if value is None:
        return "–"
    match unit:
        case "seconds":
            return format_duration(timedelta(seconds=value)) if value else "0"
        case "share":
            return f"{value:.2%}" if value < 0.9995 and value > 0.98 else f"{value:.1%}".replace(".0%", "%")
        case "hours":
            return f"{value:,.1f}"
        case "count":
            return f"{value:,.0f}"
