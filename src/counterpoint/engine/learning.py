"""Durations are learned from what ended well, and told to the kernel as events, rarely."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from counterpoint.analysis.durations import Learner
from counterpoint.engine.decide import Decider
from counterpoint.kernel.events import AnyEvent, DurationsLearned, PlanDeclared
from counterpoint.kernel.lengths import has_one_task, is_declared
from counterpoint.kernel.state import State
from counterpoint.ports.store import AttemptRow, Row, RunRow

#: Seconds between two events of learned durations, but for the first sample of what nothing is declared of.
EVERY_S = 5.0
#: What began before an engine led is a sample if the time in which none did is at most this share of it.
UNSEEN = 0.1


class Learning:
    """Listens to commits for one time of leadership. What was learned before stands in State.

    Waits are learned of live runs as a whole; what a task waits within its run is part of the run's duration.
    While no engine led nobody saw what ended, so that a run may seem to have lasted through all of that time:
    it is no sample, unless it is so long that this makes no difference.
    """

    def __init__(self, decider: Decider) -> None:
        self._decider, self._learner = decider, Learner(decider.state.bands.values())
        self._timer: asyncio.TimerHandle | None = None
        #: The last fact before this leadership, and the first event of it.
        self._left, self._back = decider.state.at, decider.state.at
        self._has_begun = False

    def take(self, event: AnyEvent) -> None:
        """Note when this leadership begins; forget what a new plan does not have."""
        if not self._has_begun:
            self._back, self._has_begun = event.at, True
        if isinstance(event, PlanDeclared):
            pipelines = event.content.pipelines.items()
            self._learner.keep({(name, task) for name, each in pipelines for task in ("", *each.tasks)})

    def take_rows(self, rows: Sequence[Row]) -> None:
        """Learn from what was just written to history."""
        is_new, is_more = False, False
        for row in rows:
            match row:
                case RunRow(phase="succeeded", started_at=datetime() as began, ended_at=datetime() as ended) if (
                    self._was_seen(began, ended)
                ):
                    is_wait = row.lane == "live" and self._was_seen(row.created_at, began)
                    waited = (began - row.created_at).total_seconds() if is_wait else None
                    took = (ended - began).total_seconds()
                    pipeline, task = row.pipeline, ""
                    new = self._learner.add(pipeline, task, took_s=took, at=began, waited_s=waited)
                case AttemptRow(phase="succeeded", started_at=began, ended_at=datetime() as ended) if (
                    self._was_seen(began, ended)
                ):
                    took = (ended - began).total_seconds()
                    pipeline, task = row.run.rpartition("#")[0], row.task
                    only = has_one_task(self._decider.state.plan, pipeline)
                    new = self._learner.add(pipeline, task, took_s=took, at=began, is_only=only)
                case _:
                    continue
            is_more = True
            if new and not is_declared(self._decider.state.plan, pipeline, task):
                is_new = True
        if is_new:
            self._tell()
        elif is_more and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._tell)

    def _was_seen(self, began: datetime, ended: datetime) -> bool:
        return began >= self._back or self._back - self._left <= UNSEEN * (ended - began)

    def stop(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self.stop()
        self._timer = None
        bands = self._learner.changed()
        if bands:

            def make(state: State, at: datetime, wall: datetime) -> AnyEvent:
                return DurationsLearned(at=at, wall=wall, bands=bands)

            self._decider.post(make)
