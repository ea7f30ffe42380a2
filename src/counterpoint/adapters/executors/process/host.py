"""The worker host: a process and session of its own, under which attempts run, whatever becomes of the engine.

    python -m counterpoint.adapters.executors.process.host --folder FOLDER
        [--idle-s 60] [--secrets MODULE:CLASS[=ARGUMENT]]...

It imports the standard library only, and little of it: it starts in the time of one attempt. In its folder:

    lock         held for its life: free means certainly gone; says its pid and name
    generation   what hosts of this folder are called, and how many there have been: the n-th is NAME-n
    socket       where the engine speaks to it (`protocol.py`)
    host.log     what it had to say when things went wrong
    nothing      an empty JSON array, for tasks that are given no events or inputs
    spool/       `spool.py`
    logs/        what attempts print

Before it takes anything it deals with what a host before it left behind (`recovery.py`). It ends by
itself when it has had no attempt and no engine for a while, and on SIGTERM, which it passes on.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from getopt import getopt

from counterpoint.adapters.executors.process import processes
from counterpoint.adapters.executors.process.attempts import Attempts
from counterpoint.adapters.executors.process.loop import Loop, Timer
from counterpoint.adapters.executors.process.memory import Limits
from counterpoint.adapters.executors.process.protocol import PROTOCOL, Channel, encode
from counterpoint.adapters.executors.process.recovery import Recovery
from counterpoint.adapters.executors.process.spool import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Exit code: another host holds the lock.
TAKEN = 3

_WARM_IDLE_S = 300.0
#: How long attempts have to stop when the host itself is asked to.
_GRACE_S = 5.0


class Host:
    """Serves one engine at a time: the one with the highest epoch.

    Args:
        folder: absolute; nobody else may be in it, the caller holds its lock.
        idle_s: how long to stay with no attempt and no engine.
        secrets: where secrets come from, in order: `MODULE:CLASS[=ARGUMENT]`. Each is a `ports.secrets.Secrets`
            that is made from its argument, else from the environment, and imported when it is needed.
    """

    def __init__(self, folder: str, *, name: str, idle_s: float, secrets: list[str], limits: Limits) -> None:
        self._name, self._idle_s, self._sources = name, idle_s, secrets
        self._environ: dict[str, str] = dict(os.environ)
        self._epoch = 0
        self._engine: Channel | None = None
        self._channels: set[Channel] = set()
        self._idle: Timer | None = None
        self._is_stopping = False
        self._loop = Loop()
        self._loop.on_signal(signal.SIGCHLD, self._on_child)
        self._loop.on_signal(signal.SIGTERM, self._on_terminate)
        nothing = os.path.join(folder, "nothing")
        with open(nothing, "w", encoding="ascii") as file:
            file.write("[]")
        self._spool = Spool(os.path.join(folder, "spool"))
        self._attempts = Attempts(
            self._loop,
            self._spool,
            logs=os.path.join(folder, "logs"),
            nothing=nothing,
            limits=limits,
            secret=self._secret,
            report=self._report,
            progress=self._send,
            warm_idle_s=_WARM_IDLE_S,
        )
        self._recovery = Recovery(self._loop, self._spool, report=self._send)
        self._listener = _listen(folder)
        self._loop.watch(self._listener.fileno(), self._on_connection)
        self._watch_idleness()

    def run(self) -> None:
        """Serve until there is nothing to do any more."""
        gc.collect()
        gc.freeze()
        self._loop.run()
        # While the lock is held: the next host makes its own.
        with suppress(FileNotFoundError):
            os.unlink("socket")

    # --- engines

    def _on_connection(self, *, writable: bool) -> None:
        connection, _ = self._listener.accept()
        self._channels.add(Channel(self._loop, connection, receive=self._receive, closed=self._on_hang_up))

    def _on_hang_up(self, channel: Channel) -> None:
        self._channels.discard(channel)
        if channel is self._engine:
            self._engine = None
            self._watch_idleness()

    def _receive(self, channel: Channel, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "hello":
            self._greet(channel, message)
        elif channel is not self._engine:
            self._refuse(channel, "another engine has taken this host over")
        elif kind == "place":
            self._place(message)
        elif kind == "stop":
            self._attempts.stop(message["attempt"], message["grace_s"])
        elif kind == "acknowledge":
            self._spool.remove(message["attempt"], message["look"])
        elif kind == "resolve":
            self._resolve(message)
        elif kind == "ping":
            self._send(encode({"type": "pong"}))

    def _greet(self, channel: Channel, message: dict[str, Any]) -> None:
        if message["protocol"] != PROTOCOL:
            self._refuse(
                channel, f"this host (pid {os.getpid()}) speaks protocol {PROTOCOL}; end it when it is free"
            )
            return
        if message["epoch"] < self._epoch:
            self._refuse(channel, "a newer engine has taken this host over")
            return
        self._epoch = message["epoch"]
        former, self._engine = self._engine, channel
        if former and former is not channel:
            self._refuse(former, "another engine has taken this host over")
        self._environ = message["environ"]
        self._attempts.set_environ(self._environ)
        self._send(encode({"type": "welcome", "host": self._name}))
        for entry in self._spool:
            if end := entry.end():
                self._send(end)
        for line in self._attempts.checkpoints():
            self._send(line)
        self._watch_idleness()

    def _refuse(self, channel: Channel, detail: str) -> None:
        channel.send(encode({"type": "refused", "epoch": self._epoch, "detail": detail}))
        channel.close()

    def _place(self, message: dict[str, Any]) -> None:
        if self._is_stopping:
            return  # the engine finds out from the next host that it was never received
        self._attempts.place(message)
        self._send(encode({"type": "placed", "attempt": message["attempt"], "look": message["look"]}))
        self._watch_idleness()

    def _resolve(self, message: dict[str, Any]) -> None:
        unknown = []
        for attempt, look in message["attempts"]:
            if self._attempts.running(attempt, look) or (attempt, look) in self._recovery:
                continue
            entry = self._spool.find(attempt, look)
            if entry is None:
                unknown.append([attempt, look])
            else:
                self._send(entry.end() or _end_not_kept(attempt, look))
        self._send(encode({"type": "resolved", "request": message["request"], "unknown": unknown}))

    def _send(self, line: bytes) -> None:
        if self._engine:
            self._engine.send(line)

    # --- attempts

    def _report(self, line: bytes) -> None:
        self._send(line)
        self._watch_idleness()
        if self._is_stopping and not self._attempts:
            self._loop.stop()

    def _secret(self, name: str) -> str:
        problems = []
        for source in self._sources:
            try:
                value: str = _open_secrets(source, self._environ).resolve(name)
            except Exception as error:
                problems.append(str(error))
            else:
                return value
        raise LookupError("; ".join(problems) or "this worker host has no source of secrets")

    # --- life

    def _on_child(self) -> None:
        self._attempts.reap()

    def _on_terminate(self) -> None:
        self._is_stopping = True
        self._attempts.stop_all(_GRACE_S)
        if not self._attempts:
            self._loop.stop()

    def _watch_idleness(self) -> None:
        is_idle = not self._engine and not self._attempts
        if self._idle and not is_idle:
            self._idle.cancel()
            self._idle = None
        elif is_idle and not self._idle:
            self._idle = self._loop.later(self._idle_s, self._loop.stop)


def _end_not_kept(attempt: str, look: int) -> bytes:
    """What is said of an attempt that has ended while the disk was full, to an engine that was not there."""
    detail = "how it ended is not known: the worker host could not write to its spool"
    return encode({"type": "lost", "attempt": attempt, "look": look, "detail": detail})


def _open_secrets(source: str, environ: dict[str, str]) -> Any:
    place, _, argument = source.partition("=")
    module, _, name = place.partition(":")
    made: Any = getattr(importlib.import_module(module), name)
    return made(argument) if argument else made(environ)


def _listen(folder: str) -> socket.socket:
    # By its name alone, seen from the folder: a path to a socket may not be longer than 107 bytes.
    os.chdir(folder)
    with suppress(FileNotFoundError):
        os.unlink("socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    listener.listen()
    listener.setblocking(False)
    return listener


def take_lock(folder: str) -> int | None:
    """Hold the folder's lock as long as the returned file is open; None if another host holds it."""
    fd = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    # More than once: a client that looks whether it is free holds it for a moment.
    for _ in range(5):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return fd
    os.close(fd)
    return None


