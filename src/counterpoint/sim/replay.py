"""A trace played through the kernel: what became of each job, and how well the pools were used."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from counterpoint.sim.jobs import Ended, play_jobs
from counterpoint.sim.traces.trace import Skipped, Trace


class Summary(Struct, frozen=True, kw_only=True):
    """A trace in a few figures; times in seconds.

    Attributes:
        jobs: how many were run.
        mean_wait_s, p50_wait_s, p95_wait_s, max_wait_s: from arrival to the first start.
        makespan_s: from the first arrival to the last end.
        utilisation: pool -> share of its slots that was held over the makespan.
        slot_hours: held slots times hours, over all pools.
    """

    jobs: int
    mean_wait_s: float = 0.0
    p50_wait_s: float = 0.0
    p95_wait_s: float = 0.0
    max_wait_s: float = 0.0
    makespan_s: float = 0.0
    utilisation: dict[str, float] = field(default_factory=dict)
    slot_hours: float = 0.0
    evictions: int = 0


class Replayed(Struct, frozen=True, kw_only=True):
    """One world of a trace: the trace under one policy."""

    policy: str
    pools: dict[str, int]
    runs: tuple[Ended, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    summary: Summary


def replay(trace: Trace, policy: str, watch: Callable[[int], None] | None = None) -> Replayed:
    """Play a trace whose pools have their sizes.

    Args:
        watch: told, now and then, how many jobs have ended.

    Raises:
        Mistake: as `jobs.play_jobs` has it.
    """
    runs = tuple(play_jobs(trace.jobs, trace.pools, policy=policy, watch=watch))
    return Replayed(
        policy=policy,
        pools=trace.pools,
        runs=runs,
        skipped=trace.skipped,
        notes=trace.notes,
        summary=summarize(trace, runs),
    )


def summarize(trace: Trace, runs: tuple[Ended, ...]) -> Summary:
    """The figures of what became of a trace's jobs."""
    if not runs:
        return Summary(jobs=0)
    waits = sorted(run.start_s - run.arrival_s for run in runs)
    makespan = max(run.end_s for run in runs) - min(run.arrival_s for run in runs)
    held = dict.fromkeys(trace.pools, 0.0)
    # What the jobs did; work that was lost to evictions is not counted as use.
    for job in trace.jobs:
        for pool, slots in job.slots.items():
            held[pool] += slots * job.duration_s
    return Summary(
        jobs=len(runs),
        mean_wait_s=sum(waits) / len(waits),
        p50_wait_s=quantile(waits, 0.5),
        p95_wait_s=quantile(waits, 0.95),
        max_wait_s=waits[-1],
        makespan_s=makespan,
        utilisation={
            pool: held[pool] / (slots * makespan) if makespan else 0.0 for pool, slots in trace.pools.items()
        },
        slot_hours=sum(held.values()) / 3600,
        evictions=sum(run.evictions for run in runs),
    )


def quantile(ordered: list[float], share: float) -> float:
    """The smallest value that at least this share of ascending values does not exceed."""
    return ordered[max(0, -(-int(share * 1_000_000) * len(ordered) // 1_000_000) - 1)]
