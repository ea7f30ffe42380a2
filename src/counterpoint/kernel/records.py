"""The records that State keeps: of runs, attempts, waiting items, assets, sources and promises.

Plain data, changed by `kernel/folding` alone; what they stand in, and the indexes over them, is `kernel/state.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from operator import attrgetter
from typing import Any, TypeAlias

from msgspec import Struct, field

from counterpoint.kernel.decisions import Item, Pin
from counterpoint.kernel.events import Report
from counterpoint.model.promise import PromiseKind

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
#: (pipeline, partition, key): what concurrency counts and what items gather under.
Lane: TypeAlias = tuple[str, str, str]


class TaskState(Struct, gc=False):
    """A task of a run.

    Attributes:
        number: of its newest attempt, over the whole life of the run.
        tries: attempts that count against `retry.attempts`.
        lost: attempts lost in a row.
        attempt: the one that is running; "" for none.
        memory, slots: what the next attempt asks for instead of what is declared.
        due: its latest start, once it began to wait; part of its place in the queue.
    """

    phase: str = "blocked"
    number: int = 0
    tries: int = 0
    lost: int = 0
    attempt: str = ""
    failure: str = ""
    detail: str = ""
    memory: int | None = None
    slots: dict[str, int] | None = None
    not_before: datetime | None = None
    reports: tuple[Report, ...] = ()
    result: dict[str, Any] = field(default_factory=dict)
    verdicts: tuple[dict[str, Any], ...] = ()
    checkpoint: dict[str, Any] | None = None
    published: bool = False
    due: datetime | None = None


class Awaited(Struct, frozen=True):
    """A sync subscriber that has yet to get to an item of a run, and by when it must."""

    pipeline: str
    by: datetime


class Run(Struct, gc=False):
    """A run that has not ended. `digest` names the plan it was admitted with.

    Attributes:
        ordinal: its place among all runs of the store.
        aside: numbers of the items set aside for it; empty when it takes what is pending.
        held: it waits for a place in its lane, outside the queue.
        ending: why it is being ended: "" or "person", "overlap".
        confirming: number of an item -> the sync subscriber that has yet to get to it.
        refused: a sync subscriber that did not get there, so that the run must fail.
        overtaken: it published over what a run had made of newer inputs, so that all must be done once more.
        attempts: the highest number of an attempt so far, so that none comes twice when tasks change.
        top_at, latest, takes_s, slot: as `decisions.CreateRun` has them.
        evictions, evicted: how often it made room for others, and when it last did.
        wanted_by: as `decisions.CreateRun` has it.
        skipped: source -> the least floor of items that were skipped while it went on: what it makes lacks them.
    """

    run: str
    ordinal: int
    pipeline: str
    key: str
    partition: str
    phase: str
    rank: int
    due: datetime
    created: datetime
    automatic: bool
    digest: str
    tasks: dict[str, TaskState]
    aside: tuple[int, ...] = ()
    held: bool = False
    items: dict[int, Item] = field(default_factory=dict)
    pins: tuple[Pin, ...] = ()
    holds: dict[str, int] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    by: str = ""
    request: str = ""
    trace: str = ""
    lane: str = "live"
    mode: str = "live"
    external_id: str = ""
    revision: str = ""
    hops: int = 0
    partial: bool = False
    admitted: datetime | None = None
    ended: datetime | None = None
    ending: str = ""
    skip_items: bool = False
    failure: str = ""
    reason: dict[str, Any] = field(default_factory=dict)
    confirming: dict[int, Awaited] = field(default_factory=dict)
    confirm_by: datetime | None = None
    refused: str = ""
    overtaken: bool = False
    attempts: int = 0
    published: tuple[str, ...] = ()
    top_at: datetime | None = None
    latest: datetime | None = None
    takes_s: float | None = None
    slot: str = ""
    evictions: int = 0
    evicted: datetime | None = None
    wanted_by: datetime | None = None
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def of(self) -> Lane:
        """The lane it belongs to."""
        return (self.pipeline, self.partition, self.key)

    @property
    def raised_at(self) -> datetime:
        """When it moves to the top, if it waits yet; runs of older snapshots have it as `due`."""
        return self.top_at or self.due

    @property
    def slack_until(self) -> datetime:
        """When it should start at the latest: for a promise, or because it has waited as long as its class may."""
        return self.raised_at if self.latest is None else min(self.latest, self.raised_at)


class Attempt(Struct, gc=False):
    """An attempt that has not ended; `deferred` while it answered *not yet* and has no process.

    `checkpoints` has those it reported, by name: a host repeats them, and they count once.
    `checkpointed` is when the newest of them came.
    """

    attempt: str
    run: str
    task: str
    number: int
    host: str
    slots: dict[str, int]
    started: datetime
    deadline: datetime | None = None
    memory: int | None = None
    look: int = 0
    deferred: bool = False
    look_at: datetime | None = None
    callback: bool = False
    external_id: str = ""
    note: str = ""
    carry: dict[str, Any] = field(default_factory=dict)
    is_called_back: bool = False
    called_back: Any = None
    checkpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    checkpointed: datetime | None = None
    stopping: str = ""


class Backlog(Struct, gc=False):
    """Pending items of one lane, by group of the trigger, each group in the order of the items.

    Attributes:
        first, last: when the oldest and the newest of them came.
        kept: a person cancelled their run, so they wait for a new item or a person.
        failures: runs in a row that failed for good with them; `rest_until` follows from it.
    """

    pipeline: str
    partition: str
    key: str
    groups: dict[int, dict[int, Item]] = field(default_factory=dict)
    first: datetime | None = None
    last: datetime | None = None
    kept: bool = False
    failures: int = 0
    rest_until: datetime | None = None

    def __len__(self) -> int:
        return sum(map(len, self.groups.values()))

    def __bool__(self) -> bool:
        return any(self.groups.values())

    @property
    def lane(self) -> Lane:
        """The lane it belongs to."""
        return (self.pipeline, self.partition, self.key)

    @property
    def oldest(self) -> int:
        """The number of the oldest pending item."""
        return min(map(next, map(iter, filter(None, self.groups.values()))))

    @property
    def items(self) -> Iterator[Item]:
        """All pending items, group by group."""
        return (item for group in self.groups.values() for item in group.values())

    def item(self, number: int) -> Item:
        """One pending item."""
        return next(group[number] for group in self.groups.values() if number in group)

    def settle(self) -> None:
        """Reckon `first` and `last` anew after items were taken or given back."""
        oldest = [next(iter(group.values())).at for group in self.groups.values() if group]
        newest = [next(reversed(group.values())).at for group in self.groups.values() if group]
        self.first, self.last = min(oldest, default=None), max(newest, default=None)


class AssetState(Struct, gc=False):
    """The current version of an asset's partition.

    Attributes:
        made_of: what it was made of: asset#partition -> seq; and asset -> edition, where it was made of the whole.
    """

    asset: str
    partition: str
    seq: int = 0
    label: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    by: str = ""
    at: datetime = BEGINNING
    confirmed: datetime = BEGINNING
    data_through: datetime | None = None
    suspect: bool = False
    made_of: dict[str, int] = field(default_factory=dict)

    def make_of(self, pins: Iterable[Pin]) -> None:
        """It is made of these versions now."""
        self.made_of = _versions(tuple(pins))

    def confirm_of(self, pins: Iterable[Pin]) -> None:
        """It is what these versions would make too: where they are newer, it counts as made of them."""
        for place, number in _versions(tuple(pins)).items():
            self.made_of[place] = max(number, self.made_of.get(place, 0))

    def is_made_of_newer(self, pins: Iterable[Pin]) -> bool:
        """Whether it is made of a newer version of something than these pins: what is made of them is older."""
        made_of = self.made_of
        return any(
            pin.seq < made_of.get(f"{pin.asset}#{pin.partition}", 0)
            or (0 <= pin.edition < made_of.get(pin.asset, 0) and not pin.partition)
            for pin in pins
        )


def _versions(pins: Sequence[Pin]) -> dict[str, int]:
    """What `AssetState.made_of` has of what was read."""
    read = {f"{pin.asset}#{pin.partition}": pin.seq for pin in pins}
    # Who reads all partitions has the version of none, so that only the edition says how new it was.
    return read | {pin.asset: pin.edition for pin in pins if pin.edition > 0 and not pin.partition}


class SourceState(Struct, gc=False):
    """A source that a promise looks at: an asset or a type of event that no live pipeline writes, or the world.

    Attributes:
        source: `asset:NAME`, `event:TYPE`, or `world:PIPELINE` for a pipeline that samples the world.
        mark: the newest change, counted from 1; of the world, when it was sampled last, in ms since 1970.
        changes: those that some asset with a promise does not reflect yet, ascending. Of the world there is one:
            it counts as changed since it was sampled last.
        happened: when each of them happened.
        lately: when its last few changes came, ascending; none of the world.
    """

    source: str
    mark: int = 0
    changes: list[int] = field(default_factory=list)
    happened: list[datetime] = field(default_factory=list)
    lately: list[datetime] = field(default_factory=list)


class Mark(Struct, gc=False):
    """Up to where an asset as a whole has the changes of each source that a promise looks at.

    Attributes:
        reflects: source -> mark: the least of its writers'.
        parts: writer -> source -> mark, for each pipeline that published it.
        edition: how often it was published, over all partitions.
        made: writer -> asset that it only reads -> edition of that asset which its newest version is made of.
        behind: writers whose newest version lacks something that no run will bring: it was skipped, or not read.
            Such a version inherits nothing; the next one that is published is whole again.
    """

    asset: str
    reflects: dict[str, int] = field(default_factory=dict)
    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    edition: int = 0
    made: dict[str, dict[str, int]] = field(default_factory=dict)
    behind: dict[str, bool] = field(default_factory=dict)


class Obligation(Struct, gc=False):
    """What a promise owes until it is kept or missed; fields as in `decisions.Oblige`, made at `made`.

    Attributes:
        sooner: the earliest due of those made after it, where that is before its own: data that came late, or
            a promise that was tightened.
        mark: what open obligations of a source are ordered by: the mark; for a completion its cut-off in ms.
    """

    marks: dict[str, int]
    since: datetime
    due: datetime
    made: datetime = BEGINNING
    sooner: datetime | None = None
    mark: int = 0


#: For searching in a list of obligations.
mark_of_obligation = attrgetter("mark")


class Counts(Struct, gc=False):
    """What came of a promise's obligations, by bucket of its window: each figure has a list, bucket after bucket.

    Lists, because most figures take 8 bytes there: a window has 168 buckets, and there are many promises.

    Attributes:
        first: number (`kernel.obligations.bucket`) of the bucket that the lists begin with.
        kept, missed: how many obligations.
        late_s: for how many seconds something was late.
    """

    first: int = 0
    kept: list[int] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[int, int, int, float]]:
        """The number of each bucket, and its figures."""
        return zip(count(self.first), self.kept, self.missed, self.late_s, strict=False)

    def add(self, number: int, kept: int = 0, missed: int = 0, late_s: float = 0.0) -> None:
        """Count more in a bucket."""
        if not self.kept:
            self.first = number
        before, after = self.first - number, number + 1 - self.first - len(self.kept)
        if before > 0 or after > 0:
            self.first = min(self.first, number)
            self.kept = [0] * before + self.kept + [0] * after
            self.missed = [0] * before + self.missed + [0] * after
            self.late_s = [0.0] * before + self.late_s + [0.0] * after
        place = number - self.first
        self.kept[place] += kept
        self.missed[place] += missed
        self.late_s[place] += late_s

    def forget(self, below: int) -> None:
        """Drop the buckets below a number."""
        out = max(0, below - self.first)
        self.first += out
        del self.kept[:out], self.missed[:out], self.late_s[:out]

    def since(self, number: int) -> tuple[int, int, float]:
        """All that is counted in a bucket and those after it."""
        begin = max(0, number - self.first)
        return sum(self.kept[begin:]), sum(self.missed[begin:]), sum(self.late_s[begin:])


class PromiseState(Struct, gc=False):
    """How one promise of an asset stands.

    Attributes:
        open: obligations neither kept nor missed, by source (for a completion under ""), oldest first.
        late: source -> the mark of the newest obligation that was missed and is not reached yet.
        breached: when the incident going on began; None where there is none.
        incidents: how many incidents it had, the one going on included; its newest is `ASSET:PROMISE#incidents`.
        missed: obligations missed in the newest incident.
        origin: the first obligation that was missed in the incident going on.
        counts: what came of its obligations, for the window.
        since: when its first obligation was made.
        period: the last cut-off that was dealt with, for a completion.
    """

    asset: str
    promise: PromiseKind
    open: dict[str, list[Obligation]] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)
    breached: datetime | None = None
    incidents: int = 0
    missed: int = 0
    origin: Obligation | None = None
    counts: Counts = field(default_factory=Counts)
    since: datetime | None = None
    period: datetime | None = None


def in_ms(moment: datetime) -> int:
    """A moment as whole milliseconds since 1970: what the world is marked by."""
    return (moment - BEGINNING) // timedelta(milliseconds=1)


class Incident(Struct, frozen=True):
    """A time in which a promise was broken, from the first obligation missed until nothing was late any more."""

    incident: str
    asset: str
    promise: PromiseKind
    begun: datetime
    ended: datetime | None
    missed: int
    origin: Obligation


class Storm(Struct, gc=False):
    """A pipeline formed runs faster than its `storm` allows: none is formed before `until`."""

    since: datetime
    until: datetime


class Pause(Struct, gc=False):
    """Somebody stopped a pipeline's automatic admission."""

    by: str
    at: datetime
    reason: str = ""


class Last(Struct, gc=False):
    """How a pipeline's newest ended run ended."""

    run: str
    phase: str
    at: datetime
    failure: str = ""


class Success(Struct, gc=False):
    """A pipeline's successful run that started last: when that was, and how long it took from there."""

    began: datetime
    took_s: float
