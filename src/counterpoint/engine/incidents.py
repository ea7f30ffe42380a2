"""Incidents as people review them: what happened, where the time went, and who is downstream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from counterpoint.analysis.blame import Stretch, say_stretch
from counterpoint.engine.accounts import Account, account_of_change, account_of_version
from counterpoint.engine.service import Blamed, Downstream, IncidentReport, Moment
from counterpoint.errors import NotFound
from counterpoint.kernel.records import Incident, Obligation
from counterpoint.kernel.state import State
from counterpoint.model.plan import Plan
from counterpoint.model.promise import PromiseKind
from counterpoint.model.quantity import format_duration
from counterpoint.ports.store import History, IncidentRow, VersionRow

#: Versions of the asset that are looked at for the one that ended an incident.
MOST_VERSIONS = 500


async def report(state: State, history: History, name: str, *, at: datetime) -> IncidentReport:
    """All that is known of an incident, derived from history.

    Raises:
        NotFound: there is none of that name.
    """
    row = await history.row("incidents", name)
    if not isinstance(row, IncidentRow):
        raise NotFound(f"there is no incident {name!r}; `counterpoint incidents` lists them")
    incident = msgspec.json.decode(row.document, type=Incident)
    account = await _account(state, history, incident, at)
    return IncidentReport(
        incident=incident.incident,
        asset=incident.asset,
        promise=incident.promise,
        begun_at=incident.begun,
        ended_at=incident.ended,
        missed=incident.missed,
        since=incident.origin.since,
        due=incident.origin.due,
        timeline=_timeline(incident, account),
        causes=blamed(account.stretches),
        downstream=downstream(state.plan, incident.asset),
    )


async def _account(state: State, history: History, incident: Incident, at: datetime) -> Account:
    """From the change that was first to be missed until the asset had it, or until now."""
    origin = incident.origin
    if incident.ended is None:
        return await account_of_obligation(state, history, incident.asset, incident.promise, origin, at)
    rows = await history.page("versions", where={"asset": incident.asset}, limit=MOST_VERSIONS)
    for _, row in reversed(rows):
        assert isinstance(row, VersionRow), "the versions table holds versions"
        reflects = msgspec.json.decode(row.document).get("reflects") or {}
        if row.at <= incident.ended and all(reflects.get(source, -1) >= w for source, w in origin.marks.items()):
            happened = _happened(incident.promise, origin)
            found = await account_of_version(state, history, row, since=origin.since, happened=happened)
            if found is not None:
                return found
    return Account(
        origin.since, incident.ended, [Stretch(start=origin.since, end=incident.ended, cause="unknown")]
    )


async def account_of_obligation(
    state: State, history: History, asset: str, promise: PromiseKind, obligation: Obligation, at: datetime
) -> Account:
    """From the change that an obligation is about until now: of the source that the asset lacks most of."""
    mark = state.marks.get(asset)
    reached = mark.reflects if mark is not None else {}
    lacking = [(source, w) for source, w in obligation.marks.items() if reached.get(source, -1) < w]
    source, w = next(iter(lacking or obligation.marks.items()))
    return await account_of_change(
        state,
        history,
        asset,
        source=source,
        mark=w,
        since=obligation.since,
        at=at,
        happened=_happened(promise, obligation),
    )


def _happened(promise: PromiseKind, obligation: Obligation) -> datetime | None:
    """When the change happened that an obligation is about; None for a completion: it is about all that came."""
    return obligation.since if promise == "freshness" else None


def blamed(stretches: Iterable[Stretch]) -> list[Blamed]:
    """Stretches as the API shows them."""
    return [
        Blamed(
            start=each.start,
            end=each.end,
            seconds=round(each.length.total_seconds(), 3),
            cause=each.cause,
            text=say_stretch(each),
            run=each.run,
            name=each.name,
            holders=list(each.holders),
        )
        for each in stretches
    ]


def _timeline(incident: Incident, account: Account) -> list[Moment]:
    origin = incident.origin
    sources = ", ".join(origin.marks)
    found = [Moment(at=origin.since, text=f"what {incident.asset} owes began: {sources} changed")]
    if incident.promise == "completion":
        found = [Moment(at=origin.since, text=f"the cut-off of {sources}")]
    found += [Moment(at=each.start, text=_begins(each)) for each in account.stretches if each.cause != "unknown"]
    late = f"{incident.asset} was due to have it"
    found.append(Moment(at=origin.due, text=late))
    found.append(Moment(at=incident.begun, text="the promise was missed: the incident began"))
    if incident.ended is not None:
        length = format_duration(incident.ended - incident.begun)
        found.append(
            Moment(at=incident.ended, text=f"nothing was late any more: the incident ended after {length}")
        )
    return sorted(found, key=lambda moment: moment.at)


def _begins(stretch: Stretch) -> str:
    return f"from here on {say_stretch(stretch)}"


def downstream(plan: Plan, asset: str) -> list[Downstream]:
    """The pipelines that are made of an asset, directly or through others."""
    found: dict[str, None] = {}
    assets: dict[str, None] = {asset: None}
    waiting: list[str] = [asset]
    listeners = _listeners(plan)
    while waiting:
        current = waiting.pop(0)
        for name in (*plan.readers.get(current, ()), *listeners.get(current, ())):
            if name in found:
                continue
            found[name] = None
            written: Sequence[str] = [each for each in plan.pipelines[name].written if each not in assets]
            assets |= dict.fromkeys(written)
            waiting += written
    return [Downstream(pipeline=name, owner=plan.pipelines[name].owner) for name in found]


def _listeners(plan: Plan) -> dict[str, list[str]]:
    """Asset -> the pipelines that its versions start."""
    found: dict[str, list[str]] = {}
    for subject, listeners in plan.subscribers.items():
        kind, _, name = subject.partition(":")
        if kind == "asset":
            found[name] = [pipeline for pipeline, _, _ in listeners]
    return found
