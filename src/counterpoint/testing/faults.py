"""Things that fail on cue: a store that refuses or loses its answer, an executor that does as it is told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from counterpoint.adapters.stores.memory import MemoryJournal, MemoryStore
from counterpoint.errors import StoreUnavailable
from counterpoint.ports.executor import Ended, HostState, Lost, Placement, Progress, Report, Sink
from counterpoint.ports.store import Snapshot, Transaction


class FaultyStore(MemoryStore):
    """A memory store whose next commit can be made to fail.

    Attributes:
        fails: `before` refuses the next commit, `after` commits it and then loses the answer, as a
            connection that is cut during COMMIT does; None commits.
        damages: while true, snapshots are not kept as they were given.
    """

    def __init__(self, journal: MemoryJournal | None = None) -> None:
        super().__init__(journal)
        self.fails: Literal["before", "after"] | None = None
        self.damages = False
        self.commits = 0

    async def append(self, transaction: Transaction) -> None:
        """Commit, unless told otherwise."""
        fails, self.fails = self.fails, None
        if fails == "before":
            raise StoreUnavailable("the disk is full")
        await super().append(transaction)
        self.commits += 1
        if fails == "after":
            raise StoreUnavailable("the connection was cut; the outcome of the commit is unknown")

    async def save(self, snapshot: Snapshot, *, epoch: int) -> None:
        """Keep a snapshot, or something like it."""
        if self.damages:
            snapshot = Snapshot(snapshot.seq, snapshot.version, snapshot.body[: len(snapshot.body) // 2])
        await super().save(snapshot, epoch=epoch)


class ScriptedExecutor:
    """An executor in which attempts run until the test ends them.

    Attributes:
        placed: placements that arrived, in order; a repeat of an (attempt, look) does not arrive.
        drops: while true, placements do not arrive: the engine died before it handed them over.
    """

    def __init__(self, host: str = "test-1") -> None:
        self.host = host
        self.placed: list[Placement] = []
        self.stopped: list[str] = []
        self.acknowledged: list[tuple[str, int]] = []
        self.epochs: list[int] = []
        self.drops = False
        self._sink: Sink = lambda report: None
        self._unacknowledged: dict[tuple[str, int], Report] = {}

    async def connect(self, *, epoch: int, sink: Sink) -> Sequence[str]:
        """Take over; what was not acknowledged is reported again."""
        self.epochs.append(epoch)
        self._sink = sink
        sink(HostState(host=self.host, state="appeared"))
        for report in list(self._unacknowledged.values()):
            sink(report)
        return [self.host]

    async def resolve(
        self, attempts: Sequence[tuple[str, str, int]], *, hosts: Sequence[str] = ()
    ) -> Sequence[tuple[str, int]]:
        """Those that never arrived at this host; those of another host are lost."""
        known = {(placement.attempt, placement.look) for placement in self.placed}
        unknown = [(attempt, host, look) for attempt, host, look in attempts if (attempt, look) not in known]
        for host in hosts:
            if host != self.host:
                self._sink(HostState(host=host, state="lost"))
        for attempt, host, _ in unknown:
            if host != self.host:
                self._sink(Lost(attempt=attempt, detail="its host has ended"))
        return [(attempt, look) for attempt, host, look in unknown if host == self.host]

    async def place(self, host: str, placement: Placement) -> None:
        """Note the placement."""
        known = {(placed.attempt, placed.look) for placed in self.placed}
        if not self.drops and (placement.attempt, placement.look) not in known:
            self.placed.append(placement)

    async def stop(self, attempt: str, *, grace_s: float) -> None:
        """Note that the attempt is to be stopped; the test ends it."""
        self.stopped.append(attempt)

    async def acknowledge(self, attempt: str, look: int) -> None:
        """Forget the end of an attempt."""
        self.acknowledged.append((attempt, look))
        self._unacknowledged.pop((attempt, look), None)

    async def forget(self, before: datetime) -> int:
        """There are no logs."""
        return 0

    async def close(self) -> None:
        """Nothing is held."""

    def end(self, attempt: str, *, exit_code: int = 0, look: int = 0, **fields: object) -> None:
        """Report the end of an attempt, as its host would."""
        ended = Ended(
            attempt=attempt,
            look=look,
            succeeded=exit_code == 0,
            failure="" if exit_code == 0 else "exit",
            exit_code=exit_code,
            **fields,  # type: ignore[arg-type]
        )
        self._unacknowledged[attempt, look] = ended
        self._sink(ended)

    def report(self, attempt: str, line: dict[str, object]) -> None:
        """Report a line that an attempt wrote while it runs."""
        self._sink(Progress(attempt=attempt, line=line))
