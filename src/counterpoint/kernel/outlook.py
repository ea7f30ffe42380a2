"""The outlook: how long what waits is expected to take, when what runs will end, and when what is kept is there.

Expected is the p90: learned where there is a band, else as declared, and a run's own where whoever
asked for it said so. What runs longer than expected is taken to last twice as long, and twice as
long again. Everything here is reckoned when it is asked for, from facts and the time of the event.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from math import floor, inf

from counterpoint.kernel.lengths import takes, task_takes
from counterpoint.kernel.records import Run
from counterpoint.kernel.requests import Request, Room, Sign, Stand
from counterpoint.kernel.shares import stand
from counterpoint.kernel.state import RANKS, State


class Outlook:
    """What the queue asks of State while it chooses."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.free, self.capacity = state.free, state.capacity

    def stand(self, sign: Sign) -> Stand:
        """Rank, and how much of its share its team has where it would borrow."""
        return stand(self._state, sign)

    def margin(self, resource: str) -> int:
        """How many slots of a pool are to stay free while who asks has slack."""
        if not self._state.plan.has_targets or not resource.startswith("pool:"):
            return 0
        pool = self._state.plan.pools.get(resource.partition(":")[2])
        # A share such as 0.7 of 10 is 7 slots, though 0.7 * 10 is a little less.
        return pool.slots - floor(pool.target * pool.slots + 1e-9) if pool and pool.target is not None else 0

    def is_slack(self, request: Request) -> bool:
        """Whether its latest start, or the end of its class's wait, is still to come."""
        return self._state.runs[request.run].slack_until > self._state.at

    def room(self, request: Request) -> Room:
        """What the reservation for a request leaves to others; until its latest start a run lets others go around.

        It never ends later than it was expected to when it began: where what runs takes longer, nobody goes around
        any more. So a request waits no longer for wrong expectations than its holders take.
        """
        promised = self._state.queue.promised.get(request.name)
        if promised is None or promised < self._state.at:
            return Room(None, {})
        room, latest = self.forecast(request), wanted_start(self._state, request)
        left, seconds = (promised - self._state.at).total_seconds(), room.seconds
        if latest is not None:
            seconds = max(seconds or 0.0, (latest - self._state.at).total_seconds())
        return Room(seconds if seconds is None else min(seconds, left), room.spare)

    def forecast(self, request: Request) -> Room:
        """When what a request needs is expected to be there, and how much of it will be left over then."""
        needs = [(name, amount) for name, amount in request.needs if name.startswith(("pool:", "asset:"))]
        ends = {resource: _ends(self._state, resource) for resource, _ in needs}
        seconds = max((self._wait(resource, amount, ends[resource]) for resource, amount in needs), default=0.0)
        if seconds == inf:
            return Room(None, {})
        spare = {
            resource: self.free(resource) + sum(held for end, held in ends[resource] if end <= seconds) - amount
            for resource, amount in needs
        }
        return Room(seconds, spare)

    def _wait(self, resource: str, amount: int, ends: list[tuple[float, int]]) -> float:
        left = self.free(resource)
        if left >= amount:
            return 0.0
        for end, held in ends:
            left += held
            if left >= amount:
                return end
        return inf


def _ends(state: State, resource: str) -> list[tuple[float, int]]:
    """Who holds some of a resource: (seconds until it is expected to end, how much it holds), the first first."""
    return sorted((remaining_s(state, holder), held) for holder, held in state.holders.get(resource, {}).items())


def remaining_s(state: State, holder: str) -> float:
    """Seconds until an attempt, or a run that holds something itself, is expected to end; infinite if unknown."""
    lasted, expected = stay_of(state, holder)
    if expected is None:
        return inf
    end = max(expected, 1e-3)
    while end < lasted:
        end *= 2
    return end - lasted


def stay_of(state: State, holder: str) -> tuple[float, float | None]:
    """Seconds since an attempt, or a run that holds something itself, began; and how long such a one takes."""
    attempt = state.attempts.get(holder)
    if attempt is not None:
        run, began = state.runs[attempt.run], attempt.started
        expected = takes_of(state, run, attempt.task)
    else:
        run = state.runs[holder]
        began, expected = run.admitted or run.created, takes_of(state, run, "")
    return (state.at - began).total_seconds(), expected


def expected_start(state: State, request: Request) -> datetime | None:
    """When everything that a request needs is expected to be free; None where nobody knows."""
    seconds = Outlook(state).forecast(request).seconds
    return None if seconds is None else state.at + timedelta(seconds=seconds)


def reserved_start(state: State, request: Request) -> datetime | None:
    """When a request for which things are kept should start; None where nobody knows.

    When everything that it needs is expected to be free; but until it must start to be in time, others go around.
    """
    free, latest = expected_start(state, request), wanted_start(state, request)
    return max(free, latest) if free is not None and latest is not None else free or latest


def wanted_start(state: State, request: Request) -> datetime | None:
    """The latest start of a run that must be in time; None for one that waited too long, and for a task of a run.

    Nobody may be in the way of these two once they can start: a run that has begun should end.
    """
    run = state.runs[request.run]
    return None if request.task or run.rank == RANKS["top"] else run.latest


def takes_of(state: State, run: Run, task: str) -> float | None:
    """Seconds that an attempt of a task, or with "" the whole run, is expected to take."""
    own = own_takes(state, run, task)
    return usual_takes(state, run.pipeline, task) if own is None else own


def own_takes(state: State, run: Run, task: str) -> float | None:
    """Seconds that whoever asked for a run said it takes, where that says something of the task too."""
    is_all = not task or len(run.tasks) == 1
    return run.takes_s if is_all else None


def usual_takes(state: State, pipeline: str, task: str) -> float | None:
    """Seconds that a task of a pipeline, or with "" its whole run, takes in nine of ten cases, at any hour."""
    declared = state.plan.pipelines.get(pipeline)
    known = None
    if declared is not None and task in declared.tasks:
        known = task_takes(state, pipeline, declared.tasks[task])
    if known is None and (not task or (declared is not None and len(declared.tasks) == 1)):
        known = takes(state, pipeline)
    return None if known is None else known[1]
