"""What can be chosen, in the imperative. Decisions are facts of the kernel's own making.

A decision records its whole outcome (ids, slots taken, exact times), so that folding it into
State needs no policy, and a reason: a code with figures, turned into a sentence on reading
(`kernel/sentences.py`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from counterpoint.kernel.events import Change
from counterpoint.model.promise import PromiseKind


class Reason(Struct, frozen=True, omit_defaults=True, gc=False):
    """Why something was decided: a code of `kernel/sentences.py` and the figures of its sentence."""

    code: str
    figures: dict[str, Any] = field(default_factory=dict)


class Decision(Struct, frozen=True, kw_only=True, tag_field="kind", gc=False):
    """What every decision carries."""

    at: datetime
    reason: Reason


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One change on its way to one subscriber.

    Attributes:
        number: its id, ascending over the store.
        group: which group of the subscriber's trigger it serves.
        origin: the item that it replays; None for a first delivery.
        confirms, confirm_by: the run that waits for this item (sync delivery), and how long; "" for none.
        floor: source that a promise looks at -> up to where its changes are in what came before this item; so
            long as the item is not done, its subscriber has no more than that.
        split: the value of `elastic.by`; slot: the value of `concurrency_by`.
    """

    number: int
    change: int
    subject: str
    pipeline: str
    group: int
    at: datetime
    key: str = ""
    partition: str = ""
    hops: int = 0
    origin: int | None = None
    confirms: str = ""
    trace: str = ""
    confirm_by: datetime | None = None
    floor: dict[str, int] = field(default_factory=dict)
    split: str = ""
    slot: str = ""


class Pin(Struct, frozen=True, omit_defaults=True, gc=False):
    """The version of an asset that a run was admitted with; seq 0 is none yet.

    Attributes:
        reflects: source -> up to where the asset had its changes then.
        edition: how often the asset had been published then, while a promise looks at it; -1 where the task
            reports that it read an older version.
    """

    asset: str
    partition: str
    seq: int
    label: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    suspect: bool = False
    reflects: dict[str, int] = field(default_factory=dict)
    edition: int = 0


class Deliver(Decision, frozen=True, tag="Deliver"):
    """Hand a change to its subscribers; each gets an item of its own."""

    change: Change
    items: tuple[Item, ...]


class SkipTicks(Decision, frozen=True, tag="SkipTicks"):
    """Leave out ticks that were missed, and say how many."""

    pipeline: str
    source: int
    count: int
    first: datetime
    last: datetime


class AdvanceClock(Decision, frozen=True, tag="AdvanceClock"):
    """Note the last tick of a clock source that was dealt with."""

    pipeline: str
    source: int
    tick: datetime


