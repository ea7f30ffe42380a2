"""Where attempts run: started, looked at, stopped, and found again after a restart.

An executor reports to the `sink` it was connected with. Ends are reported until they are
acknowledged, so a report may come twice; the engine drops what it has recorded already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct, field

from counterpoint.model.pipeline import Secret


class Invocation(Struct, frozen=True, kw_only=True):
    """What an attempt carries out: a command, or a Python function in a fresh fork of a warm process.

    Attributes:
        argv: program and arguments, for a command.
        function: `module:name`, for a Python function.
        arguments: the function's keyword arguments. A first parameter that is named `run`, or annotated
            with `counterpoint.sdk.Run`, gets the run besides. A dict that is returned is the result.
        python: the interpreter whose warm process is forked; "" is Counterpoint's own.
        paths: folders put first on that interpreter's module path.
        memory: limit in bytes.
    """

    argv: tuple[str, ...] = ()
    function: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    python: str = ""
    paths: tuple[str, ...] = ()
    folder: str = "."
    env: dict[str, str | Secret] = field(default_factory=dict)
    memory: int | None = None


class Placement(Struct, frozen=True, kw_only=True):
    """An attempt to start (`look` 0), or to ask again (`look` 1, 2, ... after a *not yet*).

    Attributes:
        events: CloudEvents the run took, as JSON; written to the file `COUNTERPOINT_EVENTS` names.
        inputs: pinned versions, as JSON; written to the file `COUNTERPOINT_INPUTS` names.
        checkpoint: the newest checkpoint of the run's task, as JSON; None where there is none.
        log: name of its log below the host's log folder: `RUN/TASK.ATTEMPT.log`.
    """

    attempt: str
    look: int
    invocation: Invocation
    events: bytes = b"[]"
    inputs: bytes = b"[]"
    checkpoint: bytes | None = None
    log: str = ""


class Ended(Struct, frozen=True, kw_only=True, tag="ended"):
    """The attempt's process is gone. `lines` are what it wrote to `COUNTERPOINT_OUTPUT`, bad ones left out.

    Attributes:
        exit_code: None where a signal ended it.
        failure: as in `kernel.events.AttemptEnded`; "" where it succeeded.
    """

    attempt: str
    look: int
    succeeded: bool
    failure: str = ""
    exit_code: int | None = None
    detail: str = ""
    lines: tuple[dict[str, Any], ...] = ()
    bad_lines: tuple[str, ...] = ()
    started: datetime | None = None
    ended: datetime | None = None
    cpu_s: float = 0.0
    memory_bytes: int = 0


class Lost(Struct, frozen=True, kw_only=True, tag="lost"):
    """The attempt has certainly ended, and how is not known."""

    attempt: str
    detail: str = ""


class Progress(Struct, frozen=True, kw_only=True, tag="progress"):
    """A line that a running attempt wrote to `COUNTERPOINT_OUTPUT`: a checkpoint, progress or a metric."""

    attempt: str
    line: dict[str, Any]


class HostState(Struct, frozen=True, kw_only=True, tag="host"):
    """A host appeared, cannot be reached, or has certainly ended."""

    host: str
    state: Literal["appeared", "unreachable", "lost"]


Report: TypeAlias = Ended | Lost | Progress | HostState
Sink: TypeAlias = Callable[[Report], None]


class Executor(Protocol):
    """A place where attempts run, behind one or more worker hosts."""

    async def connect(self, *, epoch: int, sink: Sink) -> Sequence[str]:
        """Find the hosts, or start one, and take them over under this epoch.

        From now on hosts refuse an older epoch. Each host is reported to `sink` as `appeared`.

        Returns:
            Names of the hosts that take attempts.
        """
        ...

    async def resolve(
        self, attempts: Sequence[tuple[str, str, int]], *, hosts: Sequence[str] = ()
    ) -> Sequence[tuple[str, int]]:
        """Find attempts again that the journal says are running: (attempt, host, look).

        Each is running (its end will be reported), ended (its end is reported now), certainly
        lost (reported), was never received by a host that is still there, or its host is
        unreachable (reported), so that nothing is known.

        Args:
            hosts: others that the journal knows; each that is not there any more is reported too.

        Returns:
            Those never received: (attempt, look); placing them again is safe.
        """
        ...

    async def place(self, host: str, placement: Placement) -> None:
        """Start an attempt on that host; a repeated placement changes nothing.

        Returns when it is handed over, not when it has started. Problems are reported as ends.
        """
        ...

    async def stop(self, attempt: str, *, grace_s: float) -> None:
        """Ask an attempt to stop: SIGTERM to all its processes, after the grace SIGKILL. Its end is reported."""
        ...

    async def acknowledge(self, attempt: str, look: int) -> None:
        """The end of an attempt is recorded; the host may forget it."""
        ...

    async def forget(self, before: datetime) -> int:
        """Drop the logs of attempts that wrote nothing since that time. How many they were."""
        ...

    async def close(self) -> None:
        """Let the hosts go; attempts run on."""
        ...
