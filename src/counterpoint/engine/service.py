"""What the API, the command line and pages may ask of a running engine.

Every method that changes something returns when the change is committed. Names of people come
in as `by`. Mistakes of the caller are raised as `errors.Mistake` (`NotFound`, `Conflict`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from msgspec import Struct, field

from counterpoint.analysis.budget import Budget
from counterpoint.analysis.forecast import Forecast
from counterpoint.kernel.events import Band
from counterpoint.model.plan import Plan
from counterpoint.ports.store import History


class Accepted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one posted event.

    Attributes:
        status: 202 kept, 200 a repeat, 409 same identity and other content, 400 refused, 413 too large.
        error: for a refused one: what was wrong and what to do.
    """

    source: str
    id: str
    status: int
    change: int | None = None
    duplicate: bool = False
    code: str = ""
    error: str = ""


class Declared(Struct, frozen=True, kw_only=True):
    """What a declaration changed: names by what became of them."""

    digest: str
    changed: bool
    added: dict[str, list[str]] = field(default_factory=dict)
    removed: dict[str, list[str]] = field(default_factory=dict)
    altered: dict[str, list[str]] = field(default_factory=dict)


class PipelineStatus(Struct, frozen=True, kw_only=True):
    """A pipeline now.

    Attributes:
        state: `running`, `waiting`, `resting`, `paused`, `pending` (items, no run yet) or `idle`.
        because: one sentence that says why it is in that state.
        pending: items that wait for a run; `oldest_pending` when the oldest of them came.
        next_at: the next moment at which it moves by itself; None if only something from outside can move it.
    """

    name: str
    owner: str
    state: str
    because: str
    running: list[str]
    waiting: list[str]
    pending: int
    dead: int
    oldest_pending: datetime | None
    next_at: datetime | None
    last_run: str
    last_phase: str
    last_ended_at: datetime | None
    paused_by: str = ""


class PoolStatus(Struct, frozen=True, kw_only=True):
    """A pool now; `holders` are attempt ids with their slots, `waiting` runs in queue order (first 20)."""

    name: str
    slots: int
    used: int
    holders: dict[str, int]
    waiting: list[str]
    reserved_for: str = ""


class AssetStatus(Struct, frozen=True, kw_only=True):
    """The current version of an asset's partition; seq 0 is none yet.

    Attributes:
        reflects: source -> up to where the asset as a whole has its changes; of sources that a promise looks at.
    """

    asset: str
    partition: str
    seq: int
    label: str
    metadata: dict[str, Any]
    published_at: datetime | None
    by: str
    suspect: bool
    reflects: dict[str, int] = field(default_factory=dict)


class SourceStatus(Struct, frozen=True, kw_only=True):
    """How an asset stands to one source.

    Attributes:
        age_s: how long ago the oldest change happened that is not in the asset yet; 0 if there is none, None if
            nothing was ever heard of the source.
        newest: the newest change; `reflects` up to where the asset has them.
    """

    source: str
    age_s: float | None
    newest: int
    reflects: int


class PromiseStatus(Struct, frozen=True, kw_only=True):
    """A promise now.

    Attributes:
        owed: what it promises, in words.
        window_s: over which the share is reckoned.
        open: obligations neither kept nor missed; `next_due` when the first of them is.
        incident: the incident going on; "" for none.
        incidents: how many there were, that one included.
    """

    asset: str
    promise: str
    owed: str
    target: float
    window_s: float
    budget: Budget
    freshness: list[SourceStatus]
    open: int
    next_due: datetime | None
    forecast: Forecast
    incident: str
    breached_at: datetime | None
    incidents: int


class Status(Struct, frozen=True, kw_only=True):
    """The whole engine now."""

    score: str
    digest: str
    declared_at: datetime | None
    at: datetime
    wall: datetime
    epoch: int
    facts: int
    hosts: dict[str, str]
    pipelines: list[PipelineStatus]
    pools: list[PoolStatus]
    assets: list[AssetStatus]
    notices: list[str]
    promises: list[PromiseStatus] = field(default_factory=list)


class Blamed(Struct, frozen=True, kw_only=True):
    """A stretch of time and what it is blamed on; those of one account follow each other without a gap.

    Attributes:
        cause: as in `analysis.blame.Stretch`; `text` says it in words.
        seconds: how long it was.
    """

    start: datetime
    end: datetime
    seconds: float
    cause: str
    text: str
    run: str = ""
    name: str = ""
    holders: list[str] = field(default_factory=list)


class Moment(Struct, frozen=True, kw_only=True):
    """An entry of a timeline."""

    at: datetime
    text: str


class Downstream(Struct, frozen=True, kw_only=True):
    """A pipeline that is made of an asset, directly or not, and whose it is."""

    pipeline: str
    owner: str


class IncidentReport(Struct, frozen=True, kw_only=True):
    """A time in which a promise was broken, for a review without blame for persons.

    Attributes:
        since: when the first change happened that was not there in time; `due` when it was to be.
        missed: obligations missed from then to the end.
        timeline: what happened, oldest first.
        causes: where the time went from the change until the asset had it, or until now.
        downstream: who may have felt it.
    """

    incident: str
    asset: str
    promise: str
    begun_at: datetime
    ended_at: datetime | None
    missed: int
    since: datetime
    due: datetime
    timeline: list[Moment]
    causes: list[Blamed]
    downstream: list[Downstream]


