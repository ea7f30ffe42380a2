"""Plain CSV: a row a job.

Columns: `arrival` and `duration`, and if wanted `id`, `pools`, `priority`, `deadline`. Without a header the
columns are arrival, duration, pools, priority, deadline. `arrival` and `deadline` are seconds from the trace's
start, or ISO times: then the trace starts with the first arrival. `duration` is seconds, or a length such as
`10m`. `pools` is `gpu:1;cpu:4`, or a number of slots of the one pool; one slot where it is empty. `priority` is
`urgent`, `normal` or `bulk`, or a whole number: above 0 is urgent, below is bulk.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from counterpoint.errors import Mistake
from counterpoint.model.quantity import parse_duration
from counterpoint.sim.jobs import Job
from counterpoint.sim.traces.trace import POOL, PlacedJob, Skipped, Trace, number, within_reach

COLUMNS = ("arrival", "duration", "pools", "priority", "deadline")
_ALL = ("id", *COLUMNS)
#: A row with its line: column -> text.
Row: TypeAlias = tuple[int, dict[str, str]]


def read_table(lines: Iterable[str], name: str) -> Trace:
    """Read a table. Rows that cannot be run are listed with their line and reason.

    Raises:
        Mistake: the table is empty, or its header lacks a column.
    """
    skipped: list[Skipped] = []
    rows = list(_rows(lines, name, skipped))
    start = _start(rows)
    jobs: list[Job] = []
    for count, (line, row) in enumerate(rows, 1):
        try:
            jobs.append(_job(row, line, str(count), start))
        except ValueError as error:
            skipped.append(Skipped(line=line, id=row.get("id", ""), reason=f"broken: {error}"))
    skipped.sort(key=lambda each: each.line or 0)
    notes = (f"the trace starts at {start.isoformat()}",) if start is not None else ()
    return Trace(name=name, format="csv", jobs=tuple(jobs), skipped=tuple(skipped), notes=notes)


def _rows(lines: Iterable[str], name: str, skipped: list[Skipped]) -> Iterator[Row]:
    reader = csv.reader(lines, skipinitialspace=True)
    header: Sequence[str] | None = None
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            skipped.append(Skipped(line=reader.line_num, reason=f"broken: {error}"))
            continue
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if header is None:
            header = _header(cells, name)
            if header is not COLUMNS:
                continue
        if len(cells) > len(header):
            reason = f"broken: at most {len(header)} columns were expected, {len(cells)} were found"
            skipped.append(Skipped(line=reader.line_num, reason=reason))
            continue
        yield reader.line_num, dict(zip(header, cells, strict=False))
    if header is None:
        raise Mistake("a table with a header was expected, the file is empty", where=name, code="broken-trace")


def _header(cells: Sequence[str], name: str) -> Sequence[str]:
    named = [cell.lower() for cell in cells]
    named[0] = named[0].removeprefix("\ufeff")
    if not set(named) & set(_ALL):
        try:
            _moment(cells[0])
        except ValueError:
            pass
        else:
            return COLUMNS
    missing = [column for column in ("arrival", "duration") if column not in named]
    if missing:
        raise Mistake(
            f"a column `{missing[0]}` was expected in the header, it has {', '.join(cells)}; "
            f"the columns are {', '.join(_ALL)}",
            where=f"{name}:1",
            code="broken-trace",
        )
    return named


def _start(rows: Sequence[Row]) -> datetime | None:
    """The first arrival, if arrivals are times of the calendar."""
    moments = []
    for _, row in rows:
        try:
            moment = _moment(row.get("arrival", ""))
        except ValueError:
            continue
        if isinstance(moment, datetime):
            moments.append(moment)
    return min(moments, default=None)


def _moment(text: str) -> float | datetime:
    try:
        return number(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"seconds or an ISO time were expected, {text!r} was found") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _seconds(text: str, start: datetime | None, what: str) -> float:
    try:
        moment = _moment(text)
        if isinstance(moment, datetime):
            if start is None:
                raise ValueError("arrivals are seconds, so seconds were expected")
            return (moment - start).total_seconds()
        if start is not None:
            raise ValueError(f"arrivals are ISO times, so an ISO time was expected, {text!r} was found")
        return within_reach(moment)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def _job(row: Mapping[str, str], line: int, count: str, start: datetime | None) -> PlacedJob:
    arrival_s = _seconds(row.get("arrival", ""), start, "arrival")
    if arrival_s < 0:
        raise ValueError(f"arrival: nothing arrives before the trace's start, {row['arrival']!r} was found")
    deadline = row.get("deadline", "")
    return PlacedJob(
        id=row.get("id") or count,
        arrival_s=arrival_s,
        duration_s=_duration(row.get("duration", "")),
        slots=_slots(row.get("pools", "")),
        priority_class=_class(row.get("priority", "")),
        deadline_s=_seconds(deadline, start, "deadline") if deadline else None,
        line=line,
    )


def _duration(text: str) -> float:
    try:
        seconds = number(text)
    except ValueError:
        try:
            seconds = parse_duration(text).total_seconds()
        except ValueError as error:
            raise ValueError(
                f"duration: seconds or a length such as 10m were expected, {text!r} was found"
            ) from error
    if seconds < 0:
        raise ValueError(f"duration: at least 0 was expected, {text!r} was found")
    return within_reach(seconds)


def _slots(text: str) -> dict[str, int]:
    if not text:
        return {POOL: 1}
    slots: dict[str, int] = {}
    for part in text.split(";"):
        pool, colon, amount = part.strip().rpartition(":")
        if not part.strip():
            continue
        if (colon and not pool.strip()) or not amount.strip().isdecimal() or int(amount) < 1:
            raise ValueError(f"pools: `gpu:1;cpu:4` or a number of slots was expected, {text!r} was found")
        place = pool.strip() if colon else POOL
        slots[place] = slots.get(place, 0) + int(amount)
    return slots or {POOL: 1}


def _class(text: str) -> str:
    if text.lower() in ("urgent", "normal", "bulk"):
        return text.lower()
    if not text:
        return "normal"
    try:
        weight = int(text)
    except ValueError as error:
        raise ValueError(
            f"priority: urgent, normal, bulk or a whole number was expected, {text!r} was found"
        ) from error
    return "urgent" if weight > 0 else "bulk" if weight < 0 else "normal"
