"""What can have happened, in the past tense. Events are facts from outside the kernel.

Each carries `at`, the engine's time, which never goes back, and `wall`, what the clock on the
wall said; only cron and calendar rules read `wall`. A kind of event is for ever: a field may be
added with a default, anything else needs a new kind and an upcaster (`engine/upcast.py`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from counterpoint.model.plan import Plan


class Event(Struct, frozen=True, kw_only=True, tag_field="kind", gc=False):
    """What every event carries."""

    at: datetime
    wall: datetime


class Change(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Something new that subscribers may want: an accepted event, a version, a tick, a run's state.

    Attributes:
        number: its place among all changes of the store, ascending.
        subject: what sources listen to, as `model.plan.subject_of` writes it.
        source, id, type: its identity as a CloudEvent.
        time: when it happened, as its producer says.
        hops: how many runs lie between it and the change that began the chain.
        data: its payload; None where the payload is in the events table only.
        by_run: the run that caused it; "" for one from outside.
    """

    number: int
    subject: str
    source: str
    id: str
    type: str
    time: datetime
    partition: str = ""
    hops: int = 0
    data: Any = None
    by_run: str = ""
    trace: str = ""


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a task says of an asset it wrote.

    Attributes:
        label: a name for the version in the producer's own words, such as a commit or a batch.
        unchanged: nothing new was written; what is current is confirmed.
        expect: publish only if the current seq is this one (compare and set).
        data_through: how far the data reaches in the producer's time.
        read: asset -> seq that was read, where it is an older one than was pinned.
    """

    asset: str
    partition: str | None = None
    label: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    unchanged: bool = False
    expect: int | None = None
    data_through: datetime | None = None
    read: dict[str, int] = field(default_factory=dict)


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What an attempt used up."""

    cpu_s: float = 0.0
    memory_bytes: int = 0


