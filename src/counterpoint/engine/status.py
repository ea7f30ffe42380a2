"""What is going on now, in the words of `service`: status and explanations, read from State."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from counterpoint.engine.service import AssetStatus, Explanation, PipelineStatus, PoolStatus, Status
from counterpoint.errors import unknown_name
from counterpoint.kernel.explain import Why, holders_of, why_pipeline, why_run
from counterpoint.kernel.state import AssetState, State


def status(state: State, *, epoch: int, at: datetime, wall: datetime, notices: Sequence[str]) -> Status:
    """Everything now."""
    dead: dict[str, int] = {}
    for item in state.dead.values():
        dead[item.pipeline] = dead.get(item.pipeline, 0) + 1
    return Status(
        score=state.plan.name,
        digest=state.digest,
        declared_at=state.declared,
        at=at,
        wall=wall,
        epoch=epoch,
        facts=state.facts,
        hosts=dict(state.hosts),
        pipelines=[pipeline_status(state, name, dead.get(name, 0)) for name in state.plan.pipelines],
        pools=[pool_status(state, name) for name in state.plan.pools],
        assets=asset_statuses(state),
        notices=list(notices),
    )


def pipeline_status(state: State, name: str, dead: int) -> PipelineStatus:
    """A pipeline now."""
    pipeline = state.plan.pipelines[name]
    why = why_pipeline(state, pipeline)
    live = [state.runs[run] for run in state.live.get(name, {})]
    lanes = [state.backlogs[lane] for lane in state.waiting_lanes.get(name, {})]
    last, pause = state.last.get(name), state.paused.get(name)
    return PipelineStatus(
        name=name,
        owner=pipeline.owner,
        state="paused" if pause is not None and not live else why.state,
        because=why.lines[0] if why.lines else "",
        running=[run.run for run in live if run.phase != "waiting"],
        waiting=[run.run for run in live if run.phase == "waiting"],
        pending=sum(len(lane) for lane in lanes),
        dead=dead,
        oldest_pending=min((lane.first for lane in lanes if lane.first), default=None),
        next_at=why.when,
        last_run=last.run if last else "",
        last_phase=last.phase if last else "",
        last_ended_at=last.at if last else None,
        paused_by=pause.by if pause else "",
    )


def pool_status(state: State, name: str) -> PoolStatus:
    """A pool now."""
    resource = f"pool:{name}"
    holders: dict[str, int] = {}
    for attempt in state.attempts.values():
        if name in attempt.slots:
            holders[attempt.attempt] = attempt.slots[name]
    for run in state.runs.values():
        if run.holds.get(resource):
            holders[run.run] = run.holds[resource]
    reserved = state.queue.reserved.get(resource)
    return PoolStatus(
        name=name,
        slots=state.plan.pools[name].slots,
        used=state.used.get(resource, 0),
        holders=holders,
        waiting=[request.run for request in state.queue.watched(resource)[:20]],
        reserved_for=reserved[0] if reserved else "",
    )


def asset_statuses(state: State) -> list[AssetStatus]:
    """Every declared asset, with each partition that has a version."""
    known: dict[str, list[AssetState]] = {name: [] for name in state.plan.assets}
    for asset in state.assets.values():
        known.setdefault(asset.asset, []).append(asset)
    return [
        asset_status(asset)
        for name, partitions in known.items()
        for asset in (partitions or [AssetState(name, "")])
    ]


def asset_status(asset: AssetState) -> AssetStatus:
    """The current version of one partition."""
    return AssetStatus(
        asset=asset.asset,
        partition=asset.partition,
        seq=asset.seq,
        label=asset.label,
        metadata=asset.metadata,
        published_at=asset.at if asset.seq else None,
        by=asset.by,
        suspect=asset.suspect,
    )


def explain(state: State, name: str) -> Explanation:
    """Why a live run, a pipeline, an asset or a pool is as it is.

    Raises:
        NotFound: the plan and State have nothing of that name.
    """
    if name in state.runs:
        return _explanation(name, why_run(state, state.runs[name]))
    if name in state.plan.pipelines:
        return _explanation(name, why_pipeline(state, state.plan.pipelines[name]))
    if name in state.plan.assets:
        return _explanation(name, _why_asset(state, name))
    if name in state.plan.pools:
        return _explanation(name, _why_pool(state, name))
    known = [*state.plan.pipelines, *state.plan.assets, *state.plan.pools, *state.runs]
    raise unknown_name("run, pipeline, asset or pool", name, known, remedy="see `counterpoint status`")


def _explanation(subject: str, why: Why) -> Explanation:
    return Explanation(
        subject=subject,
        state=why.state,
        lines=why.lines,
        blockers=[msgspec.to_builtins(blocker) for blocker in why.blockers],
        frees=why.frees,
        when=why.when,
    )


def _why_asset(state: State, name: str) -> Why:
    lines = []
    partitions = [asset for asset in state.assets.values() if asset.asset == name]
    for asset in partitions[:20]:
        where = f"{name}/{asset.partition}" if asset.partition else name
        if asset.seq:
            lines.append(f"{where} is at version {asset.seq}, published by {asset.by} at {asset.at:%H:%M:%S} UTC.")
        if asset.suspect:
            lines.append(f"{where} is suspect: a writer in place failed since; automatic readers hold.")
    if not partitions:
        lines.append(f"{name} has no version yet.")
    writers = state.plan.writers.get(name, ())
    parts = [(writer, why_pipeline(state, state.plan.pipelines[writer])) for writer in writers]
    for writer, part in parts:
        lines += [f"Its writer {writer} is {part.state}: {line}" for line in part.lines[:2]]
    if not writers:
        lines.append(f"No pipeline writes {name}; its versions are reported from outside.")
    suspect = any(asset.suspect for asset in partitions)
    current = any(asset.seq for asset in partitions)
    return Why(
        "suspect" if suspect else "published" if current else "missing",
        lines,
        [blocker for _, part in parts for blocker in part.blockers],
        next((part.frees for _, part in parts if part.frees), ""),
        min((part.when for _, part in parts if part.when), default=None),
    )


def _why_pool(state: State, name: str) -> Why:
    pool = pool_status(state, name)
    holders = holders_of(state, f"pool:{name}")
    held = ", ".join(f"{holder} ({amount})" for holder, amount in holders.items())
    lines = [f"{pool.used} of {pool.slots} slots of {name} are held" + (f" by {held}." if held else ".")]
    if pool.waiting:
        lines.append(f"First in the queue for it: {', '.join(pool.waiting)}.")
    if pool.reserved_for:
        lines.append(f"What gets free is kept for {pool.reserved_for}, which was passed over too long.")
    return Why("full" if pool.used >= pool.slots else "free", lines, [], "a holder ends" if pool.waiting else "")
