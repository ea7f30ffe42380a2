"""The engine as its entry points see it: `service.Service` over `loop.Engine`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from counterpoint.engine import facts, incidents, observe, status, trigger, why
from counterpoint.engine.decide import Make
from counterpoint.engine.loop import Engine, message
from counterpoint.engine.service import (
    Accepted,
    AssetStatus,
    Declared,
    Explanation,
    IncidentReport,
    Status,
    StreamMessage,
)
from counterpoint.errors import Conflict, Mistake, NotFound, StoreError, unknown_name
from counterpoint.kernel import events as e
from counterpoint.kernel.decisions import CreateRun, Note, PublishAsset, RefuseReport
from counterpoint.kernel.events import Band, Change
from counterpoint.kernel.state import State
from counterpoint.model import webhook
from counterpoint.model.plan import Plan
from counterpoint.ports.store import AttemptRow, EventRow, RunRow

#: Identities of events remembered in memory, for repeats that come before the first is committed.
MOST_RECENT = 100_000
#: What is kept of a refused input's name, and of why it was refused.
MOST_REFUSED = 500
Phase = Literal["succeeded", "failed", "cancelled"]


class EngineService:
    """What can be asked of a running engine; see `service.Service` for each method.

    Args:
        logs: the folder below which worker hosts write logs.
    """

    def __init__(self, engine: Engine, *, logs: Path, secret: bytes, max_event_bytes: int = 1 << 20) -> None:
        self.engine, self.history, self.max_event_bytes = engine, engine.backend, max_event_bytes
        self._logs, self._secret = logs, secret
        self._schemas: tuple[str, trigger.Schemas] | None = None
        self._messages: dict[str, None] = {}
        self._retrying = asyncio.Lock()

    @property
    def ready(self) -> bool:
        return self.engine.ready

    @property
    def plan(self) -> Plan:
        return self.engine.state.plan

    # Plans.

    async def declare(self, plan: Plan, *, by: str, commit: str = "", dry_run: bool = False) -> Declared:
        await self.engine.decider.committed()  # "unchanged" must not be said against a plan that may be dropped
        declared = difference(self.plan, plan)
        if dry_run or not declared.changed:
            return declared
        await self.engine.decider.submit(
            lambda state, at, wall: e.PlanDeclared(
                at=at, wall=wall, digest=plan.digest, content=plan, by=by, commit=commit
            )
        )
        return declared

    # Events.

    async def accept(self, events: Sequence[Mapping[str, Any]], *, by: str, attempt: str = "") -> list[Accepted]:
        known = await asyncio.gather(*map(self._known, events))
        # All at once from here, so that they are stepped in the order of the batch.
        accepting = (self._accept(*each, by=by, attempt=attempt) for each in zip(events, known, strict=True))
        answers = list(await asyncio.gather(*accepting))
        for event, answer in zip(events, answers, strict=True):
            if answer.error:
                what = f"event {event.get('type', '?')} {answer.id or '?'} of {answer.source or '?'}"
                self.refused(what, code=answer.code, detail=answer.error, by=by)
        return answers

    def refused(self, what: str, *, code: str, detail: str, by: str) -> None:
        with suppress(StoreError):
            self.engine.decider.post(
                lambda state, at, wall: e.InputRefused(
                    at=at, wall=wall, what=what[:MOST_REFUSED], code=code, detail=detail[:MOST_REFUSED], by=by
                )
            )

    async def _known(self, event: Mapping[str, Any]) -> EventRow | None:
        """The change that has the event's identity already."""
        source, event_id = str(event.get("source", "")), str(event.get("id", ""))
        if "\0" in source + event_id:
            return None  # no store can be asked for it, and it is refused
        return await self.history.event(source, event_id)

    async def _accept(
        self, event: Mapping[str, Any], known: EventRow | None, *, by: str, attempt: str
    ) -> Accepted:
        source, event_id = str(event.get("source", "")), str(event.get("id", ""))
        try:
            encoded = msgspec.json.encode(event)
            size = len(encoded)
            if facts.has_nul(encoded):
                raise Mistake("text without NUL characters was expected; take them out", code="envelope")
            if size > self.max_event_bytes:
                text = f"at most {self.max_event_bytes} bytes were expected, {size} were found; send a reference"
                return Accepted(source=source, id=event_id, status=413, code="too-large", error=text)
            hops, by_run = self._cause(attempt)
            incoming = trigger.read(
                event, self.plan, self._validators(), now=self.engine.clock.wall(), hops=hops, by_run=by_run
            )
            if known is not None:
                return _repeat(incoming, known.digest, known.number)
            done: list[Accepted] = []
            await self.engine.decider.submit(self._acceptance(incoming, done, by))
            return done[0]
        except Mistake as mistake:
            return Accepted(source=source, id=event_id, status=400, code=mistake.code, error=mistake.message)

    def _acceptance(self, incoming: trigger.Incoming, done: list[Accepted], by: str) -> Make:
        """The event, made when its turn comes: its number is the next, unless the same came just before."""
        identity = (incoming.change.source, incoming.change.id)

        def make(state: State, at: datetime, wall: datetime) -> e.AnyEvent | None:
            decider = self.engine.decider
            if identity in decider.recent:
                done.append(_repeat(incoming, *decider.recent[identity]))
                return None
            change = msgspec.structs.replace(incoming.change, number=state.changes + 1)
            decider.recent[identity] = (incoming.digest, change.number)
            while len(decider.recent) > MOST_RECENT:
                decider.recent.pop(next(iter(decider.recent)))
            decider.incoming[change.number] = incoming
            done.append(Accepted(source=change.source, id=change.id, status=202, change=change.number))
            return e.EventAccepted(at=at, wall=wall, change=change, by=by)

        return make

    def _cause(self, attempt: str) -> tuple[int, str]:
        """Hops and run of what an attempt emits; (0, "") for what comes from outside."""
        state = self.engine.state
        running = state.attempts.get(attempt)
        return (state.runs[running.run].hops, running.run) if running else (0, "")

    def _validators(self) -> trigger.Schemas:
        digest = self.engine.state.digest
        if self._schemas is None or self._schemas[0] != digest:
            self._schemas = (digest, trigger.Schemas(self.plan))
        return self._schemas[1]

    # Runs.

    async def run(
        self,
        pipeline: str,
        *,
        by: str,
        request: str = "",
        reason: str = "",
        key: str = "",
        partition: str = "",
        params: Mapping[str, Any] | None = None,
        trace: str = "",
        lane: Literal["live", "backfill"] = "live",
        takes_s: float | None = None,
        deadline: datetime | None = None,
    ) -> str:
        self._pipeline(pipeline)
        decided = await self.engine.decider.submit(
            lambda state, at, wall: e.RunRequested(
                at=at,
                wall=wall,
                pipeline=pipeline,
                by=by,
                request=request,
                reason=reason,
                key=key,
                partition=partition,
                params=dict(params or {}),
                trace=trace,
                lane=lane,
                takes_s=takes_s,
                deadline=deadline,
            )
        )
        assert decided is not None, "a request is always an event"
        for decision in decided.decisions:
            if isinstance(decision, CreateRun) and decision.pipeline == pipeline:
                return decision.run
            if isinstance(decision, Note) and decision.reason.code == "same-request":
                return str(decision.reason.figures["run"])
        raise unknown_name("pipeline", pipeline, self.plan.pipelines)

    async def cancel(self, run: str, *, by: str, reason: str = "", skip: bool = False) -> None:
        await self._live(run)
        await self.engine.decider.submit(
            lambda state, at, wall: e.CancelRequested(at=at, wall=wall, run=run, by=by, reason=reason, skip=skip)
        )

    async def retry(self, run: str, *, by: str, reason: str = "") -> None:
        # One at a time: the document of a run that another request retries in between would be an old one.
        async with self._retrying:
            if run in self.engine.state.runs:
                raise Conflict(f"{run} has not ended; cancel it first, or wait for its end")
            row = await self._run_row(run)
            if row.phase == "succeeded":
                again = f"`counterpoint run {row.pipeline}` starts a new one"
                raise Conflict(f"{run} succeeded; there is nothing to retry. {again}")
            self._pipeline(row.pipeline)
            document = json.loads(row.document)
            await self.engine.decider.submit(
                lambda state, at, wall: e.RetryRequested(
                    at=at, wall=wall, run=run, by=by, document=document, reason=reason
                )
            )

    async def wait_for_run(self, run: str) -> Phase:
        await self.engine.decider.committed()
        if run in self.engine.state.runs:
            phase: Any = await self.engine.wait_for(run)
        else:
            phase = (await self._run_row(run)).phase
        return phase  # type: ignore[no-any-return]

    async def pause(self, pipeline: str, *, by: str, reason: str = "") -> None:
        self._pipeline(pipeline)
        await self.engine.decider.submit(
            lambda state, at, wall: e.PauseRequested(at=at, wall=wall, pipeline=pipeline, by=by, reason=reason)
        )

    async def resume(self, pipeline: str, *, by: str, reason: str = "") -> None:
        self._pipeline(pipeline)
        await self.engine.decider.submit(
            lambda state, at, wall: e.ResumeRequested(at=at, wall=wall, pipeline=pipeline, by=by, reason=reason)
        )

    # Items.

    async def replay(
        self, pipeline: str, *, by: str, changes: Sequence[int] = (), dead: bool = False, reason: str = ""
    ) -> int:
        self._pipeline(pipeline)
        letters = [item for item in self.engine.state.dead.values() if item.pipeline == pipeline] if dead else []
        wanted = [*changes, *(item.change for item in letters)]
        rows = {row.number: row for row in await self.history.events(wanted)}
        missing = [number for number in wanted if number not in rows]
        if missing:
            raise NotFound(
                f"there is no change {missing[0]} (any more); see `counterpoint show` or GET /api/v1/events"
            )
        if not wanted:
            return 0
        origins = tuple(item.number for item in letters) if dead and not changes else ()
        await self.engine.decider.submit(
            lambda state, at, wall: e.ReplayRequested(
                at=at,
                wall=wall,
                pipeline=pipeline,
                changes=tuple(_change(rows[number]) for number in wanted),
                by=by,
                reason=reason,
                origins=origins,
            )
        )
        return len(wanted)

    async def discard(self, items: Sequence[int], *, by: str, reason: str = "") -> int:
        found = tuple(number for number in items if number in self.engine.state.dead)
        if found:
            await self.engine.decider.submit(
                lambda state, at, wall: e.DiscardRequested(at=at, wall=wall, items=found, by=by, reason=reason)
            )
        return len(found)

    # Assets, attempts, call-backs.

    async def report_asset(self, report: Mapping[str, Any], *, by: str) -> AssetStatus:
        try:
            read = msgspec.convert(dict(report), e.Report)
        except msgspec.ValidationError as error:
            raise Mistake(f"a report of an asset version was expected: {error}", code="wrong-type") from error

        def make(state: State, at: datetime, wall: datetime) -> e.AnyEvent:
            if read.asset not in state.plan.assets:
                raise unknown_name("asset", read.asset, state.plan.assets)
            if writers := state.plan.writers.get(read.asset):
                remedy = "only assets that no pipeline writes are reported from outside"
                raise Conflict(f"{read.asset} is written by pipeline {writers[0]}; {remedy}")
            return e.AssetReported(at=at, wall=wall, report=read, by=by)

        decided = await self.engine.decider.submit(make)
        for decision in decided.decisions if decided else ():
            if isinstance(decision, RefuseReport):
                figures = decision.reason.figures
                raise Conflict(
                    f"version {figures['expected']} was expected to be current, it is {figures['found']}"
                )
            if isinstance(decision, PublishAsset):
                break
        await self.engine.decider.committed()
        state = self.engine.state
        return status.asset_status(state, state.asset(read.asset, read.partition or ""))

    async def callback(self, attempt: str, *, headers: Mapping[str, str], body: bytes) -> None:
        secret = webhook.derive_secret(self._secret, attempt)
        name = webhook.verify([secret], headers=headers, body=body, now=self.engine.clock.wall())
        if name in self._messages:
            return
        try:
            data = msgspec.json.decode(body) if body else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Mistake(f"a JSON body was expected: {error}", code="wrong-type") from error

        def make(state: State, at: datetime, wall: datetime) -> e.AnyEvent | None:
            if attempt not in state.attempts:
                raise NotFound(f"attempt {attempt} is not running (any more)")
            return e.CallbackReceived(at=at, wall=wall, attempt=attempt, message=name, data=data)

        await self.engine.decider.submit(make)
        # Only now: a delivery that could not be taken must be taken when it is repeated.
        self._messages[name] = None
        while len(self._messages) > MOST_RECENT:
            self._messages.pop(next(iter(self._messages)))

    async def report_attempt(self, attempt: str, line: Mapping[str, Any]) -> None:
        if attempt not in self.engine.state.attempts:
            raise NotFound(f"attempt {attempt} is not running")
        match line.get("kind"):
            case "checkpoint":
                if not line.get("name") or not isinstance(line["name"], str):
                    raise Mistake("a checkpoint needs a `name`, as text", code="missing-key")
                await self.engine.decider.submit(observe.checkpoint(attempt, line))
            case "progress" | "metric":
                self.engine.progressed(attempt, line)
            case kind:
                remedy = "asset versions go to the file that COUNTERPOINT_OUTPUT names"
                raise Mistake(
                    f"a line of kind checkpoint, progress or metric was expected, {kind!r} was found; {remedy}",
                    code="wrong-type",
                )

    def attempt_of(self, token: str) -> str | None:
        return self.engine.attempt_of(token)

    # Questions.

    async def status(self) -> Status:
        engine = self.engine
        await engine.decider.committed()
        clock = engine.clock
        return status.status(
            engine.state, epoch=engine.decider.epoch, at=clock.at(), wall=clock.wall(), notices=engine.notices
        )

    async def explain(self, name: str) -> Explanation:
        await self.engine.decider.committed()
        now = self.engine.clock.at()
        return await why.explain(self.engine.state, self.history, name, at=now, progress=self.engine.progress)

    async def incident(self, name: str) -> IncidentReport:
        await self.engine.decider.committed()
        return await incidents.report(self.engine.state, self.history, name, at=self.engine.clock.at())

    def durations(self, pipeline: str) -> list[Band]:
        return [band for (name, _), band in self.engine.state.bands.items() if name == pipeline]

    async def journal(self, *, after: int = 0, limit: int = 100) -> Sequence[StreamMessage]:
        stored = await self.engine.backend.read(after=after, limit=limit)
        return [message(facts.decode(each), each.seq) for each in stored]

    def stream(self, *, after: int | None = None) -> AsyncIterator[StreamMessage]:
        return self.engine.listen(after)

    async def logs(
        self, run: str, *, task: str | None = None, attempt: int | None = None
    ) -> Sequence[tuple[str, str]]:
        rows = await self.history.page("attempts", where={"run": run}, limit=500)
        found = []
        for _, row in reversed(rows):
            assert isinstance(row, AttemptRow), "the attempts table holds attempts"
            if (task is None or row.task == task) and (attempt is None or row.number == attempt):
                found.append((row.attempt, str(self._logs / run / f"{row.task}.{row.number}.log")))
        if not found and not rows:
            await self._run_row(run)
        return found

    # What several of them need.

    def _pipeline(self, name: str) -> None:
        plan = self.plan
        if name not in plan.pipelines:
            raise unknown_name("pipeline", name, plan.pipelines, remedy="see `counterpoint status`")

    async def _live(self, run: str) -> None:
        if run in self.engine.state.runs:
            return
        row = await self._run_row(run)
        raise Conflict(f"{run} has ended already: {row.phase}")

    async def _run_row(self, run: str) -> RunRow:
        row = await self.history.row("runs", run)
        if not isinstance(row, RunRow):
            raise NotFound(f"there is no run {run!r}; `counterpoint runs` lists them")
        return row


