"""Promises make obligations: one for each change of a source, one for each period of a completion."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from heapq import heappop

from counterpoint.kernel.decisions import MissObligations, Oblige, Reason
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.obligations import calendar_of, newest
from counterpoint.kernel.records import in_ms
from counterpoint.kernel.state import State
from counterpoint.model.lineage import Promised
from counterpoint.model.workdays import counts, due_after, next_cutoff


def oblige(state: State, event: AnyEvent) -> Iterator[Oblige | MissObligations]:
    """Each change of a source must be in the assets that promise to be fresh."""
    while state.touched.sources:
        changed, state.touched.sources = state.touched.sources, {}
        for source, happened in changed.items():
            for promise in state.plan.lineage.lookers.get(source, ()):
                yield from _owe_change(state, promise, source, happened)


def _owe_change(
    state: State, promise: Promised, source: str, happened: datetime
) -> Iterator[Oblige | MissObligations]:
    asset, kind = promise
    fresh, calendar = state.plan.assets[asset].freshness, calendar_of(state.plan, promise)
    if kind != "freshness" or fresh is None or not counts(calendar, happened):
        return
    # Of the world, what comes after this sample must be in a later one.
    mark = newest(state, source) + (1 if source.startswith("world:") else 0)
    due = due_after(calendar, happened, fresh.within)
    reason = Reason("changed", {"source": source})
    yield Oblige(
        at=state.at, reason=reason, asset=asset, promise=kind, marks={source: mark}, since=happened, due=due
    )
    if due < state.at:
        yield from miss(state, promise, since=state.at)


def cut_off(state: State, event: AnyEvent) -> Iterator[Oblige | MissObligations]:
    """At each cut-off by the wall: all that came up to it must be in the assets that promise to be complete.

    Cut-offs that passed while nothing could run are made up for as far as the window reaches; each asks for
    what has come up to now, which is what had come then.
    """
    while state.cutoffs_to_come and state.cutoffs_to_come[0][0] <= state.wall:
        cutoff, asset = heappop(state.cutoffs_to_come)
        promise = state.promises.get((asset, "completion"))
        if promise is None or promise.period is None or cutoff <= promise.period:
            continue
        completion = state.plan.assets[asset].completion
        assert completion is not None, "State has promises of the plan in force only"
        expected, due = next_cutoff(completion, calendar_of(state.plan, (asset, "completion")), promise.period)
        if expected != cutoff:
            continue
        # Facts have engine time; a clock of the wall that was set differs from it.
        ahead = timedelta(seconds=round((state.at - state.wall).total_seconds()))
        is_in_window = state.wall - cutoff <= completion.over
        marks = _up_to(state, asset, cutoff + ahead) if is_in_window else {}
        nothing = Reason("unheard-of") if is_in_window else Reason("out-of-window")
        yield Oblige(
            at=state.at,
            reason=Reason("cut-off") if marks else nothing,
            asset=asset,
            promise="completion",
            marks=marks,
            since=cutoff + ahead,
            due=due + ahead,
            period=cutoff,
        )
        if marks and due + ahead < state.at:
            yield from miss(state, (asset, "completion"), since=due + ahead)


def _up_to(state: State, asset: str, cutoff: datetime) -> dict[str, int]:
    """What an asset must have of each source that was heard of; of the world, a sample from the cut-off on."""
    return {
        source: in_ms(cutoff) if source.startswith("world:") else newest(state, source)
        for source in state.plan.lineage.sources[asset]
        if newest(state, source)
    }


def miss(state: State, promise: Promised, *, since: datetime | None = None) -> Iterator[MissObligations]:
    """Obligations of a promise that are past their due are missed.

    Args:
        since: when that began; None is when the first of them was due.
    """
    known = state.promises[promise]
    late = [each.due for waiting in known.open.values() for each in waiting if each.due < state.at]
    if late:
        yield MissObligations(
            at=state.at,
            reason=Reason("late", {"count": len(late)}),
            asset=promise[0],
            promise=promise[1],
            count=len(late),
            due=since or min(late),
        )
