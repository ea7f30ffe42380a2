"""What a trace is made of, whatever its format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from counterpoint.errors import Mistake
from counterpoint.sim.jobs import Job

#: What the one pool of a trace is called that names none.
POOL = "slots"


class Skipped(Struct, frozen=True, kw_only=True):
    """Something in a trace that is not run, and why.

    Attributes:
        line: its line in the file, counted from 1; None where the format has no lines.
        id: its own id, if it has one that can be read.
    """

    line: int | None = None
    id: str = ""
    reason: str


class Trace(Struct, frozen=True, kw_only=True):
    """Jobs read from a file.

    Attributes:
        format: `swf`, `wfformat` or `csv`.
        pools: pool -> slots, where the file says so.
        notes: what was assumed, in sentences.
    """

    name: str
    format: str
    jobs: tuple[Job, ...]
    skipped: tuple[Skipped, ...] = ()
    pools: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """Every pool that a job needs, in the order of the file."""
        return tuple(dict.fromkeys(pool for job in self.jobs for pool in job.slots))


def sized(trace: Trace, slots: Mapping[str, int]) -> Trace:
    """The trace with pools of these sizes, and without the jobs that are larger than a pool.

    Args:
        slots: pool -> slots; "" is every pool that is not named.

    Raises:
        Mistake: neither the trace nor `slots` says how large a pool is, or `slots` names one that no job needs.
    """
    named = trace.named or (POOL,)
    unknown = [pool for pool in slots if pool and pool not in named]
    if unknown:
        raise Mistake(
            f"the trace has no pool {unknown[0]!r}; it has {', '.join(named)}",
            where=trace.name,
            code="unknown-name",
        )
    pools: dict[str, int] = {}
    for pool in named:
        size = slots.get(pool, slots.get("", trace.pools.get(pool, 0)))
        if size < 1:
            how = "--slots N" if len(named) == 1 else f"--slots N for each, or --slots {named[0]}=N,{named[1]}=N"
            raise Mistake(
                f"nothing says how many slots {pool!r} has; give {how}", where=trace.name, code="no-slots"
            )
        pools[pool] = size
    jobs, skipped = [], list(trace.skipped)
    for job, line in zip(trace.jobs, _lines(trace), strict=True):
        large = next((pool for pool, wanted in job.slots.items() if wanted > pools[pool]), None)
        if large is None:
            jobs.append(job)
        else:
            reason = f"larger than the pool: needs {job.slots[large]} slots of {large!r}, which has {pools[large]}"
            skipped.append(Skipped(line=line, id=job.id, reason=reason))
    skipped.sort(key=lambda each: each.line or 0)
    return replace(trace, jobs=tuple(jobs), skipped=tuple(skipped), pools=pools)


def _lines(trace: Trace) -> Sequence[int | None]:
    return [job.line if isinstance(job, PlacedJob) else None for job in trace.jobs]


class PlacedJob(Job, frozen=True, kw_only=True):
    """A job that knows the line it was read from."""

    line: int


def number(text: str) -> float:
    """A number as text.

    Raises:
        ValueError: the text is no number, or no finite one.
    """
    try:
        found = float(text)
    except ValueError as error:
        raise ValueError(f"a number was expected, {text!r} was found") from error
    if not math.isfinite(found):
        raise ValueError(f"a finite number was expected, {text!r} was found")
    return found


def within_reach(seconds: float) -> float:
    """A length or moment that virtual time has room for.

    Raises:
        ValueError: it is longer than a thousand years.
    """
    if abs(seconds) > 3.2e10:
        raise ValueError(f"at most a thousand years were expected, {seconds:g} s were found")
    return seconds
