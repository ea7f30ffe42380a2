"""Promises: how they stand and what is to come, and the incidents in which they were broken."""

from __future__ import annotations

from counterpoint.engine.service import IncidentReport, PromiseStatus
from counterpoint.entrypoints.api.pages import IncidentView, Page, Paging, page
from counterpoint.entrypoints.api.routing import Call, Endpoints

routes = Endpoints("/api/v1")


class IncidentsQuery(Paging, kw_only=True):
    """Which incidents are wanted; `promise` is `freshness` or `completion`."""

    asset: str | None = None
    promise: str | None = None


@routes.get("/promises")
async def list_promises(call: Call) -> list[PromiseStatus]:
    """Every promise: the share held, what is left of its budget, how fresh it is, and its forecast."""
    return (await call.service.status()).promises


@routes.get("/incidents")
async def list_incidents(call: Call, query: IncidentsQuery) -> Page[IncidentView]:
    """Times in which a promise was broken, newest first."""
    return await page(call.service.history, "incidents", query)


@routes.get("/incidents/{name:run}")
async def get_incident(call: Call, name: str) -> IncidentReport:
    """One incident: its timeline, where the time went, and who is downstream."""
    return await call.service.incident(name)
