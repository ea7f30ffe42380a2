"""A million simulated runs: 1,000 pipelines for 7 days, promises, provenance and learning on, in one process."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from bench.measuring import say, table, verdict, write
from bench.scheduling.landscapes import DAY, Landscape, landscape
from bench.scheduling.playing import Play

PIPELINES, DAYS, RUNS = 1_000, 7, 1_000_000
SEED = 7
#: Shares of the simulated time at which time and memory are looked at.
MARKS = (0.1, 0.25, 0.5, 0.75, 1.0)
#: The landscape is drawn at its usual pace and then sped up: durations, promises and distances alike.
FASTER = 5.5
#: Seconds for a million runs on one core, and how much memory may grow between a tenth of the time and all of it.
SECONDS, GROWTH = 300, 1.1


def run(*, quick: bool = False, data: str | None = None) -> None:
    """Play it in a process of its own, so that the memory is its own."""
    say("a million simulated runs in one process")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_live, args=(quick, theirs), daemon=True)
    process.start()
    figures = ours.recv()
    process.join()
    marks = figures["marks"]
    table(
        ["of the time", "runs", "s", "runs per s", "MB"],
        (
            [f"{m['of']:.0%}", f"{m['runs']:,}", f"{m['s']:.1f}", f"{m['runs'] / m['s']:.0f}", f"{m['mb']:.0f}"]
            for m in marks
        ),
    )
    runs, seconds = marks[-1]["runs"], marks[-1]["s"]
    growth = marks[-1]["mb"] / marks[0]["mb"]
    for_a_million = seconds / runs * 1e6
    say(f"   {figures['pipelines']:,} pipelines, {figures['days']:.1f} days, "
        f"{figures['obligations']:,} obligations, {figures['share']:.1%} kept")  # fmt: skip
    say(f"   a million runs take {for_a_million:.0f} s  {verdict(for_a_million, SECONDS)}")
    say(f"   memory at the end over memory at a tenth: {growth:.2f}  {verdict(growth, GROWTH)}")
    if not quick:
        say(f"   runs: {runs:,}  {verdict(runs, RUNS, at_least=True)}")
    write("scheduling-million", figures)


def world(*, quick: bool) -> Landscape:
    """The landscape that is played."""
    pipelines, days = (100, 0.5) if quick else (PIPELINES, DAYS)
    return faster(landscape(SEED, pipelines=pipelines, load=0.7, days=days * FASTER), FASTER)


def faster(slow: Landscape, factor: float) -> Landscape:
    """The same landscape where everything happens so many times faster."""
    return replace(
        slow,
        steps=tuple(replace(step, p50=step.p50 / factor, p90=step.p90 / factor) for step in slow.steps),
        within={asset: within / factor for asset, within in slow.within.items()},
        changes={source: tuple(at / factor for at in times) for source, times in slow.changes.items()},
        ends=slow.ends / factor,
    )


def _live(quick: bool, connection: Connection) -> None:
    played = world(quick=quick)
    play = Play(played, "promise", keep_runs=False)
    begin, marks = perf_counter(), list[dict[str, Any]]()
    for share in MARKS:
        play.until(played.settled * share)
        marks.append({"of": share, "runs": play.count, "s": perf_counter() - begin, "mb": _resident_mb()})
    kept, missed = play.told
    connection.send(
        {
            "pipelines": len(played.steps),
            "days": played.settled / DAY,
            "marks": marks,
            "obligations": kept + missed,
            "share": kept / max(kept + missed, 1),
        }
    )


def _resident_mb() -> float:
    """What the process has in memory now: the peak would hide that it shrinks."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6