def next_name(folder: str) -> str:
    """A name that no other host has had, of this folder or any: a store may see hosts of several machines."""
    path = os.path.join(folder, "generation")
    place, generation = f"local-{os.urandom(4).hex()}", 1
    with suppress(FileNotFoundError), open(path, encoding="ascii") as file:
        place, former = file.read().split()
        generation += int(former)
    with open(f"{path}.new", "w", encoding="ascii") as file:
        file.write(f"{place} {generation}")
        file.flush()
        os.fsync(file.fileno())  # the one file here that must survive a power cut: names are never used twice
    os.rename(f"{path}.new", path)
    return f"{place}-{generation}"


def main(arguments: list[str]) -> int:
    """Become the worker host of a folder. Returns at once, in the parent, when the host serves."""
    options, _ = getopt(arguments, "", ["folder=", "idle-s=", "secrets="])
    folder = os.path.abspath(dict(options)["--folder"])
    idle_s = float(dict(options).get("--idle-s", 60))
    secrets = [value for option, value in options if option == "--secrets"]
    os.makedirs(folder, mode=0o700, exist_ok=True)

    # The parent stays until the host serves, and its exit code says so; the host is nobody's child.
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        with open(told, "rb") as answer:
            return int(answer.read() or b"1")
    os.close(told)
    os.setsid()
    lock = take_lock(folder)
    if lock is None:
        os.write(tell, str(TAKEN).encode())
        return TAKEN
    name = next_name(folder)
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()} {name}\n".encode())
    processes.adopt_orphans()
    import zlib

    group = f"counterpoint-{zlib.crc32(folder.encode()):08x}"
    host = Host(folder, name=name, idle_s=idle_s, secrets=secrets, limits=Limits(group))
    log = os.open("host.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd in (1, 2):
        os.dup2(log, fd)
    os.close(log)
    os.write(tell, b"0")
    os.close(tell)
    host.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
