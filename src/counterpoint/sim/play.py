"""Play a score: its plan and a world in virtual time, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct, field

from counterpoint.model.plan import Plan
from counterpoint.sim.agenda import ARRIVES
from counterpoint.sim.learning import Learning
from counterpoint.sim.measure import Bar, Measures, Spreading, told
from counterpoint.sim.stage import START, Stage, quiet_collector
from counterpoint.sim.world import World, WorldSettings


class PromisePlayed(Struct, frozen=True, kw_only=True):
    """How a promise was kept.

    Attributes:
        promise: `freshness` or `completion`.
        kept, missed: obligations that ended so; `open` were neither when the play ended.
        share: kept / (kept + missed); None without any.
    """

    asset: str
    promise: str
    target: float
    within_s: float | None
    kept: int
    missed: int
    open: int
    share: float | None


class FreshnessPlayed(Struct, frozen=True, kw_only=True):
    """How fresh an asset with a promise was.

    Attributes:
        age: seconds since the oldest change happened that is not in it, looked at regularly.
        delay: seconds from each change until it was in it.
        line: the age over time, in as many spans as there are; None while nothing was known.
        versions: how often it was published.
    """

    asset: str
    age: Spreading
    delay: Spreading
    line: list[float | None]
    versions: int


class PoolPlayed(Struct, frozen=True, kw_only=True):
    """How much of a pool was held: shares of its slots, and slot-hours."""

    pool: str
    slots: int
    mean: float
    peak: int
    slot_hours: float
    line: list[float]


class PipelinePlayed(Struct, frozen=True, kw_only=True):
    """What the runs of a pipeline did.

    Attributes:
        waits: from when a run was made until it was admitted.
        crowded: runs that found a pool too full for their first task when they were made.
        overlaps: runs admitted while a run of another kind was reading what they write, or writing what they read
            or write.
        preemptions: attempts asked to make room; `lost_work_s` is the useful work thrown away with them, and with
            lost hosts.
    """

    pipeline: str
    priority_class: str
    runs: int
    succeeded: int
    failed: int
    cancelled: int
    attempts: int
    failed_attempts: int
    lost_attempts: int
    preemptions: int
    crowded: int
    overlaps: int
    slot_hours: float
    lost_work_s: float
    waits: Spreading


class Played(Struct, frozen=True, kw_only=True):
    """What came of a play.

    Attributes:
        runs: how many began.
        assumed: what the score does not say and was assumed.
        waits: by class of priority.
        bars: the first attempts that held slots.
        events: what the kernel was told, wake-ups included.
    """

    name: str
    policy: str
    seed: int
    start: datetime
    length_s: float
    runs: int
    kept: int
    missed: int
    share: float | None
    preemptions: int
    overlaps: int
    slot_hours: float
    promises: list[PromisePlayed]
    freshness: list[FreshnessPlayed]
    pools: list[PoolPlayed]
    pipelines: list[PipelinePlayed]
    waits: dict[str, Spreading]
    assumed: list[str] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    events: int = 0


def play(
    plan: Plan,
    *,
    length: timedelta,
    seed: int = 0,
    world: WorldSettings = WorldSettings(),  # noqa: B008 - frozen
    start: datetime = START,
    learned: bool = True,
    watch: Callable[[float], None] | None = None,
) -> Played:
    """Play a plan through the kernel.

    Args:
        length: how much virtual time; what comes later is not played.
        seed: all chance follows from it: the same seed is the same play, to the byte.
        world: what the world is like where the score does not say.
        learned: the kernel is told how long things take, as it is in production.
        watch: told, now and then, how many seconds of the play are over.
    """
    with quiet_collector():
        return _Play(plan, length, seed, world, start, learned=learned, watch=watch).to_the_end()


class _Play:
    def __init__(
        self,
        plan: Plan,
        length: timedelta,
        seed: int,
        settings: WorldSettings,
        start: datetime,
        *,
        learned: bool,
        watch: Callable[[float], None] | None,
    ) -> None:
        self._plan, self._length, self._seed, self._start, self._watch = plan, length, seed, start, watch
        self._stage = Stage(plan, start)
        self._world = World(self._stage, settings, seed, start + length)
        self._measures = Measures(self._stage, plan, length)
        self._measures.watch(self._world)
        self._learning = Learning(self._stage, self._world.floor, settings.bands) if learned else None

    def to_the_end(self) -> Played:
        stage, until = self._stage, self._start + self._length
        stage.raise_curtain()
        if self._learning is not None:
            self._learning.begin()
        self._world.begin()
        self._expect_look(1)
        stage.play(until)
        return self._told()

    def _expect_look(self, place: int) -> None:
        if place <= self._measures.looks:
            self._stage.agenda.note(
                self._start + self._length * (place - 0.5) / self._measures.looks, ARRIVES, self._look, place
            )

    def _look(self, place: int) -> None:
        self._measures.look(place - 1)
        self._expect_look(place + 1)
        if self._watch is not None:
            self._watch(self._length.total_seconds() * place / self._measures.looks)

    def _told(self) -> Played:
        measures, plan, stage = self._measures, self._plan, self._stage
        promises = [self._promise(asset, kind) for asset, kind in measures.promises]
        pipelines = [self._pipeline(name) for name in plan.pipelines]
        kept, missed = sum(each.kept for each in promises), sum(each.missed for each in promises)
        return Played(
            name=plan.name,
            policy=plan.policy,
            seed=self._seed,
            start=self._start,
            length_s=self._length.total_seconds(),
            runs=sum(each.runs for each in pipelines),
            kept=kept,
            missed=missed,
            share=kept / (kept + missed) if kept + missed else None,
            preemptions=sum(each.preemptions for each in pipelines),
            overlaps=sum(each.overlaps for each in pipelines),
            slot_hours=sum(each.slot_hours for each in pipelines),
            promises=promises,
            freshness=[
                FreshnessPlayed(
                    asset=asset,
                    age=told(each.ages),
                    delay=told(each.delays),
                    line=each.line,
                    versions=measures.written.get(asset, 0),
                )
                for asset, each in measures.freshness.items()
            ],
            pools=[self._pool(name) for name in plan.pools],
            pipelines=pipelines,
            waits=self._waits_by_class(),
            assumed=self._world.assumed,
            bars=measures.bars,
            events=stage.steps,
        )

    def _promise(self, asset: str, kind: str) -> PromisePlayed:
        count, declared = self._measures.promises[asset, kind], self._plan.assets[asset]
        state = self._stage.state.promises
        standing = state.get((asset, "freshness" if kind == "freshness" else "completion"))
        left = sum(len(each) for each in standing.open.values()) if standing is not None else 0
        kept = count.made - count.missed - left
        freshness, completion = declared.freshness, declared.completion
        target = (
            freshness.target if kind == "freshness" and freshness else completion.target if completion else 0.0
        )
        return PromisePlayed(
            asset=asset,
            promise=kind,
            target=target,
            within_s=freshness.within.total_seconds() if kind == "freshness" and freshness else None,
            kept=kept,
            missed=count.missed,
            open=left,
            share=kept / (kept + count.missed) if kept + count.missed else None,
        )

    def _pool(self, name: str) -> PoolPlayed:
        use = self._measures.pools[name]
        line = use.means()
        return PoolPlayed(
            pool=name,
            slots=use.slots,
            mean=use.slot_seconds / (use.slots * self._length.total_seconds()) if use.slots else 0.0,
            peak=use.peak,
            slot_hours=use.slot_seconds / 3600,
            line=line,
        )

    def _pipeline(self, name: str) -> PipelinePlayed:
        count = self._measures.pipelines[name]
        return PipelinePlayed(
            pipeline=name,
            priority_class=self._plan.pipelines[name].priority_class,
            runs=count.started,
            succeeded=count.succeeded,
            failed=count.failed,
            cancelled=count.cancelled,
            attempts=count.attempts,
            failed_attempts=count.failed_attempts,
            lost_attempts=count.lost_attempts,
            preemptions=count.preemptions,
            crowded=count.crowded,
            overlaps=count.overlaps,
            slot_hours=count.slot_seconds / 3600,
            lost_work_s=count.lost_work_s,
            waits=told(self._measures.waits[name]),
        )

    def _waits_by_class(self) -> dict[str, Spreading]:
        spreads = self._measures.waits_by_class
        return {name: told(spread) for name, spread in spreads.items() if spread.count}
