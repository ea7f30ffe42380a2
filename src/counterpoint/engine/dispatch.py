"""Committed decisions are carried out: attempts placed, looked at again, stopped.

At least once: after a crash the new leader asks the hosts what they know of each attempt that
the journal says is running, and places those again that never arrived.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from counterpoint.engine.decide import Decided
from counterpoint.errors import StoreError
from counterpoint.kernel.decisions import LookAttempt, StartAttempt, StopAttempt
from counterpoint.kernel.records import Attempt, Run
from counterpoint.kernel.state import State
from counterpoint.model.trace import traceparent
from counterpoint.ports.executor import Ended, Executor, Placement, Sink
from counterpoint.ports.store import EventRow, History
from counterpoint.ports.tool import Context, Tool

#: Bytes of envelopes kept at hand, so that a hand-off need not read what was written a moment ago.
MOST_ENVELOPE_BYTES = 16 * 2**20


class Dispatcher:
    """Turns decisions into calls of the executor, in their order.

    Args:
        url: where tasks reach the API; "" while there is none.
        token: attempt id -> the token its task may use.
        callback_secret: attempt id -> what the remote side of its job signs call-backs with.
        sink: takes the end of an attempt that cannot even be prepared.
    """

    def __init__(
        self,
        state: State,
        executor: Executor,
        history: History,
        tools: Mapping[str, Tool],
        *,
        url: Callable[[], str],
        token: Callable[[str], str],
        callback_secret: Callable[[str], str],
        sink: Sink,
    ) -> None:
        self._state, self._executor, self._history, self._tools = state, executor, history, tools
        self._url, self._token, self._callback_secret, self._sink = url, token, callback_secret, sink
        self._envelopes: dict[int, bytes] = {}
        self._envelope_bytes = 0
        self._orders: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()

    def remember(self, rows: Sequence[EventRow]) -> None:
        """Keep envelopes at hand that were just written."""
        for row in rows:
            self._envelopes[row.number] = row.envelope
            self._envelope_bytes += len(row.envelope)
        while self._envelope_bytes > MOST_ENVELOPE_BYTES:
            self._envelope_bytes -= len(self._envelopes.pop(next(iter(self._envelopes))))

    def carry_out(self, decided: Sequence[Decided]) -> None:
        """Queue what committed decisions ask for."""
        for each in decided:
            for decision in each.decisions:
                if isinstance(decision, StartAttempt | LookAttempt):
                    self.place(decision.attempt)
                elif isinstance(decision, StopAttempt):
                    self._stop(decision)

    def place(self, attempt: str) -> None:
        """Queue the placing of an attempt that State says is running."""
        current = self._state.attempts.get(attempt)
        if current is not None and not current.deferred:
            run = self._state.runs[current.run]
            self._orders.put_nowait(lambda: self._place(current, run))

    def stop_again(self) -> None:
        """Queue the stopping of every attempt that was asked to stop: the request may not have arrived.

        One that was deferred before has a short look going on at most, and ends with that.
        """
        for attempt in self._state.attempts.values():
            if attempt.stopping and not attempt.look:
                task = self._state.task_of(self._state.runs[attempt.run], attempt.task)
                self._signal(attempt.attempt, task.grace.total_seconds())

    async def run(self) -> None:
        """Carry orders out one after the other, until cancelled."""
        while True:
            order = await self._orders.get()
            await order()

    def _stop(self, decision: StopAttempt) -> None:
        if decision.look is not None:
            self.place(decision.attempt)
        elif decision.attempt in self._state.attempts:
            self._signal(decision.attempt, decision.grace_s)

    def _signal(self, attempt: str, grace_s: float) -> None:
        self._orders.put_nowait(lambda: self._executor.stop(attempt, grace_s=grace_s))

    async def _place(self, attempt: Attempt, run: Run) -> None:
        if attempt.attempt not in self._state.attempts:
            return  # it ended while it stood in the queue: its host was lost
        try:
            placement = await self._placement(attempt, run)
        except StoreError:
            raise  # nothing is wrong with the task: it is placed again by who leads next
        except Exception as error:
            # A task that cannot be prepared has failed; it must not stop the others, nor the engine.
            detail = f"the task could not be prepared: {error}"
            self._sink(
                Ended(attempt=attempt.attempt, look=attempt.look, succeeded=False, failure="error", detail=detail)
            )
            return
        if placement.invocation.argv or placement.invocation.function:
            await self._executor.place(attempt.host, placement)
        else:
            # A deferred attempt is stopped, and there is nothing elsewhere that could be told to end.
            self._sink(Ended(attempt=attempt.attempt, look=attempt.look, succeeded=False, failure="signal"))

    async def _placement(self, attempt: Attempt, run: Run) -> Placement:
        pipeline = self._state.pipeline_of(run)
        task = pipeline.tasks[attempt.task]
        env = self._environment(attempt, run)
        context = Context(
            folder=pipeline.folder,
            env=env,
            attempt=attempt.attempt,
            look=attempt.look,
            carry=attempt.carry if attempt.look else None,
            callback=attempt.called_back,
            stopping=bool(attempt.stopping),
            callback_url=f"{self._url()}/api/v1/callbacks/{_quoted(attempt.attempt)}",
        )
        invocation = self._tools[task.tool].prepare(task, context)
        invocation = msgspec.structs.replace(
            invocation, env={**env, **task.env, **invocation.env}, memory=attempt.memory or invocation.memory
        )
        checkpoint = run.tasks[attempt.task].checkpoint
        return Placement(
            attempt=attempt.attempt,
            look=attempt.look,
            invocation=invocation,
            events=await self._events(run),
            inputs=msgspec.json.encode(run.pins) if run.pins else b"[]",
            checkpoint=json.dumps(checkpoint).encode() if checkpoint else None,
            log=f"{run.run}/{attempt.task}.{attempt.number}.log",
        )

    def _environment(self, attempt: Attempt, run: Run) -> dict[str, str]:
        pipeline = self._state.pipeline_of(run)
        return {
            "COUNTERPOINT_RUN_ID": run.run,
            "COUNTERPOINT_PIPELINE": run.pipeline,
            "COUNTERPOINT_TASK": attempt.task,
            "COUNTERPOINT_ATTEMPT": attempt.attempt,
            "COUNTERPOINT_PARTITION": run.partition,
            "COUNTERPOINT_KEY": run.key,
            "COUNTERPOINT_DUE": run.wanted_by.isoformat().replace("+00:00", "Z") if run.wanted_by else "",
            "COUNTERPOINT_PARAMS": json.dumps(run.params),
            "COUNTERPOINT_PARTIAL": "true" if run.partial else "false",
            "COUNTERPOINT_WRITES": json.dumps(pipeline.written),
            "COUNTERPOINT_URL": self._url(),
            "COUNTERPOINT_TOKEN": self._token(attempt.attempt),
            "COUNTERPOINT_CALLBACK_SECRET": self._callback_secret(attempt.attempt),
            "TRACEPARENT": traceparent(run.trace, attempt.attempt),
        }

    async def _events(self, run: Run) -> bytes:
        """The CloudEvents of all items the run took, as one JSON array."""
        numbers = sorted({item.change for item in run.items.values()})
        if not numbers:
            return b"[]"
        found = {number: self._envelopes[number] for number in numbers if number in self._envelopes}
        missing = [number for number in numbers if number not in found]
        if missing:
            found |= {row.number: row.envelope for row in await self._history.events(missing)}
        return b"[" + b",".join(found[number] for number in numbers if number in found) + b"]"


def _quoted(attempt: str) -> str:
    return attempt.replace("#", "%23").replace("/", "%2F")