class Band(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How long something takes, as learned: seconds that half and nine of ten stay below.

    Attributes:
        task: "" for the whole run, from admission to its end.
        p50, p90: over all samples.
        wait_p50, wait_p90: from its place in the queue to its start (for "" from created to admitted).
        hours: hour of the week in UTC (Monday 0 h is "0", up to "167") -> (p50, p90), where the samples
            show that hours differ.
    """

    pipeline: str
    task: str = ""
    p50: float
    p90: float
    wait_p50: float = 0.0
    wait_p90: float = 0.0
    samples: int = 0
    hours: dict[str, tuple[float, float]] = field(default_factory=dict)


class PlanDeclared(Event, frozen=True, tag="PlanDeclared"):
    """Somebody declared a plan; it replaces the one before."""

    digest: str
    content: Plan
    by: str
    commit: str = ""


class Woke(Event, frozen=True, tag="Woke"):
    """A moment came that the kernel had asked to be woken for."""


class ClockJumped(Event, frozen=True, tag="ClockJumped"):
    """The clock on the wall was set; engine time did not move with it."""

    by: timedelta


class InputRefused(Event, frozen=True, tag="InputRefused"):
    """Something that was handed in was not taken: a record only, nothing else is changed.

    Attributes:
        what: the request, or `event TYPE ID`.
        code: the kind of mistake; `detail` is what the sender was told, cut.
    """

    what: str
    code: str
    detail: str
    by: str


class DurationsLearned(Event, frozen=True, tag="DurationsLearned"):
    """Bands of durations were learned from what ended; each replaces the one before."""

    bands: tuple[Band, ...]


class EventAccepted(Event, frozen=True, tag="EventAccepted"):
    """An event of a declared type came from outside or from a task, and is kept. `by` says who handed it in."""

    change: Change
    by: str = ""


class RunRequested(Event, frozen=True, tag="RunRequested"):
    """A person or token asked for a run.

    Attributes:
        lane: `backfill` makes up for the past, beside the live work.
        takes_s: how long it is expected to take, where that is known better than by the pipeline.
        deadline: when it should have ended.
    """

    pipeline: str
    by: str
    request: str = ""
    reason: str = ""
    key: str = ""
    partition: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    trace: str = ""
    lane: Literal["live", "backfill"] = "live"
    takes_s: float | None = None
    deadline: datetime | None = None


class CancelRequested(Event, frozen=True, tag="CancelRequested"):
    """Somebody asked to end a run; `skip` ends its items too."""

    run: str
    by: str
    reason: str = ""
    skip: bool = False


class RetryRequested(Event, frozen=True, tag="RetryRequested"):
    """Somebody asked to go on with a run that ended badly, from its failed tasks.

    `document` is the run as history keeps it, so that State need not keep ended runs.
    """

    run: str
    by: str
    document: dict[str, Any]
    reason: str = ""


class PauseRequested(Event, frozen=True, tag="PauseRequested"):
    """Somebody stopped a pipeline's automatic admission."""

    pipeline: str
    by: str
    reason: str = ""


class ResumeRequested(Event, frozen=True, tag="ResumeRequested"):
    """Somebody ended a pause, or a rest after failures, or let kept-back items go."""

    pipeline: str
    by: str
    reason: str = ""


class ReplayRequested(Event, frozen=True, tag="ReplayRequested"):
    """Somebody asked that one subscriber gets changes again; each becomes a new item with its origin."""

    pipeline: str
    changes: tuple[Change, ...]
    by: str
    reason: str = ""
    origins: tuple[int, ...] = ()


class DiscardRequested(Event, frozen=True, tag="DiscardRequested"):
    """Somebody dropped dead letters for good."""

    items: tuple[int, ...]
    by: str
    reason: str = ""


class AssetReported(Event, frozen=True, tag="AssetReported"):
    """A version of an asset that no live pipeline writes was reported from outside."""

    report: Report
    by: str


class HostAppeared(Event, frozen=True, tag="HostAppeared"):
    """A worker host is there and takes attempts. A name is never used for two hosts."""

    host: str


class HostUnreachable(Event, frozen=True, tag="HostUnreachable"):
    """A worker host has not answered for too long; what became of its attempts is unknown."""

    host: str


class HostLost(Event, frozen=True, tag="HostLost"):
    """A worker host has certainly ended."""

    host: str


class AttemptEnded(Event, frozen=True, tag="AttemptEnded"):
    """An attempt's process ended, or its remote job did.

    Attributes:
        outcome: `succeeded` or `failed`; whether a failed one was timed out, cancelled or
            preempted the kernel knows, because it asked for it.
        failure: one of `model.pipeline.FAILURE_KINDS`; "" where it succeeded.
        verdicts: what checks found: {check, passed, found, expected}.
    """

    attempt: str
    outcome: Literal["succeeded", "failed"]
    failure: str = ""
    exit_code: int | None = None
    detail: str = ""
    reports: tuple[Report, ...] = ()
    verdicts: tuple[dict[str, Any], ...] = ()
    result: dict[str, Any] = field(default_factory=dict)
    started: datetime | None = None
    ended: datetime | None = None
    usage: Usage = Usage()


class AttemptDeferred(Event, frozen=True, tag="AttemptDeferred"):
    """An attempt answered *not yet*: no process is left, its slots stay held.

    Attributes:
        look_at: when to look again at the latest.
        callback: whether a call-back may come before that.
        external_id: what the remote side calls the job.
        carry: what the tool wants back when it looks.
    """

    attempt: str
    look_at: datetime
    callback: bool = False
    external_id: str = ""
    note: str = ""
    carry: dict[str, Any] = field(default_factory=dict)


class CallbackReceived(Event, frozen=True, tag="CallbackReceived"):
    """The remote side of a deferred attempt called back, with a valid signature."""

    attempt: str
    message: str
    data: Any = None


class CheckpointReached(Event, frozen=True, tag="CheckpointReached"):
    """A running task reported a named point of progress."""

    attempt: str
    name: str
    data: dict[str, Any] = field(default_factory=dict)


class AttemptLost(Event, frozen=True, tag="AttemptLost"):
    """An attempt has certainly ended, and how is not known."""

    attempt: str
    detail: str = ""


AnyEvent: TypeAlias = (
    PlanDeclared
    | Woke
    | ClockJumped
    | InputRefused
    | DurationsLearned
    | EventAccepted
    | RunRequested
    | CancelRequested
    | RetryRequested
    | PauseRequested
    | ResumeRequested
    | ReplayRequested
    | DiscardRequested
    | AssetReported
    | HostAppeared
    | HostUnreachable
    | HostLost
    | AttemptEnded
    | AttemptDeferred
    | CallbackReceived
    | CheckpointReached
    | AttemptLost
)
