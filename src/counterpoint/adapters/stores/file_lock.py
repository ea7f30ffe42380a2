"""A lock on a file that the operating system gives back when its holder dies, however it dies."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from threading import Thread

from counterpoint.errors import StoreUnavailable


class FileLock:
    """An exclusive lock; the file stays, empty, when it is released.

    Waiting costs no polling: a thread sleeps in `flock`. It cannot be woken, so a wait that is given up
    leaves it there until the lock comes; then it serves the next wait, or gives the lock back at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: int | None = None
        self._waiter: Thread | None = None
        self._won: asyncio.Future[None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._held is not None

    def try_acquire(self) -> bool:
        """Take the lock if it is free; true also where it is held already."""
        if self._held is None:
            file = self._open()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                self._held = file
        return self.is_held

    async def acquire(self) -> None:
        """Wait for the lock. Only one task may wait on an object."""
        if self.try_acquire():
            return
        loop = asyncio.get_running_loop()
        self._won = won = loop.create_future()
        if self._waiter is None:
            # A daemon, because a process must be able to end while it stands by.
            self._waiter = Thread(target=self._wait, args=(self._open(), loop), name="store-lock", daemon=True)
            self._waiter.start()
        try:
            await won
        except asyncio.CancelledError:
            if self._held is not None:  # it came in the moment in which we were cancelled
                self.release()
            raise

    def _wait(self, file: int, loop: asyncio.AbstractEventLoop) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            loop.call_soon_threadsafe(self._arrive, file)
        except RuntimeError:  # the loop was closed meanwhile
            os.close(file)

    def _arrive(self, file: int) -> None:
        self._waiter = None
        if self._won is None or self._won.done() or self._held is not None:
            os.close(file)
            return
        self._held = file
        self._won.set_result(None)

    def release(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def close(self) -> None:
        """Release, and end a wait with `StoreUnavailable`."""
        self.release()
        if self._won is not None and not self._won.done():
            self._won.set_exception(StoreUnavailable("the store was closed while it stood by"))

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
