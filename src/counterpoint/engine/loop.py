"""The engine as one supervised loop: lead, load, decide and dispatch until the store fails, then again.

Nothing is ever mended in memory. When a commit fails, or may have failed, State is dropped and
made anew from what the store holds; whoever waited for that commit is told that it is unknown.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import hmac
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from counterpoint.engine import facts
from counterpoint.engine.decide import Decided, Decider
from counterpoint.engine.dispatch import Dispatcher
from counterpoint.engine.learning import Learning
from counterpoint.engine.observe import Observer
from counterpoint.engine.service import StreamMessage
from counterpoint.errors import HostUnreachable, LeadershipLost, Mistake, StoreError, StoreUnavailable
from counterpoint.kernel.decisions import AnyDecision, FinishRun
from counterpoint.kernel.events import AnyEvent, PlanDeclared, Woke
from counterpoint.kernel.evolve import fold
from counterpoint.kernel.sentences import sentence
from counterpoint.kernel.snapshots import Document
from counterpoint.kernel.state import State
from counterpoint.model import webhook
from counterpoint.model.plan import Plan
from counterpoint.ports.clock import Clock
from counterpoint.ports.executor import Executor, Report
from counterpoint.ports.store import EventRow, History, Row, Snapshot, Store, StoredFact
from counterpoint.ports.tool import Tool

log = logging.getLogger("counterpoint.engine")

#: Messages, and bytes of facts, that a slow reader of the stream may be behind; then it is cut off.
STREAM_BACKLOG, STREAM_BACKLOG_BYTES = 10_000, 32 * 2**20
#: Attempts whose latest progress is remembered.
MOST_PROGRESS = 1000
#: Seconds before leadership is sought again after the store failed.
RETRY_S = 0.5
#: Engine time that begins this far ahead of the clock on the wall is worth a word.
AHEAD = timedelta(seconds=30)


class Retention(Struct, frozen=True, kw_only=True):
    """How much of the past is kept.

    Attributes:
        snapshot_facts: facts between two snapshots, at least.
        kept_facts: facts that stay in the journal behind the newest snapshot, for `why` and replay of the
            recent past.
        history: how long ended runs and what belongs to them stay in history.
    """

    snapshot_facts: int = 5_000
    kept_facts: int = 200_000
    history: timedelta = timedelta(days=30)


class Backend(Store, History, Protocol):
    """A store that also answers questions about the past; every adapter is both."""


class Engine:
    """One engine over one store. `run` is its whole life; `ready` says whether it leads.

    Args:
        declared: the plan of the files it was started with; None takes the store's as it is.
        secret: key of the tokens that tasks get.
        clock: makes the clock, given the time of the newest fact (engine time never goes back).
        url: where tasks reach the API, asked each time because the port may be chosen late.
    """

    def __init__(
        self,
        backend: Backend,
        executor: Executor,
        tools: Mapping[str, Tool],
        *,
        clock: Callable[[datetime | None], Clock],
        declared: Plan | None,
        secret: bytes,
        url: Callable[[], str] = lambda: "",
        by: str = "up",
        commit: str = "",
        on_standby: Callable[[], None] = lambda: None,
        retention: Retention = Retention(),  # noqa: B008
    ) -> None:
        self.backend, self.executor, self.tools = backend, executor, tools
        self.clock: Clock = clock(None)
        self.notices: list[str] = []
        self.started = asyncio.Event()
        self.progress: dict[str, dict[str, Any]] = {}
        self._make_clock, self._declared, self._secret, self._url, self._by = clock, declared, secret, url, by
        self._commit, self._on_standby, self._retention = commit, on_standby, retention
        self._stood_by = False
        self._decider: Decider | None = None
        self._dispatcher: Dispatcher | None = None
        self._beside: set[asyncio.Task[Any]] = set()
        self._broken: asyncio.Future[None] | None = None  # gets the error of what failed beside the loop
        self._ends: dict[str, asyncio.Future[str]] = {}
        self._readers: set[_Reader] = set()
        self._snapshot_at = 0
        self._keeping = asyncio.Lock()
        self._trouble = ""  # why it does not lead, if the store failed
        self._running: asyncio.Task[Any] | None = None
        self._stopping = False

    @property
    def ready(self) -> bool:
        """Whether it leads and accepts."""
        return self.started.is_set() and self._decider is not None and not self._decider.has_failed

    @property
    def decider(self) -> Decider:
        """Who takes events now.

        Raises:
            StoreUnavailable: no store is led at the moment.
        """
        if self._decider is None or self._decider.has_failed:
            raise StoreUnavailable(self._trouble or "the engine does not lead yet")
        return self._decider

    @property
    def state(self) -> State:
        """What is going on; valid until the next await."""
        return self.decider.state

    async def run(self) -> None:
        """Lead and work until `stop`; after a failure of the store or the worker host load again and go on.

        Any other error is a mistake of ours, or nothing that trying again mends: it is raised.
        """
        self._running = asyncio.current_task()
        while not self._stopping:
            try:
                await self._lead(await self._leadership())
            except (StoreError, HostUnreachable) as error:
                if str(error) != self._trouble:
                    log.warning("leadership ended: %s", error)
                    is_store = isinstance(error, StoreError)
                    self._notice(f"the store failed and was loaded again: {error}" if is_store else str(error))
                self._trouble = str(error)
                if not self._stopping:
                    await asyncio.sleep(RETRY_S)
            except asyncio.CancelledError:
                if not self._stopping:
                    raise

    async def _leadership(self) -> int:
        """The epoch, once no other engine leads."""
        try:
            return await self.backend.lead(wait=False)
        except LeadershipLost:
            self._stood_by = True
            self._on_standby()
            return await self.backend.lead()

    async def stop(self) -> None:
        """Finish the commit under way, keep a snapshot, give leadership back; attempts run on."""
        self._stopping = True
        if self._decider is not None:
            self._decider.stop()
        elif self._running is not None:
            self._running.cancel()  # it stands by, or waits for a store that is away

    # One time of leadership.

    async def _lead(self, epoch: int) -> None:
        state, last = await self._load()
        self.clock = self._make_clock(last)
        ahead = self.clock.at() - self.clock.wall()
        if ahead > AHEAD:
            seconds = f"{ahead.total_seconds():.0f} s"
            self._notice(f"the newest fact is {seconds} ahead of this machine's clock; time goes on from it")
        decider = Decider(state, self.backend, self.clock, epoch=epoch, on_commit=self._committed)
        observer = Observer(decider, self.executor, self.tools, later=self._later, progress=self.progressed)
        dispatcher = Dispatcher(
            state,
            self.executor,
            self.backend,
            self.tools,
            url=self._url,
            token=self.token,
            callback_secret=lambda attempt: webhook.derive_secret(self._secret, attempt),
            sink=observer.take,
        )
        self._decider, self._dispatcher, self._epoch = decider, dispatcher, epoch
        self._learning = Learning(decider)
        self._broken = broken = asyncio.get_running_loop().create_future()
        deciding = asyncio.create_task(decider.run(), name="decide")
        dispatching = asyncio.create_task(self._dispatch(decider, dispatcher, observer.take), name="dispatch")
        try:
            await self._declare(decider)
            await asyncio.wait({deciding, dispatching, broken}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (deciding, dispatching, broken):
                if ended.done():
                    ended.result()
            await self._snapshot(state)
        finally:
            self.started.clear()
            self._decider = self._dispatcher = self._broken = None
            self._learning.stop()
            for task in (deciding, dispatching, *self._beside):
                task.cancel()
            await asyncio.gather(deciding, dispatching, *self._beside, return_exceptions=True)
            self._fail_waiters()
            with suppress(StoreError):
                await self.backend.release()

    async def _load(self) -> tuple[State, datetime | None]:
        """State from the newest snapshot and the facts after it, and the time of the newest fact."""
        document, after = await self._newest_snapshot()
        self._snapshot_at = after
        tail: list[AnyEvent | AnyDecision] = []
        while stored := await self.backend.read(after=after, limit=5_000):
            if stored[0].seq != after + 1:
                begin = f"fact {stored[0].seq}, where the journal begins"
                raise Mistake(f"no snapshot reaches up to {begin}; restore a backup", code="store-damaged")
            tail += facts.decode_all(stored)
            after = stored[-1].seq
        state = _fold_undisturbed(document, tail)
        if state.facts != after:
            raise AssertionError(f"the journal ends at {after}, State counts {state.facts} facts")
        return state, state.at if after else None

    async def _newest_snapshot(self) -> tuple[Document | None, int]:
        """The newest snapshot that can be read, and its seq; (None, 0) where the journal alone must do."""
        for skip in count():
            try:
                snapshot = await self.backend.load(skip=skip)
                if snapshot is None:
                    break
                return facts.decode_state(snapshot), snapshot.seq
            except StoreUnavailable:
                raise
            except StoreError as error:
                self._notice(f"a snapshot is not used: {error}")
        return None, 0

    async def _declare(self, decider: Decider) -> None:
        """Declare the plan of the files, if it is another one."""
        plan = self._declared
        if plan is not None and plan.digest != decider.state.digest:
            if decider.state.digest and self._stood_by:
                self._notice(
                    "the plan of the store is kept; the files here say otherwise (see `counterpoint apply`)"
                )
            else:
                await decider.submit(
                    lambda state, at, wall: PlanDeclared(
                        at=at, wall=wall, digest=plan.digest, content=plan, by=self._by, commit=self._commit
                    )
                )
        # Once, but not before it is committed: a later leadership of this engine keeps what was applied since.
        self._declared = None

    async def _dispatch(self, decider: Decider, dispatcher: Dispatcher, sink: Callable[[Report], None]) -> None:
        """Take the hosts over, find running attempts again, then carry out decisions as they come."""
        hosts = await self.executor.connect(epoch=decider.epoch, sink=sink)
        state = decider.state
        running = [
            (attempt.attempt, attempt.host, attempt.look)
            for attempt in state.attempts.values()
            if not attempt.deferred
        ]
        others = [host for host in state.hosts if host not in hosts]
        for name, _ in await self.executor.resolve(running, hosts=others):
            dispatcher.place(name)
        dispatcher.stop_again()
        decider.post(lambda state, at, wall: Woke(at=at, wall=wall))
        self.started.set()
        await dispatcher.run()

    # After each commit.

    def _committed(self, decided: Sequence[Decided], recorded: Sequence[StoredFact], rows: Sequence[Row]) -> None:
        self._trouble = ""  # the store takes commits: the same trouble, if it comes again, is a new one
        dispatcher = self._dispatcher
        if dispatcher is not None:
            dispatcher.remember([row for row in rows if isinstance(row, EventRow)])
            dispatcher.carry_out(decided)
        for each in decided:
            self._learning.take(each.event)
            for decision in each.decisions:
                if isinstance(decision, FinishRun) and decision.run in self._ends:
                    self._ends.pop(decision.run).set_result(decision.phase)
        self._learning.take_rows(rows)
        if self._readers:
            told = (fact for each in decided for fact in (each.event, *each.decisions))
            for fact, stored in zip(told, recorded, strict=True):
                self._tell(message(fact, stored.seq), len(stored.body))
        self._perhaps_snapshot()

    def _perhaps_snapshot(self) -> None:
        state = self.state
        # In proportion to what a snapshot costs, so that it stays a small share of the work.
        due = max(self._retention.snapshot_facts, len(state.runs) + state.items // 100)
        if state.facts - self._snapshot_at >= due:
            self._snapshot_at = state.facts
            self._later(self._keep(facts.encode_state(state)))

    async def _snapshot(self, state: State) -> None:
        if state.facts > self._snapshot_at:
            await self._keep(facts.encode_state(state))

    async def _keep(self, snapshot: Snapshot) -> None:
        """Save a snapshot, load it back, compare, and only then cut what lies behind it."""
        try:
            async with self._keeping:
                if not await asyncio.to_thread(facts.is_faithful, snapshot):
                    self._notice(
                        "a snapshot would not be read back as it is; it is not kept, the journal is not cut"
                    )
                    return
                await self.backend.save(snapshot, epoch=self._epoch)
                if await self.backend.load() != snapshot:
                    self._notice("a snapshot was not loaded back as it was saved; the journal is not cut")
                    return
                # By engine time: a wall clock that is set years ahead must not end the history.
                before = self.clock.at() - self._retention.history
                below = snapshot.seq - self._retention.kept_facts
                await self.backend.cut(below=below, history_before=before, epoch=self._epoch)
                await self.executor.forget(before)
        except StoreError as error:
            self._notice(f"a snapshot could not be kept: {error}")
        except OSError as error:
            self._notice(f"old logs could not be dropped: {error}")

    # What others may hear.

    async def wait_for(self, run: str) -> str:
        """The phase in which a live run ends, once it has ended.

        Raises:
            StoreUnavailable: leadership ended first.
        """
        if run not in self._ends:
            self._ends[run] = asyncio.get_running_loop().create_future()
        # Shielded, for others may wait for the same run.
        return await asyncio.shield(self._ends[run])

    async def listen(self, after: int | None) -> AsyncIterator[StreamMessage]:
        """Committed facts after a seq (None: from now on), as long as the caller wants them.

        It ends when leadership does, and for a reader that falls too far behind: either may come back with
        the seq of the last fact it got.

        Raises:
            StoreUnavailable: nothing is led, so that what another engine writes would be missed.
        """
        reader = _Reader()
        self._readers.add(reader)
        try:
            await self.decider.committed()
            seen = after
            if seen is not None:
                while stored := await self.backend.read(after=seen, limit=500):
                    for each in stored:
                        yield message(facts.decode(each), each.seq)
                    seen = stored[-1].seq
            while (told := await reader.next()) is not None:
                if seen is None or told.seq > seen:
                    yield told
        finally:
            self._readers.discard(reader)

    def _tell(self, told: StreamMessage, size: int) -> None:
        for reader in list(self._readers):
            if not reader.tell(told, size):
                self._readers.discard(reader)

    def progressed(self, attempt: str, line: Mapping[str, Any]) -> None:
        """Remember what a running attempt last said of its progress."""
        self.progress[attempt] = dict(line)
        while len(self.progress) > MOST_PROGRESS:
            self.progress.pop(next(iter(self.progress)))

    # Tokens of tasks.

    def token(self, attempt: str) -> str:
        """What a task shows to report and emit for its own attempt; worth nothing once that has ended."""
        name = base64.urlsafe_b64encode(attempt.encode()).decode().rstrip("=")
        return f"cpt_{name}.{self._sign(attempt)}"

    def attempt_of(self, token: str) -> str | None:
        """The running attempt a token belongs to."""
        name, _, signature = token.removeprefix("cpt_").partition(".")
        try:
            attempt = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
        except ValueError:
            return None
        if not hmac.compare_digest(signature.encode(), self._sign(attempt).encode()):
            return None
        return attempt if self._decider is not None and attempt in self.state.attempts else None

    def _sign(self, attempt: str) -> str:
        return hmac.new(self._secret, attempt.encode(), hashlib.sha256).hexdigest()[:40]

    # Small things.

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._ended_beside)

    def _ended_beside(self, task: asyncio.Task[Any]) -> None:
        self._beside.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        # An end that was not recorded would hold its slots for ever: what fails here ends leadership, too.
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)
        else:
            log.error("something failed while nothing was led", exc_info=error)

    def _notice(self, text: str) -> None:
        self.notices = [*self.notices[-19:], text]

    def _fail_waiters(self) -> None:
        for future in self._ends.values():
            future.set_exception(StoreUnavailable("the engine stopped leading"))
            future.exception()  # looked at here: whoever waited may be gone
        self._ends.clear()
        for reader in self._readers:
            reader.end()
        self._readers.clear()


class _Reader:
    """What one reader of the stream has still to take; bounded, so that a slow one does not fill the memory."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[StreamMessage, int]] = deque()
        self._bytes = 0
        self._has_ended = False
        self._arrived = asyncio.Event()

    def tell(self, told: StreamMessage, size: int) -> bool:
        """Add a message; False, and the end of it, for one that is too far behind to get it."""
        if len(self._waiting) >= STREAM_BACKLOG or (self._waiting and self._bytes + size > STREAM_BACKLOG_BYTES):
            self._waiting.clear()
            self.end()
            return False
        self._waiting.append((told, size))
        self._bytes += size
        self._arrived.set()
        return True

    def end(self) -> None:
        """Nothing comes after what waits."""
        self._has_ended = True
        self._arrived.set()

    async def next(self) -> StreamMessage | None:
        """The next message; None at the end."""
        while not self._waiting:
            if self._has_ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        told, size = self._waiting.popleft()
        self._bytes -= size
        return told


def _fold_undisturbed(document: Document | None, tail: Sequence[AnyEvent | AnyDecision]) -> State:
    """Fold without garbage collection, which would walk all that is loaded again and again; nor does it later."""
    gc.disable()
    try:
        return fold(document, tail)
    finally:
        gc.enable()
        gc.freeze()


def message(fact: AnyEvent | AnyDecision, seq: int) -> StreamMessage:
    """A fact as those who watch get it."""
    fields = msgspec.to_builtins(fact)
    fields.pop("content", None)
    attempt = fields.get("attempt", "")
    run = fields.get("run") or attempt.partition("/")[0]
    pipeline = fields.get("pipeline") or run.partition("#")[0]
    return StreamMessage(
        seq=seq,
        at=fact.at,
        kind=facts.kind_of(fact),
        text=sentence(fact),
        run=run,
        pipeline=pipeline,
        fact=fields,
    )
