"""Incidents begin with the first obligation missed, and end when nothing is late any more."""

from __future__ import annotations

from datetime import timedelta

from counterpoint.engine.views import rows
from counterpoint.kernel import events as e
from counterpoint.kernel.folding.incidents import incident_of, note_caught_up, note_missed
from counterpoint.kernel.records import Obligation, PromiseState
from counterpoint.kernel.state import State
from counterpoint.model.plan import Asset
from counterpoint.model.promise import Freshness
from counterpoint.model.trigger import OnAsset
from counterpoint.ports.store import IncidentRow
from counterpoint.testing.builders import START, Kernel, pipeline, plan

MINUTE = timedelta(minutes=1)
FIRST = Obligation({"event:order": 1}, START, START + 30 * MINUTE, mark=1)
SECOND = Obligation({"event:order": 2}, START + MINUTE, START + 31 * MINUTE, mark=2)


def written(state: State) -> list[tuple[str, int, bool]]:
    """Name, obligations missed, and whether it ended, of the incidents to write."""
    found = rows(state, {})
    assert all(isinstance(row, IncidentRow) for row in found)
    return [(row.incident, row.missed, row.ended_at is not None) for row in found if isinstance(row, IncidentRow)]


def test_an_incident_counts_what_is_missed_until_nothing_is_late() -> None:
    state, promise = State(), PromiseState("mart", "freshness")

    note_missed(state, promise, FIRST.due, [FIRST])
    assert (promise.breached, promise.origin, incident_of(promise)) == (FIRST.due, FIRST, "mart:freshness#1")
    assert written(state) == [("mart:freshness#1", 1, False)]

    note_missed(state, promise, SECOND.due, [SECOND])
    assert (promise.breached, promise.origin) == (FIRST.due, FIRST)
    assert written(state) == [("mart:freshness#1", 2, False)]

    note_caught_up(state, promise, SECOND.due + MINUTE)
    assert (promise.breached, promise.origin) == (None, None)
    assert written(state) == [("mart:freshness#1", 2, True)]


def test_the_next_breach_is_another_incident() -> None:
    state, promise = State(), PromiseState("mart", "freshness")
    note_missed(state, promise, FIRST.due, [FIRST])
    note_caught_up(state, promise, FIRST.due + MINUTE)
    note_missed(state, promise, SECOND.due + MINUTE, [SECOND])

    assert written(state) == [("mart:freshness#1", 1, True), ("mart:freshness#2", 1, False)]


def test_nothing_ends_where_nothing_was_broken() -> None:
    state, promise = State(), PromiseState("mart", "freshness")

    note_caught_up(state, promise, START)

    assert written(state) == []


def test_a_promise_that_is_taken_back_ends_its_incident_and_numbers_go_on() -> None:
    kernel = Kernel()
    build = pipeline("build", on=[OnAsset("raw")], reads=["raw"], writes=["mart"])
    promising = plan(build, assets={"raw": Asset(), "mart": Asset(freshness=Freshness(10 * MINUTE))})

    def breach() -> None:
        kernel.declare(promising)
        kernel.take(e.AssetReported, report=e.Report(asset="raw"), by="anna")
        list(kernel.wake_until(kernel.now + 11 * MINUTE))

    breach()
    kernel.declare(plan(build))
    incidents = kernel.state.written.incidents
    assert [(name, each.ended) for name, each in incidents.items()] == [("mart:freshness#1", kernel.now)]

    kernel.reload()
    breach()
    assert [(name, each.ended) for name, each in kernel.state.written.incidents.items()] == [
        ("mart:freshness#2", None)
    ]
