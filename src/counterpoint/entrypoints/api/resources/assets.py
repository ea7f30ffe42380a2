"""Assets: what is current, what was before, and versions reported from outside."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from counterpoint.engine.service import AssetStatus
from counterpoint.entrypoints.api.pages import Page, Paging, VersionView, page
from counterpoint.entrypoints.api.routing import Call, Endpoints
from counterpoint.errors import unknown_name

routes = Endpoints("/api/v1")


class VersionsQuery(Paging, kw_only=True):
    """Which versions of an asset are wanted; `by` is a run, or who reported it from outside."""

    partition: str | None = None
    by: str | None = None


class AnyVersionsQuery(VersionsQuery, kw_only=True):
    """Which versions are wanted, of one asset or of all."""

    asset: str | None = None


class VersionReport(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A version of an asset that none of our pipelines writes.

    Attributes:
        label: a name for the version in the producer's own words.
        unchanged: nothing new was written; what is current is confirmed.
        expect: publish only if the current seq is this one.
        data_through: how far the data reaches in the producer's time.
    """

    partition: str = ""
    label: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    unchanged: bool = False
    expect: int | None = None
    data_through: datetime | None = None


@routes.get("/assets")
async def list_assets(call: Call) -> list[AssetStatus]:
    """Every asset with its current version, one for each partition."""
    return (await call.service.status()).assets


@routes.get("/assets/{name}/versions")
async def list_versions(call: Call, name: str, query: VersionsQuery) -> Page[VersionView]:
    """Versions of an asset, newest first."""
    _check(call, name)
    return await page(call.service.history, "versions", query, asset=name)


@routes.get("/versions")
async def list_versions_of_all(call: Call, query: AnyVersionsQuery) -> Page[VersionView]:
    """Versions of every asset, newest first; with `by=RUN` those that a run published."""
    return await page(call.service.history, "versions", query)


@routes.post("/assets/{name}/versions", status=201)
async def report_version(call: Call, name: str, body: VersionReport) -> AssetStatus:
    """Report a version from outside; subscribers get it like any other."""
    _check(call, name)
    report = msgspec.to_builtins(body) | {"asset": name}
    return await call.service.report_asset(report, by=call.caller.by)


def _check(call: Call, name: str) -> None:
    if name not in call.service.plan.assets:
        raise unknown_name("asset", name, call.service.plan.assets)
