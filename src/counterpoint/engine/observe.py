"""What executors report becomes events: tools read ends, checkpoints are facts, progress is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from counterpoint.engine.decide import Decider, Make
from counterpoint.errors import StoreError
from counterpoint.kernel import events as e
from counterpoint.kernel.state import State
from counterpoint.ports.executor import Ended, Executor, HostState, Lost, Progress, Report
from counterpoint.ports.tool import Answer, Tool

#: What is kept of a failure's text in a fact.
MOST_DETAIL = 2000


class Observer:
    """Takes reports, as the sink of an executor.

    Args:
        later: runs a coroutine beside the loop.
        progress: called with the attempt and its line; not recorded.
    """

    def __init__(
        self,
        decider: Decider,
        executor: Executor,
        tools: Mapping[str, Tool],
        *,
        later: Callable[[Any], None],
        progress: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self._decider, self._executor, self._tools = decider, executor, tools
        self._later, self._progress = later, progress

    def take(self, report: Report) -> None:
        """Turn a report into an event; never raises."""
        match report:
            case Ended():
                self._later(self._end(report))
            case Lost():
                self._later(self._lose(report))
            case HostState():
                self._decider.post(_host(report))
            case Progress():
                if report.line.get("kind") == "checkpoint":
                    self._decider.post(checkpoint(report.attempt, report.line))
                else:
                    self._progress(report.attempt, report.line)

    async def _end(self, ended: Ended) -> None:
        # What is not recorded is not acknowledged: the host reports it again to the next leader.
        with suppress(StoreError):
            await self._decider.submit(self._ended(ended))
            await self._executor.acknowledge(ended.attempt, ended.look)

    async def _lose(self, lost: Lost) -> None:
        look = 0

        def make(state: State, at: datetime, wall: datetime) -> e.AnyEvent | None:
            nonlocal look
            attempt = state.attempts.get(lost.attempt)
            if attempt is None or attempt.deferred:
                return None
            look = attempt.look
            return e.AttemptLost(at=at, wall=wall, attempt=lost.attempt, detail=lost.detail)

        with suppress(StoreError):
            await self._decider.submit(make)
            await self._executor.acknowledge(lost.attempt, look)

    def _ended(self, ended: Ended) -> Make:
        def make(state: State, at: datetime, wall: datetime) -> e.AnyEvent | None:
            attempt = state.attempts.get(ended.attempt)
            if attempt is None or attempt.look != ended.look or attempt.deferred:
                return None
            task = state.task_of(state.runs[attempt.run], attempt.task)
            answer = self._read(task, ended)
            if answer.state == "not-yet" and not attempt.stopping:
                return e.AttemptDeferred(
                    at=at,
                    wall=wall,
                    attempt=ended.attempt,
                    look_at=at + timedelta(seconds=answer.look_after_s),
                    callback=answer.callback,
                    external_id=answer.external_id,
                    note=answer.detail[:MOST_DETAIL],
                    carry=answer.carry,
                )
            return e.AttemptEnded(
                at=at,
                wall=wall,
                attempt=ended.attempt,
                outcome="succeeded" if answer.state == "done" else "failed",
                failure="" if answer.state == "done" else answer.failure or "exit",
                exit_code=ended.exit_code,
                detail=answer.detail[:MOST_DETAIL],
                reports=answer.reports,
                verdicts=answer.verdicts,
                result=answer.result,
                started=ended.started,
                ended=ended.ended,
                usage=e.Usage(cpu_s=ended.cpu_s, memory_bytes=ended.memory_bytes),
            )

        return make

    def _read(self, task: Any, ended: Ended) -> Answer:
        try:
            return self._tools[task.tool].read(task, ended)
        except Exception as error:
            # A tool that cannot read an end must not take the engine with it.
            return Answer(state="failed", failure="error", detail=f"the task's end could not be read: {error!r}")


def checkpoint(attempt: str, line: Mapping[str, Any]) -> Make:
    """The event of a checkpoint that a running attempt reported."""

    def make(state: State, at: datetime, wall: datetime) -> e.AnyEvent | None:
        name, data = line.get("name"), line.get("data")
        running = state.attempts.get(attempt)
        if running is None or not isinstance(name, str) or not name:
            return None
        known = data if isinstance(data, dict) else {}
        if running.checkpoints.get(name) == known:
            # Hosts repeat those of running attempts to each new leader.
            return None
        return e.CheckpointReached(at=at, wall=wall, attempt=attempt, name=name, data=known)

    return make


def _host(report: HostState) -> Make:
    def make(state: State, at: datetime, wall: datetime) -> e.AnyEvent | None:
        known = state.hosts.get(report.host)
        match report.state:
            case "appeared":
                return None if known == "ready" else e.HostAppeared(at=at, wall=wall, host=report.host)
            case "unreachable":
                return e.HostUnreachable(at=at, wall=wall, host=report.host) if known == "ready" else None
            case "lost":
                return e.HostLost(at=at, wall=wall, host=report.host) if known else None

    return make
