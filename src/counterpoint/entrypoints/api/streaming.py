"""Server-sent events: how a stream of messages is written, kept open and ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from msgspec import Struct
from starlette.responses import StreamingResponse

from counterpoint.entrypoints.api.routing import Call
from counterpoint.errors import StoreError


class Message(Struct, frozen=True):
    """One message: JSON in one line. `id` is what a reader shows to go on from there."""

    data: bytes
    id: str = ""
    event: str = ""

    def encode(self) -> bytes:
        """The message as it goes over the wire."""
        named = f"event: {self.event}\n" if self.event else ""
        numbered = f"id: {self.id}\n" if self.id else ""
        return f"{named}{numbered}data: ".encode() + self.data + b"\n\n"


def event_stream(messages: AsyncIterator[Message], call: Call) -> StreamingResponse:
    """A response that sends the messages as they come, and a comment when there is silence.

    It ends with the messages, when the reader goes, or when the server closes.
    """
    closing: asyncio.Event = call.request.app.state.closing
    return StreamingResponse(
        _frames(messages, closing, call.settings.ping_s),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _frames(messages: AsyncIterator[Message], closing: asyncio.Event, ping_s: float) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"  # sent at once, so that the reader knows that it is connected
    stopped = asyncio.ensure_future(closing.wait())
    upcoming: asyncio.Future[Message | None] = asyncio.ensure_future(_next(messages))
    try:
        while True:
            awaited: set[asyncio.Future[Any]] = {upcoming, stopped}
            await asyncio.wait(awaited, timeout=ping_s, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return
            if not upcoming.done():
                yield b": ping\n\n"
                continue
            try:
                message = upcoming.result()
            except StoreError:
                return  # the reader comes back, and goes on from the last id it saw
            if message is None:
                return
            upcoming = asyncio.ensure_future(_next(messages))
            yield message.encode()
    finally:
        for waiting in (stopped, upcoming):
            waiting.cancel()
            with suppress(asyncio.CancelledError, StoreError):
                await waiting
        close = getattr(messages, "aclose", None)
        if close is not None:
            await close()


async def _next(messages: AsyncIterator[Message]) -> Message | None:
    return await anext(messages, None)