class CreateRun(Decision, frozen=True, tag="CreateRun"):
    """Let a run begin to wait for admission.

    Attributes:
        items: numbers of the items set aside for it (`overlap: queue`); else it takes what is
            pending when it is admitted.
        rank, due: its place in the queue: class, then time. `due` is the earlier of arrival + the class's wait
            (`top_at`, when it moves to the top) and of when its first task should have ended, so that what
            follows keeps promises if it takes as usual. `PlaceRun` may change it. `latest` is its latest start.
        takes_s: how long it is expected to take, where that is known better than by the pipeline.
        slot: the value that `concurrency_by` counts.
        wanted_by: when what it makes is owed: the earliest obligation it serves, or what whoever asked said.
    """

    run: str
    pipeline: str
    key: str
    partition: str
    rank: int
    due: datetime
    automatic: bool
    top_at: datetime | None = None
    latest: datetime | None = None
    takes_s: float | None = None
    slot: str = ""
    wanted_by: datetime | None = None
    items: tuple[int, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    by: str = ""
    request: str = ""
    lane: Literal["live", "backfill", "shadow"] = "live"
    mode: Literal["live", "observed"] = "live"
    external_id: str = ""
    revision: str = ""
    digest: str = ""
    trace: str = ""


class AdmitRun(Decision, frozen=True, tag="AdmitRun"):
    """Let a waiting run begin: it takes its items, its inputs are pinned, its assets are held."""

    run: str
    items: tuple[int, ...]
    pins: tuple[Pin, ...]
    holds: dict[str, int]
    partial: bool = False
    hops: int = 0
    trace: str = ""


class StartAttempt(Decision, frozen=True, tag="StartAttempt"):
    """Start one try of a task on a named host; from here on it holds these slots."""

    attempt: str
    run: str
    task: str
    number: int
    host: str
    slots: dict[str, int]
    memory: int | None = None
    deadline: datetime | None = None


class LookAttempt(Decision, frozen=True, tag="LookAttempt"):
    """Ask a deferred attempt's tool again, on a host that is there now."""

    attempt: str
    look: int
    host: str
    callback: Any = None


class StopAttempt(Decision, frozen=True, tag="StopAttempt"):
    """Ask an attempt to stop: a signal, then after `grace_s` the end. `why` is how its end will count.

    A deferred attempt has no process to signal: at look `look`, on `host`, its tool ends what runs elsewhere.
    """

    attempt: str
    why: Literal["timeout", "cancel", "preempt"]
    grace_s: float
    look: int | None = None
    host: str = ""


class RetryTask(Decision, frozen=True, tag="RetryTask"):
    """Try a failed task again, not before `not_before`."""

    run: str
    task: str
    not_before: datetime
    memory: int | None = None
    slots: dict[str, int] | None = None


class FailTask(Decision, frozen=True, tag="FailTask"):
    """Give a task up: its kind of failure is not retried, or its tries are used up."""

    run: str
    task: str
    failure: str


class SkipTask(Decision, frozen=True, tag="SkipTask"):
    """Leave a task out, because what it comes after did not end as it asks."""

    run: str
    task: str


class PublishAsset(Decision, frozen=True, tag="AssetPublished"):
    """A new version of an asset is current.

    Attributes:
        reflects: source that a promise looks at -> every change of it up to here is in the version. Of a source
            that no pipeline writes it counts changes; of one that samples the world (`world:PIPELINE`) it is
            the moment of the sample, in milliseconds since 1970.
        task: the task whose own write it is; "" for a write of the pipeline or from outside.
    """

    asset: str
    partition: str
    seq: int
    label: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    reflects: dict[str, int] = field(default_factory=dict)
    pins: tuple[Pin, ...] = ()
    data_through: datetime | None = None
    by: str = ""
    task: str = ""
    hops: int = 0


class ConfirmAsset(Decision, frozen=True, tag="ConfirmAsset"):
    """A run found nothing to change: the current version stays, confirmed."""

    asset: str
    partition: str
    seq: int
    by: str
    task: str = ""
    pins: tuple[Pin, ...] = ()
    reflects: dict[str, int] = field(default_factory=dict)


class RaiseMark(Decision, frozen=True, tag="RaiseMark"):
    """An asset is up to date with more than was known, without a run: what it is made of did not change."""

    asset: str
    reflects: dict[str, int]
    writer: str


class Oblige(Decision, frozen=True, tag="Oblige"):
    """A promise makes an obligation: the asset must reflect these sources up to these marks by `due`.

    Attributes:
        marks: source -> mark, as in `PublishAsset.reflects`; nothing where no source was heard of yet, and then
            nothing is owed.
        since: when the oldest of what must be in it happened; for a completion, the cut-off.
        period: the cut-off by the wall, for a completion.
    """

    asset: str
    promise: PromiseKind
    marks: dict[str, int]
    since: datetime
    due: datetime
    period: datetime | None = None


class MissObligations(Decision, frozen=True, tag="MissObligations"):
    """So many obligations of a promise were still open when they were due; with the first an incident begins.

    Attributes:
        due: when the first of them was due; now, where it was late when it was made.
    """

    asset: str
    promise: PromiseKind
    count: int
    due: datetime


class RefuseReport(Decision, frozen=True, tag="RefuseReport"):
    """A report of an asset is not taken; the reason says why."""

    asset: str
    by: str
    task: str = ""


class MarkSuspect(Decision, frozen=True, tag="MarkSuspect"):
    """An in-place writer failed: its asset may be half written until it is published again."""

    asset: str
    partition: str
    by: str


class CancelRun(Decision, frozen=True, tag="CancelRun"):
    """End a run so that a newer one of its lane takes over its items."""

    run: str


class AwaitConfirmation(Decision, frozen=True, tag="AwaitConfirmation"):
    """The run's work is done; it ends when its sync subscribers have these items."""

    run: str
    items: tuple[int, ...]
    deadline: datetime


class Confirm(Decision, frozen=True, tag="Confirm"):
    """A sync subscriber has got as far as it must with an item, or will not: then the run may have to fail."""

    run: str
    item: int
    fails: bool = False


class FinishRun(Decision, frozen=True, tag="FinishRun"):
    """A run has ended. Its items are done, given back, kept back or skipped as `items_become` says."""

    run: str
    phase: Literal["succeeded", "failed", "cancelled"]
    items_become: Literal["done", "pending", "kept", "skipped"]
    failure: str = ""


class RestSubscription(Decision, frozen=True, tag="RestSubscription"):
    """After a run that failed for good, wait before the same items are tried again."""

    pipeline: str
    partition: str
    key: str
    failures: int
    until: datetime


class EndItems(Decision, frozen=True, tag="EndItems"):
    """End pending items of one lane without a run: skipped, or as dead letters."""

    pipeline: str
    partition: str
    key: str
    items: tuple[int, ...]
    outcome: Literal["skipped", "dead"]


class RaiseRun(Decision, frozen=True, tag="RaiseRun"):
    """A run has waited as long as its class may: move it to the top."""

    run: str


class PlaceRun(Decision, frozen=True, tag="PlaceRun"):
    """Give a waiting run another place in its class: another obligation counts than when it was made.

    Attributes:
        due, latest, wanted_by: as `CreateRun` has them.
    """

    run: str
    due: datetime
    latest: datetime | None
    wanted_by: datetime | None


class ReserveFor(Decision, frozen=True, tag="ReserveFor"):
    """Keep what gets free of these resources for a run, or a task of one, that others go around.

    Because it was passed over too long, or because it needs several slots at once and must be in time.

    Attributes:
        start: when it is expected to start: only who ends before may go around it. None where nobody knows.
    """

    run: str
    resources: tuple[str, ...]
    task: str = ""
    start: datetime | None = None


class KeepRoom(Decision, frozen=True, tag="KeepRoom"):
    """Keep all that a run, or a task of one, needs while others make room for it, until it starts or `until`."""

    run: str
    resources: dict[str, int]
    until: datetime
    task: str = ""


class TripStorm(Decision, frozen=True, tag="TripStorm"):
    """A pipeline forms runs faster than its `storm` allows: none is formed before `until`."""

    pipeline: str
    until: datetime


class CalmStorm(Decision, frozen=True, tag="CalmStorm"):
    """A storm is over: what was held back may become runs. `items` are pending now, in so many lanes."""

    pipeline: str
    since: datetime
    items: int
    lanes: int


class Note(Decision, frozen=True, tag="Note"):
    """Nothing is done, and the reason is worth a record: an event that nobody wanted, a refused request."""

    subject: str = ""


AnyDecision: TypeAlias = (
    Deliver
    | SkipTicks
    | AdvanceClock
    | CreateRun
    | AdmitRun
    | StartAttempt
    | LookAttempt
    | StopAttempt
    | RetryTask
    | FailTask
    | SkipTask
    | PublishAsset
    | ConfirmAsset
    | RaiseMark
    | Oblige
    | MissObligations
    | RefuseReport
    | MarkSuspect
    | CancelRun
    | AwaitConfirmation
    | Confirm
    | FinishRun
    | RestSubscription
    | EndItems
    | RaiseRun
    | PlaceRun
    | ReserveFor
    | KeepRoom
    | TripStorm
    | CalmStorm
    | Note
)
