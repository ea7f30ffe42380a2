"""Runs and their attempts: what happened in them, their logs, and how to end them or go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, json
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response, StreamingResponse

from counterpoint.entrypoints.api.pages import AttemptView, Page, Paging, RunView, page, view
from counterpoint.entrypoints.api.resources.pipelines import Because
from counterpoint.entrypoints.api.routing import Call, Endpoints
from counterpoint.entrypoints.api.security import Access
from counterpoint.entrypoints.api.streaming import Message, event_stream
from counterpoint.errors import Mistake, NotFound, StoreError

routes = Endpoints("/api/v1")

#: How often a followed log is looked at.
_LOOK_S = 0.25
_CHUNK_BYTES = 256 * 1024


class RunsQuery(Paging, kw_only=True):
    """Which runs are wanted."""

    pipeline: str | None = None
    phase: str | None = None
    key: str | None = None
    partition: str | None = None


class AttemptsQuery(Paging, kw_only=True):
    """Which attempts are wanted."""

    run: str | None = None
    task: str | None = None
    phase: str | None = None


class CancelRequest(Because, kw_only=True, forbid_unknown_fields=True):
    """How a run is to end. `skip` ends its items too; else they are kept for later."""

    skip: bool = False


class LogsQuery(Struct, kw_only=True):
    """Which logs of a run are wanted."""

    task: str | None = None
    attempt: Annotated[int, Meta(ge=1, description="the try, counted per task")] | None = None
    follow: Annotated[bool, Meta(description="as server-sent events, until the run has ended")] = False


class LogPart(Struct, kw_only=True):
    """A piece of a followed log: whole lines, unless the run has ended."""

    attempt: str
    text: str


@routes.get("/runs")
async def list_runs(call: Call, query: RunsQuery) -> Page[RunView]:
    """Runs, newest first."""
    return await page(call.service.history, "runs", query)


@routes.get("/runs/{run:run}")
async def get_run(call: Call, run: str) -> RunView:
    """One run. Its id may be written `pipeline%23412` or `pipeline/412`."""
    row = await call.service.history.row("runs", run)
    if row is None:
        raise NotFound(f"there is no run {run!r}; `counterpoint runs` lists them")
    found: RunView = view(row)
    return found


@routes.post("/runs/{run:run}/cancel")
async def cancel_run(call: Call, run: str, body: CancelRequest) -> None:
    """Ask a run to end. It has ended when its attempts have."""
    await call.service.cancel(run, by=call.caller.by, reason=body.reason, skip=body.skip)


@routes.post("/runs/{run:run}/retry")
async def retry_run(call: Call, run: str, body: Because) -> None:
    """Go on with a failed or cancelled run, from its failed tasks."""
    await call.service.retry(run, by=call.caller.by, reason=body.reason)


@routes.get("/attempts")
async def list_attempts(call: Call, query: AttemptsQuery) -> Page[AttemptView]:
    """Attempts, newest first."""
    return await page(call.service.history, "attempts", query)


@routes.post("/attempts/{attempt:attempt}/report", access=Access.ATTEMPT)
async def report_attempt(call: Call, attempt: str, body: dict[str, Any]) -> None:
    """Take one line of what a running task reports: a checkpoint, or progress."""
    await call.service.report_attempt(attempt, body)


@routes.post("/callbacks/{attempt:attempt}", access=Access.SIGNATURE, takes=("application/json",))
async def call_back(call: Call, attempt: str) -> None:
    """Take a remote job's call-back, signed as Standard Webhooks describes it."""
    body = await call.read_body(call.service.max_event_bytes)
    await call.service.callback(attempt, headers=call.request.headers, body=body)


@routes.get("/runs/{run:run}/logs", media="text/plain", answers=str)
async def get_logs(call: Call, run: str, query: LogsQuery) -> Response:
    """What a run's attempts wrote, as text.

    The log of a single attempt may be asked for in part (`Range`). With `follow` the answer is a
    stream of `LogPart`, which ends with the event `end` and the run's phase.
    """
    logs = await call.service.logs(run, task=query.task, attempt=query.attempt)
    if query.follow:
        return event_stream(_follow(call, run, query), call)
    if not logs:
        return Response("", media_type="text/plain; charset=utf-8")
    if len(logs) == 1:
        path = Path(logs[0][1])
        if not await run_in_threadpool(path.is_file):
            raise Mistake("there is no log of it: it was never started, or the log has been removed", code="gone")
        return FileResponse(path, media_type="text/plain; charset=utf-8")
    return StreamingResponse(_concatenate(logs), media_type="text/plain; charset=utf-8")


async def _concatenate(logs: Any) -> AsyncIterator[bytes]:
    for attempt, path in logs:
        yield f"==> {attempt} <==\n".encode()
        offset = 0
        while chunk := await run_in_threadpool(_read_from, path, offset):
            offset += len(chunk)
            yield chunk


async def _follow(call: Call, run: str, query: LogsQuery) -> AsyncIterator[Message]:
    """New lines of every attempt's log, as they come, until the run has ended."""
    ended = asyncio.ensure_future(call.service.wait_for_run(run))
    try:
        offsets: dict[str, int] = {}
        while True:
            last = ended.done()  # asked before reading: what was written before the end is read
            for attempt, path in await call.service.logs(run, task=query.task, attempt=query.attempt):
                while chunk := await run_in_threadpool(_read_from, path, offsets.get(attempt, 0)):
                    # A line in the making may end within a character: leave it for the next look.
                    whole = chunk[: chunk.rfind(b"\n") + 1]
                    if not whole and (last or len(chunk) == _CHUNK_BYTES):
                        whole = chunk
                    if not whole:
                        break
                    offsets[attempt] = offsets.get(attempt, 0) + len(whole)
                    text = whole.decode(errors="replace")
                    yield Message(json.encode(LogPart(attempt=attempt, text=text)))
            if last:
                yield Message(json.encode({"phase": ended.result()}), event="end")
                return
            await asyncio.wait({ended}, timeout=_LOOK_S)
    finally:
        ended.cancel()
        with suppress(asyncio.CancelledError, StoreError):
            await ended


def _read_from(path: str, offset: int) -> bytes:
    """At most a chunk of a file from `offset`; empty at its end, or where there is no file yet."""
    try:
        with Path(path).open("rb") as file:
            file.seek(offset)
            return file.read(_CHUNK_BYTES)
    except FileNotFoundError:
        return b""
