"""Python functions, as the host sees them: which warm process forks them, and what if it dies.

There is one warm process for each interpreter and module path. It starts with the first call, is
replaced when a source file has changed, and goes when nothing was called for some minutes.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

from counterpoint.adapters.executors.process import processes
from counterpoint.adapters.executors.process.protocol import Channel, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeAlias

    from counterpoint.adapters.executors.process.loop import Loop

    Request: TypeAlias = dict[str, Any]

    class Calls(Protocol):
        """What follows from what a warm process says; `call` is the id of a request."""

        def started(self, call: str, pid: int) -> None:
            """The call runs in this process."""
            ...

        def ended(self, pid: int, status: int | None, cpu_s: float, memory_bytes: int) -> None:
            """A call's process has ended; `status` None where it is not known how."""
            ...

        def orphaned(self, request: Request, python: str, paths: tuple[str, ...]) -> None:
            """The warm process ended before it said that this call had started; it may have started."""
            ...


_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "warm.py")


class _Warm:
    """A warm process: the calls it was asked for and has not started, and its running forks."""

    def __init__(self, process: subprocess.Popen[bytes], python: str, paths: tuple[str, ...]) -> None:
        self.process, self.python, self.paths = process, python, paths
        self.asked: dict[str, Request] = {}
        self.forks: set[int] = set()
        self.used = time.monotonic()
        self.channel: Channel

    @property
    def is_idle(self) -> bool:
        return not self.asked and not self.forks


class Functions:
    """Has calls made, each in a fresh fork."""

    def __init__(self, loop: Loop, calls: Calls, *, idle_s: float) -> None:
        self._loop, self._calls, self._idle_s = loop, calls, idle_s
        self._current: dict[tuple[str, ...], _Warm] = {}  # (interpreter, *module path) -> who takes calls
        self._all: dict[int, _Warm] = {}  # pid -> warm process, those that take no more calls included

    @property
    def pids(self) -> set[int]:
        """The warm processes."""
        return set(self._all)

    def call(self, request: Request, *, python: str, paths: tuple[str, ...]) -> None:
        """Have a call made; `request` is as `warm.py` describes it.

        Raises:
            OSError: the interpreter cannot be started.
        """
        kind = (python or sys.executable, *paths)
        warm = self._current.get(kind) or self._start(*kind)
        warm.used = time.monotonic()
        warm.asked[request["id"]] = request
        warm.channel.send(encode(request))

    def kill(self, call: str) -> None:
        """Kill the warm process that was asked for this call and has not started it: it hangs."""
        for warm in self._all.values():
            if call in warm.asked:
                os.kill(warm.process.pid, signal.SIGKILL)

    def retire(self) -> None:
        """Let every warm process go when its running calls have ended."""
        for warm in list(self._current.values()):
            self._retire(warm)

    def reaped(self, pid: int) -> bool:
        """Deal with the end of a warm process; false if it is none."""
        warm = self._all.get(pid)
        if warm is None:
            return False
        warm.process.returncode = 0  # it was waited for; Popen must not try
        warm.channel.drain()
        del self._all[pid]
        self._retire(warm)
        warm.channel.close()
        for fork in warm.forks:
            if not processes.is_child(fork):
                # It ended at the same moment, and the warm process took its status with it.
                self._calls.ended(fork, None, 0.0, 0)
        for request in warm.asked.values():
            self._calls.orphaned(request, warm.python, warm.paths)
        return True

    def _start(self, python: str, *paths: str) -> _Warm:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [python, _PROGRAM, *paths],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        warm = _Warm(process, python, paths)
        warm.channel = Channel(
            self._loop,
            ours,
            receive=lambda _channel, message: self._on_message(warm, message),
            closed=lambda _channel: None,  # it is dealt with when it is reaped: then its forks are ours
        )
        self._current[python, *paths] = self._all[process.pid] = warm
        self._loop.later(self._idle_s, lambda: self._look_if_idle(warm))
        return warm

    def _on_message(self, warm: _Warm, message: dict[str, Any]) -> None:
        if "started" in message:
            warm.forks.add(message["pid"])
            if warm.asked.pop(message["started"], None):
                self._calls.started(message["started"], message["pid"])
        elif "ended" in message:
            warm.forks.discard(message["ended"])
            warm.used = time.monotonic()
            self._calls.ended(message["ended"], message["status"], message["cpu_s"], message["memory"])
        elif request := warm.asked.pop(message["stale"], None):
            self._retire(warm)
            self.call(request, python=warm.python, paths=warm.paths)
        if warm.is_idle and warm not in self._current.values():
            warm.channel.close()

    def _retire(self, warm: _Warm) -> None:
        for kind, current in list(self._current.items()):
            if current is warm:
                del self._current[kind]
        if warm.is_idle:
            warm.channel.close()  # it ends when we hang up

    def _look_if_idle(self, warm: _Warm) -> None:
        if warm.process.pid not in self._all:
            return
        idle_s = time.monotonic() - warm.used
        if warm.is_idle and idle_s >= self._idle_s:
            self._retire(warm)
        else:
            self._loop.later(max(self._idle_s - idle_s, 1.0), lambda: self._look_if_idle(warm))
