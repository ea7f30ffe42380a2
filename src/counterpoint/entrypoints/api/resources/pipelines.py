"""Pipelines: what they are, what they do now, and what a person may ask of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from counterpoint.engine.service import PipelineStatus
from counterpoint.entrypoints.api.pages import Number
from counterpoint.entrypoints.api.routing import Call, Endpoints
from counterpoint.errors import unknown_name
from counterpoint.kernel.events import Band
from counterpoint.model.pipeline import Pipeline

routes = Endpoints("/api/v1")


class PipelineView(Struct, kw_only=True):
    """A pipeline: what it does now, how it is declared, and how long it and its tasks take, as learned."""

    status: PipelineStatus
    declared: Pipeline
    durations: list[Band]


class RunRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a run is asked for with."""

    params: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    partition: str = ""
    reason: Annotated[str, Meta(max_length=1000)] = ""
    trace: Annotated[str, Meta(max_length=100, description="a W3C traceparent")] = ""
    lane: Annotated[Literal["live", "backfill"], Meta(description="`backfill` comes after all live work")] = "live"
    takes_s: Annotated[float, Meta(gt=0, le=31_622_400, description="expected length of the run")] | None = None
    deadline: Annotated[datetime, Meta(tz=True, description="when it should have ended")] | None = None


class Requested(Struct, kw_only=True):
    """The run that was asked for."""

    run: str


class Because(Struct, kw_only=True, forbid_unknown_fields=True):
    """Why a person does something; it is recorded."""

    reason: Annotated[str, Meta(max_length=1000)] = ""


class ReplayRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """What one subscriber is to get again.

    Attributes:
        changes: numbers of changes, as `/events` shows them.
        dead: all its dead letters.
    """

    changes: list[Number] = field(default_factory=list)
    dead: bool = False
    reason: Annotated[str, Meta(max_length=1000)] = ""


class Count(Struct, kw_only=True):
    """How many it were."""

    count: int


@routes.get("/pipelines")
async def list_pipelines(call: Call) -> list[PipelineStatus]:
    """Every pipeline, with its state and the reason for it."""
    return (await call.service.status()).pipelines


@routes.get("/pipelines/{name}")
async def get_pipeline(call: Call, name: str) -> PipelineView:
    """One pipeline: its state, and how it is declared."""
    declared = _declared(call, name)
    status = next(status for status in (await call.service.status()).pipelines if status.name == name)
    return PipelineView(status=status, declared=declared, durations=call.service.durations(name))


@routes.post("/pipelines/{name}/run", status=202)
async def run_pipeline(call: Call, name: str, body: RunRequest) -> Requested:
    """Ask for a run. With an `Idempotency-Key` header, asking again answers the same run."""
    _declared(call, name)
    run = await call.service.run(
        name,
        by=call.caller.by,
        request=call.request.headers.get("idempotency-key", ""),
        reason=body.reason,
        key=body.key,
        partition=body.partition,
        params=body.params,
        trace=body.trace or call.request.headers.get("traceparent", ""),
        lane=body.lane,
        takes_s=body.takes_s,
        deadline=body.deadline,
    )
    return Requested(run=run)


@routes.post("/pipelines/{name}/pause")
async def pause_pipeline(call: Call, name: str, body: Because) -> None:
    """Stop its automatic runs. Items are still collected, and running work goes on."""
    await call.service.pause(name, by=call.caller.by, reason=body.reason)


@routes.post("/pipelines/{name}/resume")
async def resume_pipeline(call: Call, name: str, body: Because) -> None:
    """End a pause, or a rest after failures."""
    await call.service.resume(name, by=call.caller.by, reason=body.reason)


@routes.post("/pipelines/{name}/replay")
async def replay_to_pipeline(call: Call, name: str, body: ReplayRequest) -> Count:
    """Give this pipeline, and no other subscriber, changes again. Each becomes a new item."""
    count = await call.service.replay(
        name, by=call.caller.by, changes=body.changes, dead=body.dead, reason=body.reason
    )
    return Count(count=count)


def _declared(call: Call, name: str) -> Pipeline:
    pipelines = call.service.plan.pipelines
    if name not in pipelines:
        raise unknown_name("pipeline", name, pipelines, remedy="see `counterpoint status`")
    return pipelines[name]
