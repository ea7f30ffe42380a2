"""The host's event loop: files that are ready, timers, and signals; one thread, no polling.

Not asyncio, which costs the host 45 ms of its start and several megabytes.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque
from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Ready(Protocol):
        """Called when a file can be read, or written to, or was hung up on."""

        def __call__(self, *, writable: bool) -> None:  # noqa: D102
            ...


class Timer:
    """Something to be done later, unless it is cancelled."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Do not do it."""
        self.action = None


class Loop:
    """Calls back for what happens, until `stop`."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._watched: dict[int, tuple[Ready, int]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0  # keeps timers of one instant in the order in which they were made
        self._soon: deque[Callable[[], None]] = deque()
        self._signals: dict[int, Callable[[], None]] = {}
        self._running = True
        self._signalled, wakeup = os.pipe()
        os.set_blocking(self._signalled, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        self.watch(self._signalled, self._on_signals)

    def watch(self, fd: int, ready: Ready, *, writable: bool = False) -> None:
        """Call `ready` when the file can be read, and also, if asked, when it can be written to."""
        mask = select.EPOLLIN | (select.EPOLLOUT if writable else 0)
        known = self._watched.get(fd)
        if known is None:
            self._poll.register(fd, mask)
        elif known[1] != mask:
            self._poll.modify(fd, mask)
        self._watched[fd] = (ready, mask)

    def unwatch(self, fd: int) -> None:
        """Forget a file; to be called before it is closed."""
        if self._watched.pop(fd, None):
            self._poll.unregister(fd)

    def on_signal(self, number: int, action: Callable[[], None]) -> None:
        """Do this, in the loop and not in the handler, when the signal has come."""
        self._signals[number] = action
        # A handler in Python must exist for the wake-up to happen.
        signal.signal(number, lambda _number, _frame: None)

    def later(self, delay_s: float, action: Callable[[], None]) -> Timer:
        """Do it once, after so many seconds."""
        timer = Timer(action)
        self._count += 1
        heappush(self._timers, (time.monotonic() + delay_s, self._count, timer))
        return timer

    def soon(self, action: Callable[[], None]) -> None:
        """Do it once, after everything that is ready now has had its turn."""
        self._soon.append(action)

    def stop(self) -> None:
        """Let `run` return."""
        self._running = False

    def run(self) -> None:
        """Call back until `stop`."""
        while self._running:
            for fd, events in self._poll.poll(self._patience()):
                watched = self._watched.get(fd)
                if watched:  # a callback before this one may have closed it
                    watched[0](writable=bool(events & select.EPOLLOUT))
            for _ in range(len(self._soon)):
                self._soon.popleft()()
            while self._timers and self._timers[0][0] <= time.monotonic():
                action = heappop(self._timers)[2].action
                if action:
                    action()

    def _patience(self) -> float | None:
        while self._timers and self._timers[0][2].action is None:
            heappop(self._timers)
        if self._soon:
            return 0
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _on_signals(self, *, writable: bool) -> None:
        for number in set(os.read(self._signalled, 4096)):
            if number in self._signals:
                self._signals[number]()
