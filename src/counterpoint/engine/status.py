"""What is going on now, in the words of `service`, read from State."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from counterpoint.engine.promises import promise_statuses
from counterpoint.engine.service import AssetStatus, PipelineStatus, PoolStatus, Status
from counterpoint.kernel.explain import why_pipeline
from counterpoint.kernel.records import AssetState
from counterpoint.kernel.state import State


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
        pipelines=[pipeline_status(state, name, dead=dead.get(name, 0), at=at) for name in state.plan.pipelines],
        pools=[pool_status(state, name) for name in state.plan.pools],
        assets=asset_statuses(state),
        notices=list(notices),
        promises=promise_statuses(state, at),
    )


def pipeline_status(state: State, name: str, *, dead: int, at: datetime) -> PipelineStatus:
    """A pipeline now."""
    pipeline = state.plan.pipelines[name]
    why = why_pipeline(state, pipeline, at)
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
        asset_status(state, asset)
        for name, partitions in known.items()
        for asset in (partitions or [AssetState(name, "")])
    ]


def asset_status(state: State, asset: AssetState) -> AssetStatus:
    """The current version of one partition."""
    mark = state.marks.get(asset.asset)
    return AssetStatus(
        asset=asset.asset,
        partition=asset.partition,
        seq=asset.seq,
        label=asset.label,
        metadata=asset.metadata,
        published_at=asset.at if asset.seq else None,
        by=asset.by,
        suspect=asset.suspect,
        reflects=dict(mark.reflects) if mark is not None else {},
    )
