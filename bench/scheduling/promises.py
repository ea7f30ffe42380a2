"""Landscapes with promises: what is kept by clocks, in order of arrival, by strict priority, and by promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from statistics import mean, median
from typing import Any

from bench.measuring import percentile, say, table, verdict, write
from bench.scheduling.landscapes import LOADS, WAYS, Landscape, Way, landscape, small, tiny
from bench.scheduling.playing import Played, play

#: What was tuned on, and what is reported.
TUNED_ON, REPORTED = range(1, 51), range(1001, 1101)
#: Share of obligations that may be counted otherwise, because two things happen in one second.
SAME_SECOND = 0.002
#: Only worlds count in which first come, first served keeps less than this.
EASY_ENOUGH = 0.8
#: A landscape is small if the optimum is proven in so many seconds.
LIMIT_S = 60
MEDIAN_GAP, P90_GAP = 0.05, 0.15
#: Sizes of the table, by number of pipelines.
SIZES = ((10, 30), (31, 100), (101, 300), (301, 1000))


def run(*, quick: bool = False, data: str | None = None, seeds: Sequence[int] | None = None) -> None:
    """Play landscapes in all ways, and small ones beside their optimum."""
    chosen = seeds or (REPORTED[:4] if quick else REPORTED)
    say(f"landscapes with promises, seeds {chosen[0]} to {chosen[-1]}: obligations kept, and runs made")
    figures = _side_by_side(partial(_large, quick=quick), chosen)
    counting = [f for f in figures if f["counts"]]
    _say_ways(figures, counting)
    rows = []
    for low, high in SIZES:
        of_size = [f for f in counting if low <= f["pipelines"] <= high]
        if of_size:
            rows.append([f"{low} to {high} pipelines", *_row(of_size)])
    for least, most in ((0.0, 0.8), (0.8, 1.2)):
        of_load = [f for f in counting if least <= f["load"] < most]
        if of_load:
            rows.append([f"load {max(least, LOADS[0])} to {min(most, LOADS[1])}", *_row(of_load)])
    if counting:
        rows.append(["all that count", *_row(counting)])
        table(["", "worlds", *(f"{way}: share" for way in WAYS), *(f"{way}: runs" for way in WAYS)], rows)

    beside: dict[str, list[dict[str, Any]]] = {}
    for name, draw in (("small", small), ("tiny", tiny)):
        say()
        say(f"{name} landscapes beside the optimum with hindsight, proven within {LIMIT_S} s")
        beside[name] = _side_by_side(partial(_beside, draw, quick=quick), chosen)
        # Tiny ones are smaller than what was asked for: they have figures, and no target.
        _say_gaps(beside[name], has_target=name == "small")
    write("scheduling-promises", {"figures": figures, **beside})


def _say_gaps(figures: Sequence[Mapping[str, Any]], *, has_target: bool) -> None:
    counting = [f for f in figures if f["counts"]]
    _say_ways(figures, counting)
    proven = [f for f in counting if f["optimum"]["is_proven"]]
    if proven:
        rows = []
        for way in WAYS:
            gaps = [(f["optimum"]["kept"] - f[way]["kept"]) / f["obligations"] for f in proven]
            is_judged = has_target and way == "promise"
            rows.append([
                way, len(proven), f"{median(gaps):.3f}", verdict(median(gaps), MEDIAN_GAP) if is_judged else "",
                f"{percentile(gaps, 0.9):.3f}", verdict(percentile(gaps, 0.9), P90_GAP) if is_judged else "",
                f"{max(gaps):.3f}", f"{mean(f[way]['share'] for f in proven):.3f}",
                f"{mean(f[way]['runs'] for f in proven):.1f}",
            ])  # fmt: skip
        rows.append([
            "optimum", len(proven), "0.000", "", "0.000", "", "0.000",
            f"{mean(f['optimum']['kept'] / f['obligations'] for f in proven):.3f}", "-",
        ])  # fmt: skip
        table(["", "worlds", "median gap", "", "p90 gap", "", "largest", "share", "runs"], rows)
    say(f"   not proven in time, so not counted: {len(counting) - len(proven)}")


def _side_by_side(measure: Callable[[int], dict[str, Any]], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The figures of each seed, measured on all cores: time is virtual, so that it makes no difference to them."""
    found = []
    # Spawned: a process that is forked has what this one kept of worlds before.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for number, each in enumerate(pool.map(measure, seeds), 1):
            found.append(each)
            if number % 10 == 0 and number < len(seeds):
                say(f"   {number} of {len(seeds)} worlds played")
    return found


def _large(seed: int, *, quick: bool) -> dict[str, Any]:
    world = landscape(seed, pipelines=12 if quick else None, days=0.5 if quick else None)
    return _figures(seed, world, {way: play(world, way) for way in WAYS})


def _beside(draw: Callable[[int], Landscape], seed: int, *, quick: bool) -> dict[str, Any]:
    world = draw(seed)
    played = {way: play(world, way) for way in WAYS}
    found = _figures(seed, world, played)
    if found["counts"]:
        # The search is long, so only for what counts.
        found["optimum"] = _optimum(world, played, limit_s=5 if quick else LIMIT_S)
    return found


def _figures(seed: int, world: Landscape, played: Mapping[Way, Played]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "seed": seed,
        "pipelines": len(world.steps),
        "load": world.load,
        "changes": sum(map(len, world.changes.values())),
        "obligations": len(world.obligations),
        # Pools have two slots at least, so that a few pipelines do not always ask for the load that was drawn.
        "counts": played["fifo"].share < EASY_ENOUGH and round(world.load, 2) >= LOADS[0],
    }
    for way, result in played.items():
        found[way] = {
            "share": result.share,
            "kept": result.kept,
            "runs": len(result.runs),
            "off_by": abs(result.told[0] - result.kept),
        }
    return found


def _say_ways(figures: Sequence[Mapping[str, Any]], counting: Sequence[Mapping[str, Any]]) -> None:
    say(f"   {len(counting)} of {len(figures)} count: in the others first come, first served keeps "
        f"{EASY_ENOUGH:.0%} or more, or the load is below {LOADS[0]}")  # fmt: skip
    off = sum(f[way]["off_by"] for f in figures for way in WAYS)
    owed = sum(f["obligations"] for f in figures) * len(WAYS)
    # Where a source changes in the very second in which a run starts, both orders are right.
    say(f"   obligations that the kernel counts otherwise than we do: {off:,} of {owed:,}  "
        f"{verdict(off, owed * SAME_SECOND)}")  # fmt: skip


def _row(figures: Sequence[Mapping[str, Any]]) -> list[object]:
    return [
        len(figures),
        *(f"{mean(f[way]['share'] for f in figures):.3f}" for way in WAYS),
        *(f"{mean(f[way]['runs'] for f in figures):.0f}" for way in WAYS),
    ]


def _optimum(world: Landscape, played: Mapping[Way, Played], *, limit_s: float) -> dict[str, Any]:
    try:
        from bench.scheduling.optimum import optimum
    except ImportError:
        raise SystemExit("the optimum needs the extra 'bench': pip install 'counterpoint[bench]'") from None
    best = max(played.values(), key=lambda each: each.kept)
    found = optimum(world, known=best.runs, limit_s=limit_s)
    return {"kept": found.kept, "is_proven": found.is_proven, "most": found.most, "seconds": found.seconds}
