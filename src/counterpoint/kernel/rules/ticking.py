"""Clocks: ticks that have come become changes; ticks that were missed follow the clock's `catchup`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from heapq import heappop

from counterpoint.kernel.decisions import AdvanceClock, AnyDecision, Deliver, Reason, SkipTicks
from counterpoint.kernel.events import AnyEvent, Change
from counterpoint.kernel.rules.delivering import items_for
from counterpoint.kernel.state import State
from counterpoint.model.calendar import next_tick, ticks_between
from counterpoint.model.plan import subject_of
from counterpoint.model.trigger import Clock, Cron, Every

#: A tick that is noticed later than this was missed: nothing could run then.
PUNCTUAL = timedelta(minutes=1)
#: More missed ticks than this are not made up for.
MOST_TICKS = 10_000


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
            yield from _deal_with(state, pipeline, source, clock, cursor)


def _deal_with(state: State, pipeline: str, source: int, clock: Clock, cursor: datetime) -> Iterator[AnyDecision]:
    most = MOST_TICKS if clock.catchup == "all" else 1
    count, newest = ticks_between(clock, cursor, state.wall, most + 1)
    kept = newest[-most:]
    if clock.catchup == "none":
        kept = [moment for moment in kept if state.wall - moment <= PUNCTUAL]
    skipped = count - len(kept)
    if skipped:
        yield SkipTicks(
            at=state.at,
            reason=Reason("missed", {"catchup": clock.catchup, "count": skipped}),
            pipeline=pipeline,
            source=source,
            count=skipped,
            first=next_tick(clock, cursor) or cursor,
            last=newest[-len(kept) - 1],
        )
    for moment in kept:
        change = Change(
            number=state.changes + 1,
            subject=subject_of(clock, pipeline),
            source=f"/counterpoint/{state.plan.name}",
            # The number, because a tick comes again after the wall clock was put back.
            id=f"{pipeline}@{moment.isoformat()}/{state.changes + 1}",
            type="counterpoint.tick",
            time=moment,
            data={"pipeline": pipeline, "scheduled": moment.isoformat()},
        )
        yield AdvanceClock(at=state.at, reason=Reason("ticked"), pipeline=pipeline, source=source, tick=moment)
        items = items_for(state, change)
        if items:
            yield Deliver(at=state.at, reason=Reason("ticked"), change=change, items=items)
