"""What a host that was killed left behind: attempts without an end, which are ended and reported lost.

Their processes are no children of this host. They are found by the claim in the spool, by session,
by marker and by descent, killed, and waited for on pidfds; the end is kept when none is left.
"""

from __future__ import annotations

import os
import signal

from counterpoint.adapters.executors.process import processes
from counterpoint.adapters.executors.process.protocol import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from counterpoint.adapters.executors.process.loop import Loop
    from counterpoint.adapters.executors.process.spool import Entry, Key, Spool


class Recovery:
    """Ends what is left. `report` takes the line that says an attempt is lost."""

    def __init__(self, loop: Loop, spool: Spool, *, report: Callable[[bytes], None]) -> None:
        self._loop, self._report = loop, report
        self._boot = processes.boot()
        self._waiting: dict[int, Entry] = {}  # pidfd -> whose process it is
        unended = [entry for entry in spool if entry.end() is None]
        if unended:
            census = processes.Census()
            for entry in unended:
                self._end(entry, census)

    def __contains__(self, key: Key) -> bool:
        """Whether it is not certain yet that nothing of this attempt runs."""
        return any(entry.key == key for entry in self._waiting.values())

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def _end(self, entry: Entry, census: processes.Census) -> None:
        claims = entry.claimed_by()
        restarted = any(boot != self._boot for _, _, boot in claims)
        known = {pid: started for pid, started, boot in claims if boot == self._boot}
        # A session outlives its leader, and its number is not given away as long as it does. But the number
        # of an ended session may be another one's now: only the sessions of processes that are certainly the
        # attempt's count.
        sessions = {pid for pid, started in known.items() if self._leads(pid, started)}
        left = {} if restarted else census.members(entry.output, sessions, known)
        processes.send(signal.SIGKILL, left)
        for pid in left:
            self._wait_for(pid, entry)
        if not left:
            detail = "the machine was restarted while it ran" if restarted else "its worker host was killed"
            line = encode({"type": "lost", "attempt": entry.attempt, "look": entry.look, "detail": detail})
            entry.keep_end(line)
            self._report(line)

    def _leads(self, pid: int, started: int) -> bool:
        leader = processes.look_up(pid)
        if leader is not None:
            return leader.started == started
        return True  # ended; whoever is in a session of that number was in its session

    def _wait_for(self, pid: int, entry: Entry) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            pidfd = os.open(os.devnull, os.O_RDONLY)  # gone: look again, as for one that ends
            self._waiting[pidfd] = entry
            self._loop.soon(lambda: self._gone(pidfd))
            return
        self._waiting[pidfd] = entry
        self._loop.watch(pidfd, lambda *, writable: self._gone(pidfd))

    def _gone(self, pidfd: int) -> None:
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        entry = self._waiting.pop(pidfd)
        if entry not in self._waiting.values():
            self._end(entry, processes.Census())  # again, for what was forked meanwhile
