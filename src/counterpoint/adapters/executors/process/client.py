"""The engine's side of the worker host: the Executor port over the host's socket."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct, structs

from counterpoint.adapters.executors.process import launch
from counterpoint.adapters.executors.process.protocol import PROTOCOL
from counterpoint.errors import CounterpointError, HostUnreachable, LeadershipLost
from counterpoint.ports.executor import Ended, HostState, Lost, Placement, Progress, Sink

_log = logging.getLogger(__name__)

Key: TypeAlias = tuple[str, int]


class _Welcome(Struct, tag="welcome"):
    host: str


class _Refused(Struct, tag="refused"):
    epoch: int
    detail: str


class _Placed(Struct, tag="placed"):
    attempt: str
    look: int


class _Resolved(Struct, tag="resolved"):
    request: int
    unknown: list[Key]


class _Pong(Struct, tag="pong"):
    pass


_Said: TypeAlias = Ended | Lost | Progress | _Welcome | _Refused | _Placed | _Resolved | _Pong
_decoder = msgspec.json.Decoder(_Said)
_encode = msgspec.json.encode


class _Connection(asyncio.Protocol):
    """Lines from the host, taken in the moment they arrive."""

    def __init__(self, executor: ProcessExecutor) -> None:
        self._executor = executor
        self._partial = b""
        self.transport: asyncio.Transport
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, received: bytes) -> None:
        *lines, self._partial = (self._partial + received).split(b"\n")
        for line in lines:
            try:
                self._executor._take(self, _decoder.decode(line))
            except Exception:
                # One report that cannot be taken must not keep the others away; the host has it still.
                _log.exception("a report of the worker host could not be taken: %.200r", line)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def send(self, line: bytes) -> None:
        self.transport.write(line + b"\n")


class ProcessExecutor:
    """Attempts as processes on this machine, under one worker host, which is started when there is none.

    Args:
        folder: the host's own: its lock, socket, spool and logs; made with mode 0700.
        idle_s: how long a host that this starts stays with no attempt and no engine.
        patience_s: a host that says nothing for so long is unreachable.
        secrets: where a host that this starts finds secrets, in order: `MODULE:CLASS[=ARGUMENT]`.
    """

    def __init__(
        self, folder: Path, *, idle_s: float = 60.0, patience_s: float = 10.0, secrets: Sequence[str] = ()
    ) -> None:
        self._folder = folder.absolute()
        self._idle_s, self._patience_s, self._secrets = idle_s, patience_s, tuple(secrets)
        self._ping_s = patience_s / 5
        self._epoch = 0
        self._sink: Sink = lambda _report: None
        self._keeper: asyncio.Task[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._host = ""
        self._state = ""  # of the host, as last reported
        self._heard_at = 0.0
        self._failed: CounterpointError | None = None  # why no connection is tried any more
        self._connection: _Connection | None = None  # one that the host has welcomed
        self._settled = asyncio.Event()  # welcomed, or failed
        # What the host has not confirmed; said again on the next connection.
        self._placing: dict[Key, bytes] = {}
        self._stopping: dict[str, bytes] = {}
        self._asking: dict[int, asyncio.Future[list[Key]]] = {}
        self._questions = 0

    @property
    def logs(self) -> Path:
        """The folder below which the logs of attempts are."""
        return self._folder / "logs"

    async def connect(self, *, epoch: int, sink: Sink) -> Sequence[str]:
        """See `ports.executor.Executor`.

        Raises:
            LeadershipLost: the host obeys a newer epoch.
            HostUnreachable: there is a host and it does not answer, or none can be started.
        """
        await self.close()
        self._forget()
        self._epoch, self._sink = epoch, sink
        self._keeper = asyncio.create_task(self._keep())
        try:
            await self._until_welcomed()
        except BaseException:
            await self.close()
            raise
        return [self._host]

    async def resolve(
        self, attempts: Sequence[tuple[str, str, int]], *, hosts: Sequence[str] = ()
    ) -> Sequence[tuple[str, int]]:
        """See `ports.executor.Executor`.

        Earlier hosts of this folder have ended, because ours holds their lock. Of a host of another folder, which
        may be on another machine, nothing is known here.

        Raises:
            HostUnreachable: the host does not answer, so nothing is known.
        """
        host_of = {(attempt, look): host for attempt, host, look in attempts}
        unknown = await self._ask([key for key, host in host_of.items() if self._is_of_this_folder(host)])
        for host in dict.fromkeys([*hosts, *host_of.values()]):
            if host != self._host:
                state = "lost" if self._is_of_this_folder(host) else "unreachable"
                self._sink(HostState(host=host, state=state))  # type: ignore[arg-type]
        self._bury(key for key in unknown if host_of[key] != self._host)
        return [key for key in unknown if host_of[key] == self._host]

    def _is_of_this_folder(self, host: str) -> bool:
        return host.rpartition("-")[0] == self._host.rpartition("-")[0]

    async def place(self, host: str, placement: Placement) -> None:
        """See `ports.executor.Executor`."""
        self._check()
        key = placement.attempt, placement.look
        if host == self._host:
            self._placing[key] = line = _place(placement)
            self._say(line)
        elif self._is_of_this_folder(host):
            self._bury([key])

    async def stop(self, attempt: str, *, grace_s: float) -> None:
        """See `ports.executor.Executor`."""
        self._check()
        self._stopping[attempt] = line = _encode({"type": "stop", "attempt": attempt, "grace_s": grace_s})
        self._say(line)

    async def acknowledge(self, attempt: str, look: int) -> None:
        """See `ports.executor.Executor`. If it does not arrive, the end is reported again."""
        self._say(_encode({"type": "acknowledge", "attempt": attempt, "look": look}))

    async def forget(self, before: datetime) -> int:
        """See `ports.executor.Executor`."""
        return await asyncio.to_thread(_drop_logs, self.logs, before.timestamp())

    async def close(self) -> None:
        """See `ports.executor.Executor`."""
        keeper, self._keeper = self._keeper, None
        if keeper:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper

    # --- keeping a connection

    async def _keep(self) -> None:
        """Stay connected, to this host or its successor, until cancelled or refused."""
        self._heard_at = asyncio.get_running_loop().time()
        pause_s = shortest_s = self._patience_s / 1000
        while self._failed is None:
            connection = None
            try:
                if launch.is_gone(self._folder):
                    await launch.start(self._folder, idle_s=self._idle_s, secrets=self._secrets)
                connection = await self._open()
                await self._serve(connection)
            except HostUnreachable as error:
                if not self._host:
                    self._fail(error)
                _log.warning("%s", error)
            except OSError as error:
                _log.info("no connection to the worker host: %s", error)
            finally:
                was_welcomed = connection is not None and connection is self._connection
                self._hang_up(connection)
            pause_s = shortest_s if was_welcomed else min(pause_s * 2, self._ping_s)
            self._look_if_silent()
            await asyncio.sleep(pause_s)

    async def _open(self) -> _Connection:
        loop = asyncio.get_running_loop()
        link = socket.socket(socket.AF_UNIX)
        # By way of the open folder: a path to a socket may not be longer than 107 bytes.
        folder = os.open(self._folder, os.O_PATH)
        try:
            link.setblocking(False)
            link.connect(f"/proc/self/fd/{folder}/socket")  # at once, or it fails: there is no network between
            _, connection = await loop.create_connection(lambda: _Connection(self), sock=link)
        except BaseException:
            link.close()
            raise
        finally:
            os.close(folder)
        hello = {"type": "hello", "protocol": PROTOCOL, "epoch": self._epoch, "environ": dict(os.environ)}
        connection.send(json.dumps(hello).encode())  # with escapes for what is no text in the environment
        return connection

    async def _serve(self, connection: _Connection) -> None:
        """Return when the connection has ended."""
        while not connection.closed.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(connection.closed.wait(), self._ping_s)
            self._look_if_silent()
            if connection is self._connection:
                connection.send(b'{"type":"ping"}')

    def _look_if_silent(self) -> None:
        silent_s = asyncio.get_running_loop().time() - self._heard_at
        # One ping early, so that it is said within the patience and not at the next look after it.
        if silent_s >= self._patience_s - self._ping_s:
            self._announce("unreachable")

    def _hang_up(self, connection: _Connection | None) -> None:
        if connection:
            connection.transport.abort()
        if connection is self._connection:
            self._connection = None
            if not self._failed:
                self._settled.clear()
        for answer in self._asking.values():
            if not answer.done():
                answer.set_exception(ConnectionError())
        self._asking.clear()

    def _fail(self, error: CounterpointError) -> None:
        self._failed = error
        self._settled.set()

    def _check(self) -> None:
        if self._failed:
            raise self._failed

    async def _until_welcomed(self) -> None:
        try:
            await asyncio.wait_for(self._settled.wait(), self._patience_s)
        except TimeoutError:
            raise HostUnreachable(f"the worker host of {self._folder} does not answer") from None
        self._check()

    # --- saying and hearing

    def _say(self, line: bytes) -> None:
        if self._connection:
            self._connection.send(line)

    async def _ask(self, keys: list[Key]) -> list[Key]:
        """Those of the attempts that the host never received."""
        while True:
            await self._until_welcomed()
            self._questions += 1
            self._asking[self._questions] = answer = asyncio.get_running_loop().create_future()
            self._say(_encode({"type": "resolve", "request": self._questions, "attempts": keys}))
            try:
                return await asyncio.wait_for(answer, self._patience_s)
            except ConnectionError:
                continue
            except TimeoutError:
                raise HostUnreachable(f"the worker host {self._host} does not answer") from None

    def _take(self, connection: _Connection, said: _Said) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if isinstance(said, _Welcome):
            self._on_welcome(connection, said.host)
            return
        if isinstance(said, _Refused):
            self._fail(LeadershipLost(f"the worker host refused this engine: {said.detail}"))
            return
        if connection is not self._connection:
            return
        self._announce("appeared")
        match said:
            case _Placed():
                self._placing.pop((said.attempt, said.look), None)
            case _Resolved(request=0):
                self._bury(said.unknown)
            case _Resolved():
                answer = self._asking.pop(said.request, None)
                if answer and not answer.done():
                    answer.set_result(said.unknown)
            case Ended() | Lost():
                self._stopping.pop(said.attempt, None)
                self._sink(said)
            case Progress():
                self._sink(said)

    def _on_welcome(self, connection: _Connection, host: str) -> None:
        former, self._host, self._connection = self._host, host, connection
        if former == host:
            for line in [*self._placing.values(), *self._stopping.values()]:
                self._say(line)
        elif former:
            self._sink(HostState(host=former, state="lost"))
            self._state = ""
            # What it had received, its successor reports; it also knows what it had not.
            self._say(_encode({"type": "resolve", "request": 0, "attempts": list(self._placing)}))
            self._placing.clear()
            self._stopping.clear()
        self._announce("appeared")
        self._settled.set()

    def _announce(self, state: Literal["appeared", "unreachable"]) -> None:
        if self._host and state != self._state:
            self._state = state
            self._sink(HostState(host=self._host, state=state))

    def _bury(self, keys: Iterable[Key]) -> None:
        for attempt, _ in keys:
            self._sink(Lost(attempt=attempt, detail="its worker host ended before it received the attempt"))


def _place(placement: Placement) -> bytes:
    invocation = placement.invocation
    checkpoint = placement.checkpoint
    return _encode(
        {
            "type": "place",
            "attempt": placement.attempt,
            "look": placement.look,
            "log": placement.log,
            "events": placement.events.decode(),
            "inputs": placement.inputs.decode(),
            "checkpoint": None if checkpoint is None else checkpoint.decode(),
            **structs.asdict(invocation),
            "folder": str(Path(invocation.folder).absolute()),
        }
    )


def _drop_logs(logs: Path, before: float) -> int:
    """Remove files below `logs` that were not written since, and folders left empty."""
    dropped = 0
    for log in list(logs.rglob("*.log")):
        with suppress(OSError):
            if log.stat().st_mtime < before:
                log.unlink()
                dropped += 1
                if log.parent != logs:
                    log.parent.rmdir()  # with the last of its run; refused while there are others
    return dropped
