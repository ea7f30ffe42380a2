"""Landscapes with promises, drawn from a seed, and the plans that four ways of running them make.

A landscape is layers of pipelines between sources that nobody writes and assets that nobody
reads; pipelines share a few pools, and each end of a path carries a promise. What happens in it
(when sources change, how long the k-th run of each pipeline takes) is drawn with it, so that
every way of running it meets the same world. Fixed before anything was tuned against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import exp, log, sqrt
from random import Random
from typing import Literal, TypeAlias

from counterpoint.model.pipeline import Pipeline, Task
from counterpoint.model.plan import Asset, Plan, Pool
from counterpoint.model.promise import Completion, Expected, Freshness
from counterpoint.model.trigger import Auto, Every, OnAsset, Trigger

#: A Monday at midnight: the beginning of every world. All times below are seconds from here.
BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
DAY = 86_400
#: 90th percentile of the standard normal distribution.
Z90 = 1.2815515655446004
#: Load is drawn between these.
LOADS = (0.5, 1.1)
#: How often a person lets something run, in seconds.
PERIODS = tuple(60 * minutes for minutes in (5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, 1440))
#: What a person leaves between the ends expected upstream and the next clock, and how full pools get by clocks.
BUFFER, FULL = 1.2, 0.9

Way: TypeAlias = Literal["cron", "fifo", "priority", "promise"]
WAYS: tuple[Way, ...] = ("cron", "fifo", "priority", "promise")


@dataclass(frozen=True)
class Step:
    """A pipeline of one task: reads assets, writes one of its own name, needs slots of one pool.

    Attributes:
        p50, p90: of how long a run takes, in seconds; lognormal.
    """

    name: str
    reads: tuple[str, ...]
    pool: str
    slots: int
    p50: float
    p90: float

    @property
    def mean(self) -> float:
        """The mean of its lognormal distribution."""
        return self.p50 * exp((log(self.p90 / self.p50) / Z90) ** 2 / 2)


@dataclass(frozen=True)
class Obligation:
    """The asset has these changes, (source, number from 1), by `due`."""

    asset: str
    changes: tuple[tuple[str, int], ...]
    due: float


@dataclass(frozen=True)
class Landscape:
    """What is there and what happens.

    Attributes:
        steps: in an order in which each comes after what it reads.
        within: asset -> how fresh it promises to be, in seconds.
        by: asset -> seconds after midnight by which it promises all of the day before, every day.
        changes: source -> when it changes, ascending.
        ends: no change and no cut-off comes after it.
        load: share of the fullest pool that its promises ask for, when each step batches all that they allow.
    """

    seed: int
    steps: tuple[Step, ...]
    pools: Mapping[str, int]
    within: Mapping[str, float]
    by: Mapping[str, float]
    changes: Mapping[str, tuple[float, ...]]
    ends: float
    load: float

    def duration(self, step: str, number: int) -> float:
        """How long the pipeline's run of that number (from 1) takes: whole seconds, one at least."""
        found = self._by_name[step]
        # Seeded by text, which Python hashes the same in every process.
        drawn = Random(f"{self.seed}/{step}/{number}").gauss(0, 1)
        return max(1.0, float(round(found.p50 * exp(log(found.p90 / found.p50) / Z90 * drawn))))

    @cached_property
    def _by_name(self) -> dict[str, Step]:
        return {step.name: step for step in self.steps}

    @cached_property
    def behind(self) -> dict[str, tuple[Step, ...]]:
        """Asset -> who reads it."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            for asset in step.reads:
                found.setdefault(asset, []).append(step)
        return {asset: tuple(steps) for asset, steps in found.items()}

    @cached_property
    def sources_of(self) -> dict[str, tuple[str, ...]]:
        """Asset -> the sources that lead to it; a source leads to itself."""
        found: dict[str, tuple[str, ...]] = {source: (source,) for source in self.changes}
        for step in self.steps:
            found[step.name] = tuple(dict.fromkeys(s for asset in step.reads for s in found[asset]))
        return found

    @cached_property
    def tightest(self) -> dict[str, float]:
        """Step -> the shortest time in which anything after it promises to have a change, in seconds.

        A completion counts as the hours between midnight and its time of day.
        """
        found: dict[str, float] = {}
        for step in reversed(self.steps):
            own = [promises[step.name] for promises in (self.within, self.by) if step.name in promises]
            found[step.name] = min([*own, *(found[reader.name] for reader in self.behind.get(step.name, ()))])
        return found

    @cached_property
    def obligations(self) -> tuple[Obligation, ...]:
        """All that its promises owe for what happens in it."""
        found = []
        for asset, within in self.within.items():
            for source in self.sources_of[asset]:
                for number, at in enumerate(self.changes[source], 1):
                    found.append(Obligation(asset, ((source, number),), at + within))
        for asset, by in self.by.items():
            midnight = float(DAY)
            while midnight <= self.ends:
                marks = []
                for source in self.sources_of[asset]:
                    number = sum(at < midnight for at in self.changes[source])
                    if number:
                        marks.append((source, number))
                found.append(Obligation(asset, tuple(marks), midnight + by))
                midnight += DAY
        return tuple(found)

    @property
    def settled(self) -> float:
        """From when on nothing is owed any more."""
        # The last change of a source is due last; all obligations at once would be gigabytes for a million runs.
        last = [
            self.changes[source][-1] + within
            for asset, within in self.within.items()
            for source in self.sources_of[asset]
            if self.changes[source]
        ]
        last += [self.ends // DAY * DAY + by for by in self.by.values() if self.ends >= DAY]
        return max(last, default=self.ends) + 1


def landscape(
    seed: int, *, pipelines: int | None = None, load: float | None = None, days: float | None = None
) -> Landscape:
    """A landscape of 10 to 1,000 pipelines (each size in equal proportion) under a load of 0.5 to 1.1.

    Args:
        pipelines, load, days: instead of what would be drawn.
    """
    random = Random(seed)
    drawn_count, drawn_load = round(exp(random.uniform(log(10), log(1000)))), _any_load(random)
    count, wanted = pipelines or drawn_count, load or drawn_load
    drawn = _draw(
        random, count, sources=_sources(count), depth=random.randint(3, 5), pools=_pools(count), spread=0.8
    )  # fmt: skip
    within, by = _promises(random, drawn, completions=0.1)
    slots = _slots(drawn, within, by, load=wanted)
    pace = _pace(drawn, within, by, slots, load=wanted)
    # As many runs in a small landscape as statistics need, and no more in a large one than time allows.
    ends = DAY * (days or (1 if count < 100 else 0.5))
    happened = {}
    for source, distance in drawn.sources.items():
        # Two changes within one second are one to a clock of whole seconds.
        happened[source] = tuple(dict.fromkeys(_moments(random, distance / pace, ends=ends)))
    return Landscape(
        seed, drawn.steps, slots, within, by, happened, ends, _load(drawn, within, by, slots, pace=pace)
    )


def small(seed: int) -> Landscape:
    """A landscape of 10 to 20 pipelines, with 10 to 25 changes: short enough to find the optimum of it.

    Drawn as the large ones are, and again until some pace of changes asks for the load that was drawn first:
    loose promises on few pipelines ask for little, whatever happens.
    """
    # Not the seed of `tiny`, which once was the only one.
    random = Random(f"small landscape/{seed}")
    # Before structures are drawn, or loads that few of them can be brought to would be rare.
    load = _any_load(random)
    while True:
        count, changes = round(exp(random.uniform(log(10), log(20)))), random.randint(10, 25)
        drawn = _draw(
            random, count, sources=_sources(count), depth=random.randint(3, 5), pools=_pools(count), spread=0.8
        )  # fmt: skip
        within, by = _promises(random, drawn, completions=0.1)
        slots = _slots(drawn, within, by, load=load)
        found = _brief(random, seed, drawn, within, by, slots, load=load, changes=changes)
        if found is not None:
            return found


def tiny(seed: int) -> Landscape:
    """A landscape of 3 to 6 pipelines, one or two pools of one slot, and 10 to 25 changes.

    Where everything waits for one slot, most depends on what nobody can know.
    """
    random = Random(f"small/{seed}")
    while True:
        count, changes, load = random.randint(3, 6), random.randint(10, 25), _any_load(random)
        pools = random.randint(1, 2)
        drawn = _draw(
            random, count, sources=random.randint(1, 2), depth=random.randint(2, 3), pools=pools, spread=0.6,
            one_slot=True,
        )  # fmt: skip
        within, by = _promises(random, drawn, completions=0)
        slots = {f"pool{n}": 1 for n in range(pools)}
        found = _brief(random, seed, drawn, within, by, slots, load=load, changes=changes)
        if found is not None:
            return found


def _any_load(random: Random) -> float:
    return random.uniform(*LOADS)


def _sources(count: int) -> int:
    return max(2, count // 4)


def _pools(count: int) -> int:
    return 1 + round(sqrt(count) / 4)


@dataclass(frozen=True)
class _Drawn:
    """Steps, and the mean distance of the changes of each source at pace 1."""

    steps: tuple[Step, ...]
    pools: tuple[str, ...]
    sources: dict[str, float]


def _draw(
    random: Random, count: int, *, sources: int, depth: int, pools: int, spread: float, one_slot: bool = False
) -> _Drawn:
    """Layers of steps. Sources change every 10 minutes to every 4 hours, steps take 3 minutes in the median."""
    distances = {f"s{n}": exp(random.uniform(log(600), log(14_400))) for n in range(sources)}
    layers = [list(distances)]
    steps: list[Step] = []
    read: set[str] = set()
    for size in (count // depth + (n < count % depth) for n in range(depth)):
        layer: list[str] = []
        for _ in range(size):
            # Mostly what the layer before wrote, now and then something older; what nobody reads yet goes first.
            first = next((asset for asset in layers[-1] if asset not in read), None) or random.choice(layers[-1])
            older = [asset for known in layers for asset in known]
            others = [
                random.choice(layers[-1] if random.random() < 0.7 else older)
                for _ in range(random.choice((0, 0, 1, 1, 2)))
            ]
            p50 = 180 * exp(random.gauss(0, spread))
            steps.append(
                Step(
                    name=f"p{len(steps)}",
                    reads=tuple(dict.fromkeys([first, *others])),
                    pool=f"pool{random.randrange(pools)}",
                    slots=2 if not one_slot and random.random() < 0.15 else 1,
                    p50=round(p50),
                    p90=round(p50 * random.uniform(1.2, 2.5)),
                )
            )
            read.update(steps[-1].reads)
            layer.append(steps[-1].name)
        layers.append(layer)
    # Sources that nobody came to read are not part of it.
    used = {source: distance for source, distance in distances.items() if source in read}
    return _Drawn(tuple(steps), tuple(f"pool{n}" for n in range(pools)), used)


def _promises(random: Random, drawn: _Drawn, *, completions: float) -> tuple[dict[str, float], dict[str, float]]:
    """Freshness or completion for each asset that nobody reads, and freshness for one in ten of the others.

    Freshness is 1.5 to 8 times what nine of ten runs need one after the other along the longest path.
    """
    read = {asset for step in drawn.steps for asset in step.reads}
    longest = _longest(drawn)
    within: dict[str, float] = {}
    by: dict[str, float] = {}
    for step in drawn.steps:
        is_end = step.name not in read
        if is_end and random.random() < completions:
            # A time of day, in whole minutes.
            by[step.name] = min(3600.0 * random.randint(1, 8) + longest[step.name] // 60 * 60, DAY - 60.0)
        elif is_end or random.random() < 0.1:
            within[step.name] = float(round(longest[step.name] * exp(random.uniform(log(1.5), log(8)))))
    return within, by


def _longest(drawn: _Drawn) -> dict[str, float]:
    """Asset -> p90 of its step and of the longest path before it, in seconds."""
    longest: dict[str, float] = dict.fromkeys(drawn.sources, 0.0)
    for step in drawn.steps:
        longest[step.name] = step.p90 + max(longest[asset] for asset in step.reads)
    return longest


def _asked(
    drawn: _Drawn, within: Mapping[str, float], by: Mapping[str, float], *, pace: float
) -> dict[str, float]:
    """Pool -> slots that the promises keep busy on average when each step batches all that they allow.

    A step whose changes come every 1/L seconds, and may wait for W (the least that a promise after it leaves
    beside its longest path), runs once every 1/L + W seconds: the first change of a batch has to come, and waits.
    A completion leaves a day.
    """
    longest, behind = _longest(drawn), dict[str, list[Step]]()
    for step in drawn.steps:
        for asset in step.reads:
            behind.setdefault(asset, []).append(step)
    sources: dict[str, frozenset[str]] = {source: frozenset([source]) for source in drawn.sources}
    for step in drawn.steps:
        sources[step.name] = frozenset().union(*(sources[asset] for asset in step.reads))
    waits: dict[str, float] = {}
    asked = dict.fromkeys(drawn.pools, 0.0)
    for step in reversed(drawn.steps):
        own = [float(DAY)]
        if step.name in within:
            own.append(within[step.name] - longest[step.name])
        waits[step.name] = min([*own, *(waits[reader.name] for reader in behind.get(step.name, ()))])
        rate = sum(pace / drawn.sources[source] for source in sorted(sources[step.name]))
        asked[step.pool] += step.slots * step.mean / (1 / rate + waits[step.name])
    return asked


def _load(
    drawn: _Drawn, within: Mapping[str, float], by: Mapping[str, float], slots: Mapping[str, int], *, pace: float
) -> float:
    """What the promises ask of the fullest pool."""
    return max(asked / slots[pool] for pool, asked in _asked(drawn, within, by, pace=pace).items())


def _slots(drawn: _Drawn, within: Mapping[str, float], by: Mapping[str, float], *, load: float) -> dict[str, int]:
    """Slots of the pools for about that load, two at least."""
    return {pool: max(2, round(asked / load)) for pool, asked in _asked(drawn, within, by, pace=1).items()}


def _pace(
    drawn: _Drawn, within: Mapping[str, float], by: Mapping[str, float], slots: Mapping[str, int], *, load: float
) -> float:
    """How many times faster than drawn the sources change for that load; between a quarter and four times."""
    low, high = 0.25, 4.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        if _load(drawn, within, by, slots, pace=middle) < load:
            low = middle
        else:
            high = middle
    return float((low * high) ** 0.5)


def _brief(
    random: Random,
    seed: int,
    drawn: _Drawn,
    within: Mapping[str, float],
    by: Mapping[str, float],
    slots: Mapping[str, int],
    *,
    load: float,
    changes: int,
) -> Landscape | None:
    """A landscape with so many changes; None if no pace of them asks for that load."""
    pace = _pace(drawn, within, by, slots, load=load)
    found = _load(drawn, within, by, slots, pace=pace)
    if abs(found - load) >= 0.01:
        return None
    means = {source: distance / pace for source, distance in drawn.sources.items()}
    happened = {
        source: _apart(_moments(random, means[source], count=number))
        for source, number in _counts(means, changes).items()
    }
    ends = max(times[-1] for times in happened.values())
    return Landscape(seed, drawn.steps, slots, within, by, happened, ends, found)


def _moments(random: Random, mean: float, *, ends: float | None = None, count: int | None = None) -> list[float]:
    """Whole seconds at that mean distance, regular within a fifth or by chance; so many, or up to an end."""
    is_regular = random.random() < 0.5
    at, found = random.uniform(0, mean), list[float]()
    while len(found) < count if count is not None else at < (ends or 0):
        found.append(float(round(at)))
        at += mean * random.uniform(0.8, 1.2) if is_regular else random.expovariate(1 / mean)
    return found


def _apart(times: Sequence[float]) -> tuple[float, ...]:
    """The same number of moments, ascending, no two of them equal."""
    found: list[float] = []
    for at in times:
        found.append(max(at, found[-1] + 1) if found else at)
    return tuple(found)


def _counts(means: Mapping[str, float], changes: int) -> dict[str, int]:
    """How many of so many changes each source gets: by its pace, one at least."""
    rate = sum(1 / mean for mean in means.values())
    found = {source: max(1, int(changes / mean / rate)) for source, mean in means.items()}
    fastest = min(means, key=lambda source: means[source])
    found[fastest] += changes - sum(found.values())
    return found


# The plans.


def plan(world: Landscape, way: Way) -> Plan:
    """The landscape as it is declared for one way of running it.

    * `cron`: each pipeline by a clock of its own, as a person sets it: the longest usual period of at most
      half the tightest promise behind it, begun when what is upstream should have ended; slower where that
      would fill a pool to more than 90 %; first come, first served.
    * `fifo`: each by every new version of what it reads; first come, first served.
    * `priority`: the same triggers; the third with the tightest promises is urgent, the loosest third bulk.
    * `promise`: `trigger: auto`, and nothing else said.
    """
    classes = _classes(world) if way == "priority" else {}
    clocks = _clocks(world) if way == "cron" else {}
    pipelines = {}
    for step in world.steps:
        listened = (tuple(OnAsset(asset) for asset in step.reads),)
        match way:
            case "cron":
                trigger = Trigger(groups=((clocks[step.name],),))
            case "promise":
                trigger = Trigger(groups=listened, auto=Auto())
            case _:
                trigger = Trigger(groups=listened)
        expected = Expected(timedelta(seconds=step.p50), timedelta(seconds=step.p90))
        task = Task(
            name="run", tool="command", spec={"command": ["true"]}, pools={step.pool: step.slots}, takes=expected
        )
        pipelines[step.name] = Pipeline(
            name=step.name,
            tasks={"run": task},
            folder="/",
            trigger=trigger,
            reads=step.reads,
            writes=(step.name,),
            write="atomic",
            priority_class=classes.get(step.name, "normal"),
        )
    assets = {name: Asset() for name in (*world.changes, *(step.name for step in world.steps))}
    for name, within in world.within.items():
        assets[name] = Asset(freshness=Freshness(within=timedelta(seconds=within)))
    for name, by in world.by.items():
        at = timedelta(seconds=by)
        clock = f"{at.seconds // 3600:02}:{at.seconds % 3600 // 60:02}"
        assets[name] = Asset(completion=Completion(by=clock))
    return Plan(
        name=f"landscape-{world.seed}-{way}",
        pools={name: Pool(slots) for name, slots in world.pools.items()},
        assets=assets,
        pipelines=pipelines,
        policy="fifo" if way == "cron" else way,
    )


def _classes(world: Landscape) -> dict[str, Literal["urgent", "normal", "bulk"]]:
    ordered = sorted(world.steps, key=lambda step: (world.tightest[step.name], step.name))
    third = len(ordered) / 3
    return {
        step.name: "urgent" if place < third else "normal" if place < 2 * third else "bulk"
        for place, step in enumerate(ordered)
    }


def _clocks(world: Landscape) -> dict[str, Every]:
    begins: dict[str, float] = dict.fromkeys(world.changes, 0.0)
    for step in world.steps:
        begins[step.name] = max(begins[asset] for asset in step.reads) + step.p90 * BUFFER
    places = {step.name: _period(world.tightest[step.name] / 2) for step in world.steps}
    while True:
        asked = dict.fromkeys(world.pools, 0.0)
        for step in world.steps:
            asked[step.pool] += step.mean * step.slots / PERIODS[places[step.name]] / world.pools[step.pool]
        slower = [
            step.name for step in world.steps if asked[step.pool] > FULL and places[step.name] + 1 < len(PERIODS)
        ]
        if not slower:
            break
        for name in slower:
            places[name] += 1
    return {
        step.name: Every(
            timedelta(seconds=PERIODS[places[step.name]]),
            start=BEGIN + timedelta(seconds=round(max(begins[asset] for asset in step.reads))),
        )
        for step in world.steps
    }


def _period(most: float) -> int:
    return max((place for place, period in enumerate(PERIODS) if period <= most), default=0)


# What came of it, worked out apart from the kernel.


def kept(world: Landscape, runs: Iterable[tuple[str, float, float]]) -> dict[Obligation, bool]:
    """Which obligations were kept by runs (step, start, end), all of which succeeded.

    A run has what its inputs had when it started, and gives it to its asset when it ends.
    """
    moments: list[tuple[float, int, int, str, float]] = []
    for number, (step, start, end) in enumerate(runs):
        # What ends at a moment is there for what starts at it.
        moments += [(end, 0, number, step, start), (start, 1, number, step, start)]
    reads = {step.name: step.reads for step in world.steps}
    has: dict[str, dict[str, int]] = {step.name: {} for step in world.steps}
    took: dict[int, dict[str, int]] = {}
    reached: dict[tuple[str, str], list[tuple[float, int]]] = {}
    happened = dict.fromkeys(world.changes, 0)
    for at, is_start, number, step, _ in sorted(moments):
        if not is_start:
            for source, mark in took.pop(number).items():
                if mark > has[step].get(source, 0):
                    has[step][source] = mark
                    reached.setdefault((step, source), []).append((at, mark))
            continue
        marks: dict[str, int] = {}
        for asset in reads[step]:
            if asset in happened:
                times = world.changes[asset]
                while happened[asset] < len(times) and times[happened[asset]] <= at:
                    happened[asset] += 1
                marks[asset] = min(happened[asset], marks.get(asset, happened[asset]))
            else:
                for source in world.sources_of[asset]:
                    mark = has[asset].get(source, 0)
                    marks[source] = min(mark, marks.get(source, mark))
        took[number] = marks

    def is_there(asset: str, source: str, mark: int, due: float) -> bool:
        return any(at <= due and found >= mark for at, found in reached.get((asset, source), ()))

    return {
        owed: all(is_there(owed.asset, source, mark, owed.due) for source, mark in owed.changes)
        for owed in world.obligations
    }


def share(found: Mapping[Obligation, bool]) -> float:
    """Kept of all; 1 where nothing was owed."""
    return sum(found.values()) / len(found) if found else 1.0
