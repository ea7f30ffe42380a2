"""Logs of a parallel machine: strict first come, first served, and the default policy against EASY backfilling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from bench.measuring import say, table, verdict, write
from bench.scheduling import logs, references
from counterpoint.sim.jobs import play_jobs
from counterpoint.sim.traces.swf import read_swf
from counterpoint.sim.traces.trace import sized

SEEDS = (1, 2, 3, 4, 5)


def run(*, quick: bool = False, data: str | None = None) -> None:
    """Play logs of several seeds under both policies and beside both references."""
    say(f"logs in the Standard Workload Format, {logs.SLOTS} processors, load about 0.9: mean wait in seconds")
    figures = [measured(seed, jobs=600 if quick else 5_000) for seed in SEEDS[: 1 if quick else None]]
    table(
        [
            "seed",
            "jobs",
            "load",
            "FCFS",
            "ours, fifo",
            "off by",
            "",
            "EASY",
            "ours",
            "of EASY",
            "p95 wait of EASY",
            "",
        ],
        (
            [
                f["seed"],
                f["jobs"],
                f"{f['load']:.2f}",
                f"{f['fcfs_s']:.0f}",
                f"{f['fifo_s']:.0f}",
                f"{f['off']:.3%}",
                verdict(f["off"], 0.01),
                f"{f['easy_s']:.0f}",
                f"{f['promise_s']:.0f}",
                f"{f['promise_s'] / f['easy_s']:.3f}",
                f"{f['promise_p95_s'] / f['easy_p95_s']:.2f}",
                verdict(f["promise_s"], f["easy_s"]),
            ]
            for f in figures
        ),
    )
    write("scheduling-swf", {"figures": figures})


def measured(seed: int, *, jobs: int) -> dict[str, Any]:
    """One log: mean waits of the kernel's policies and of the references."""
    drawn = logs.draw(seed, jobs=jobs)
    trace = sized(read_swf(logs.text(drawn).splitlines(), f"seed {seed}"), {})
    assert not trace.skipped, f"the log was written without broken rows, {trace.skipped[0]} was skipped"
    found: dict[str, Any] = {"seed": seed, "jobs": len(drawn), "load": logs.offered_load(drawn)}
    for name, starts in (
        ("fcfs", references.first_come(drawn, logs.SLOTS)),
        ("easy", references.easy(drawn, logs.SLOTS)),
        *(
            (policy, {each.id: each.start_s for each in play_jobs(trace.jobs, trace.pools, policy=policy)})
            for policy in ("fifo", "promise")
        ),
    ):
        waits = _waits(drawn, starts)
        found |= {
            f"{name}_s": mean(waits),
            f"{name}_p95_s": sorted(waits)[int(len(waits) * 0.95)],
            f"{name}_longest_s": max(waits),
        }
        ends = {job.id: starts[job.id] + job.duration for job in drawn}
        assert references.oversold(drawn, starts, ends, logs.SLOTS) == float("inf"), (
            f"{name} oversells the machine"
        )
    found["off"] = abs(found["fifo_s"] - found["fcfs_s"]) / found["fcfs_s"]
    return found


def _waits(jobs: Sequence[references.Job], starts: Mapping[str, float]) -> list[float]:
    return [starts[job.id] - job.arrival for job in jobs]
