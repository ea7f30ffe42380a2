"""Work in the virtual world: attempts run as long as they must, report checkpoints, and stop when asked.

An attempt that is stopped keeps what its last checkpoint has; the next one takes the time of a restart and what
remains. Times are whole microseconds, so that nothing is lost by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.sim.agenda import ENDS
from counterpoint.sim.stage import Stage

ZERO = timedelta()


class Work(Struct):
    """What one task of one run has to do.

    Attributes:
        length: how long it takes when nothing stops it.
        checkpoint: useful work between two checkpoints; None keeps nothing when stopped.
        restart: what an attempt needs before it goes on from a checkpoint.
        done: useful work that the last checkpoint has.
        stops: how often it was stopped to make room.
        failure: how its attempt ends; "" succeeds.
    """

    length: timedelta
    checkpoint: timedelta | None = None
    restart: timedelta = ZERO
    done: timedelta = ZERO
    stops: int = 0
    failure: str = ""


class Going(Struct):
    """An attempt that runs.

    Attributes:
        begins: when useful work begins; before that it restarts.
        had: useful work that it found done.
    """

    attempt: str
    run: str
    task: str
    work: Work
    started: datetime
    begins: datetime
    had: timedelta
    slots: dict[str, int]


class Floor:
    """Where attempts run.

    Args:
        work_for: what an attempt that starts has to do.
        lost_work: told how much useful work a stop threw away, and of which attempt.
    """

    def __init__(
        self,
        stage: Stage,
        work_for: Callable[[d.StartAttempt], Work],
        *,
        ended: Callable[[Going, str], None] = lambda going, how: None,
        lost_work: Callable[[Going, timedelta], None] = lambda going, lost: None,
    ) -> None:
        self.stage, self.going = stage, dict[str, Going]()
        self._work_for, self._ended, self._lost_work = work_for, ended, lost_work
        stage.on(d.StartAttempt, self.start)
        stage.on(d.StopAttempt, self.stop)

    def start(self, decision: d.StartAttempt) -> None:
        """An attempt starts: note its end, and its first checkpoint."""
        stage, work = self.stage, self._work_for(decision)
        begins = stage.now + work.restart if work.stops else stage.now
        going = Going(
            decision.attempt,
            decision.run,
            decision.task,
            work,
            stage.now,
            begins,
            work.done,
            decision.slots,
        )
        self.going[decision.attempt] = going
        left = work.length - work.done
        stage.agenda.note(begins + left, ENDS, self._end, decision.attempt)
        if work.checkpoint is not None and work.checkpoint < left:
            stage.agenda.note(begins + work.checkpoint, ENDS, self._checkpoint, going)

    def stop(self, decision: d.StopAttempt) -> None:
        """An attempt is asked to stop: it keeps what its last checkpoint has, and ends at once."""
        going = self.going.get(decision.attempt)
        if going is not None:
            # Not within the step that decided it: the kernel is told when that is over.
            self.stage.agenda.note(self.stage.now, ENDS, self._stopped, decision.attempt, decision.why)

    def lose(self, attempt: str) -> None:
        """An attempt is lost with its host."""
        going = self.going.pop(attempt, None)
        if going is not None:
            self._ended(going, "lost")
            now = self.stage.now
            self.stage.take(e.AttemptLost(at=now, wall=now, attempt=attempt))

    def _stopped(self, attempt: str, why: str) -> None:
        going = self.going.get(attempt)
        if going is None:
            return
        work, now = going.work, self.stage.now
        if why == "preempt":
            useful = going.had + max(ZERO, now - going.begins)
            self._lost_work(going, useful - work.done)
            work.stops += 1
        self._tell(going, "failed", failure="signal", how="preempted" if why == "preempt" else "stopped")

    def _end(self, attempt: str) -> None:
        going = self.going.get(attempt)
        if going is None:
            return
        failure = going.work.failure
        if failure:
            self._tell(going, "failed", failure=failure, how="failed")
        else:
            self._tell(going, "succeeded", failure="", how="succeeded")

    def _tell(self, going: Going, outcome: str, *, failure: str, how: str) -> None:
        now = self.stage.now
        del self.going[going.attempt]
        self._ended(going, how)
        self.stage.take(
            e.AttemptEnded(
                at=now,
                wall=now,
                attempt=going.attempt,
                outcome="succeeded" if outcome == "succeeded" else "failed",
                failure=failure,
                started=going.started,
                ended=now,
            )
        )

    def _checkpoint(self, going: Going) -> None:
        """The next checkpoint of an attempt that still runs is reported."""
        work, stage = going.work, self.stage
        if going.attempt not in self.going or work.checkpoint is None:
            return
        work.done = going.had + (stage.now - going.begins)
        stage.take(
            e.CheckpointReached(
                at=stage.now,
                wall=stage.now,
                attempt=going.attempt,
                name=f"after {work.done.total_seconds():g} s",
                data={"done_s": work.done.total_seconds()},
            )
        )
        if work.checkpoint < work.length - work.done:
            stage.agenda.note(stage.now + work.checkpoint, ENDS, self._checkpoint, going)
