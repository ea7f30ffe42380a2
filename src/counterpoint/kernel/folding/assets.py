"""Versions of assets, and the suspicion that an in-place writer leaves when it fails."""

from __future__ import annotations

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.folding.items import announce
from counterpoint.kernel.folding.promises import note_confirmed, note_version
from counterpoint.kernel.records import AssetState
from counterpoint.kernel.state import State


def asset_reported(state: State, event: e.AssetReported) -> None:
    """The rule that answers it publishes or refuses."""


def publish_asset(state: State, decision: d.PublishAsset) -> None:
    _dealt_with(state, decision)
    place = (decision.asset, decision.partition)
    current = state.assets.get(place)
    if current is None:
        current = state.assets[place] = AssetState(*place)
    current.seq, current.label, current.metadata = decision.seq, decision.label, decision.metadata
    current.by, current.at, current.confirmed = decision.by, decision.at, decision.at
    current.data_through = decision.data_through
    _clear_suspicion(state, current)
    run = state.runs.get(decision.by)
    if run is not None and current.is_made_of_newer(decision.pins):
        run.overtaken = True
    current.make_of(decision.pins)
    note_version(state, decision, run)
    state.written.versions[decision.asset, decision.partition, decision.seq] = decision
    subject = state.plan.heard.get(decision.asset)
    if subject is not None:
        data = {
            "asset": decision.asset,
            "partition": decision.partition,
            "seq": decision.seq,
            "label": decision.label,
            "metadata": decision.metadata,
        }
        name = f"{decision.asset}#{decision.partition}@{decision.seq}"
        announce(
            state,
            subject=subject,
            type_="counterpoint.asset.published",
            name=name,
            run=run,
            partition=decision.partition,
            data=data,
            hops=decision.hops,
        )


def confirm_asset(state: State, decision: d.ConfirmAsset) -> None:
    current = state.assets.get((decision.asset, decision.partition))
    _dealt_with(state, decision)
    if current is not None:
        current.confirmed = decision.at
        current.confirm_of(decision.pins)
        _clear_suspicion(state, current)
    note_confirmed(state, decision, state.runs.get(decision.by))


def refuse_report(state: State, decision: d.RefuseReport) -> None:
    _dealt_with(state, decision)


def mark_suspect(state: State, decision: d.MarkSuspect) -> None:
    place = (decision.asset, decision.partition)
    current = state.assets.get(place)
    if current is None:
        current = state.assets[place] = AssetState(*place)
    current.suspect = True
    state.suspects.setdefault(decision.asset, {})[decision.partition] = None
    # A reader that must wait for the next publication keeps nothing from those who publish.
    for holder in dict.fromkeys([*state.queue.reserved.values(), *state.queue.claims]):
        request = state.queue.get(*holder)
        if request is not None and (f"fresh:{decision.asset}", 1) in request.needs:
            state.queue.release(request)
            state.queue.may_reserve(request.key, request.run, request.task)
            state.touched.admission = True


def _dealt_with(state: State, decision: d.PublishAsset | d.ConfirmAsset | d.RefuseReport) -> None:
    """Note on the run that made it what became of its report."""
    run = state.runs.get(decision.by)
    if run is None:
        return
    if decision.task:
        run.tasks[decision.task].published = True
    if not isinstance(decision, d.RefuseReport):
        run.published += (decision.asset,)
        # What it left half written under its own partition is whole again, whichever partition it reports.
        own = state.assets.get((decision.asset, run.partition))
        if own is not None:
            _clear_suspicion(state, own)


def _clear_suspicion(state: State, asset: AssetState) -> None:
    if not asset.suspect:
        return
    asset.suspect = False
    partitions = state.suspects[asset.asset]
    del partitions[asset.partition]
    if not partitions:
        del state.suspects[asset.asset]
        state.queue.freed(f"fresh:{asset.asset}")
        state.touched.admission = True
