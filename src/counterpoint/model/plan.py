"""A plan: one or more scores, checked and linked; the graph that the kernel runs on."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from counterpoint.model.lineage import Lineage
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.promise import Calendar, Completion, Freshness, Rate, Team
from counterpoint.model.trigger import Clock, Cron, Every, OnAsset, OnCheckpoint, OnEvent, OnState, Source

#: Where clocks of a fixed distance are anchored, unless they say otherwise.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Longest waits by class, before a waiting run moves to the top.
DEFAULT_WAITS = {"urgent": timedelta(minutes=5), "normal": timedelta(hours=1), "bulk": timedelta(hours=24)}


class Pool(Struct, frozen=True, gc=False):
    """A limited resource: so many slots.

    Attributes:
        target: share of the slots to aim at: above it only what has no slack left is started.
        rate: so many attempts that use the pool may start in a span.
    """

    slots: int
    target: float | None = None
    rate: Rate | None = None


class Asset(Struct, frozen=True, gc=False):
    """Something pipelines read and write. `writers: many` allows more than one pipeline to write it.

    Attributes:
        freshness, completion: what it promises.
        arrives: mean distance of its versions where no pipeline writes it; for simulation only.
    """

    description: str = ""
    writers: Literal["one", "many"] = "one"
    freshness: Freshness | None = None
    completion: Completion | None = None
    arrives: timedelta | None = None


class EventType(Struct, frozen=True, gc=False):
    """A declared type of event; its payload must satisfy `schema` where one is given.

    Attributes:
        arrives: mean distance of such events; for simulation only.
    """

    description: str = ""
    schema: dict[str, Any] | None = None
    arrives: timedelta | None = None


class Plan(Struct, frozen=True, kw_only=True, dict=True):
    """Everything declared. Two plans with one `digest` are the same plan.

    Attributes:
        policy: how the queue is ordered: by promises, or, for comparison in simulations, `fifo` (first
            come, first served; nothing passes a head that does not fit) or `priority` (by class, then
            first come; nothing passes a head that does not fit, nothing is preempted).
    """

    name: str
    timezone: str = "UTC"
    pools: dict[str, Pool] = field(default_factory=dict)
    assets: dict[str, Asset] = field(default_factory=dict)
    events: dict[str, EventType] = field(default_factory=dict)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    waits: dict[str, timedelta] = field(default_factory=lambda: dict(DEFAULT_WAITS))
    calendars: dict[str, Calendar] = field(default_factory=dict)
    teams: dict[str, Team] = field(default_factory=dict)
    policy: Literal["promise", "priority", "fifo"] = "promise"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the plan's content, its folders included. Where a file declares what does not count."""
        placeless = {
            name: msgspec.structs.replace(pipeline, where="") for name, pipeline in self.pipelines.items()
        }
        content = msgspec.structs.replace(self, pipelines=placeless)
        return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()

    @cached_property
    def subscribers(self) -> dict[str, tuple[tuple[str, int, Source], ...]]:
        """Subject of a change -> the sources that listen to it: (pipeline, number of the group, source)."""
        found: dict[str, list[tuple[str, int, Source]]] = {}
        for pipeline in self.pipelines.values():
            groups = pipeline.trigger.groups if pipeline.trigger else ()
            for number, group in enumerate(groups):
                for source in group:
                    subject = subject_of(source, pipeline.name)
                    found.setdefault(subject, []).append((pipeline.name, number, source))
        return {subject: tuple(listeners) for subject, listeners in found.items()}

    @cached_property
    def heard(self) -> dict[str, str]:
        """Asset that some pipeline listens to -> its subject: one string for all items that wait."""
        return {
            subject.removeprefix("asset:"): subject for subject in self.subscribers if subject.startswith("asset:")
        }

    @cached_property
    def has_targets(self) -> bool:
        """Whether some pool has a target below all of its slots."""
        return any(pool.target is not None for pool in self.pools.values())

    @cached_property
    def clocks(self) -> tuple[tuple[str, int, Clock], ...]:
        """Every clock source: (pipeline, its number among the pipeline's sources, clock)."""
        return tuple(
            (pipeline.name, number, source)
            for pipeline in self.pipelines.values()
            if pipeline.trigger
            for number, source in enumerate(pipeline.trigger.sources)
            if isinstance(source, Cron | Every)
        )

    @cached_property
    def samplers(self) -> dict[str, None]:
        """Pipelines that sample the world: `trigger: auto` without reads."""
        triggers = ((name, pipeline.trigger) for name, pipeline in self.pipelines.items())
        return {name: None for name, trigger in triggers if trigger and trigger.auto and not trigger.groups}

    @cached_property
    def writers(self) -> dict[str, tuple[str, ...]]:
        """Asset -> the pipelines that write it."""
        found: dict[str, list[str]] = {}
        for pipeline in self.pipelines.values():
            for asset in dict.fromkeys(pipeline.written):
                found.setdefault(asset, []).append(pipeline.name)
        return {asset: tuple(names) for asset, names in found.items()}

    @cached_property
    def readers(self) -> dict[str, tuple[str, ...]]:
        """Asset -> the pipelines that read it."""
        found: dict[str, list[str]] = {}
        for pipeline in self.pipelines.values():
            for asset in pipeline.reads:
                found.setdefault(asset, []).append(pipeline.name)
        return {asset: tuple(names) for asset, names in found.items()}

    def subjects(self, pipeline: str) -> tuple[str, ...]:
        """What a pipeline listens to, as changes are looked up by."""
        trigger = self.pipelines[pipeline].trigger
        return tuple(dict.fromkeys(subject_of(source, pipeline) for source in trigger.sources)) if trigger else ()

    @cached_property
    def lineage(self) -> Lineage:
        """The ways from sources to promises; empty where nothing is promised."""
        return Lineage(self)


def subject_of(source: Source, pipeline: str) -> str:
    """What a source listens to, as the one string that changes are looked up by.

    A clock is its pipeline's own, and is named by when it ticks: it stays the same one when
    other sources are put before it, and is another one when its times change.
    """
    match source:
        case Cron(expression=expression, timezone=timezone):
            return f"tick:{pipeline}:{expression} {timezone}"
        case Every(period=period, start=start):
            return f"tick:{pipeline}:every {period}" + (f" from {start.isoformat()}" if start != EPOCH else "")
        case OnEvent(type=type_):
            return f"event:{type_}"
        case OnAsset(asset=asset):
            return f"asset:{asset}"
        case OnState(pipeline=other, state=state):
            return f"run:{other}:{state}"
        case OnCheckpoint(pipeline=other, checkpoint=checkpoint):
            return f"checkpoint:{other}:{checkpoint}"
