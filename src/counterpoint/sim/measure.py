"""Measurements, taken while a play goes on: their memory does not grow with its length."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from math import exp, floor, log
from typing import TypeAlias

from msgspec import Struct, field

from counterpoint.kernel import decisions as d
from counterpoint.model.plan import Plan
from counterpoint.sim.stage import Handler, Stage
from counterpoint.sim.work import Going
from counterpoint.sim.world import World

#: So many values are kept as they are; more are counted in buckets.
_KEPT = 2_000
#: Buckets grow by one percent, so that a quantile is off by half of that at most.
_GROWTH = log(1.01)
#: So many points of time a plot has.
BINS = 240
#: So many times freshness is looked at: the most and the fewest, and so often over all assets.
MOST_LOOKS, FEWEST_LOOKS, ALL_LOOKS = 2_400, 480, 200_000
#: Attempts that the page draws one by one: the first ones that hold slots.
MOST_BARS = 600

#: (asset, `freshness` or `completion`).
PromiseName: TypeAlias = tuple[str, str]


class Spread:
    """How values are spread: exact for a few, within half a percent for many."""

    def __init__(self) -> None:
        self.count, self.total, self.largest = 0, 0.0, 0.0
        self._kept: array[float] | None = array("d")
        self._buckets: dict[int, int] = {}

    def add(self, value: float) -> None:
        """Count a value that is not below 0."""
        self.count += 1
        self.total += value
        if value > self.largest:
            self.largest = value
        kept = self._kept
        if kept is None:
            self._count(value)
        else:
            kept.append(value)
            if len(kept) > _KEPT:
                self._kept = None
                for each in kept:
                    self._count(each)

    def _count(self, value: float) -> None:
        bucket = floor(log(value) / _GROWTH) if value > 1e-6 else -100_000
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    @property
    def mean(self) -> float:
        """The mean; 0 without values."""
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """The value that this share of the values does not exceed; 0 without values."""
        if not self.count:
            return 0.0
        rank = max(1, -(-self.count * round(share * 1000) // 1000))
        if self._kept is not None:
            return sorted(self._kept)[rank - 1]
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return 0.0 if bucket == -100_000 else min(self.largest, exp((bucket + 0.5) * _GROWTH))
        return self.largest


class Spreading(Struct, frozen=True, kw_only=True):
    """How something is spread, in seconds."""

    count: int = 0
    mean_s: float = 0.0
    p50_s: float = 0.0
    p95_s: float = 0.0
    max_s: float = 0.0


def told(spread: Spread) -> Spreading:
    """A spread in five figures."""
    return Spreading(
        count=spread.count,
        mean_s=spread.mean,
        p50_s=spread.quantile(0.5),
        p95_s=spread.quantile(0.95),
        max_s=spread.largest,
    )


class Bar(Struct, frozen=True):
    """An attempt that held slots: seconds from the start."""

    pipeline: str
    attempt: str
    start_s: float
    end_s: float
    slots: dict[str, int]
    how: str


class PoolUse:
    """How much of a pool is held: the mean of each span of time, the peak, and the whole."""

    def __init__(self, slots: int, length_s: float) -> None:
        self.slots, self.peak, self.held = slots, 0, 0
        self._width = length_s / BINS
        self._length_s = length_s
        self._bins = [0.0] * BINS
        self._since = 0.0
        self.slot_seconds = 0.0

    def change(self, at_s: float, by: int) -> None:
        """So many slots more, or fewer, are held from now on."""
        self._advance(at_s)
        self.held += by
        self.peak = max(self.peak, self.held)

    def _advance(self, to_s: float) -> None:
        to_s = min(to_s, self._length_s)
        at, held = self._since, self.held
        if to_s <= at:
            return
        if held:
            self.slot_seconds += held * (to_s - at)
            first, last = int(at / self._width), min(BINS - 1, int(to_s / self._width))
            if first >= last:
                self._bins[min(first, BINS - 1)] += held * (to_s - at)
            else:
                self._bins[first] += held * ((first + 1) * self._width - at)
                for place in range(first + 1, last):
                    self._bins[place] += held * self._width
                self._bins[last] += held * (to_s - last * self._width)
        self._since = to_s

    def means(self) -> list[float]:
        """The mean of each span, up to the end."""
        self._advance(self._length_s)
        return [value / self._width for value in self._bins]


class Log:
    """When changes of a source happened, as far back as some asset does not have them yet."""

    def __init__(self) -> None:
        self.first, self.moments = 1, deque[datetime]()

    @property
    def last(self) -> int:
        """The newest change."""
        return self.first + len(self.moments) - 1

    def after(self, mark: int) -> datetime | None:
        """When the oldest change above a mark happened; None where there is none."""
        place = max(0, mark + 1 - self.first)
        return self.moments[place] if place < len(self.moments) else None

    def between(self, low: int, high: int) -> list[datetime]:
        """When the changes above `low` up to `high` happened."""
        start = max(0, low + 1 - self.first)
        return list(islice(self.moments, start, max(start, high + 1 - self.first)))

    def forget(self, upto: int) -> None:
        """Nobody asks for changes up to this one any more."""
        while self.first <= upto and self.moments:
            self.moments.popleft()
            self.first += 1


class AssetFreshness:
    """How fresh an asset with a promise is.

    Attributes:
        ages: how old the oldest change is that is not in it, looked at regularly; 0 where all is in it.
        delays: from each change until it was in the asset.
        line: the age at each point of a plot; None before anything is known.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self.sources = tuple(sources)
        self.ages, self.delays = Spread(), Spread()
        self.line: list[float | None] = [None] * BINS
        self.marks: dict[str, int] = {}


