"""A landscape played through the kernel, in one of the ways of running it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bench.scheduling.landscapes import BEGIN, Landscape, Way, kept, plan
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.sim.agenda import ARRIVES
from counterpoint.sim.learning import Learning
from counterpoint.sim.stage import Stage, quiet_collector
from counterpoint.sim.work import Floor, Going, Work


@dataclass(frozen=True)
class Played:
    """What came of it.

    Attributes:
        runs: (step, start, end) of every run that ended, in seconds.
        kept: obligations kept, by our own count from these runs.
        told: obligations kept and missed by the kernel's own count.
    """

    way: Way
    runs: tuple[tuple[str, float, float], ...]
    obligations: int
    kept: int
    told: tuple[int, int]

    @property
    def share(self) -> float:
        """Kept of all; 1 where nothing was owed."""
        return self.kept / self.obligations if self.obligations else 1.0


def play(world: Landscape, way: Way) -> Played:
    """Play until nothing is owed any more."""
    playing = Play(world, way)
    playing.until(world.settled)
    found = kept(world, playing.runs)
    return Played(way, tuple(playing.runs), len(found), sum(found.values()), playing.told)


class Play:
    """A landscape in the middle of being played.

    Attributes:
        runs: (step, start, end) of those that ended, in seconds; none unless they are to be kept.
        count: how many ended.
    """

    def __init__(self, world: Landscape, way: Way, *, keep_runs: bool = True) -> None:
        self._world, self._keep_runs = world, keep_runs
        self._stage = Stage(plan(world, way), BEGIN)
        floor = Floor(self._stage, self._work_for)
        floor.watchers.append(self._ended)
        Learning(self._stage, floor)
        self._numbers = {step.name: 0 for step in world.steps}
        self.runs: list[tuple[str, float, float]] = []
        self.count = 0
        self._stage.raise_curtain()
        for source in world.changes:
            self._expect(source, 0)

    def until(self, seconds: float) -> None:
        """Go on up to a moment of the world."""
        with quiet_collector():
            self._stage.play(until=BEGIN + timedelta(seconds=seconds))

    @property
    def told(self) -> tuple[int, int]:
        """Obligations kept and missed, by the kernel's count."""
        counts = [promise.counts for promise in self._stage.state.promises.values()]
        return sum(sum(each.kept) for each in counts), sum(sum(each.missed) for each in counts)

    def _expect(self, source: str, number: int) -> None:
        times = self._world.changes[source]
        if number < len(times):
            self._stage.agenda.note(
                BEGIN + timedelta(seconds=times[number]), ARRIVES, self._change, source, number
            )

    def _change(self, source: str, number: int) -> None:
        now = self._stage.now
        self._stage.take(e.AssetReported(at=now, wall=now, report=e.Report(asset=source), by="bench"))
        self._expect(source, number + 1)

    def _work_for(self, decision: d.StartAttempt) -> Work:
        step = decision.run.partition("#")[0]
        self._numbers[step] += 1
        return Work(length=timedelta(seconds=self._world.duration(step, self._numbers[step])))

    def _ended(self, going: Going, how: str, lost_s: float) -> None:
        assert how == "succeeded", f"nothing fails here, but {going.attempt} {how}"
        self.count += 1
        if self._keep_runs:
            step = going.run.partition("#")[0]
            self.runs.append((step, _seconds(going.started), _seconds(self._stage.now)))


def _seconds(at: datetime) -> float:
    return (at - BEGIN).total_seconds()
