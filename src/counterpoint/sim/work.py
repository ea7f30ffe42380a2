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
        resumed: an attempt of it was broken off, so that the next one begins with a restart.
        failure: how its attempt ends; "" succeeds.
    """

    length: timedelta
    checkpoint: timedelta | None = None
    restart: timedelta = ZERO
    done: timedelta = ZERO
    stops: int = 0
    resumed: bool = False
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

    Attributes:
        watchers: told of each attempt that ended, how (`succeeded`, `failed`, `stopped`, `preempted`, `lost`), and
            how much useful work was lost with it, in seconds; before the kernel is.
    """

    def __init__(self, stage: Stage, work_for: Callable[[d.StartAttempt], Work]) -> None:
        self.stage, self.going = stage, dict[str, Going]()
        self.watchers: list[Callable[[Going, str, float], None]] = []
        self._work_for = work_for
        stage.on(d.StartAttempt, self.start)
        stage.on(d.StopAttempt, self.stop)

    def start(self, decision: d.StartAttempt) -> None:
        """An attempt starts: note its end, and its first checkpoint."""
        stage, work = self.stage, self._work_for(decision)
        begins = stage.now + work.restart if work.resumed else stage.now
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
        going = self.going.get(attempt)
        if going is not None:
            self._leave(going, "lost", self._break_off(going))
            now = self.stage.now
            self.stage.take(e.AttemptLost(at=now, wall=now, attempt=attempt))

    def _stopped(self, attempt: str, why: str) -> None:
        going = self.going.get(attempt)
        if going is None:
            return
        if why == "preempt":
            going.work.stops += 1
            self._tell(going, "preempted", "signal", self._break_off(going))
        else:
            self._tell(going, "stopped", "signal")

    def _break_off(self, going: Going) -> float:
        """Only what the last checkpoint has is kept; how much useful work is lost, in seconds."""
        work, useful = going.work, going.had + max(ZERO, self.stage.now - going.begins)
        work.resumed = True
        return (useful - work.done).total_seconds()

    def _end(self, attempt: str) -> None:
        going = self.going.get(attempt)
        if going is not None:
            failure = going.work.failure
            self._tell(going, "failed" if failure else "succeeded", failure)

    def _tell(self, going: Going, how: str, failure: str, lost_s: float = 0.0) -> None:
        self._leave(going, how, lost_s)
        now = self.stage.now
        self.stage.take(
            e.AttemptEnded(
                at=now,
                wall=now,
                attempt=going.attempt,
                outcome="failed" if failure else "succeeded",
                failure=failure,
                started=going.started,
                ended=now,
            )
        )

    def _leave(self, going: Going, how: str, lost_s: float) -> None:
        del self.going[going.attempt]
        for watcher in self.watchers:
            watcher(going, how, lost_s)

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
