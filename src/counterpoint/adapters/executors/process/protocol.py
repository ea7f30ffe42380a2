"""What the engine and the worker host say to each other: one JSON object a line, over a Unix socket.

The engine says:

    {"type": "hello", "protocol", "epoch", "environ"}
        First. What it places starts from this environment.
    {"type": "place", "attempt", "look", "log", "events", "inputs", "checkpoint", ...}
        And the fields of an Invocation. JSON documents travel as text; {"type": "secret", "name"} is a secret.
    {"type": "stop", "attempt", "grace_s"}
    {"type": "acknowledge", "attempt", "look"}
    {"type": "resolve", "request", "attempts": [[attempt, look], ...]}
    {"type": "ping"}

The host says:

    {"type": "welcome", "host"}
        The answer to hello. After it, every end that is not acknowledged.
    {"type": "refused", "epoch", "detail"}
        Another engine is newer, or this one speaks another protocol. Then it hangs up.
    {"type": "placed", "attempt", "look"}
        The attempt has its place in the spool: it will have an end.
    {"type": "ended" | "lost" | "progress", ...}
        As `ports.executor` has them.
    {"type": "resolved", "request", "unknown": [[attempt, look], ...]}
        Those never received. The ends of the others have just been reported, or will be.
    {"type": "pong"}

The same framing carries what the host and its warm processes say to each other (`warm.py`).
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket
    from typing import Any

    from counterpoint.adapters.executors.process.loop import Loop

#: Raised when a message changes so that an older host or engine would misread it.
PROTOCOL = 1

#: Lines taken in one go; after that other sources of the loop get their turn, so that a burst of
#: placements does not keep the ends of attempts waiting.
_LINES_AT_ONCE = 4
_RECEIVE_BYTES = 1 << 18
#: A peer that lets this much pile up does not read any more. It is hung up on; ends wait in the spool.
_UNSENT_MAX_BYTES = 64 << 20


def encode(message: dict[str, Any]) -> bytes:
    """A message as one line."""
    # ASCII: an environment may hold bytes that are no text, and these survive only as escapes.
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Channel:
    """Lines both ways over a socket that never blocks the loop.

    Args:
        receive: called with each message.
        closed: called once, when the peer has hung up or `close` was called.
    """

    def __init__(
        self,
        loop: Loop,
        connection: socket,
        *,
        receive: Callable[[Channel, dict[str, Any]], None],
        closed: Callable[[Channel], None],
    ) -> None:
        connection.setblocking(False)
        self._loop, self._socket = loop, connection
        self._receive, self._closed = receive, closed
        self._partial = b""
        self._lines: list[bytes] = []  # newest first, so that the oldest is popped from the end
        self._unsent = bytearray()
        self._hung_up = self._is_closed = False
        loop.watch(connection.fileno(), self._ready)

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._is_closed

    def send(self, line: bytes) -> None:
        """Send a line, or keep it until the peer reads; nothing happens on a closed channel."""
        if self._is_closed:
            return
        self._unsent += line
        if len(self._unsent) == len(line):
            self._flush()
        elif len(self._unsent) > _UNSENT_MAX_BYTES:
            self.close()

    def close(self) -> None:
        """Hang up."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._closed(self)

    def drain(self) -> None:
        """Take every line that is there already, as before a peer that has died is forgotten."""
        while not self._is_closed:
            self._read()
            if not self._lines:
                return
            while self._lines and not self._is_closed:
                self._deliver()

    def _ready(self, *, writable: bool) -> None:
        if writable and self._unsent:
            self._flush()
        if not self._lines and not self._is_closed:
            self._read()
            self._go_on()

    def _read(self) -> None:
        while not self._hung_up:
            try:
                received = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                received = b""
            if not received:
                self._hung_up = True
                return
            *lines, self._partial = (self._partial + received).split(b"\n")
            if lines:
                self._lines = lines[::-1] + self._lines
                return

    def _go_on(self) -> None:
        if self._is_closed:
            return
        self._deliver()
        if self._lines:
            self._loop.soon(self._go_on)
        elif self._hung_up:
            self.close()

    def _deliver(self) -> None:
        for _ in range(_LINES_AT_ONCE):
            if not self._lines or self._is_closed:
                return
            self._receive(self, json.loads(self._lines.pop()))

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The reading side notices too, after it has taken what the peer had still said.
            self._unsent.clear()
            return
        del self._unsent[:sent]
        self._loop.watch(self._socket.fileno(), self._ready, writable=bool(self._unsent))
