"""Incidents: when a promise begins to be broken, and when nothing of it is late any more."""

from __future__ import annotations

from datetime import datetime

from counterpoint.kernel.records import Incident, Obligation, PromiseState
from counterpoint.kernel.state import State


def note_missed(state: State, promise: PromiseState, at: datetime, missed: list[Obligation]) -> None:
    """Obligations were missed at `at`, the oldest first: with the first of them an incident begins."""
    if promise.breached is None:
        promise.breached, promise.origin, promise.missed = at, missed[0], 0
        promise.incidents += 1
    promise.missed += len(missed)
    _write(state, promise, None)


def note_caught_up(state: State, promise: PromiseState, at: datetime) -> None:
    """Nothing that the promise owes is late any more: its incident, if there is one, ends at `at`."""
    if promise.breached is None:
        return
    _write(state, promise, at)
    promise.breached, promise.origin = None, None


def _write(state: State, promise: PromiseState, ended: datetime | None) -> None:
    assert promise.breached is not None and promise.origin is not None, "an incident has begun with an obligation"
    name = incident_of(promise)
    state.written.incidents[name] = Incident(
        incident=name,
        asset=promise.asset,
        promise=promise.promise,
        begun=promise.breached,
        ended=ended,
        missed=promise.missed,
        origin=promise.origin,
    )


def incident_of(promise: PromiseState) -> str:
    """The name of a promise's newest incident: `mart.gmv:freshness#3`."""
    return f"{promise.asset}:{promise.promise}#{promise.incidents}"
