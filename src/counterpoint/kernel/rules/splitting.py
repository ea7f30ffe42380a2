"""Elastic parallelism: a lane that lags is worked off by several runs at once, each with some of its items.

A lane lags when more is pending than one run takes (`batch.max`), when its items have waited longer than
its class may wait, or when the latest start that promises allow has passed. Items with one value of
`elastic.by` stay in one run, and wait while a run that has some of them goes on. There are not more runs
than `elastic.max`, and not more than the pools of the pipeline and of those that read what it writes have
room for now; one goes on in any case. Pipelines whose trigger has several groups are not split.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import islice

from msgspec import Struct

from counterpoint.kernel.decisions import Reason
from counterpoint.kernel.records import Backlog
from counterpoint.kernel.state import State
from counterpoint.kernel.urgency import place
from counterpoint.model.pipeline import Pipeline


class Part(Struct, frozen=True):
    """The items of one of several runs, and why there are several."""

    items: tuple[int, ...]
    reason: Reason


def split(state: State, backlog: Backlog, pipeline: Pipeline) -> list[Part]:
    """The runs that a lagging lane becomes now, beside those that go on; none where one run will do."""
    elastic, trigger = pipeline.elastic, pipeline.trigger
    if elastic is None or trigger is None or len(trigger.groups) != 1:
        return []
    lag = _lag(state, backlog, pipeline)
    if lag is None:
        return []
    runs = [state.runs[name] for name in state.lanes.get(backlog.lane, {})]
    if any(run.phase == "waiting" and not run.aside for run in runs):
        # It takes what it can as soon as it is admitted.
        return []
    busy = dict.fromkeys(item.split for run in runs for item in run.items.values())
    values: dict[str, list[int]] = {}
    for item in backlog.items:
        if item.split not in busy:
            values.setdefault(item.split, []).append(item.number)
    wanted, room = min(elastic.max - len(runs), len(values)), _room(state, pipeline)
    if room < wanted:
        for pool in _pools(_around(state, pipeline)):
            state.crowded.setdefault(f"pool:{pool}", {})[backlog.lane] = None
    count = min(wanted, room)
    if count < 1 or (count == 1 and not runs):
        # Without room for two it is an ordinary run, or none beside those that go on.
        return []
    figures = {"runs": count, "values": len(values), "pending": len(backlog), "why": lag, "room": room}
    reason = Reason("split-up", figures)
    return [Part(items, reason) for items in deal(values, count, trigger.batch.max)]


def deal(values: dict[str, list[int]], count: int, most: int | None) -> list[tuple[int, ...]]:
    """Items in so many parts of about one size, each value in one of them, the oldest `most` of each part."""
    parts: list[list[int]] = [[] for _ in range(count)]
    for numbers in sorted(values.values(), key=lambda numbers: (-len(numbers), numbers[0])):
        min(parts, key=len).extend(numbers)
    return [tuple(islice(sorted(part), most)) for part in parts]


def _lag(state: State, backlog: Backlog, pipeline: Pipeline) -> str | None:
    """Why a lane lags; None if it does not, and then a look is noted for when it would."""
    assert pipeline.trigger is not None and backlog.first is not None, "a lane with items has a trigger"
    most = pipeline.trigger.batch.max
    if most is not None and len(backlog) > most:
        return "more-than-a-batch"
    moments: list[tuple[datetime, str]] = [(backlog.first + state.plan.waits[pipeline.priority_class], "waited")]
    latest = place(state, backlog.lane).latest
    if latest is not None:
        moments.append((latest, "latest-start"))
    moment, why = min(moments)
    if moment < state.at:
        return why
    # The first moment after it: at the latest start itself nothing is late yet.
    state.look_at(backlog.lane, moment + datetime.resolution)
    return None


def _room(state: State, pipeline: Pipeline) -> int:
    """How many runs the pools have slots for now: its own, and those of the pipelines that read what it writes."""
    rooms = []
    for each in _around(state, pipeline):
        for pool, slots in _most(each).items():
            rooms.append(max(0, state.unused(f"pool:{pool}")) // max(slots, 1))
    return min(rooms, default=1 << 30)


def _around(state: State, pipeline: Pipeline) -> list[Pipeline]:
    names = dict.fromkeys(name for asset in pipeline.written for name in state.plan.readers.get(asset, ()))
    return [pipeline, *(state.plan.pipelines[name] for name in names if name != pipeline.name)]


def _most(pipeline: Pipeline) -> dict[str, int]:
    """Pool -> the most slots that one of its tasks asks for."""
    most: dict[str, int] = {}
    for task in pipeline.tasks.values():
        for pool, slots in task.pools.items():
            most[pool] = max(slots, most.get(pool, 0))
    return most


def _pools(pipelines: Iterable[Pipeline]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pool for pipeline in pipelines for pool in _most(pipeline)))
