"""The journal as it grows, for those who watch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from starlette.responses import Response

from counterpoint.engine.service import StreamMessage
from counterpoint.entrypoints.api.pages import Number
from counterpoint.entrypoints.api.routing import Call, Endpoints
from counterpoint.entrypoints.api.streaming import Message, event_stream

routes = Endpoints("/api/v1")


class StreamQuery(Struct, kw_only=True):
    """Which facts are wanted."""

    after: Annotated[Number, Meta(description="begin after this seq; else with what comes now")] | None = None
    run: Annotated[str | None, Meta(description="only facts of this run")] = None
    pipeline: Annotated[str | None, Meta(description="only facts of this pipeline")] = None


@routes.get("/stream", media="text/event-stream", answers=StreamMessage)
async def watch(call: Call, query: StreamQuery) -> Response:
    """Committed facts as server-sent events. The id of each is its seq.

    A reader that comes back with `Last-Event-ID` goes on from there. A comment is sent after
    15 s of silence.
    """
    last_id = call.request.headers.get("last-event-id", "")
    after = int(last_id) if last_id.isdecimal() and len(last_id) < 19 else query.after
    return event_stream(_facts(call, query, after), call)


async def _facts(call: Call, query: StreamQuery, after: int | None) -> AsyncIterator[Message]:
    run = query.run.replace("/", "#") if query.run else None
    async for fact in call.service.stream(after=after):
        # What a run published is a fact of the asset, and names the run by `by`.
        concerned = {fact.run, fact.fact.get("by", "")}
        if (run is None or run in concerned) and (query.pipeline is None or fact.pipeline == query.pipeline):
            yield Message(msgspec.json.encode(fact), id=str(fact.seq))
