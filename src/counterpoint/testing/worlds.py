"""Random small worlds: plans with everything in them, and an outside that does whatever it may.

Randomness comes from the `random.Random` that is handed in, so whoever owns it can repeat a world, or shrink it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeAlias, TypeVar

import msgspec

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.decisions import AnyDecision
from counterpoint.model.pipeline import FAILURE_KINDS, After, OutOfMemory, Pipeline, Retry, Task
from counterpoint.model.plan import EventType, Plan, Pool
from counterpoint.model.promise import (
    Calendar,
    Completion,
    Elastic,
    Expected,
    Freshness,
    Preempt,
    Rate,
    Team,
    Window,
)
from counterpoint.model.trigger import (
    Auto,
    Batch,
    Delivery,
    Every,
    OnAsset,
    OnCheckpoint,
    OnEvent,
    OnState,
    Source,
    Trigger,
)
from counterpoint.testing.builders import Kernel, pipeline, plan, task

POOLS = ("db", "gpu")
EVENTS = ("placed", "closed")
#: Assets that no pipeline writes.
SOURCES = ("s0", "s1")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T")
Happening: TypeAlias = Callable[["World"], None]


def random_plan(random: Random, *, size: int = 5) -> Plan:
    """A plan of up to `size` pipelines, each fed by events, clocks or those before it: chains, diamonds, forks.

    Half of the plans promise something, and half have limits beside the pools: rates, teams, preemption.
    """
    pools = {name: random.randint(1, 3) for name in POOLS}
    promising, limited = random.random() < 0.5, random.random() < 0.5
    pipelines: list[Pipeline] = []
    for number in range(random.randint(2, size)):
        made = _random_pipeline(random, f"p{number}", pipelines, pools)
        made = _with_limits(random, made) if limited else made
        pipelines.append(_on_promise(random, made) if promising else made)
    declared = plan(
        *pipelines,
        pools=pools,
        waits={"urgent": timedelta(minutes=1), "normal": timedelta(minutes=5), "bulk": timedelta(minutes=20)},
        events={name: EventType() for name in EVENTS},
        teams={"red": Team(2.0), "blue": Team(1.0)} if limited and random.random() < 0.5 else {},
        calendars={"office": _OFFICE},
    )
    if limited:
        slow = {name: _random_pool(random, slots) for name, slots in pools.items()}
        declared = msgspec.structs.replace(declared, pools=slow)
    return _with_promises(random, declared) if promising else declared


#: Days that count, and a window every day in which nothing does.
_OFFICE = Calendar(days=(0, 1, 2, 3, 4), maintenance=(Window("11:00", "11:10"),))


def _random_pool(random: Random, slots: int) -> Pool:
    rate = Rate(random.randint(1, 3), timedelta(seconds=random.choice([10, 90])))
    return Pool(slots, random.choice([None, 0.5]), rate if random.random() < 0.3 else None)


def _with_limits(random: Random, made: Pipeline) -> Pipeline:
    """The pipeline with some of: team, preemption, rates, storm breaker, concurrency by expression, splitting."""
    rate = Rate(random.randint(1, 3), timedelta(seconds=random.choice([10, 90])))
    is_split = made.write == "atomic" and made.overlap == "coalesce"
    preempt = Preempt(timedelta(seconds=random.choice([0, 20])), random.randint(1, 2), timedelta(seconds=30))
    return msgspec.structs.replace(
        made,
        team=random.choice(["red", "blue", ""]),
        preempt=preempt if random.random() < 0.5 and made.hold == "attempt" else None,
        rate=rate if random.random() < 0.2 else None,
        storm=rate if random.random() < 0.2 else None,
        concurrency_by="event.data.k" if random.random() < 0.2 else None,
        elastic=Elastic(random.randint(2, 3), "event.data.k") if is_split and random.random() < 0.3 else None,
    )


def _on_promise(random: Random, made: Pipeline) -> Pipeline:
    """The pipeline, sometimes with `trigger: auto`, reading sources, and telling how long it takes."""
    takes = Expected(timedelta(seconds=30), timedelta(seconds=random.choice([40, 120])))
    tasks = {
        name: msgspec.structs.replace(each, takes=takes if random.random() < 0.5 else None)
        for name, each in made.tasks.items()
    }
    reads = (*made.reads, random.choice(SOURCES)) if random.random() < 0.4 else made.reads
    made = msgspec.structs.replace(made, tasks=tasks, reads=reads)
    if random.random() < 0.4 and made.writes and reads:
        eager: Any = random.choice(["never", "idle"])
        groups = (tuple(OnAsset(asset) for asset in reads),)
        trigger = Trigger(groups=groups, auto=Auto(eager), rearm=(timedelta(seconds=1), timedelta(minutes=1)))
        made = msgspec.structs.replace(made, trigger=trigger)
    return made


def _with_promises(random: Random, declared: Plan) -> Plan:
    """Promises on some of what is written, and on all that a pipeline with `trigger: auto` writes."""
    assets = dict(declared.assets)
    for each in declared.pipelines.values():
        is_auto = each.trigger is not None and each.trigger.auto is not None
        for asset in each.written:
            if is_auto or random.random() < 0.4:
                calendar = random.choice(["", "", "office"])
                share: Any = random.choice(["obligations", "time"])
                within = timedelta(minutes=random.choice([1, 5, 20]))
                freshness = Freshness(within, over=timedelta(hours=2), calendar=calendar, share=share)
                completion = Completion("10:30", cutoff="10:10") if random.random() < 0.2 else None
                assets[asset] = msgspec.structs.replace(assets[asset], freshness=freshness, completion=completion)
    return msgspec.structs.replace(declared, assets=assets)


def _random_pipeline(random: Random, name: str, before: Sequence[Pipeline], pools: dict[str, int]) -> Pipeline:
    assets = [asset for each in before for asset in each.written]
    groups = _random_groups(random, before, assets)
    reads = random.sample(assets, random.randint(0, min(2, len(assets))))
    sources = [source for group in groups for source in group]
    listened = [source.asset for source in sources if isinstance(source, OnAsset)]
    is_waited_for = any(isinstance(source, OnAsset | OnEvent | OnCheckpoint) for source in sources)
    trigger: dict[str, Any] = {
        "rearm": (timedelta(seconds=random.choice([1, 30])), timedelta(minutes=2)),
        "give_up": random.choice([None, None, 2]),
        "batch": _random_batch(random),
        "within": random.choice([None, None, timedelta(minutes=1)]),
        "at_latest": random.choice([None, timedelta(minutes=3)]),
    }
    if is_waited_for and random.random() < 0.2:
        until: Any = random.choice(["accepted", "started", "succeeded"])
        refusal: Any = random.choice(["fail", "warn"])
        trigger["delivery"] = Delivery("sync", until, timedelta(minutes=random.choice([1, 10])), refusal)
    return pipeline(
        name,
        all_of=groups,
        trigger=trigger,
        tasks=_random_tasks(random, pools),
        reads=list(dict.fromkeys([*reads, *listened])),
        writes=[f"a{name}"] if random.random() < 0.7 else [],
        write=random.choice(["in_place", "atomic"]),
        suspect=random.choice(["hold", "use"]),
        hold=random.choice(["attempt", "attempt", "run"]),
        overlap=random.choice(["coalesce", "coalesce", "queue", "skip", "cancel"]),
        concurrency=random.choice([1, 1, 2]),
        priority_class=random.choice(["urgent", "normal", "bulk"]),
        partition=random.choice([None, None, "hour"]),
    )


def _random_groups(random: Random, before: Sequence[Pipeline], assets: Sequence[str]) -> list[list[Source]]:
    def source() -> Source:
        choices: list[Callable[[], Source]] = [
            lambda: OnEvent(random.choice(EVENTS), random.choice([None, "event.data.n > 1"])),
            lambda: Every(timedelta(minutes=random.choice([1, 7])), _EPOCH),
        ]
        if assets:
            choices += [lambda: OnAsset(random.choice(assets))] * 4
        if before:
            state: Any = random.choice(["started", "completed", "failed"])
            choices += [
                lambda: OnState(random.choice(before).name, state),
                lambda: OnCheckpoint(random.choice(before).name, "half"),
            ]
        return random.choice(choices)()

    return [[source() for _ in range(random.choice([1, 1, 2]))] for _ in range(random.choice([0, 1, 1, 1, 2]))]


def _random_batch(random: Random) -> Batch:
    return Batch(
        quiet=random.choice([None, timedelta(seconds=20)]),
        wait=random.choice([None, timedelta(minutes=1)]),
        max=random.choice([None, None, 2]),
        by=random.choice([None, None, "event.data.k"]),
    )


def _random_tasks(random: Random, pools: dict[str, int]) -> list[Task]:
    tasks: list[Task] = []
    for number in range(random.choice([1, 1, 2, 3])):
        held = {pool: random.randint(1, slots) for pool, slots in pools.items() if random.random() < 0.5}
        more = {pool: slots for pool, slots in pools.items() if pool in held}
        chosen: Any = random.choice(["success", "success", "failure", "end"])
        first = tasks and random.random() < 0.8
        tasks.append(
            task(
                f"t{number}",
                after=[After(random.choice(tasks).name, chosen)] if first else [],
                tool=random.choice(["command", "check"]) if tasks else "command",
                pools=held,
                retry=Retry(
                    attempts=random.randint(1, 3),
                    backoff=(timedelta(seconds=5), timedelta(minutes=1)),
                    out_of_memory=OutOfMemory(pools=more) if random.random() < 0.3 else None,
                ),
                timeout=random.choice([None, timedelta(minutes=2)]),
                memory=random.choice([None, 1000]),
            )
        )
    return tasks


class World:
    """A kernel and what is outside of it: attempts that run, people, other systems, worker hosts.

    Attributes:
        started: how often each attempt was started.
        fates: number of an item -> how it ended: done, skipped, dead.
        delivered: items that there have been.
        dealt_with: dead letters that were replayed or discarded.
        pins: asset and partition -> what the run read that published or confirmed it last.
    """

    def __init__(self, random: Random, declared: Plan) -> None:
        self.random, self.kernel = random, Kernel()
        self.started: dict[str, int] = {}
        self.delivered: dict[int, d.Item] = {}
        self.fates: dict[int, list[str]] = {}
        self.pins: dict[tuple[str, str], tuple[d.Pin, ...]] = {}
        self.dealt_with: set[int] = set()
        self._of_run: dict[str, set[int]] = {}
        self._ended: dict[str, Any] = {}
        self._changes: dict[int, e.Change] = {}
        self.note(self.kernel.declare(declared))
        self.note(self.kernel.host())

    def note(self, decisions: Sequence[AnyDecision]) -> None:
        """Keep book of what was decided."""
        for decision in decisions:
            match decision:
                case d.StartAttempt(attempt=attempt):
                    self.started[attempt] = self.started.get(attempt, 0) + 1
                case d.Deliver(items=items, change=change):
                    self.delivered |= {item.number: item for item in items}
                    self.dealt_with |= {item.origin for item in items if item.origin is not None}
                    self._changes[change.number] = change
                case d.CreateRun(run=run, items=numbers) | d.AdmitRun(run=run, items=numbers):
                    self._of_run.setdefault(run, set()).update(numbers)
                case d.FinishRun(run=run, items_become=become):
                    taken = self._of_run.pop(run, set())
                    for number in taken if become in ("done", "skipped") else ():
                        self.fates.setdefault(number, []).append(become)
                case d.EndItems(items=numbers, outcome=outcome):
                    for number in numbers:
                        self.fates.setdefault(number, []).append(outcome)
                case d.PublishAsset(asset=asset, partition=partition, pins=pins):
                    self.pins[asset, partition] = pins
                case d.ConfirmAsset(asset=asset, partition=partition, pins=pins):
                    self.pins[asset, partition] = pins
        written = self.kernel.state.written
        self._ended |= {name: run for name, run in written.runs.items() if run.phase in ("failed", "cancelled")}
        written.runs.clear()

    # What may happen.

    def anything(self, among: Sequence[Happening] = ()) -> None:
        """Let one thing happen, of all that may or of those given."""
        self.random.choice(among or HAPPENINGS)(self)

    def event(self) -> None:
        """An event arrives, sometimes one that a running task emits."""
        state = self.kernel.state
        running = [run for run in state.runs.values() if run.phase == "running"]
        by = self._one(running) if self.random.random() < 0.2 else None
        data = {"n": self.random.randint(1, 3), "k": self.random.choice("ab")}
        fields = {"by_run": by.run, "hops": by.hops} if by else {}
        self.note(self.kernel.emit(self.random.choice(EVENTS), data, **fields))

    def source(self) -> None:
        """A version of an asset that no pipeline writes is reported, sometimes of data that came late."""
        assets = [name for name in SOURCES if name in self.kernel.state.plan.assets]
        asset = self._one(assets)
        if asset is not None and asset not in self.kernel.state.plan.writers:
            through = self.kernel.now - timedelta(minutes=self.random.choice([0, 0, 3, 90]))
            partition = self.random.choice(["", "", "2026-01-05T09"])
            unchanged = self.random.random() < 0.1
            report = e.Report(asset=asset, data_through=through, partition=partition, unchanged=unchanged)
            self.note(self.kernel.take(e.AssetReported, report=report, by="test"))

    def learn(self) -> None:
        """How long something takes was learned, or has changed."""
        name = self._pipeline()
        task_name = self.random.choice(["", *self.kernel.state.plan.pipelines[name].tasks])
        p50 = self.random.choice([5.0, 30.0, 120.0])
        hours = {str(self.random.randrange(168)): (p50 / 2, p50)} if self.random.random() < 0.2 else {}
        band = e.Band(
            pipeline=name, task=task_name, p50=p50, p90=p50 * 1.5, wait_p90=p50 / 3, samples=9, hours=hours
        )
        self.note(self.kernel.take(e.DurationsLearned, bands=(band,)))

    def request(self) -> None:
        """Somebody asks for a run, sometimes to make up for the past, or by a time."""
        more: dict[str, Any] = {}
        if self.random.random() < 0.3:
            more = {"lane": "backfill", "partition": self.random.choice(["", "2026-01-05T09"])}
        if self.random.random() < 0.2:
            more |= {"takes_s": 60.0, "deadline": self.kernel.now + timedelta(minutes=2)}
        request = self.random.choice(["", "", "again"])
        self.note(self.kernel.run(self._pipeline(), request=request, **more))

    def end(self) -> None:
        """An attempt ends well."""
        attempt = self._one(sorted(self.kernel.state.attempts))
        if attempt is not None:
            reports: tuple[e.Report, ...] = ()
            asset = f"a{attempt.partition('#')[0]}"
            if self.random.random() < 0.2 and asset in self.kernel.state.plan.assets:
                current = self.kernel.state.asset(asset, "").seq
                expect = self.random.choice([None, current, current + 1])
                reports = (e.Report(asset=asset, unchanged=self.random.random() < 0.5, expect=expect),)
            self.note(self.kernel.end(attempt, reports=reports))

    def fail(self) -> None:
        """An attempt ends badly."""
        attempt = self._one(sorted(self.kernel.state.attempts))
        if attempt is not None:
            failure = self.random.choice(FAILURE_KINDS)
            exit_code = self.random.choice([None, 1, 3])
            self.note(self.kernel.end(attempt, "failed", failure=failure, exit_code=exit_code))

    def lose(self) -> None:
        """An attempt is lost."""
        attempt = self._one(sorted(self.kernel.state.attempts))
        if attempt is not None:
            self.note(self.kernel.take(e.AttemptLost, attempt=attempt))

    def defer(self) -> None:
        """An attempt answers *not yet*, or is called back."""
        attempt = self._one(sorted(self.kernel.state.attempts))
        if attempt is not None and self.kernel.state.attempts[attempt].deferred:
            self.note(self.kernel.take(e.CallbackReceived, attempt=attempt, message="m"))
        elif attempt is not None:
            look_at = self.kernel.now + timedelta(seconds=self.random.choice([1, 90]))
            self.note(self.kernel.take(e.AttemptDeferred, attempt=attempt, look_at=look_at))

    def stale(self) -> None:
        """Something comes in again, or about what nobody knows."""
        attempt = self._one(sorted(self.started)) or "p0#0/t0/1"
        if attempt not in self.kernel.state.attempts:
            stale: list[tuple[type[e.Event], dict[str, Any]]] = [
                (e.AttemptLost, {}),
                (e.CheckpointReached, {"name": "half"}),
                (e.CallbackReceived, {"message": "m"}),
                (e.AttemptEnded, {"outcome": "succeeded"}),
            ]
            kind, more = self.random.choice(stale)
            self.note(self.kernel.take(kind, attempt=attempt, **more))

    def checkpoint(self) -> None:
        """A running task reports a checkpoint."""
        attempt = self._one(sorted(self.kernel.state.attempts))
        if attempt is not None:
            self.note(self.kernel.take(e.CheckpointReached, attempt=attempt, name="half"))

    def cancel(self) -> None:
        """Somebody cancels a run."""
        run = self._one(sorted(self.kernel.state.runs))
        if run is not None:
            skip = self.random.random() < 0.3
            self.note(self.kernel.take(e.CancelRequested, run=run, by="test", skip=skip))

    def retry(self) -> None:
        """Somebody retries a run that ended badly."""
        known = [name for name in sorted(self._ended) if name not in self.kernel.state.runs]
        run = self._one([name for name in known if self._ended[name].pipeline in self.kernel.state.plan.pipelines])
        if run is not None:
            document = msgspec.to_builtins(self._ended.pop(run))
            self.note(self.kernel.take(e.RetryRequested, run=run, by="test", document=document))

    def pause(self) -> None:
        """Somebody pauses or resumes a pipeline."""
        kind = self.random.choice([e.PauseRequested, e.ResumeRequested, e.ResumeRequested])
        self.note(self.kernel.take(kind, pipeline=self._pipeline(), by="test"))

    def replay(self) -> None:
        """Somebody replays a dead letter or a change, or discards a dead letter."""
        letter = self._one([self.kernel.state.dead[number] for number in sorted(self.kernel.state.dead)])
        change = self._one([self._changes[number] for number in sorted(self._changes)])
        if letter is not None and self.random.random() < 0.3:
            self.dealt_with.add(letter.number)
            self.note(self.kernel.take(e.DiscardRequested, items=(letter.number,), by="test"))
        elif letter is not None:
            changes, origins = (self._changes[letter.change],), (letter.number,)
            self.note(
                self.kernel.take(
                    e.ReplayRequested, pipeline=letter.pipeline, changes=changes, origins=origins, by="test"
                )
            )
        elif change is not None:
            pipeline = self._pipeline()
            self.note(self.kernel.take(e.ReplayRequested, pipeline=pipeline, changes=(change,), by="test"))

    def host(self) -> None:
        """A worker host appears, or cannot be reached."""
        if self.random.random() < 0.3:
            self.note(self.kernel.take(e.HostUnreachable, host="h1"))
        else:
            self.note(self.kernel.host())

    def wait(self) -> None:
        """Time passes, with every wake-up that the kernel asks for."""
        length = timedelta(seconds=self.random.choice([1, 10, 60, 400]))
        for _, decisions in self.kernel.wake_until(self.kernel.now + length):
            self.note(decisions)

    def declare(self) -> None:
        """Somebody declares another plan: pools of other sizes, other pipelines, other triggers."""
        self.note(self.kernel.declare(random_plan(self.random)))

    def make_room(self) -> None:
        """Enlarge every pool, so that whatever was asked for under an earlier plan fits."""
        current = self.kernel.state.plan
        roomy = msgspec.structs.replace(current, pools={name: Pool(9) for name in POOLS})
        self.note(self.kernel.declare(roomy))

    def settle(self) -> bool:
        """Sources stop, what runs ends well, people let everything go. Whether all comes to rest within a day."""
        kernel = self.kernel
        self.note(kernel.host("h9"))
        for name in kernel.state.plan.pipelines:
            self.note(kernel.take(e.ResumeRequested, pipeline=name, by="test"))
        frozen, last = kernel.now + kernel.ahead, kernel.now + timedelta(days=1)
        while True:
            moment = kernel.state.next_moment()
            if kernel.state.attempts:
                self.note(kernel.end(next(iter(kernel.state.attempts))))
            elif moment is not None and moment <= last:
                kernel.now = max(kernel.now, moment)
                # The clock on the wall stands still, so that no clock ticks.
                kernel.ahead = frozen - kernel.now
                self.note(kernel.take(e.Woke))
            else:
                return moment is None

    def _one(self, choices: Sequence[T]) -> T | None:
        return self.random.choice(choices) if choices else None

    def _pipeline(self) -> str:
        return self.random.choice(sorted(self.kernel.state.plan.pipelines))


#: What happens, as often as it stands here.
HAPPENINGS: tuple[Happening, ...] = (
    *[World.event] * 4,
    *[World.end] * 6,
    *[World.wait] * 4,
    *[World.fail] * 2,
    *[World.source] * 3,
    World.learn,
    World.request,
    World.request,
    World.lose,
    World.defer,
    World.stale,
    World.checkpoint,
    World.cancel,
    World.retry,
    World.pause,
    World.replay,
    World.host,
    World.declare,
)

#: All that can go wrong, and no change of mind of people: nobody cancels, skips or declares anew. A run that
#: somebody asked for has no items, so nothing repeats it when it fails, and what it wrote stays suspect.
TROUBLE = (
    *[World.event] * 4,
    *[World.source] * 2,
    World.learn,
    *[World.end] * 5,
    *[World.fail] * 3,
    *[World.wait] * 2,
    World.lose,
    World.defer,
    World.stale,
    World.checkpoint,
    World.host,
    World.pause,
)
