"""What State keeps beside its records and never stores: it follows from them, or is of one step only."""

from __future__ import annotations

from datetime import datetime

from counterpoint.kernel.decisions import Item, PublishAsset
from counterpoint.kernel.events import Change, Event
from counterpoint.kernel.records import BEGINNING, Attempt, Incident, Lane, Run
from counterpoint.kernel.tails import Distance, Tail, Way, Work
from counterpoint.model.lineage import Promised


class Touched:
    """What the step going on has to look at, and what views must write anew after it."""

    def __init__(self) -> None:
        # Dicts, not sets: the order of decisions must not depend on hashes.
        self.lanes: dict[Lane, None] = {}
        self.runs: dict[str, None] = {}
        #: Pipelines that sample the world.
        self.samplers: dict[str, None] = {}
        self.changes: list[Change] = []
        self.admission = False
        #: Somebody may have to make room: what is free, what waits or what runs has changed, or a moment came.
        self.preemption = False
        #: What sync producers wait for: (run of the producer, item, how far its subscriber is with it).
        self.confirms: list[tuple[str, int, str]] = []
        #: Sources that changed -> when that happened; pipelines -> the sources of which their inputs have more.
        self.sources: dict[str, datetime] = {}
        self.readers: dict[str, dict[str, None]] = {}
        #: Asset published in this step -> what it reflected before.
        self.before: dict[str, dict[str, int]] = {}

    def __bool__(self) -> bool:
        return bool(
            self.lanes
            or self.runs
            or self.samplers
            or self.changes
            or self.admission
            or self.preemption
            or self.confirms
            or self.sources
            or self.readers
        )


class Reckoned:
    """What `kernel/lengths.py` made of the plan and the bands in force; dropped when they change."""

    def __init__(self) -> None:
        #: Pipeline -> promised assets below it.
        self.below: dict[str, dict[str, None]] = {}
        #: (promised asset, source) -> the automatic pipelines between them.
        self.automatic: dict[tuple[str, str], tuple[str, ...]] = {}
        #: Pipelines of which some band has hours; None until it is asked for.
        self.by_hour: dict[str, None] | None = None
        #: (pipeline, promised asset) -> whether there are such on the way.
        self.differs: dict[tuple[str, str], bool] = {}
        #: When the hour began up to which what is reckoned by hours was dropped.
        self.hour = BEGINNING
        #: Pipeline -> hour of the week or "" -> seconds that half and nine in ten of its runs stay below.
        self.takes: dict[str, dict[str, tuple[float, float] | None]] = {}
        #: Pipeline -> promised asset -> hour of the week or "" -> from its start until the asset has it.
        self.tails: dict[str, dict[str, dict[str, Tail | None]]] = {}
        #: Pipeline -> each promise below it, and how far it is from there at all hours together.
        self.ways_on: dict[str, tuple[tuple[Promised, Distance | None], ...]] = {}
        #: Pipeline -> (promise, hour of the week or "") -> how far it is from there.
        self.distances: dict[str, dict[tuple[Promised, str], Distance | None]] = {}
        #: Pipeline -> itself, and all those whose changes come to it.
        self.above: dict[str, tuple[str, ...]] = {}
        #: Pipeline -> digest of the plan -> task -> seconds from its start to the end of the run.
        self.paths: dict[str, dict[str, dict[str, float]]] = {}
        #: Pipeline -> the longest that its clock leaves between two ticks.
        self.gaps: dict[str, float] = {}
        #: (pipeline, promised asset below it) -> the pipelines between and their pools.
        self.ways: dict[tuple[str, str], Way] = {}
        #: Pool -> the pipelines with a trigger that use it; None until it is asked for.
        self.users: dict[str, list[str]] | None = None
        #: Pool -> what it has to do if each pipeline that uses it runs once.
        self.work: dict[str, Work] = {}
        #: How often that changed, for any pool.
        self.edition_of_work = 0


class Written:
    """What a step changed that history keeps: taken and emptied by whoever writes the views."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        #: Attempt -> itself, its phase, and the event that ended it.
        self.attempts: dict[str, tuple[Attempt, str, Event | None]] = {}
        self.items: dict[int, tuple[Item, str, str]] = {}
        self.changes: dict[int, Change] = {}
        self.versions: dict[tuple[str, str, int], PublishAsset] = {}
        self.incidents: dict[str, Incident] = {}
