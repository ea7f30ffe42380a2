"""Rates and storms: what was started in the span of a rate, and pipelines that form no runs for a while."""

from __future__ import annotations

from bisect import bisect_right

from counterpoint.kernel import decisions as d
from counterpoint.kernel.records import Storm
from counterpoint.kernel.state import State


def note_start(state: State, resource: str) -> None:
    """Count a start for a rate, and forget those that have left its span."""
    rate = state.rate_of(resource)
    if rate is None:
        return
    starts = state.starts.setdefault(resource, [])
    starts.append(state.at)
    del starts[: max(bisect_right(starts, state.at - rate.per), len(starts) - rate.count)]
    note_full(state, resource)


def note_full(state: State, resource: str) -> None:
    """If a rate is used up, note when the oldest start leaves its span."""
    rate, starts = state.rate_of(resource), state.starts[resource]
    if rate is not None and resource.startswith("rate:") and state.started(resource) >= rate.count:
        state.full[resource] = starts[-rate.count] + rate.per
        state.remember(state.full[resource], "rate", resource)


def expire(state: State) -> None:
    """Let rates be free again whose oldest start has left its span by now."""
    for resource in [name for name, moment in state.full.items() if moment <= state.at]:
        del state.full[resource]
        state.queue.freed(resource)
        state.touched.admission = True


def trip_storm(state: State, decision: d.TripStorm) -> None:
    state.storms[decision.pipeline] = Storm(decision.at, decision.until)
    state.remember(decision.until, "storm", decision.pipeline)


def calm_storm(state: State, decision: d.CalmStorm) -> None:
    del state.storms[decision.pipeline]
    state.touch_lanes(state.waiting_lanes.get(decision.pipeline, ()))
