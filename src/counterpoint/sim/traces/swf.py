"""Standard Workload Format: logs of parallel machines, one job a line.

Comments begin with `;`, and some of them are fields of the header (`; MaxProcs: 128`). A job has 18 fields; -1 is
unknown. Of these are read: 1 number, 2 submitted, 4 run time, 5 and 8 allocated and requested processors, 9
requested time. A job asks for as many slots of the one pool as it requested processors (as it was given, if it
requested none), and its requested time is the estimate that the scheduler is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from counterpoint.sim.jobs import Job
from counterpoint.sim.traces.trace import POOL, PlacedJob, Skipped, Trace, number, within_reach

_FIELDS = 18
_NUMBER, _SUBMITTED, _RUN_TIME, _ALLOCATED, _REQUESTED, _REQUESTED_TIME = 0, 1, 3, 4, 7, 8
_MAX_PROCS = re.compile(r";\s*MaxProcs\s*:\s*([0-9]+)", re.IGNORECASE)


def read_swf(lines: Iterable[str], name: str) -> Trace:
    """Read a log. Rows that cannot be run are listed with their reason."""
    jobs: list[Job] = []
    skipped: list[Skipped] = []
    pools: dict[str, int] = {}
    for place, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        if text.startswith(";"):
            header = _MAX_PROCS.match(text)
            if header is not None:
                pools[POOL] = int(header[1])
            continue
        fields = text.split()
        try:
            jobs.append(_job(fields, place))
        except ValueError as error:
            skipped.append(Skipped(line=place, id=fields[0], reason=str(error)))
    return Trace(name=name, format="swf", jobs=tuple(jobs), skipped=tuple(skipped), pools=pools)


def _job(fields: list[str], line: int) -> PlacedJob:
    if len(fields) != _FIELDS:
        raise ValueError(f"broken: {_FIELDS} fields were expected, {len(fields)} were found")
    try:
        submitted, run_time = number(fields[_SUBMITTED]), number(fields[_RUN_TIME])
        requested, allocated = number(fields[_REQUESTED]), number(fields[_ALLOCATED])
        estimate = number(fields[_REQUESTED_TIME])
        within_reach(max(submitted, run_time))
    except ValueError as error:
        raise ValueError(f"broken: {error}") from error
    processors = requested if requested > 0 else allocated
    if submitted < 0:
        raise ValueError("broken: it was never submitted (field 2 is below 0)")
    if run_time < 0:
        raise ValueError("no run time (field 4 is below 0)")
    if processors <= 0:
        raise ValueError("no processors (fields 5 and 8 are not above 0)")
    if processors != int(processors):
        raise ValueError(f"broken: a whole number of processors was expected, {processors:g} was found")
    return PlacedJob(
        id=fields[_NUMBER],
        arrival_s=submitted,
        duration_s=run_time,
        slots={POOL: int(processors)},
        estimate_s=estimate if estimate > 0 else None,
        line=line,
    )
