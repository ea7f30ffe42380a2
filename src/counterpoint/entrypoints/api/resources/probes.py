"""Probes and figures for those who watch over us: liveness, readiness, Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import version as version_of

from msgspec import Struct
from starlette.responses import JSONResponse, Response

from counterpoint.engine.service import Status
from counterpoint.entrypoints.api.routing import Call, Endpoints
from counterpoint.entrypoints.api.security import Access

routes = Endpoints()


class Health(Struct, kw_only=True):
    """Whether all is well."""

    status: str


@routes.get("/healthz", access=Access.OPEN)
async def is_alive(call: Call) -> Health:
    """The process answers."""
    return Health(status="ok")


@routes.get("/readyz", access=Access.OPEN, answers=Health)
async def is_ready(call: Call) -> Response:
    """The engine leads and accepts; else 503."""
    ready = call.service.ready
    return JSONResponse({"status": "ok" if ready else "not ready"}, 200 if ready else 503)


@routes.get("/metrics", media="text/plain", answers=str)
async def get_metrics(call: Call) -> Response:
    """Figures in the text format of Prometheus."""
    lines = _metrics(await call.service.status(), ready=call.service.ready)
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")


Sample = tuple[Mapping[str, str], float]


def _metrics(status: Status, *, ready: bool) -> Iterable[str]:
    pipelines, pools = status.pipelines, status.pools
    version = {"version": version_of("counterpoint")}
    yield from _metric("build_info", "gauge", "The release that runs.", [(version, 1)])
    yield from _metric("ready", "gauge", "Whether the engine leads and accepts.", [({}, ready)])
    yield from _metric(
        "plan_info", "gauge", "The plan in force.", [({"score": status.score, "digest": status.digest}, 1)]
    )
    yield from _metric("epoch", "gauge", "The epoch of leadership.", [({}, status.epoch)])
    yield from _metric("facts_total", "counter", "Facts in the journal.", [({}, status.facts)])
    yield from _metric("hosts", "gauge", "Worker hosts by state.", _counted(status.hosts.values(), "state"))
    yield from _metric(
        "runs",
        "gauge",
        "Runs that have not ended, by phase.",
        [
            ({"pipeline": each.name, "phase": phase}, len(runs))
            for each in pipelines
            for phase, runs in (("running", each.running), ("waiting", each.waiting))
        ],
    )
    yield from _metric(
        "items_pending",
        "gauge",
        "Items that wait for a run.",
        [({"pipeline": p.name}, p.pending) for p in pipelines],
    )
    yield from _metric(
        "oldest_pending_seconds",
        "gauge",
        "Age of the oldest item that waits for a run.",
        [
            ({"pipeline": p.name}, (status.at - p.oldest_pending).total_seconds())
            for p in pipelines
            if p.oldest_pending is not None
        ],
    )
    yield from _metric("items_dead", "gauge", "Dead letters.", [({"pipeline": p.name}, p.dead) for p in pipelines])
    yield from _metric(
        "pipelines", "gauge", "Pipelines by state.", _counted((p.state for p in pipelines), "state")
    )
    yield from _metric(
        "last_run_ended_timestamp_seconds",
        "gauge",
        "When the last run ended, and how.",
        [
            ({"pipeline": p.name, "phase": p.last_phase}, p.last_ended_at.timestamp())
            for p in pipelines
            if p.last_ended_at is not None
        ],
    )
    yield from _metric("pool_slots", "gauge", "Slots of a pool.", [({"pool": p.name}, p.slots) for p in pools])
    yield from _metric("pool_slots_used", "gauge", "Slots in use.", [({"pool": p.name}, p.used) for p in pools])
    yield from _metric(
        "pool_waiting",
        "gauge",
        "Runs that wait for a pool; counted up to 20.",
        [({"pool": p.name}, len(p.waiting)) for p in pools],
    )
    yield from _metric(
        "asset_published_timestamp_seconds",
        "gauge",
        "When an asset was published last, in any partition.",
        [({"asset": asset}, at.timestamp()) for asset, at in _last_published(status).items()],
    )
    yield from _metric(
        "asset_suspect_partitions",
        "gauge",
        "Partitions that a failed writer may have left half written.",
        _counted((asset.asset for asset in status.assets if asset.suspect), "asset"),
    )
    yield from _promises(status)


def _promises(status: Status) -> Iterable[str]:
    promises = [({"asset": p.asset, "promise": p.promise}, p) for p in status.promises]
    ratios = (
        ("promise_target_ratio", "The share that was promised.", [(of, p.target) for of, p in promises]),
        ("promise_held_ratio", "The share held over the window.", [(of, p.budget.share) for of, p in promises]),
        (
            "promise_budget_left_ratio",
            "What is left of the error budget; below 0 it is overspent.",
            [(of, p.budget.left) for of, p in promises],
        ),
        ("obligations_open", "Obligations neither kept nor missed.", [(of, p.open) for of, p in promises]),
        ("obligations_kept", "Obligations kept in the window.", [(of, p.budget.kept) for of, p in promises]),
        ("obligations_missed", "Obligations missed in the window.", [(of, p.budget.missed) for of, p in promises]),
        ("promise_breached", "Whether an incident is going on.", [(of, bool(p.incident)) for of, p in promises]),
        (
            "promise_forecast_breaks",
            "Whether an open obligation is expected to be missed.",
            [(of, p.forecast.outlook == "breaks") for of, p in promises],
        ),
    )
    for name, help_text, values in ratios:
        yield from _metric(name, "gauge", help_text, [(of, value) for of, value in values if value is not None])
    burns = [(of, burn) for of, p in promises for burn in p.budget.burns]
    yield from _metric(
        "promise_burn_rate",
        "gauge",
        "How fast the error budget is spent, over the long and the short span of an alert.",
        [
            ({**of, "level": burn.level, "alerts_at": f"{burn.rate:g}", "span": span}, rate)
            for of, burn in burns
            for span, rate in (("long", burn.long), ("short", burn.short))
            if rate is not None
        ],
    )
    yield from _metric(
        "promise_alert",
        "gauge",
        "Whether a pair of burn rates alerts.",
        [({**of, "level": burn.level, "alerts_at": f"{burn.rate:g}"}, burn.is_firing) for of, burn in burns],
    )
    yield from _metric(
        "incidents_total",
        "counter",
        "Incidents of a promise so far.",
        [(of, p.incidents) for of, p in promises],
    )
    yield from _metric(
        "asset_age_seconds",
        "gauge",
        "How long ago the oldest change happened that is not in the asset; nothing for a source never heard of.",
        [({"asset": asset, "source": source}, age) for (asset, source), age in _ages(status).items()],
    )


def _ages(status: Status) -> dict[tuple[str, str], float]:
    """(asset, source) -> its age, once where an asset makes two promises."""
    return {
        (promise.asset, each.source): each.age_s
        for promise in status.promises
        for each in promise.freshness
        if each.age_s is not None
    }


def _last_published(status: Status) -> dict[str, datetime]:
    """Asset -> its newest publication. Not by partition: a new one each day would be a new series each day."""
    found: dict[str, datetime] = {}
    for asset in status.assets:
        if asset.published_at is not None:
            found[asset.asset] = max(asset.published_at, found.get(asset.asset, asset.published_at))
    return found


def _metric(name: str, kind: str, help_text: str, samples: Iterable[Sample]) -> Iterable[str]:
    name = f"counterpoint_{name}"
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        written = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{{{written}}} {float(value):.15g}" if written else f"{name} {float(value):.15g}"


def _counted(values: Iterable[str], label: str) -> list[Sample]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return [({label: value}, count) for value, count in sorted(counts.items())]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
