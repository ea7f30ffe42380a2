"""The engine as a whole: its status, its plan, its pools, its journal, and why things are as they are."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from starlette.concurrency import run_in_threadpool

from counterpoint.bootstrap import tools
from counterpoint.engine.declare import ScoreText, declare_scores
from counterpoint.engine.service import Declared, Explanation, PoolStatus, Status, StreamMessage
from counterpoint.entrypoints.api.pages import LONGEST, Number, Page
from counterpoint.entrypoints.api.routing import Call, Endpoints
from counterpoint.model.plan import Plan

routes = Endpoints("/api/v1")


@routes.get("/status")
async def get_status(call: Call) -> Status:
    """Everything now: pipelines, pools, assets, hosts and notices."""
    return await call.service.status()


@routes.get("/plan")
async def get_plan(call: Call) -> Plan:
    """The plan in force."""
    return call.service.plan


class DeclareQuery(Struct, kw_only=True):
    """How a plan is declared."""

    dry_run: Annotated[bool, Meta(description="only say what would change")] = False
    commit: Annotated[str, Meta(max_length=200, description="the revision of the code it comes from")] = ""


class Declaration(Struct, kw_only=True, forbid_unknown_fields=True):
    """Scores that are one plan together."""

    scores: Annotated[list[ScoreText], Meta(min_length=1, max_length=1000)]


@routes.post("/plan")
async def declare_plan(call: Call, query: DeclareQuery, body: Declaration) -> Declared:
    """Replace the plan in force by what these scores declare. What they do not name is removed.

    They are read here, because a plan that was not checked could stop the engine. If anything is
    wrong in them nothing is changed, and the answer lists every mistake.
    """
    # In a thread: a large score takes seconds to read, and the engine shares this one.
    plan = await run_in_threadpool(declare_scores, body.scores, tools())
    return await call.service.declare(plan, by=call.caller.by, commit=query.commit, dry_run=query.dry_run)


@routes.get("/pools")
async def list_pools(call: Call) -> list[PoolStatus]:
    """Every pool with its use, its holders and who waits for it."""
    return (await call.service.status()).pools


@routes.get("/why/{name:run}")
async def explain(call: Call, name: str) -> Explanation:
    """Why a run, a pipeline, an asset or a pool is as it is, and what would change that."""
    return await call.service.explain(name)


class JournalQuery(Struct, kw_only=True):
    """Which part of the journal is wanted."""

    cursor: Annotated[Number, Meta(description="facts after this seq; 0 is from the start")] = 0
    limit: Annotated[int, Meta(ge=1, le=LONGEST, description="facts at most")] = 100


@routes.get("/journal")
async def list_facts(call: Call, query: JournalQuery) -> Page[StreamMessage]:
    """Facts of the journal, oldest first."""
    facts = list(await call.service.journal(after=query.cursor, limit=query.limit))
    return Page(rows=facts, next=facts[-1].seq if len(facts) == query.limit else None)
