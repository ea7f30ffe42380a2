"""Processes as /proc shows them: who belongs to whom, and whether one is still the one that was meant."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

#: What tells the processes of an attempt from all others on the machine: a path below its spool
#: entry, in the environment that its processes inherit. An id would not do: two stores may use the same.
MARKER = "COUNTERPOINT_OUTPUT"

_PR_SET_CHILD_SUBREAPER = 36
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Process:
    """One line of /proc/PID/stat, as far as it matters here."""

    __slots__ = ("parent", "pid", "rss_bytes", "session", "started", "zombie")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.zombie = fields[0] in b"ZX"
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.started = int(fields[19])
        self.rss_bytes = int(fields[21]) * _PAGE_BYTES


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this kernel does not let a process adopt orphans")


def boot() -> str:
    """The id of this boot of the machine."""
    return _read("/proc/sys/kernel/random/boot_id").decode().strip()


def look_up(pid: int) -> Process | None:
    """The process of that number; None where there is none."""
    with suppress(OSError, ValueError, IndexError):
        # The name, in parentheses, may contain anything; the fields begin after the last one.
        return Process(pid, _read(f"/proc/{pid}/stat").rpartition(b") ")[2].split())
    return None


def everyone() -> dict[int, Process]:
    """Every process of the machine that still runs, by number."""
    found = (look_up(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process and not process.zombie}


def children() -> list[int]:
    """This process's own children, zombies included."""
    me = os.getpid()
    try:
        return [int(pid) for pid in _read(f"/proc/{me}/task/{me}/children").split()]
    except FileNotFoundError:  # the kernel was built without it
        return [pid for pid, process in everyone().items() if process.parent == me]


def is_child(pid: int) -> bool:
    """Whether a process, a zombie perhaps, is this one's child: then its end will be noticed."""
    found = look_up(pid)
    return found is not None and found.parent == os.getpid()


def marked(pid: int) -> str:
    """The marker that a process inherited; empty where it has none, or may not be asked."""
    prefix = MARKER.encode() + b"="
    with suppress(OSError):
        for entry in _read(f"/proc/{pid}/environ").split(b"\0"):
            if entry.startswith(prefix):
                return os.fsdecode(entry[len(prefix) :])
    return ""


def with_descendants(pids: Iterable[int], processes: dict[int, Process]) -> set[int]:
    """Those of the numbers that run, and everything below them."""
    below: dict[int, list[int]] = {}
    for process in processes.values():
        below.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    waiting = [pid for pid in pids if pid in processes]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += below.get(pid, ())
    return found


class Census:
    """One look at all processes of the machine, for several questions."""

    def __init__(self) -> None:
        self._processes = everyone()
        self._marks: dict[str, list[int]] = {}
        for pid in self._processes:
            if mark := marked(pid):
                self._marks.setdefault(mark, []).append(pid)

    def members(self, marker: str, sessions: Collection[int], known: dict[int, int]) -> dict[int, int]:
        """Every running process of an attempt: number -> start time.

        Args:
            marker: what they inherited in their environment.
            sessions: sessions that are the attempt's.
            known: processes that are the attempt's, as returned; a number that has passed on to another
                process since does not count.
        """
        own = [
            pid
            for pid, process in self._processes.items()
            if process.session in sessions or known.get(pid) == process.started
        ]
        own += self._marks.get(marker, ())
        return {pid: self._processes[pid].started for pid in with_descendants(own, self._processes)}


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Send a signal to each; those already gone are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)
