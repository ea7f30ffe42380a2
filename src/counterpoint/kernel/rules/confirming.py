"""Sync delivery: a producer's run ends when its subscribers are as far as they declare, or refuse."""

from __future__ import annotations

from collections.abc import Iterator

from counterpoint.kernel.decisions import Confirm, Reason
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.records import Run
from counterpoint.kernel.state import State
from counterpoint.model.trigger import Delivery


def confirm(state: State, event: AnyEvent) -> Iterator[Confirm]:
    """Tell sync producers how far their subscribers are with an item."""
    while state.touched.confirms:
        producer, number, reached = state.touched.confirms.pop(0)
        run = state.runs.get(producer)
        if run is None or number not in run.confirming:
            continue
        if reached in ("failed", "cancelled", "refused"):
            yield refuse(state, run, number, Reason("subscriber-refused", {"item": number}))
        elif reached in ("succeeded", _delivery(state, run, number).until):
            yield Confirm(at=state.at, reason=Reason(reached), run=producer, item=number)


def refuse_late(state: State, run: Run) -> Iterator[Confirm]:
    """The time of some sync subscribers is over."""
    for number in [number for number, awaited in run.confirming.items() if awaited.by <= state.at]:
        yield refuse(state, run, number, Reason("confirmation-timed-out"))


def refuse(state: State, run: Run, number: int, reason: Reason) -> Confirm:
    """A sync subscriber does not get there: the producer fails or only warns, as the subscriber declares."""
    fails = _delivery(state, run, number).on_refusal == "fail"
    return Confirm(at=state.at, reason=reason, run=run.run, item=number, fails=fails)


def _delivery(state: State, run: Run, number: int) -> Delivery:
    pipeline = state.plan.pipelines.get(run.confirming[number].pipeline)
    return pipeline.trigger.delivery if pipeline and pipeline.trigger else Delivery()