class PromiseCount(Struct):
    """Obligations of a promise: made, and missed so far."""

    made: int = 0
    missed: int = 0


class PipelineCount(Struct):
    """What the runs of a pipeline did."""

    created: int = 0
    started: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    attempts: int = 0
    failed_attempts: int = 0
    lost_attempts: int = 0
    preemptions: int = 0
    crowded: int = 0
    overlaps: int = 0
    slot_seconds: float = 0.0
    lost_work_s: float = 0.0


class Waiting(Struct):
    """A run that has not ended: when it was made, and when its first attempt started."""

    pipeline: str
    created: datetime
    started: datetime | None = None
    pools: dict[str, int] = field(default_factory=dict)


class Measures:
    """Everything that is measured of one play."""

    def __init__(self, stage: Stage, plan: Plan, length: timedelta) -> None:
        self._stage, self._plan, self._start = stage, plan, stage.now
        self._length_s = length.total_seconds()
        self.pipelines = {name: PipelineCount() for name in plan.pipelines}
        self.waits = {name: Spread() for name in plan.pipelines}
        self.waits_by_class = {name: Spread() for name in plan.waits}
        self.pools = {name: PoolUse(pool.slots, self._length_s) for name, pool in plan.pools.items()}
        self.promises: dict[PromiseName, PromiseCount] = {}
        for name, asset in plan.assets.items():
            for kind, promise in (("freshness", asset.freshness), ("completion", asset.completion)):
                if promise is not None:
                    self.promises[name, kind] = PromiseCount()
        sources = plan.lineage.sources
        self.freshness = {asset: AssetFreshness(sources.get(asset, ())) for asset, _ in self.promises}
        #: How often freshness is looked at; seldom where there is much to look at.
        self.looks = max(FEWEST_LOOKS, min(MOST_LOOKS, ALL_LOOKS // max(1, len(self.freshness))))
        self.bars: list[Bar] = []
        self.written: dict[str, int] = {}
        self._runs: dict[str, Waiting] = {}
        self._logs = {source: Log() for each in self.freshness.values() for source in each.sources}
        self._followers: dict[str, list[str]] = {}
        for name, each in self.freshness.items():
            for source in each.sources:
                self._followers.setdefault(source, []).append(name)
        self._written = {name: pipeline.written for name, pipeline in plan.pipelines.items()}
        self._readers: dict[str, int] = {}
        self._writers: dict[str, int] = {}
        handlers: tuple[tuple[type, Handler], ...] = (
            (d.CreateRun, self._created),
            (d.AdmitRun, self._admitted),
            (d.StartAttempt, self._started),
            (d.StopAttempt, self._stopped),
            (d.FinishRun, self._finished),
            (d.Oblige, self._obliged),
            (d.MissObligations, self._missed),
            (d.PublishAsset, self._published),
        )
        for kind_, handler in handlers:
            stage.on(kind_, handler)
        if self.freshness:
            stage.on(d.PublishAsset, self._reflected)
            stage.on(d.ConfirmAsset, self._reflected)
            stage.on(d.RaiseMark, self._reflected)

    def watch(self, world: World) -> None:
        """Be told of attempts that end, and of sources that change."""
        world.floor.watchers.append(self._attempt_ended)
        world.watchers.append(self.happened)

    def _now_s(self) -> float:
        return (self._stage.now - self._start).total_seconds()

    # Runs.

    def _created(self, decision: d.CreateRun) -> None:
        name = decision.pipeline
        count = self.pipelines[name]
        count.created += 1
        self._runs[decision.run] = Waiting(name, decision.at)
        task = next(iter(self._plan.pipelines[name].tasks.values()))
        if any(self.pools[pool].held + slots > self.pools[pool].slots for pool, slots in task.pools.items()):
            count.crowded += 1

    def _admitted(self, decision: d.AdmitRun) -> None:
        run = self._runs[decision.run]
        pipeline = self._plan.pipelines[run.pipeline]
        readers, writers = self._readers, self._writers
        beside = sum(writers.get(asset, 0) for asset in pipeline.reads)
        for asset in self._written[run.pipeline]:
            beside += readers.get(asset, 0) + writers.get(asset, 0)
            writers[asset] = writers.get(asset, 0) + 1
        for asset in pipeline.reads:
            readers[asset] = readers.get(asset, 0) + 1
        if beside:
            self.pipelines[run.pipeline].overlaps += 1
        run.started = decision.at
        held = {name: n for name, n in decision.holds.items() if name.startswith("pool:")}
        if held:
            run.pools = {name.partition(":")[2]: amount for name, amount in held.items()}
            self._hold(run.pools, 1)
        self.pipelines[run.pipeline].started += 1
        waited_s = (decision.at - run.created).total_seconds()
        self.waits[run.pipeline].add(waited_s)
        self.waits_by_class[pipeline.priority_class].add(waited_s)

    def _hold(self, slots: dict[str, int], sign: int) -> None:
        now_s = self._now_s()
        for pool, amount in slots.items():
            self.pools[pool].change(now_s, sign * amount)

    def _finished(self, decision: d.FinishRun) -> None:
        run = self._runs.pop(decision.run)
        count = self.pipelines[run.pipeline]
        match decision.phase:
            case "succeeded":
                count.succeeded += 1
            case "failed":
                count.failed += 1
            case _:
                count.cancelled += 1
        if run.started is None:
            return
        if run.pools:
            self._hold(run.pools, -1)
            count.slot_seconds += sum(run.pools.values()) * (decision.at - run.started).total_seconds()
        pipeline = self._plan.pipelines[run.pipeline]
        for asset in self._written[run.pipeline]:
            self._writers[asset] -= 1
        for asset in pipeline.reads:
            self._readers[asset] -= 1

    # Attempts.

    def _started(self, decision: d.StartAttempt) -> None:
        self.pipelines[decision.run.rpartition("#")[0]].attempts += 1
        if decision.slots:
            self._hold(decision.slots, 1)

    def _stopped(self, decision: d.StopAttempt) -> None:
        if decision.why == "preempt":
            self.pipelines[decision.attempt.rpartition("#")[0]].preemptions += 1

    def _attempt_ended(self, going: Going, how: str, lost_s: float) -> None:
        count = self.pipelines[going.run.rpartition("#")[0]]
        if how == "failed":
            count.failed_attempts += 1
        elif how == "lost":
            count.lost_attempts += 1
        count.lost_work_s += lost_s
        if going.slots:
            self._hold(going.slots, -1)
            now = self._stage.now
            count.slot_seconds += sum(going.slots.values()) * (now - going.started).total_seconds()
            if len(self.bars) < MOST_BARS:
                start_s = (going.started - self._start).total_seconds()
                name = going.run.rpartition("#")[0]
                self.bars.append(Bar(name, going.attempt, start_s, self._now_s(), going.slots, how))

    # Promises.

    def _obliged(self, decision: d.Oblige) -> None:
        self.promises[decision.asset, decision.promise].made += 1

    def _missed(self, decision: d.MissObligations) -> None:
        self.promises[decision.asset, decision.promise].missed += decision.count

    def _published(self, decision: d.PublishAsset) -> None:
        self.written[decision.asset] = self.written.get(decision.asset, 0) + 1

    def happened(self, source: str, at: datetime) -> None:
        """A source changed."""
        log_ = self._logs.get(source)
        if log_ is not None:
            log_.moments.append(at)

    def _reflected(self, decision: d.PublishAsset | d.ConfirmAsset | d.RaiseMark) -> None:
        freshness = self.freshness.get(decision.asset)
        if freshness is None:
            return
        mark = self._stage.state.marks.get(decision.asset)
        if mark is None:
            return
        now = self._stage.now
        for source, reached in mark.reflects.items():
            log_ = self._logs.get(source)
            known = freshness.marks.get(source, 0)
            if log_ is None or reached <= known:
                continue
            if not source.startswith("world:"):
                for moment in log_.between(known, reached):
                    freshness.delays.add((now - moment).total_seconds())
            freshness.marks[source] = reached
            if not source.startswith("world:"):
                log_.forget(min(self.freshness[each].marks.get(source, 0) for each in self._followers[source]))

    def look(self, place: int) -> None:
        """Look at how fresh everything is: the `place`-th of all looks."""
        state, now = self._stage.state, self._stage.now
        for asset, freshness in self.freshness.items():
            mark = state.marks.get(asset)
            if mark is None:
                continue
            age_s: float | None = None
            for source in freshness.sources:
                reached = mark.reflects.get(source)
                if reached is None:
                    continue
                if source.startswith("world:"):
                    behind = now.timestamp() - reached / 1000 if reached else None
                else:
                    oldest = self._logs[source].after(reached)
                    behind = (now - oldest).total_seconds() if oldest is not None else 0.0
                if behind is not None and (age_s is None or behind > age_s):
                    age_s = max(0.0, behind)
            if age_s is not None:
                freshness.ages.add(age_s)
                point = min(BINS - 1, place * BINS // self.looks)
                freshness.line[point] = max(freshness.line[point] or 0.0, age_s)
