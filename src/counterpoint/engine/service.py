"""What the API, the command line and pages may ask of a running engine.

Every method that changes something returns when the change is committed. Names of people come
in as `by`. Mistakes of the caller are raised as `errors.Mistake` (`NotFound`, `Conflict`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from msgspec import Struct, field

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
    """The current version of an asset's partition; seq 0 is none yet."""

    asset: str
    partition: str
    seq: int
    label: str
    metadata: dict[str, Any]
    published_at: datetime | None
    by: str
    suspect: bool


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


class Explanation(Struct, frozen=True, kw_only=True):
    """Why something is as it is.

    Attributes:
        lines: sentences, the most important first.
        blockers: what it waits for: {what, name, detail, holders}.
        frees: what would free it; `when` the next known moment at which something changes.
        causes: the chain that led to it, newest first: {run or change, what, at}.
    """

    subject: str
    state: str
    lines: list[str]
    blockers: list[dict[str, Any]]
    frees: str = ""
    when: datetime | None = None
    causes: list[dict[str, Any]] = field(default_factory=list)


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
    ) -> str:
        """Ask for a run; its id. The same `request` again gives the same run."""
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
