"""Web events: count what visitors did, then put the counts into the warehouse.

    web_events.py aggregate   clicks -> counts (a file beside them); all clicks are held in memory at once
    web_events.py load        counts -> raw.web_events

A visitor's clicks can only be judged together, and they are scattered over the file. So the
memory needed grows with the day: ten times the clicks do not fit under the usual limit.
The score says what happens then. Both steps may be repeated; the result is the same.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from counterpoint.sdk import current


def taken_files() -> Iterator[Path]:
    """Files of the events that this run took; several may have come while we were busy."""
    for event in current().events:
        if event["type"] == "web.clicks.landed":
            yield Path(event["data"]["file"])


def aggregate(clicks: Path) -> None:
    """Count the sessions that reached each step, by hour, device and source."""
    sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with clicks.open() as lines:
        for line in lines:
            click = json.loads(line)
            sessions[click["session"]].append(click)
    counts: Counter[tuple[str, ...]] = Counter()
    for visit in sessions.values():
        first = min(visit, key=lambda click: click["at"])
        for action in {click["action"] for click in visit}:
            counts[first["at"][:13], first["device"], first["source"], action] += 1
    with clicks.with_suffix(".counts.csv").open("w") as out:
        print("hour,device,source,action,sessions", file=out)
        for (hour, *rest), number in sorted(counts.items()):
            print(f"{hour}:00", *rest, number, sep=",", file=out)
    print(f"{clicks.name}: {sum(map(len, sessions.values()))} clicks of {len(sessions)} sessions")


def load(files: list[Path]) -> None:
    """Put the counts into raw.web_events, in place of what was there for the same hours."""
    import duckdb  # here, because `aggregate` runs under a memory limit and has no use for it

    with duckdb.connect("warehouse.duckdb") as warehouse:
        warehouse.execute("create schema if not exists raw")
        warehouse.execute(
            """create table if not exists raw.web_events (
                hour timestamp, device varchar, source varchar, action varchar, sessions integer,
                primary key (hour, device, source, action))"""
        )
        counts = [str(file.with_suffix(".counts.csv")) for file in files]
        warehouse.execute("begin")
        warehouse.execute("delete from raw.web_events where hour in (select hour from read_csv($1))", [counts])
        rows = warehouse.execute("insert into raw.web_events select * from read_csv($1)", [counts]).fetchone()[0]
        warehouse.execute("commit")
    current().publish("raw.web_events", label=files[-1].stem, metadata={"rows": rows})
    print(f"{rows} counts from {len(files)} file(s) loaded into raw.web_events")


if __name__ == "__main__":
    taken = list(taken_files())
    if sys.argv[1] == "aggregate":
        for file in taken:
            aggregate(file)
    else:
        load(taken)
