"""The world around a score: what arrives, how long things take, what goes wrong. All of it follows from a seed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import chain
from math import exp, log
from random import Random

from msgspec import Struct

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.model.pipeline import Pipeline, Task
from counterpoint.model.plan import Plan
from counterpoint.model.trigger import OnEvent
from counterpoint.sim.agenda import ARRIVES
from counterpoint.sim.chance import NINE_IN_TEN, normal, share, stream
from counterpoint.sim.payloads import payload
from counterpoint.sim.stage import HOST, Stage
from counterpoint.sim.work import ZERO, Floor, Going, Work


class WorldSettings(Struct, frozen=True, kw_only=True):
    """What the world is like where the score does not say.

    Attributes:
        arrivals: mean distance of events and versions of a source without `arrives`.
        takes: how long a task without `takes` takes.
        bands: how long things take as was learned; they go before what the score says.
        fails: share of attempts that fail, where a task does not say.
        hosts_lost: mean distance of losses of the worker host, with all that runs on it; None is never.
        late: share of events that are accepted late, by `late_by` on the average.
        repeated: share of ends of attempts that are reported twice.
        checkpoint, restart: how far apart the checkpoints of tasks lie that may be asked to make room, and what
            they need before they go on.
    """

    arrivals: timedelta = timedelta(hours=1)
    takes: timedelta = timedelta(minutes=1)
    bands: tuple[e.Band, ...] = ()
    fails: float = 0.0
    hosts_lost: timedelta | None = None
    late: float = 0.0
    late_by: timedelta = timedelta(minutes=10)
    repeated: float = 0.0
    checkpoint: timedelta | None = timedelta(minutes=10)
    restart: timedelta = ZERO


class Source(Struct):
    """Something that arrives from outside.

    Attributes:
        subject: `event:TYPE` or `asset:NAME`.
        every_s: mean distance; arrivals are a Poisson process.
    """

    subject: str
    every_s: float
    random: Random
    count: int = 0

    @property
    def name(self) -> str:
        """The type or the asset."""
        return self.subject.partition(":")[2]


class Kind(Struct, frozen=True):
    """How attempts of a task go: lognormal by its median and `sigma`; `fails` is the share that fails."""

    median_us: float
    sigma: float
    fails: float
    checkpoint: timedelta | None


class World:
    """What happens outside of the kernel while a score is played.

    Attributes:
        assumed: what the score does not say and was assumed, in sentences.
        watchers: told of each change of a source, when it is accepted and when it happened; before the kernel is.
    """

    def __init__(self, stage: Stage, settings: WorldSettings, seed: int, until: datetime) -> None:
        self._stage, self._settings, self._seed, self._until = stage, settings, seed, until
        self._plan = stage.plan
        self.sources, self.assumed = sources_of(stage.plan, settings, seed)
        self._kinds, assumed = kinds_of(stage.plan, settings)
        self.assumed += assumed
        self._works: dict[str, dict[str, tuple[Work, int]]] = {}
        self._hosts = 1
        self.watchers: list[Callable[[str, datetime], None]] = []
        self.floor = Floor(stage, self._work_for)
        self.floor.watchers.append(self._attempt_ended)
        stage.on(d.FinishRun, self._finished)

    def begin(self) -> None:
        """Note the first arrival of each source, and the first loss of a host."""
        for source in self.sources:
            self._expect(source)
        if self._settings.hosts_lost is not None:
            self._expect_loss(stream(self._seed, "hosts"), self._settings.hosts_lost)

    # Arrivals.

    def _expect(self, source: Source) -> None:
        after = timedelta(seconds=source.random.expovariate(1 / source.every_s))
        happens = self._stage.now + after
        if happens <= self._until:
            self._stage.agenda.note(happens, ARRIVES, self._happen, source)

    def _happen(self, source: Source) -> None:
        """A source changes: it is accepted now, or late."""
        source.count += 1
        self._expect(source)
        happened, settings = self._stage.now, self._settings
        data = None
        if source.subject.startswith("event:"):
            data = payload(self._plan.events[source.name].schema, source.random)
        if settings.late and share(self._seed, f"late/{source.subject}/{source.count}") < settings.late:
            by = -log(share(self._seed, f"by/{source.subject}/{source.count}")) * settings.late_by
            self._stage.agenda.note(happened + by, ARRIVES, self._accept, source, source.count, happened, data)
        else:
            self._accept(source, source.count, happened, data)

    def _accept(self, source: Source, count: int, happened: datetime, data: object) -> None:
        stage = self._stage
        for watcher in self.watchers:
            watcher(source.subject, happened)
        if source.subject.startswith("asset:"):
            report = e.Report(asset=source.name, data_through=happened)
            stage.take(e.AssetReported(at=stage.now, wall=stage.now, report=report, by="world"))
            return
        change = e.Change(
            number=stage.state.changes + 1,
            subject=source.subject,
            source="/world",
            id=f"{source.name}-{count}",
            type=source.name,
            time=happened,
            data=data,
        )
        stage.take(e.EventAccepted(at=stage.now, wall=stage.now, change=change, by="world"))

    # Work.

    def _work_for(self, decision: d.StartAttempt) -> Work:
        works = self._works.setdefault(decision.run, {})
        known = works.get(decision.task)
        if known is not None and known[0].resumed:
            return known[0]
        number = known[1] + 1 if known is not None else 1
        pipeline = decision.run.rpartition("#")[0]
        work = self._draw(self._kinds[pipeline, decision.task], f"{decision.run}/{decision.task}/{number}")
        works[decision.task] = (work, number)
        return work

    def _draw(self, kind: Kind, name: str) -> Work:
        length = kind.median_us
        if kind.sigma:
            length *= exp(kind.sigma * normal(self._seed, name))
        failure = ""
        if kind.fails and share(self._seed, f"{name}/fails") < kind.fails:
            # A failing attempt breaks off somewhere on its way.
            failure, length = "exit", length * share(self._seed, f"{name}/breaks")
        return Work(
            length=timedelta(microseconds=round(length)),
            checkpoint=kind.checkpoint,
            restart=self._settings.restart,
            failure=failure,
        )

    def _attempt_ended(self, going: Going, how: str, lost_s: float) -> None:
        if how in ("succeeded", "failed", "stopped"):
            going.work.resumed = False
        repeated = self._settings.repeated
        if how == "succeeded" and repeated and share(self._seed, f"{going.attempt}/repeated") < repeated:
            self._stage.agenda.note(self._stage.now, ARRIVES, self._repeat, going.attempt)

    def _repeat(self, attempt: str) -> None:
        """An end that was reported already is reported again."""
        now = self._stage.now
        self._stage.take(e.AttemptEnded(at=now, wall=now, attempt=attempt, outcome="succeeded"))

    def _finished(self, decision: d.FinishRun) -> None:
        self._works.pop(decision.run, None)

    # Hosts.

    def _expect_loss(self, random: Random, distance: timedelta) -> None:
        after = timedelta(seconds=random.expovariate(1 / distance.total_seconds()))
        self._stage.agenda.note(self._stage.now + after, ARRIVES, self._lose_host, random, distance)

    def _lose_host(self, random: Random, distance: timedelta) -> None:
        """The worker host ends with all that runs on it; another one appears."""
        stage, lost = self._stage, f"{HOST.partition('-')[0]}-{self._hosts}"
        self._hosts += 1
        stage.take(e.HostLost(at=stage.now, wall=stage.now, host=lost))
        for attempt in list(self.floor.going):
            self.floor.lose(attempt)
        name = f"{HOST.partition('-')[0]}-{self._hosts}"
        stage.take(e.HostAppeared(at=stage.now, wall=stage.now, host=name))
        self._expect_loss(random, distance)


def sources_of(plan: Plan, settings: WorldSettings, seed: int) -> tuple[list[Source], list[str]]:
    """What arrives from outside in a plan, and what was assumed of it."""
    read = {asset for pipeline in plan.pipelines.values() for asset in pipeline.reads}
    sources: list[Source] = []
    unsaid: list[str] = []
    declared = chain(
        ((f"event:{name}", each.arrives, False) for name, each in plan.events.items()),
        ((f"asset:{name}", each.arrives, name in read) for name, each in plan.assets.items()),
    )
    for subject, arrives, is_read in declared:
        kind, _, name = subject.partition(":")
        if kind == "asset" and name in plan.writers:
            continue
        if arrives is None:
            if subject not in plan.subscribers and not is_read:
                continue
            unsaid.append(name)
        every = arrives or settings.arrivals
        sources.append(Source(subject, every.total_seconds(), stream(seed, f"arrivals/{subject}")))
    assumed = []
    if unsaid:
        every_s = settings.arrivals.total_seconds()
        assumed.append(f"without `arrives`, so every {every_s:g} s on the average: {', '.join(unsaid)}")
    by_hand = [name for name, each in plan.pipelines.items() if each.trigger is None]
    if by_hand:
        assumed.append(f"started by hand only, so never: {', '.join(by_hand)}")
    bare = [name for name, each in plan.events.items() if each.schema is None and _looked_into(plan, name)]
    if bare:
        assumed.append(f"without a schema, so empty, though conditions look into them: {', '.join(bare)}")
    return sources, assumed


def _looked_into(plan: Plan, event: str) -> bool:
    """Whether a condition or a key is taken from the events of a type."""
    for name, _, source in plan.subscribers.get(f"event:{event}", ()):
        trigger = plan.pipelines[name].trigger
        if isinstance(source, OnEvent) and (source.when or (trigger and trigger.batch.by)):
            return True
    return False


def kinds_of(plan: Plan, settings: WorldSettings) -> tuple[dict[tuple[str, str], Kind], list[str]]:
    """(pipeline, task) -> how its attempts go, and what was assumed of them."""
    bands = {(band.pipeline, band.task): band for band in settings.bands}
    kinds: dict[tuple[str, str], Kind] = {}
    unsaid: list[str] = []
    for pipeline in plan.pipelines.values():
        for task in pipeline.tasks.values():
            band = bands.get((pipeline.name, task.name))
            if band is None and task.takes is None:
                unsaid.append(pipeline.name if len(pipeline.tasks) == 1 else f"{pipeline.name}/{task.name}")
            kinds[pipeline.name, task.name] = _kind(pipeline, task, band, settings)
    assumed = []
    if unsaid:
        takes_s = settings.takes.total_seconds()
        assumed.append(f"without `takes`, so {takes_s:g} s each time: {', '.join(unsaid)}")
    return kinds, assumed


def _kind(pipeline: Pipeline, task: Task, band: e.Band | None, settings: WorldSettings) -> Kind:
    if band is not None:
        p50, p90 = band.p50, band.p90
    elif task.takes is not None:
        p50, p90 = task.takes.p50.total_seconds(), task.takes.p90.total_seconds()
    else:
        p50 = p90 = settings.takes.total_seconds()
    return Kind(
        median_us=p50 * 1e6,
        sigma=log(p90 / p50) / NINE_IN_TEN if p90 > p50 > 0 else 0.0,
        fails=task.fails or settings.fails,
        checkpoint=settings.checkpoint if pipeline.preempt is not None else None,
    )
