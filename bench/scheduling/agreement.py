"""Engine and simulation agree: the catalogue for real and simulated with its arrivals and durations, one by one.

Three steps keep a search index under a promise, with an hour in twelve seconds. What the engine
wrote into its journal says when each change came, how long each attempt took from the decision to
start it until its end was known, and when each change was in the index. The same changes at the
same moments and the same durations, attempt by attempt, are then played in virtual time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from statistics import median
from typing import Any, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from bench.measuring import percentile, say, table, verdict, write
from counterpoint.adapters.stores.sqlite import SqliteStore
from counterpoint.engine.facts import decode_all
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.model.plan import Plan
from counterpoint.sim.agenda import ARRIVES
from counterpoint.sim.learning import Learning
from counterpoint.sim.stage import Stage
from counterpoint.sim.work import Floor, Going, Work

#: Seconds of real time in which changes come, and their mean distance.
LENGTH_S, EVERY_S = 330.0, 0.7
CHANGES, OFF = 200, 0.10
#: A step's time is lognormal around its median, nine of ten within this factor.
SPREAD = 1.15

SCORE = """
score: agreement
pools: {database: 1, writer: 1}
assets:
  products: {}
  raw: {}
  enriched: {}
  index: {freshness: {within: 12s}}
pipelines:
  load:
    {trigger: auto, reads: [products], writes: [raw], pools: {database: 1}, takes: 1s..2s,
     run: python3 work.py 1.0}
  enrich:
    {trigger: auto, reads: [raw], writes: [enriched], pools: {database: 1}, takes: 1s..2s,
     run: python3 work.py 1.2}
  build:
    {trigger: auto, reads: [enriched], writes: [index], write: atomic, pools: {writer: 1}, takes: 1s..2s,
     run: python3 work.py 1.5}
