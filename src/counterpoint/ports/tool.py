"""What a kind of task is: pure translation from a declaration to an invocation, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct, field

from counterpoint.kernel.events import Report
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Ended, Invocation
from counterpoint.tables.kinds import Kind


class Context(Struct, frozen=True, kw_only=True):
    """What a tool may use to prepare an invocation.

    Attributes:
        folder: the score's folder.
        env: the variables of DESIGN's "what a task is given" that are known beforehand.
        carry: what the tool asked to get back when it answered *not yet*; None at the start.
        callback: the body of the call-back that ended the wait; None without one.
        callback_url: where the remote side may call back.
        stopping: the deferred attempt is to be stopped: prepare what ends the remote job, or the
            empty invocation where there is nothing to end.
    """

    folder: str
    env: Mapping[str, str]
    attempt: str
    look: int = 0
    carry: dict[str, Any] | None = None
    callback: Any = None
    callback_url: str = ""
    stopping: bool = False


class Answer(Struct, frozen=True, kw_only=True):
    """A task's answer: done, failed, or not yet.

    Attributes:
        failure: as in `kernel.events.AttemptEnded`.
        look_after_s: for *not yet*: seconds until the next look.
    """

    state: Literal["done", "failed", "not-yet"]
    failure: str = ""
    detail: str = ""
    reports: tuple[Report, ...] = ()
    verdicts: tuple[dict[str, Any], ...] = ()
    result: dict[str, Any] = field(default_factory=dict)
    look_after_s: float = 5.0
    callback: bool = False
    external_id: str = ""
    carry: dict[str, Any] = field(default_factory=dict)


class Tool(Protocol):
    """A kind of task. It has no life cycle and does no I/O: only the executor runs anything."""

    name: str

    @property
    def settings(self) -> Kind:
        """What may stand under the tool's key in a score; it reads to a dict that JSON can hold."""
        ...

    def prepare(self, task: Task, context: Context) -> Invocation:
        """What must be carried out."""
        ...

    def read(self, task: Task, ended: Ended) -> Answer:
        """What the end of the invocation means."""
        ...
