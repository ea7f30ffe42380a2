"""The middle of the engine: events in, one step each, one commit for all of them, then the answers.

Whoever has an event hands in a function that makes it, and gets the decisions once they are
committed. While a commit is under way new events gather; then they are stepped together and
committed together. State is ahead of the store only in between, and only by that one batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from msgspec import Struct

from counterpoint.engine import facts, views
from counterpoint.engine.trigger import Incoming
from counterpoint.errors import Mistake, StoreUnavailable
from counterpoint.kernel.decisions import AnyDecision
from counterpoint.kernel.events import AnyEvent, ClockJumped, Woke
from counterpoint.kernel.state import State
from counterpoint.kernel.step import step
from counterpoint.kernel.wakeup import next_moments
from counterpoint.ports.clock import Clock
from counterpoint.ports.store import Row, Store, StoredFact, Transaction

#: Events stepped before one commit at most: a commit must not wait for a whole flood.
MOST_EVENTS = 200
#: The longest sleep, so that a clock that was set while we slept is noticed.
LONGEST_SLEEP_S = 30.0
#: A wall clock that moved by more than this against engine time was set.
JUMP_S = 30.0

#: Makes an event of what is there when its turn comes; None when there is nothing to do any more.
Make: TypeAlias = Callable[[State, datetime, datetime], AnyEvent | None]


class Decided(Struct, frozen=True):
    """One event and what followed from it, committed. `first` is the seq of the event."""

    event: AnyEvent
    decisions: tuple[AnyDecision, ...]
    first: int


#: Called with what one commit wrote.
Committed: TypeAlias = Callable[[Sequence[Decided], Sequence[StoredFact], Sequence[Row]], None]


#: Somebody's event, and where the answer goes.
Waiting: TypeAlias = tuple[Make, asyncio.Future[Decided | None] | None]


class Decider:
    """Steps the kernel and commits what it says, for one time of leadership.

    Args:
        on_commit: called after each commit with what was committed, before the answers go out.
    """

    def __init__(
        self,
        state: State,
        store: Store,
        clock: Clock,
        *,
        epoch: int,
        on_commit: Committed,
    ) -> None:
        self.state, self.epoch = state, epoch
        #: Number of an accepted event -> its envelope, from acceptance to commit.
        self.incoming: dict[int, Incoming] = {}
        #: (source, id) of an event accepted lately -> its digest and number, for repeats that come before the
        #: first is committed. It ends with this leadership, because that commit may fail.
        self.recent: dict[tuple[str, str], tuple[str, int]] = {}
        self._store, self._clock, self._on_commit = store, clock, on_commit
        self._inbox: list[Waiting] = []
        self._arrived = asyncio.Event()
        self._drift: float | None = None
        self._stopped = False
        #: Whether a commit failed: State is then ahead of the store, and nobody may look at it.
        self.has_failed = False
        self._committing: asyncio.Event | None = None

    async def submit(self, make: Make) -> Decided | None:
        """Step an event and return once it is committed.

        Raises:
            Mistake: what `make` raised; nothing was recorded.
            StoreUnavailable: leadership ended; whether the event was recorded is unknown.
        """
        future: asyncio.Future[Decided | None] = asyncio.get_running_loop().create_future()
        self._put(make, future)
        return await future

    def post(self, make: Make) -> None:
        """Step an event soon; nobody waits for it."""
        self._put(make, None)

    async def committed(self) -> None:
        """Return when State says nothing that is not committed; it may until the caller's next await.

        Raises:
            StoreUnavailable: the commit under way failed.
        """
        while self._committing is not None:
            await self._committing.wait()
        if self.has_failed:
            raise StoreUnavailable("the store failed; it is unknown what was recorded")

    def stop(self) -> None:
        """End `run` after what has come so far."""
        self._stopped = True
        self._arrived.set()

    async def run(self) -> None:
        """Step and commit until stopped, or until the store fails.

        Raises:
            StoreError: leadership is over; State must be dropped.
        """
        try:
            while not (self._stopped and not self._inbox):
                await self._wait()
                await self._turn()
        except BaseException as error:
            self._fail(error)
            raise
        self._fail(StoreUnavailable("the engine has stopped"))

    def _put(self, make: Make, future: asyncio.Future[Decided | None] | None) -> None:
        if self._stopped:
            if future is not None:
                future.set_exception(StoreUnavailable("the engine is stopping; try again"))
            return
        self._inbox.append((make, future))
        self._arrived.set()

    async def _wait(self) -> None:
        """Sleep until something arrives or a moment comes."""
        if self._inbox or self._stopped:
            return
        at, wall = next_moments(self.state)
        pauses = [LONGEST_SLEEP_S]
        if at is not None:
            pauses.append((at - self._clock.at()).total_seconds())
        if wall is not None:
            pauses.append((wall - self._clock.wall()).total_seconds())
        pause = min(pauses)
        if pause <= 0:
            return
        self._arrived.clear()
        handle = asyncio.get_running_loop().call_later(pause, self._arrived.set)
        try:
            await self._arrived.wait()
        finally:
            handle.cancel()

    async def _turn(self) -> None:
        """Step what has gathered, commit it, and give the answers."""
        batch, self._inbox = self._inbox[:MOST_EVENTS], self._inbox[MOST_EVENTS:]
        answers: list[tuple[asyncio.Future[Decided | None], Decided | Mistake | None]] = []
        try:
            decided, recorded = self._step_all(batch, answers)
            if recorded:
                rows = views.rows(self.state, self.incoming)
                await self._commit(Transaction(self.epoch, recorded, rows))
                self.incoming.clear()
                self._on_commit(decided, recorded, rows)
        except BaseException:
            self.has_failed = True
            for _, future in batch:
                if future is not None and not future.done():
                    future.set_exception(StoreUnavailable("the store failed; it is unknown what was recorded"))
            raise
        for future, outcome in answers:
            if future.done():
                continue
            if isinstance(outcome, Mistake):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _step_all(
        self,
        batch: Sequence[Waiting],
        answers: list[tuple[asyncio.Future[Decided | None], Decided | Mistake | None]],
    ) -> tuple[list[Decided], list[StoredFact]]:
        """Step the moments that came and each event of the batch; fills `answers` for those who wait."""
        recorded: list[StoredFact] = []
        decided = [self._step(moment, recorded) for moment in self._moments()]
        # One time for all: what was handed in together happened together, and is one obligation of a promise.
        at, wall = self._clock.at(), self._clock.wall()
        for make, future in batch:
            outcome: Decided | Mistake | None
            try:
                event = make(self.state, at, wall)
                outcome = None if event is None else self._step(event, recorded)
            except Mistake as mistake:
                outcome = mistake
            if isinstance(outcome, Decided):
                decided.append(outcome)
            if future is not None:
                answers.append((future, outcome))
        return decided, recorded

    async def _commit(self, transaction: Transaction) -> None:
        self._committing = committing = asyncio.Event()
        try:
            await self._store.append(transaction)
        finally:
            self._committing = None
            committing.set()

    def _step(self, event: AnyEvent, recorded: list[StoredFact]) -> Decided:
        event = facts.without_nul(event)
        first = self.state.facts + 1
        decisions = step(self.state, event)
        for number, fact in enumerate((event, *decisions)):
            recorded.append(facts.encode(fact, first + number))
        return Decided(event, tuple(decisions), first)

    def _moments(self) -> list[AnyEvent]:
        """Events of time itself: the wall clock was set, or a moment came."""
        at, wall = self._clock.at(), self._clock.wall()
        found: list[AnyEvent] = []
        drift = (wall - at).total_seconds()
        if self._drift is not None and abs(drift - self._drift) > JUMP_S:
            found.append(ClockJumped(at=at, wall=wall, by=timedelta(seconds=drift - self._drift)))
        if self._drift is None or abs(drift - self._drift) > JUMP_S:
            self._drift = drift
        next_at, next_wall = next_moments(self.state)
        if (next_at is not None and next_at <= at) or (next_wall is not None and next_wall <= wall):
            found.append(Woke(at=at, wall=wall))
        return found

    def _fail(self, error: BaseException) -> None:
        self._stopped = True
        for _, future in self._inbox:
            if future is not None and not future.done():
                future.set_exception(StoreUnavailable(f"the engine stopped leading: {error}"))
        self._inbox.clear()