"""

#: How long a step takes follows from its attempt, so that a measurement can be repeated.
WORK = f"""
import math, os, random, sys, time
drawn = random.Random(os.environ["COUNTERPOINT_RUN_ID"]).gauss(0, 1)
time.sleep(float(sys.argv[1]) * math.exp(math.log({SPREAD}) / 1.2815515655446004 * drawn))
"""

Fact: TypeAlias = e.AnyEvent | d.AnyDecision


class Recording(Struct, frozen=True, kw_only=True):
    """What a journal says of a world, and of what came of it.

    Attributes:
        changes: events that came from outside, in their order, as the kernel was told.
        durations_s: (pipeline, task) -> how long its attempts took, in the order of their start.
        delays_s: how long each change took to be in each asset that promises freshness, by (asset, source, mark).
        ends: when the journal ends.
    """

    plan: Plan
    begins: datetime
    ends: datetime
    changes: tuple[e.EventAccepted | e.AssetReported, ...]
    durations_s: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    delays_s: dict[tuple[str, str, int], float] = field(default_factory=dict)


def recorded(facts: Iterable[Fact]) -> Recording:
    """Read a journal that has one plan."""
    plan, begins, ends = None, None, None
    changes: list[e.EventAccepted | e.AssetReported] = []
    started: dict[str, tuple[tuple[str, str], int, datetime]] = {}
    durations: dict[tuple[str, str], list[float]] = {}
    freshness = Freshness()
    for fact in facts:
        ends = fact.at
        match fact:
            case e.PlanDeclared():
                assert plan is None, "the journal has more than one plan"
                plan, begins = fact.content, fact.at
                freshness.promised = tuple(name for name, asset in plan.assets.items() if asset.freshness)
            case e.EventAccepted() | e.AssetReported():
                changes.append(fact)
                freshness.changed(fact)
            case d.StartAttempt():
                subject = (fact.run.rpartition("#")[0], fact.task)
                # Its place is that of its start: ends come in another order where attempts overlap.
                durations.setdefault(subject, []).append(0.0)
                started[fact.attempt] = (subject, len(durations[subject]) - 1, fact.at)
            case e.AttemptEnded():
                subject, place, at = started.pop(fact.attempt)
                durations[subject][place] = (fact.at - at).total_seconds()
            case d.PublishAsset() | d.ConfirmAsset():
                freshness.reflects(fact.asset, fact.reflects, fact.at)
            case d.RaiseMark():
                freshness.reflects(fact.asset, fact.reflects, fact.at)
            case _:
                pass
    assert plan is not None and begins is not None and ends is not None, "the journal has no plan"
    for subject, place, _ in started.values():
        # It was still running: for all that is known it took until the end.
        durations[subject][place] = float("inf")
    return Recording(
        plan=plan,
        begins=begins,
        ends=ends,
        changes=tuple(changes),
        durations_s={
            subject: [took for took in times if took != float("inf")] for subject, times in durations.items()
        },
        delays_s=freshness.delays_s,
    )


class Freshness:
    """When each change was in each asset that promises freshness."""

    def __init__(self, promised: Sequence[str] = ()) -> None:
        self.promised = tuple(promised)
        self.delays_s: dict[tuple[str, str, int], float] = {}
        self._changed: dict[str, list[datetime]] = {}
        self._reached: dict[tuple[str, str], int] = {}

    def changed(self, event: e.EventAccepted | e.AssetReported) -> None:
        """A source changed."""
        source = event.change.subject if isinstance(event, e.EventAccepted) else f"asset:{event.report.asset}"
        self._changed.setdefault(source, []).append(event.at)

    def reflects(self, asset: str, marks: Mapping[str, int], at: datetime) -> None:
        """An asset has these sources up to these marks."""
        if asset not in self.promised:
            return
        for source, mark in marks.items():
            times = self._changed.get(source, [])
            reached = self._reached.get((asset, source), 0)
            for number in range(reached + 1, min(mark, len(times)) + 1):
                self.delays_s[asset, source, number] = (at - times[number - 1]).total_seconds()
            self._reached[asset, source] = max(reached, mark)


def simulated(recording: Recording) -> dict[tuple[str, str, int], float]:
    """The delays when the same changes and durations are played, by (asset, source, mark).

    Where more attempts of a task start than were recorded, they take its median.
    """
    return _Simulation(recording).to_the_end()


class _Simulation:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._stage = Stage(recording.plan, recording.begins)
        promised = [name for name, asset in recording.plan.assets.items() if asset.freshness]
        self._freshness = Freshness(promised)
        self._left = {subject: list(reversed(times)) for subject, times in recording.durations_s.items()}
        floor = Floor(self._stage, self._work_for)
        floor.watchers.append(_nothing_fails)
        Learning(self._stage, floor)
        for kind in (d.PublishAsset, d.ConfirmAsset, d.RaiseMark):
            self._stage.on(kind, self._published)

    def to_the_end(self) -> dict[tuple[str, str, int], float]:
        stage = self._stage
        stage.raise_curtain()
        for change in self._recording.changes:
            stage.agenda.note(change.at, ARRIVES, self._change, change)
        stage.play(until=self._recording.ends)
        return self._freshness.delays_s

    def _change(self, event: e.EventAccepted | e.AssetReported) -> None:
        if isinstance(event, e.EventAccepted):
            # Versions and states of runs are numbered with it, and may be others here.
            event = replace(event, change=replace(event.change, number=self._stage.state.changes + 1))
        self._freshness.changed(event)
        self._stage.take(event)

    def _published(self, decision: d.PublishAsset | d.ConfirmAsset | d.RaiseMark) -> None:
        self._freshness.reflects(decision.asset, decision.reflects, decision.at)

    def _work_for(self, decision: d.StartAttempt) -> Work:
        subject = (decision.run.rpartition("#")[0], decision.task)
        left = self._left.get(subject)
        takes = left.pop() if left else median(self._recording.durations_s[subject])
        return Work(length=timedelta(seconds=takes))


def _nothing_fails(going: Going, how: str, lost_s: float) -> None:
    assert how == "succeeded", f"no failures are played, but {going.attempt} {how}"


# For real.


def run(*, quick: bool = False, data: str | None = None) -> None:
    """Run the catalogue for real, then play the same."""
    from bench.running import running

    length = 20.0 if quick else LENGTH_S
    say(f"engine and simulation: {length:.0f} s for real, then the same in virtual time")
    with running(SCORE, files={"work.py": WORK}) as server:
        random, until = Random(1), time.monotonic() + length
        while time.monotonic() < until:
            server.report("products")
            time.sleep(random.expovariate(1 / EVERY_S))
        time.sleep(15)
        store = f"{server.folder}/.counterpoint/counterpoint.sqlite"
        server.process.terminate()
        server.process.wait(60)
        recording = recorded(asyncio.run(_facts(store)))
    found = compared(recording)
    table(
        ["changes", "attempts", "median task s", "p50 real s", "played", "p95 real s", "played", "off by", ""],
        [[
            found["changes"], found["attempts"], f"{found['task_p50_s']:.2f}", f"{found['real_p50_s']:.2f}",
            f"{found['simulated_p50_s']:.2f}", f"{found['real_p95_s']:.2f}", f"{found['simulated_p95_s']:.2f}",
            f"{found['off']:.1%}", verdict(found["off"], OFF),
        ]],
    )  # fmt: skip
    if not quick:
        say(f"   changes: {found['changes']}  {verdict(found['changes'], CHANGES, at_least=True)}")
    write("scheduling-agreement", found)


def compared(recording: Recording) -> dict[str, Any]:
    """p50 and p95 of the delays of changes that got through in both worlds."""
    played = simulated(recording)
    both = [change for change in recording.delays_s if change in played]
    real, virtual = [recording.delays_s[change] for change in both], [played[change] for change in both]
    took = [each for times in recording.durations_s.values() for each in times]
    found = {"changes": len(both), "attempts": len(took), "task_p50_s": median(took)}
    for name, delays in (("real", real), ("simulated", virtual)):
        found |= {f"{name}_p50_s": median(delays), f"{name}_p95_s": percentile(delays, 0.95)}
    found["off"] = abs(found["simulated_p95_s"] - found["real_p95_s"]) / found["real_p95_s"]
    return found


async def _facts(path: str) -> list[Fact]:
    store = SqliteStore(path)
    found: list[Fact] = []
    while page := await store.read(after=len(found)):
        found += decode_all(page)
    await store.close()
    return found
