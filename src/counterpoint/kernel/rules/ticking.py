"""Clocks: ticks that have come become changes; ticks that were missed follow the clock's `catchup`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from heapq import heappop

from counterpoint.kernel.decisions import AdvanceClock, AnyDecision, Deliver, Reason, SkipTicks
from counterpoint.kernel.events import AnyEvent, Change
from counterpoint.kernel.rules.delivering import items_for
from counterpoint.kernel.state import State
from counterpoint.model.calendar import next_tick
from counterpoint.model.trigger import Clock, Cron, Every

#: A tick that is noticed later than this was missed: nothing could run then.
PUNCTUAL = timedelta(minutes=1)
#: More missed ticks than this are not counted out one by one.
MOST = 10_000


def tick(state: State, event: AnyEvent) -> Iterator[AnyDecision]:
    """Let every clock tick that is due by the wall."""
    while state.ticks_to_come and state.ticks_to_come[0][0] <= state.wall:
        _, pipeline, source = heappop(state.ticks_to_come)
        cursor = state.ticks.get((pipeline, source))
        declared = state.plan.pipelines.get(pipeline)
        if cursor is None or declared is None or declared.trigger is None:
            continue
        clock = declared.trigger.sources[source]
        if isinstance(clock, Cron | Every):
            yield from _deal_with(state, pipeline, source, clock, _due(clock, cursor, state.wall))


def _due(clock: Clock, cursor: datetime, wall: datetime) -> list[datetime]:
    ticks: list[datetime] = []
    moment = next_tick(clock, cursor)
    while moment is not None and moment <= wall and len(ticks) < MOST:
        ticks.append(moment)
        moment = next_tick(clock, moment)
    return ticks


def _deal_with(
    state: State, pipeline: str, source: int, clock: Clock, ticks: list[datetime]
) -> Iterator[AnyDecision]:
    if not ticks:
        return
    match clock.catchup:
        case "all":
            kept = ticks
        case "latest":
            kept = ticks[-1:]
        case "none":
            kept = [moment for moment in ticks[-1:] if state.wall - moment <= PUNCTUAL]
    skipped = ticks[: len(ticks) - len(kept)]
    if skipped:
        yield SkipTicks(
            at=state.at,
            reason=Reason("missed", {"catchup": clock.catchup, "count": len(skipped)}),
            pipeline=pipeline,
            source=source,
            count=len(skipped),
            first=skipped[0],
            last=skipped[-1],
        )
    for moment in kept:
        change = Change(
            number=state.changes + 1,
            subject=f"tick:{pipeline}:{source}",
            source=f"/counterpoint/{state.plan.name}",
            id=f"{pipeline}/{source}@{moment.isoformat()}",
            type="counterpoint.tick",
            time=moment,
            data={"pipeline": pipeline, "scheduled": moment.isoformat()},
        )
        yield AdvanceClock(at=state.at, reason=Reason("ticked"), pipeline=pipeline, source=source, tick=moment)
        items = items_for(state, change)
        if items:
            yield Deliver(at=state.at, reason=Reason("ticked"), change=change, items=items)
