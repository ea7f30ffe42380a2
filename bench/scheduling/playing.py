"""A landscape played through the kernel, in one of the ways of running it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bench.scheduling.landscapes import BEGIN, Landscape, Way, kept, plan, share
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.sim.agenda import ARRIVES
from counterpoint.sim.stage import Stage, quiet_collector
from counterpoint.sim.work import Floor, Going, Work


@dataclass(frozen=True)
class Played:
    """What came of it.

    Attributes:
        runs: (step, start, end) of every run that ended, in seconds.
        share: of obligations kept, by our own count from these runs.
        told: obligations kept and missed by the kernel's own count.
    """

    way: Way
    runs: tuple[tuple[str, float, float], ...]
    obligations: int
    kept: int
    share: float
    told: tuple[int, int]


def play(world: Landscape, way: Way) -> Played:
    """Play until nothing is owed any more."""
    return _Play(world, way).to_the_end()


class _Play:
    def __init__(self, world: Landscape, way: Way) -> None:
        self._world, self._way = world, way
        self._stage = Stage(plan(world, way), BEGIN)
        self._floor = Floor(self._stage, self._work_for, ended=self._ended)
        self._numbers = {step.name: 0 for step in world.steps}
        self._runs: list[tuple[str, float, float]] = []

    def to_the_end(self) -> Played:
        stage, world = self._stage, self._world
        stage.raise_curtain()
        for source, times in world.changes.items():
            for at in times:
                stage.agenda.note(BEGIN + timedelta(seconds=at), ARRIVES, self._change, source)
        with quiet_collector():
            stage.play(until=BEGIN + timedelta(seconds=world.settled))
        found = kept(world, self._runs)
        told = [counts[:2] for promise in stage.state.promises.values() for counts in promise.counts.values()]
        return Played(
            way=self._way,
            runs=tuple(self._runs),
            obligations=len(found),
            kept=sum(found.values()),
            share=share(found),
            told=(sum(kept for kept, _ in told), sum(missed for _, missed in told)),
        )

    def _change(self, source: str) -> None:
        now = self._stage.now
        report = e.Report(asset=source)
        self._stage.take(e.AssetReported(at=now, wall=now, report=report, by="bench"))

    def _work_for(self, decision: d.StartAttempt) -> Work:
        step = decision.run.partition("#")[0]
        self._numbers[step] += 1
        return Work(length=timedelta(seconds=self._world.duration(step, self._numbers[step])))

    def _ended(self, going: Going, how: str) -> None:
        assert how == "succeeded", f"nothing fails here, but {going.attempt} {how}"
        step = going.run.partition("#")[0]
        self._runs.append((step, _seconds(going.started), _seconds(self._stage.now)))


def _seconds(at: datetime) -> float:
    return (at - BEGIN).total_seconds()