class Explanation(Struct, frozen=True, kw_only=True):
    """Why something is as it is.

    Attributes:
        lines: sentences, the most important first.
        blockers: what it waits for: {what, name, detail, holders}.
        frees: what would free it; `when` the next known moment at which something changes.
        causes: the chain that led to it, newest first: {run or change, what, at}.
        blame: where the time went, oldest first; it adds up to the time from the change until the end, or now.
    """

    subject: str
    state: str
    lines: list[str]
    blockers: list[dict[str, Any]]
    frees: str = ""
    when: datetime | None = None
    causes: list[dict[str, Any]] = field(default_factory=list)
    blame: list[Blamed] = field(default_factory=list)


class StreamMessage(Struct, frozen=True, kw_only=True):
    """A committed fact for those who watch: `text` is its sentence, `fact` its JSON fields."""

    seq: int
    at: datetime
    kind: str
    text: str
    run: str = ""
    pipeline: str = ""
    fact: dict[str, Any] = field(default_factory=dict)


class Service(Protocol):
    """A running engine, as its entry points see it."""

    max_event_bytes: int

    @property
    def history(self) -> History:
        """Questions about the past."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the engine leads and accepts."""
        ...

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        ...

    async def declare(self, plan: Plan, *, by: str, commit: str = "", dry_run: bool = False) -> Declared:
        """Replace the plan in force, or only say what would change."""
        ...

    async def accept(self, events: Sequence[Mapping[str, Any]], *, by: str, attempt: str = "") -> list[Accepted]:
        """Take CloudEvents (as JSON objects); each gets an answer of its own, good ones are kept.

        Args:
            attempt: the attempt whose token was used; its run becomes the events' cause.
        """
        ...

    async def run(
        self,
        pipeline: str,
        *,
        by: str,
        request: str = "",
        reason: str = "",
        key: str = "",
        partition: str = "",
        params: Mapping[str, Any] | None = None,
        trace: str = "",
        lane: Literal["live", "backfill"] = "live",
        takes_s: float | None = None,
        deadline: datetime | None = None,
    ) -> str:
        """Ask for a run; its id. The same `request` again gives the same run.

        Args:
            takes_s: how long it is expected to take, where that is known better than by the pipeline.
            deadline: when it should have ended; its place in the queue follows from it.
        """
        ...

    async def cancel(self, run: str, *, by: str, reason: str = "", skip: bool = False) -> None:
        """Ask a run to end."""
        ...

    async def retry(self, run: str, *, by: str, reason: str = "") -> None:
        """Go on with a failed or cancelled run, from its failed tasks."""
        ...

    async def pause(self, pipeline: str, *, by: str, reason: str = "") -> None:
        """Stop a pipeline's automatic admission."""
        ...

    async def resume(self, pipeline: str, *, by: str, reason: str = "") -> None:
        """End a pause or a rest, and let kept-back items go."""
        ...

    async def replay(
        self, pipeline: str, *, by: str, changes: Sequence[int] = (), dead: bool = False, reason: str = ""
    ) -> int:
        """Give one subscriber changes again: those named, or all its dead letters. How many."""
        ...

    async def discard(self, items: Sequence[int], *, by: str, reason: str = "") -> int:
        """Drop dead letters for good. How many."""
        ...

    async def report_asset(self, report: Mapping[str, Any], *, by: str) -> AssetStatus:
        """Take a version of an asset that no live pipeline writes."""
        ...

    async def callback(self, attempt: str, *, headers: Mapping[str, str], body: bytes) -> None:
        """Take a remote job's call-back; raises `Mistake` with code `bad-signature` if it is not signed right."""
        ...

    async def report_attempt(self, attempt: str, line: Mapping[str, Any]) -> None:
        """Take one line of what an attempt reports over HTTP: a checkpoint or progress."""
        ...

    def refused(self, what: str, *, code: str, detail: str, by: str) -> None:
        """Put on record that something handed in was not taken; nothing else is changed."""
        ...

    def attempt_of(self, token: str) -> str | None:
        """The attempt that a task's token belongs to, while that attempt runs."""
        ...

    async def status(self) -> Status:
        """Everything now, as far as it is committed."""
        ...

    async def incident(self, name: str) -> IncidentReport:
        """All that is known of an incident; raises `NotFound` if there is none of that name."""
        ...

    def durations(self, pipeline: str) -> list[Band]:
        """How long runs of a pipeline and attempts of its tasks take, as learned; empty until it is."""
        ...

    async def explain(self, name: str) -> Explanation:
        """Why a run (ended ones too), a pipeline, an asset or a pool is as it is, and what led to it."""
        ...

    async def wait_for_run(self, run: str) -> Literal["succeeded", "failed", "cancelled"]:
        """Return when the run has ended, with how."""
        ...

    def stream(self, *, after: int | None = None) -> AsyncIterator[StreamMessage]:
        """Committed facts from now on, or after a seq; a slow reader is cut off, never blocks the engine."""
        ...

    async def journal(self, *, after: int = 0, limit: int = 100) -> Sequence[StreamMessage]:
        """Committed facts with a seq above `after`, oldest first."""
        ...

    async def logs(
        self, run: str, *, task: str | None = None, attempt: int | None = None
    ) -> Sequence[tuple[str, str]]:
        """Where the logs of a run are: (attempt id, path of the file)."""
        ...
