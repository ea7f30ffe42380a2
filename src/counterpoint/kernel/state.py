"""All that the rules may look at: what is going on now, indexed so that a step costs what it changes.

Only `evolve` changes it. What has ended is not in here; history keeps that. `kernel/snapshots.py`
turns it into a document that can be stored, and back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import TypeAlias

from counterpoint.kernel.decisions import Item, Reason
from counterpoint.kernel.derived import Reckoned, Touched, Written
from counterpoint.kernel.events import Band
from counterpoint.kernel.outstanding import Outstanding
from counterpoint.kernel.phases import ENDED_TASK
from counterpoint.kernel.queue import Queue
from counterpoint.kernel.records import (
    BEGINNING,
    AssetState,
    Attempt,
    Backlog,
    Lane,
    Last,
    Mark,
    Pause,
    PromiseState,
    Run,
    SourceState,
    Storm,
    Success,
    TaskState,
)
from counterpoint.kernel.requests import Key, Shape
from counterpoint.model.pipeline import Pipeline, Task
from counterpoint.model.plan import Plan
from counterpoint.model.promise import PromiseKind, Rate

#: A writer in place holds all of an asset, a reader 1. A pool that is not declared any more has as much.
WHOLE_ASSET = 1 << 30
#: Rank of a run that has waited as long as its class may, of the classes, and of backfills.
RANKS = {"top": 0, "urgent": 1, "normal": 2, "bulk": 3, "backfill": 4}

#: What the agenda holds: the moment's kind (timeout, look, raise, confirm, lane, sample, room, claim, rate, storm,
#: promise), and the attempt, run, lane, pipeline, resource or obligation (asset, promise, source, mark).
Moment: TypeAlias = tuple[str, tuple[str, ...]]
#: An obligation is missed when its due is past, not at it: what ends at that very moment is in time.
GRACE = timedelta(milliseconds=1)
#: Stale moments that the agenda keeps at most, beside as many as there are others.
MOST_STALE = 1_000


class State:
    """Everything that is going on. Make one with `State()` for an empty store."""

    def __init__(self) -> None:
        self.at = BEGINNING
        self.wall = BEGINNING
        self.facts = 0
        self.changes = 0
        self.items = 0
        self.ordinals = 0
        self.plan = Plan(name="")
        self.digest = ""
        self.declared: datetime | None = None
        #: Digest -> plan that a run was admitted with, while such a run is going on.
        self.plans: dict[str, Plan] = {}
        #: Pipeline -> number of its newest run.
        self.numbers: dict[str, int] = {}
        self.runs: dict[str, Run] = {}
        self.attempts: dict[str, Attempt] = {}
        self.backlogs: dict[Lane, Backlog] = {}
        self.assets: dict[tuple[str, str], AssetState] = {}
        self.dead: dict[int, Item] = {}
        self.paused: dict[str, Pause] = {}
        #: `rate:pool:NAME` or `rate:pipeline:NAME` -> starts in its span, oldest first;
        #: `storm:NAME` -> runs formed.
        self.starts: dict[str, list[datetime]] = {}
        #: Pipeline -> the storm that goes on.
        self.storms: dict[str, Storm] = {}
        #: (pipeline, number of the source) -> last tick that was dealt with.
        self.ticks: dict[tuple[str, int], datetime] = {}
        self.last: dict[str, Last] = {}
        self.successes: dict[str, Success] = {}
        #: Request -> run, so that the same request is the same run.
        self.requests: dict[str, str] = {}
        #: Host -> `ready` or `unreachable`.
        self.hosts: dict[str, str] = {}
        #: Sources, marks of assets and promises, of those that a promise looks at only.
        self.sources: dict[str, SourceState] = {}
        self.marks: dict[str, Mark] = {}
        self.promises: dict[tuple[str, PromiseKind], PromiseState] = {}
        #: (pipeline, task or "" for the whole run) -> how long it takes.
        self.bands: dict[tuple[str, str], Band] = {}
        self.reset_indexes()

    # Derived: built again after loading.

    def reset_indexes(self) -> None:
        """Forget everything derived."""
        self.queue = Queue(strict=self.plan.policy != "promise")
        #: Resource -> how much of it is held.
        self.used: dict[str, int] = {}
        #: Resource -> the attempts and runs that hold some of it, and how much.
        self.holders: dict[str, dict[str, int]] = {}
        #: Team -> pool -> slots that its attempts and runs hold; of declared plans with teams only.
        self.team_used: dict[str, dict[str, int]] = {}
        #: Pool -> slots that backfills hold.
        self.backfill_used: dict[str, int] = {}
        #: Pool -> running attempts that may be asked to make room.
        self.preemptible: dict[str, dict[str, None]] = {}
        #: Pool -> how much of it is held by attempts that were asked to stop.
        self.coming: dict[str, int] = {}
        #: Rate that is used up -> when the oldest start leaves its span.
        self.full: dict[str, datetime] = {}
        #: Pool -> lanes that would be split into more runs if more of it were free.
        self.crowded: dict[str, dict[Lane, None]] = {}
        #: The moment in the agenda at which it is looked whether somebody must make room.
        self.room_at: datetime | None = None
        #: Lane -> runs of it that have not ended.
        self.lanes: dict[Lane, dict[str, None]] = {}
        #: Lane -> those that have one of its places: they are in the queue or going on.
        self.places: dict[Lane, dict[str, None]] = {}
        #: Lane -> heap of those that wait for a place: those that people asked for first, then the oldest.
        self.behind: dict[Lane, list[tuple[bool, int, str]]] = {}
        #: Pipeline -> its runs that have not ended.
        self.live: dict[str, dict[str, None]] = {}
        #: Pipeline -> its lanes with pending items.
        self.waiting_lanes: dict[str, dict[Lane, None]] = {}
        #: Asset -> its suspect partitions.
        self.suspects: dict[str, dict[str, None]] = {}
        #: Digest of a plan -> how many runs go by it.
        self.revisions: dict[str, int] = {}
        # Ordered by what they are, not by when they were noted: that would differ after loading.
        self.agenda: list[tuple[datetime, Moment]] = []
        #: Lane -> the moment in the agenda at which it is looked at.
        self.looks: dict[Lane, datetime] = {}
        #: Pipeline that samples the world -> the moment in the agenda at which it is looked at.
        self.samples: dict[str, datetime] = {}
        #: Promise -> the moment in the agenda at which the first of its open obligations is past its due.
        self.dues: dict[tuple[str, PromiseKind], datetime] = {}
        #: Waiting run -> the moment in the agenda at which something that it is to keep is out of reach.
        self.lapses: dict[str, datetime] = {}
        #: Lane -> source -> the least floor of its pending items; made when it is asked for.
        self.floors: dict[Lane, dict[str, int]] = {}
        #: Lane of an automatic pipeline -> when promises want a run of its items, and why: while nothing changes,
        #: and until there is such a run.
        self.wanted: dict[Lane, tuple[datetime, Reason]] = {}
        #: Pipeline -> source -> up to where all that it is made of has it; made when it is asked for.
        self.reached: dict[str, dict[str, int]] = {}
        #: Pool -> lanes that run when it is idle.
        self.eager: dict[str, dict[Lane, None]] = {}
        self.reckoned = Reckoned()
        #: (digest, pipeline, task, automatic) -> what a run or task asks for that asks for what is declared.
        self.shapes: dict[tuple[str, str, str, bool], Shape] = {}
        #: Pools and assets -> how much of them there is by the plan in force, as far as it was asked for.
        self.capacities: dict[str, int] = {}
        #: Ticks to come, by the wall: (tick, pipeline, number of the source); see `evolve.expect_tick`.
        self.ticks_to_come: list[tuple[datetime, str, int]] = []
        #: Cut-offs to come, by the wall: (cut-off, asset); see `folding.promises.expect_cutoff`.
        self.cutoffs_to_come: list[tuple[datetime, str]] = []
        #: (pipeline, subject) -> its items that are not done, where a promise looks at what becomes of them.
        self.outstanding: dict[tuple[str, str], Outstanding] = {}
        #: Rests of failed tasks: (until, run, task).
        self.rests: list[tuple[datetime, str, str]] = []
        self._agenda_length = 0
        self.touched = Touched()
        self.written = Written()

    # Questions.

    def free(self, resource: str) -> int:
        """How much of a resource is free for all; negative where less is there than is held and claimed."""
        return self.unused(resource) - self.queue.claimed(resource)

    def unused(self, resource: str) -> int:
        """How much of a resource nobody holds, what is claimed included."""
        known = self.capacities.get(resource)
        if known is not None:
            return known - self.used.get(resource, 0)
        kind, _, name = resource.partition(":")
        if kind == "fresh":
            return 0 if name in self.suspects else 1
        if kind == "rate":
            return self.capacity(resource) - self.started(resource)
        return self.capacity(resource) - self.used.get(resource, 0)

    def started(self, resource: str) -> int:
        """How many starts of a rate lie in the span that ends now."""
        rate, starts = self.rate_of(resource), self.starts.get(resource, [])
        return len(starts) - bisect_right(starts, self.at - rate.per) if rate is not None else 0

    def rate_of(self, resource: str) -> Rate | None:
        """The rate that the plan in force declares under that name; None where it declares none."""
        kind, _, name = resource.partition(":")
        if kind == "storm":
            pipeline = self.plan.pipelines.get(name)
            return pipeline.storm if pipeline else None
        what, _, name = name.partition(":")
        declared = self.plan.pools.get(name) if what == "pool" else self.plan.pipelines.get(name)
        return declared.rate if declared else None

    def capacity(self, resource: str) -> int:
        """How much of a resource there is when nobody holds any."""
        known = self.capacities.get(resource)
        if known is not None:
            return known
        kind, _, name = resource.partition(":")
        if kind == "fresh":
            return 1
        if kind == "rate":
            rate = self.rate_of(resource)
            return rate.count if rate else WHOLE_ASSET
        if kind == "slot":
            pipeline = self.plan.pipelines.get(name.partition("/")[0])
            return pipeline.concurrency if pipeline and pipeline.concurrency_by else WHOLE_ASSET
        pool = self.plan.pools.get(name) if kind == "pool" else None
        self.capacities[resource] = slots = pool.slots if pool else WHOLE_ASSET
        return slots

    def pipeline_of(self, run: Run) -> Pipeline:
        """The pipeline as the run knows it: of the plan it was admitted with, or the current one."""
        plan = self.plan if run.digest == self.digest else self.plans.get(run.digest, self.plan)
        return plan.pipelines[run.pipeline]

    def task_of(self, run: Run, task: str) -> Task:
        """The declaration of a run's task."""
        return self.pipeline_of(run).tasks[task]

    def asset(self, name: str, partition: str) -> AssetState:
        """The current version; one with seq 0 where there is none."""
        return self.assets.get((name, partition)) or AssetState(name, partition)

    def active(self, lane: Lane) -> list[Run]:
        """Runs of a lane that are in the queue or going on, oldest first: those that concurrency counts."""
        return sorted((self.runs[run] for run in self.places.get(lane, {})), key=lambda run: run.ordinal)

    def group_of(self, item: Item) -> int:
        """The group of its subscriber's trigger that an item serves in the plan in force; -1 for none."""
        if item.subject == f"world:{item.pipeline}":
            return 0 if item.pipeline in self.plan.samplers else -1
        first = -1
        for pipeline, group, _ in self.plan.subscribers.get(item.subject, ()):
            if pipeline != item.pipeline:
                continue
            if group == item.group:
                return group
            # The trigger has been put in another order since it was delivered.
            first = group if first < 0 else first
        return first

    def host(self) -> str:
        """The host that new attempts go to; "" where none is ready."""
        for name, state in reversed(self.hosts.items()):
            if state == "ready":
                return name
        return ""

    def request_shape(self, run: Run, task: str) -> Shape:
        """What a run needs to be admitted (`task` ""), or a task of it to be started."""
        name = task or (next(iter(run.tasks)) if len(run.tasks) == 1 else "")
        if not name or run.slot or run.tasks[name].slots is not None:
            # It depends on more than what is declared.
            return self._shape(run, task)
        usual = (run.digest, run.pipeline, task, run.automatic)
        shape = self.shapes.get(usual)
        if shape is None:
            shape = self.shapes[usual] = self._shape(run, task)
        return shape

    def _shape(self, run: Run, task: str) -> Shape:
        pipeline = self.pipeline_of(run)
        needs: dict[str, int] = {}
        if not task:
            if pipeline.rate is not None:
                needs[f"rate:pipeline:{run.pipeline}"] = 1
            if pipeline.concurrency_by is not None:
                needs[f"slot:{run.pipeline}/{run.slot}"] = 1
            for asset in pipeline.reads:
                needs[f"asset:{asset}"] = 1
                if run.automatic and pipeline.suspect == "hold" and asset not in pipeline.written:
                    needs[f"fresh:{asset}"] = 1
            if pipeline.write == "in_place":
                needs |= {f"asset:{asset}": WHOLE_ASSET for asset in pipeline.written}
            task = first_task(run, pipeline)
            if pipeline.hold == "run":
                for each in pipeline.tasks.values():
                    growth = each.retry.out_of_memory
                    for pool, slots in [*each.pools.items(), *(growth.pools.items() if growth else ())]:
                        needs[f"pool:{pool}"] = max(slots, needs.get(f"pool:{pool}", 0))
            else:
                needs |= {f"pool:{pool}": slots for pool, slots in self.slots_of(run, task).items()}
                needs |= self._later(run, needs)
            return tuple(sorted((needs | self.rates_of(run, task)).items())), False
        if pipeline.hold == "attempt":
            needs = {f"pool:{pool}": slots for pool, slots in self.slots_of(run, task).items()}
        return tuple(sorted((needs | self.rates_of(run, task)).items())), True

    def _later(self, run: Run, first: Mapping[str, int]) -> dict[str, int]:
        """What tasks after the first will ask of the pools beyond that.

        Nothing of it is taken yet. But who is admitted is never held back again, so a reservation keeps it now.
        """
        later: dict[str, int] = {}
        tasks = run.tasks if len(run.tasks) > 1 else {}
        for name in [name for name, each in tasks.items() if each.phase not in ENDED_TASK]:
            for pool, slots in self.slots_of(run, name).items():
                if slots > first.get(f"pool:{pool}", 0):
                    later[f"later:{pool}"] = max(slots, later.get(f"later:{pool}", 0))
        return later

    def rates_of(self, run: Run, task: str) -> dict[str, int]:
        """The rates of pools that a start of the task counts for."""
        pools = self.plan.pools
        limited = (pool for pool in self.slots_of(run, task) if pool in pools and pools[pool].rate is not None)
        return {f"rate:pool:{pool}": 1 for pool in limited}

    def slots_of(self, run: Run, task: str) -> dict[str, int]:
        """What the task's next attempt asks of the pools."""
        state = run.tasks[task]
        return self.task_of(run, task).pools if state.slots is None else state.slots

    def class_rank(self, run: Run) -> int:
        """The rank of a run's class, whatever its age."""
        if run.rank != RANKS["top"]:
            return run.rank
        return RANKS["backfill" if run.lane == "backfill" else self.pipeline_of(run).priority_class]

    def request_key(self, run: Run, task: str) -> Key:
        """The place in the queue, fixed by facts: class, then due, then arrival; or as the policy says."""
        place = 0 if not task else 1 + list(run.tasks).index(task)
        due = run.tasks[task].due if task else None
        if self.plan.policy == "promise":
            return (run.rank, due or run.due, run.created, run.ordinal, place)
        rank = run.rank if self.plan.policy == "priority" else 0
        if task and not self.request_shape(run, task)[0]:
            # It takes nothing from anybody, and what waits in front may wait for its run to end.
            rank = -1
        began = due or run.created
        return (rank, began, began, run.ordinal, place)

    def team_of(self, run: Run) -> str:
        """The team that a run's slots count for."""
        pipeline = self.pipeline_of(run)
        return pipeline.team or pipeline.owner

    def take(self, run: Run, holder: str, resource: str, amount: int) -> None:
        """An attempt of a run, or the run itself, holds some of a resource from now on."""
        self._hold(run, holder, resource, amount)

    def give_back(self, run: Run, holder: str, resource: str, amount: int) -> None:
        """Some of a resource is free again."""
        self._hold(run, holder, resource, -amount)
        self.queue.freed(resource)

    def _hold(self, run: Run, holder: str, resource: str, amount: int) -> None:
        self.used[resource] = self.used.get(resource, 0) + amount
        held = self.holders.setdefault(resource, {})
        held[holder] = held.get(holder, 0) + amount
        if not held[holder]:
            del held[holder]
        if not resource.startswith("pool:"):
            return
        if self.plan.teams:
            used = self.team_used.setdefault(self.team_of(run), {})
            used[resource] = used.get(resource, 0) + amount
        if run.lane == "backfill":
            self.backfill_used[resource] = self.backfill_used.get(resource, 0) + amount

    # The agenda: moments at which the kernel must look at something.

    def remember(self, at: datetime, kind: str, *about: str) -> None:
        """Ask to be woken at that engine time. What does not hold any more is dropped when it is met."""
        heappush(self.agenda, (at, (kind, about)))
        if len(self.agenda) > self._agenda_length * 2 + MOST_STALE:
            # Ended attempts and runs leave their moments behind, which may lie a day ahead.
            self.agenda = [entry for entry in self.agenda if self._holds(*entry)]
            heapify(self.agenda)
            self._agenda_length = len(self.agenda)

    def look_at(self, lane: Lane, at: datetime) -> None:
        """Ask for a look at a lane; an earlier one serves too, because it asks again."""
        known = self.looks.get(lane)
        if known is None or at < known:
            self.looks[lane] = at
            self.remember(at, "lane", *lane)

    def touch_lanes(self, lanes: Iterable[Lane]) -> None:
        """Have lanes looked at: something has changed by which it is decided when their items become a run."""
        for lane in lanes:
            self.touched.lanes[lane] = None
            self.wanted.pop(lane, None)

    def forget_items(self, lane: Lane) -> None:
        """Forget what was reckoned of the pending items of a lane: they are others now."""
        self.floors.pop(lane, None)
        self.wanted.pop(lane, None)

    def sample_at(self, pipeline: str, at: datetime) -> None:
        """Ask for a look at a pipeline that samples the world; the newest moment counts."""
        if self.samples.get(pipeline) != at:
            self.samples[pipeline] = at
            self.remember(at, "sample", pipeline)

    def lapse_at(self, run: str, at: datetime) -> None:
        """Ask for a look at the lane of a waiting run; the newest moment counts."""
        if self.lapses.get(run) != at:
            self.lapses[run] = at
            self.remember(at, "lapse", run)

    def miss_at(self, promise: tuple[str, PromiseKind], at: datetime | None) -> None:
        """Ask for a look at what a promise owes; the newest moment counts, None is never."""
        if at is None:
            self.dues.pop(promise, None)
        elif self.dues.get(promise) != at:
            self.dues[promise] = at
            self.remember(at, "promise", *promise)

    def next_moment(self) -> datetime | None:
        """The first moment of the agenda, or end of a rest."""
        agenda, rests = self.agenda, self.rests
        while agenda and not self._holds(*agenda[0]):
            heappop(agenda)
        while rests and self.rested(*rests[0]) is None:
            heappop(rests)
        if agenda and rests:
            return min(agenda[0][0], rests[0][0])
        return agenda[0][0] if agenda else rests[0][0] if rests else None

    def look_for_room(self, at: datetime) -> None:
        """Ask for a look at who must make room; an earlier one serves too, because it asks again."""
        if self.room_at is None or at < self.room_at:
            self.room_at = at
            self.remember(at, "room")

    def rested(self, until: datetime, run: str, task: str) -> TaskState | None:
        """The task, if it still rests until that moment."""
        resting = self.runs[run].tasks.get(task) if run in self.runs else None
        return resting if resting and resting.phase == "resting" and resting.not_before == until else None

    def due(self) -> Iterator[Moment]:
        """Take the moments that have come and still hold."""
        while self.agenda and self.agenda[0][0] <= self.at:
            at, moment = heappop(self.agenda)
            if self._holds(at, moment):
                kind, about = moment
                if kind == "lane":
                    del self.looks[about[0], about[1], about[2]]
                elif kind == "sample":
                    del self.samples[about[0]]
                elif kind == "promise":
                    del self.dues[_promised(about)]
                elif kind == "room":
                    self.room_at = None
                yield moment

    def _holds(self, at: datetime, moment: Moment) -> bool:
        """Whether what a moment was noted for is still so."""
        kind, about = moment
        match kind:
            case "timeout":
                attempt = self.attempts.get(about[0])
                return attempt is not None and not attempt.stopping and attempt.deadline == at
            case "look":
                attempt = self.attempts.get(about[0])
                return attempt is not None and attempt.deferred and attempt.look_at == at
            case "raise":
                run = self.runs.get(about[0])
                return run is not None and run.rank != RANKS["top"] and run.raised_at == at
            case "slack":
                run = self.runs.get(about[0])
                return run is not None and run.phase == "waiting" and run.slack_until == at
            case "lapse":
                return self.lapses.get(about[0]) == at
            case "confirm":
                run = self.runs.get(about[0])
                return run is not None and any(awaited.by == at for awaited in run.confirming.values())
            case "lane":
                return self.looks.get((about[0], about[1], about[2])) == at
            case "sample":
                return self.samples.get(about[0]) == at
            case "room":
                return self.room_at == at
            case "rate":
                return self.full.get(about[0]) == at
            case "storm":
                storm = self.storms.get(about[0])
                return storm is not None and storm.until == at
            case "claim":
                claim = self.queue.claims.get((about[0], about[1]))
                return claim is not None and claim.until == at
            case "promise":
                return self.dues.get(_promised(about)) == at
            case _:
                raise AssertionError(f"the agenda has an unknown kind of moment {kind!r}")


def first_task(run: Run, pipeline: Pipeline) -> str:
    """The task whose slots a run asks for with its admission: the first one that waits for no other."""
    return next(name for name in pipeline.tasks if run.tasks[name].phase == "ready")


def _promised(about: tuple[str, ...]) -> tuple[str, PromiseKind]:
    return about[0], "completion" if about[1] == "completion" else "freshness"


def settled(pipeline: Pipeline, tasks: Mapping[str, TaskState], name: str) -> str:
    """Whether a blocked task may go on: `ready`, `skipped`, or `blocked` while it must still wait."""
    verdict = "ready"
    for after in pipeline.tasks[name].after:
        phase = tasks[after.task].phase
        if phase not in ENDED_TASK:
            return "blocked"
        wanted: Iterable[str] = {"success": ("done",), "failure": ("failed",), "end": ENDED_TASK}[after.on]
        if phase not in wanted:
            verdict = "skipped"
    return verdict
