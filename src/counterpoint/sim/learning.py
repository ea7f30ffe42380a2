"""What the kernel is told of durations while a play goes on, as the engine tells it in production."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from counterpoint.analysis.durations import Learner
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.lengths import has_one_task, is_declared
from counterpoint.sim.agenda import ARRIVES
from counterpoint.sim.stage import Stage
from counterpoint.sim.work import Floor, Going

#: What is known already is told again this often, if it moved: as often as the engine tells it, less often where
#: there are many tasks, so that telling costs a small share of the work.
SHORTEST, LONGEST, PER_TASK = timedelta(seconds=5), timedelta(minutes=10), timedelta(milliseconds=600)


class Learning:
    """Learns from what ends, and tells the kernel: at once what is neither known nor declared, the rest later."""

    def __init__(self, stage: Stage, floor: Floor, known: Iterable[e.Band] = ()) -> None:
        self._stage, self._learner = stage, Learner(known)
        self._known = tuple(known)
        #: Run that waits or goes on -> when it was made, whether its wait is learned from, when it was admitted.
        self._runs: dict[str, tuple[datetime, bool, datetime | None]] = {}
        tasks = sum(len(pipeline.tasks) for pipeline in stage.plan.pipelines.values())
        self._every = min(LONGEST, max(SHORTEST, PER_TASK * tasks))
        self._expected = False
        floor.watchers.append(self._attempt_ended)
        stage.on(d.CreateRun, self._created)
        stage.on(d.AdmitRun, self._admitted)
        stage.on(d.FinishRun, self._finished)

    def begin(self) -> None:
        """Tell what was known before."""
        if self._known:
            now = self._stage.now
            self._stage.take(e.DurationsLearned(at=now, wall=now, bands=self._known))

    def _created(self, decision: d.CreateRun) -> None:
        self._runs[decision.run] = (decision.at, decision.lane == "live", None)

    def _admitted(self, decision: d.AdmitRun) -> None:
        created, is_live, _ = self._runs[decision.run]
        self._runs[decision.run] = (created, is_live, decision.at)

    def _finished(self, decision: d.FinishRun) -> None:
        created, is_live, admitted = self._runs.pop(decision.run)
        if decision.phase == "succeeded" and admitted is not None:
            took_s = (decision.at - admitted).total_seconds()
            waited_s = (admitted - created).total_seconds() if is_live else None
            self._add(decision.run.rpartition("#")[0], "", took_s, admitted, waited_s)

    def _attempt_ended(self, going: Going, how: str, lost_s: float) -> None:
        if how == "succeeded":
            took_s = (self._stage.now - going.started).total_seconds()
            self._add(going.run.rpartition("#")[0], going.task, took_s, going.started, None)

    def _add(self, pipeline: str, task: str, took_s: float, at: datetime, waited_s: float | None) -> None:
        is_only = bool(task) and has_one_task(self._stage.plan, pipeline)
        is_new = self._learner.add(pipeline, task, took_s=took_s, at=at, waited_s=waited_s, is_only=is_only)
        if is_new and not is_declared(self._stage.plan, pipeline, task):
            # Not within the step that ended it: the kernel is told when that is over.
            self._stage.agenda.note(self._stage.now, ARRIVES, self._tell)
        elif not self._expected:
            self._expected = True
            self._stage.agenda.note(self._stage.now + self._every, ARRIVES, self._tell_again)

    def _tell_again(self) -> None:
        self._expected = False
        self._tell()

    def _tell(self) -> None:
        bands = self._learner.changed()
        if bands:
            now = self._stage.now
            self._stage.take(e.DurationsLearned(at=now, wall=now, bands=bands))
