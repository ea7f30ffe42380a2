"""How promises stand now, in the words of `service`, read from State."""

from __future__ import annotations

from datetime import datetime

from counterpoint.analysis.budget import budget
from counterpoint.analysis.forecast import Walk, forecast
from counterpoint.engine.service import PromiseStatus, SourceStatus
from counterpoint.kernel.folding.incidents import incident_of
from counterpoint.kernel.obligations import bucket_width, calendar_of, counted, freshness
from counterpoint.kernel.records import PromiseState, SourceState
from counterpoint.kernel.state import State
from counterpoint.model.promise import Completion, Freshness, PromiseKind
from counterpoint.model.quantity import format_duration
from counterpoint.model.workdays import elapsed


def promise_statuses(state: State, at: datetime) -> list[PromiseStatus]:
    """Every declared promise, in the order of the assets."""
    found, walk = [], Walk(state, at)
    for name, asset in state.plan.assets.items():
        if asset.freshness is not None:
            found.append(_status(state, name, "freshness", asset.freshness, at, walk))
        if asset.completion is not None:
            found.append(_status(state, name, "completion", asset.completion, at, walk))
    return found


def _status(
    state: State, asset: str, kind: PromiseKind, declared: Freshness | Completion, at: datetime, walk: Walk
) -> PromiseStatus:
    promise = state.promises.get((asset, kind)) or PromiseState(asset, kind)
    open_ = [each for obligations in promise.open.values() for each in obligations]
    since = max(promise.since or at, at - declared.over)
    return PromiseStatus(
        asset=asset,
        promise=kind,
        owed=owed(declared),
        target=declared.target,
        window_s=declared.over.total_seconds(),
        budget=budget(
            counted(state, promise, at),
            target=declared.target,
            over=declared.over,
            width=bucket_width(declared.over),
            at=at,
            share=declared.share if isinstance(declared, Freshness) else "obligations",
            observed=elapsed(calendar_of(state.plan, (asset, kind)), since, at),
        ),
        freshness=source_statuses(state, asset, at),
        open=len(open_),
        next_due=min((each.due for each in open_), default=None),
        forecast=forecast(state, promise, at, walk),
        incident=incident_of(promise) if promise.breached is not None else "",
        breached_at=promise.breached,
        incidents=promise.incidents,
    )


def source_statuses(state: State, asset: str, at: datetime) -> list[SourceStatus]:
    """How an asset stands to each source that its promises look at."""
    mark = state.marks.get(asset)
    found = []
    for name in state.plan.lineage.tracked(asset):
        source = state.sources.get(name) or SourceState(name)
        age = freshness(state, asset, name, at)
        found.append(
            SourceStatus(
                source=name,
                age_s=None if age is None else round(age.total_seconds(), 3),
                newest=source.mark,
                reflects=mark.reflects.get(name, 0) if mark is not None else 0,
            )
        )
    return found


def owed(declared: Freshness | Completion) -> str:
    """What a promise owes, in words: `within 30m, 99 % over 7d`."""
    share = f"{declared.target * 100:.6g} % over {format_duration(declared.over)}"
    if isinstance(declared, Freshness):
        time = " of the time" if declared.share == "time" else ""
        return f"within {format_duration(declared.within)}, {share}{time}"
    return f"by {declared.by} {declared.timezone} up to {declared.cutoff}, {share}"