def difference(before: Plan, after: Plan) -> Declared:
    """What one plan changes against another, by kind of thing."""
    added: dict[str, list[str]] = {}
    removed: dict[str, list[str]] = {}
    altered: dict[str, list[str]] = {}
    for kind in ("pipelines", "assets", "events", "pools"):
        old, new = _meaning(getattr(before, kind)), _meaning(getattr(after, kind))
        for found, names in (
            (added, [name for name in new if name not in old]),
            (removed, [name for name in old if name not in new]),
            (altered, [name for name in new if name in old and new[name] != old[name]]),
        ):
            if names:
                found[kind] = names
    return Declared(
        digest=after.digest,
        changed=before.digest != after.digest,
        added=added,
        removed=removed,
        altered=altered,
    )


def _meaning(declared: Mapping[str, Any]) -> dict[str, Any]:
    """What is declared, without where it stands in its file."""
    return {
        name: msgspec.structs.replace(value, where="") if hasattr(value, "where") else value
        for name, value in declared.items()
    }


def _repeat(incoming: trigger.Incoming, digest: str, number: int) -> Accepted:
    """The answer to an event whose identity is known: the same content, or a clash."""
    source, event_id = incoming.change.source, incoming.change.id
    if digest == incoming.digest:
        return Accepted(source=source, id=event_id, status=200, change=number, duplicate=True)
    text = f"(source, id) stands for change {number} already, with other content; a new event needs a new id"
    return Accepted(source=source, id=event_id, status=409, change=number, code="conflict", error=text)


def _change(row: EventRow) -> Change:
    """A change as it was, with its payload, for a replay."""
    envelope = json.loads(row.envelope)
    partition = ""
    with suppress(AttributeError):
        partition = str(envelope.get("partition") or "")
    return Change(
        number=row.number,
        subject=row.subject,
        source=row.source,
        id=row.id,
        type=row.type,
        time=row.time,
        partition=partition,
        data=envelope.get("data"),
    )
