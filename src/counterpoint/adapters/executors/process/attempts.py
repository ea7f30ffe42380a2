"""Attempts from their placement to the report of their end.

An attempt's end is reported when its main process has ended and nothing that it started is left. The
host is the parent of every orphan (`processes.adopt_orphans`), so what is left of an attempt whose
main process has ended is below the host's own children, and each of them announces its end.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime

from counterpoint.adapters.executors.process import processes
from counterpoint.adapters.executors.process.functions import Functions
from counterpoint.adapters.executors.process.masking import Mask
from counterpoint.adapters.executors.process.memory import LOOK_EVERY_S, Limit, Limits, under_limit
from counterpoint.adapters.executors.process.output import Output
from counterpoint.adapters.executors.process.spool import Entry, Spool, entry_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from counterpoint.adapters.executors.process.loop import Loop, Timer

#: How often what running attempts report is looked at.
_OUTPUT_EVERY_S = 0.1
#: What the host has for `adapters.secrets.environment`; no task inherits these variables.
_NOT_INHERITED = "COUNTERPOINT_SECRET_"
_LOG_CHUNK_BYTES = 1 << 16
#: How much of the log's end is looked at for the line that says what went wrong.
_LAST_WORDS_BYTES = 2048
_LAST_WORDS_MAX = 300
_OUT_OF_MEMORY = 137


class _Refused(Exception):
    """An attempt cannot be started; the text says why and what to do."""


class _Attempt:
    """One that has an entry and no end yet."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.started = datetime.now(UTC)
        self.mask: Mask | None = None
        self.output = Output(entry.output, None)
        self.log = ""
        self.pipe: int | None = None  # the reading end, where the log is masked
        self.log_fd: int | None = None
        self.limit: Limit | None = None
        self.is_function = False
        self.pid: int | None = None
        self.has_ended = False
        self.status: int | None = None
        self.cpu_s, self.memory_bytes = 0.0, 0
        self.left: dict[int, int] = {}  # its processes, as far as they were looked at: number -> start time
        self.grace: Timer | None = None  # asked to stop, until it is killed
        self.is_killed = False
        self.detail = ""

    @property
    def sessions(self) -> tuple[int, ...]:
        return () if self.pid is None else (self.pid,)


class Attempts:
    """The attempts of this host that have not ended.

    Args:
        secret: name -> value; raises an error whose text may be shown if there is none.
        report: takes the line that reports an end, which is kept already.
        progress: takes the line that reports something a running attempt said.
    """

    def __init__(
        self,
        loop: Loop,
        spool: Spool,
        *,
        logs: str,
        nothing: str,
        limits: Limits,
        secret: Callable[[str], str],
        report: Callable[[bytes], None],
        progress: Callable[[bytes], None],
        warm_idle_s: float,
    ) -> None:
        self._loop, self._spool, self._logs, self._nothing = loop, spool, logs, nothing
        self._limits, self._secret, self._report, self._progress = limits, secret, report, progress
        self._functions = Functions(loop, self, idle_s=warm_idle_s)
        self._boot = processes.boot()
        self._environ: dict[str, str] = {}
        self._by_id: dict[str, _Attempt] = {}  # name of the entry -> attempt
        self._by_pid: dict[int, _Attempt] = {}
        self._reading = self._looking = False

    def __len__(self) -> int:
        return len(self._by_id)

    def set_environ(self, environ: dict[str, str]) -> None:
        """What the environment of attempts placed from now on starts from."""
        if environ != self._environ:
            self._environ = environ
            self._functions.retire()

    # --- starting

    def place(self, message: dict[str, Any]) -> None:
        """Start an attempt, unless it has an entry already."""
        try:
            entry = self._spool.create(message["attempt"], message["look"])
        except FileExistsError:
            return
        except OSError as error:
            # Nothing has started and nothing can be kept; asked for again, it may be placed again.
            entry = Entry("", message["attempt"], message["look"])
            detail = f"the worker host cannot write to its spool: {error.strerror}"
            self._report(_report_of_end(_Attempt(entry), failure="error", detail=detail))
            return
        attempt = _Attempt(entry)
        self._by_id[entry.name] = attempt
        try:
            self._start(attempt, message)
        except _Refused as refusal:
            attempt.detail = str(refusal)
            self._finish(attempt)
        except OSError as error:
            attempt.detail = f"the worker host could not start it: {error}"
            self._finish(attempt)
        else:
            self._watch_output()

    def _start(self, attempt: _Attempt, message: dict[str, Any]) -> None:
        folder = message["folder"]
        env = self._prepare(attempt, message)
        self._open_log(attempt, message["log"])
        if message["memory"]:
            attempt.limit = self._limits.limit(attempt.entry.name, message["memory"])
            if not attempt.limit.join:
                self._watch_memory()
        if message["function"]:
            self._call(attempt, message, env)
            return
        argv = list(message["argv"])
        try:
            if attempt.limit and attempt.limit.join:
                argv = under_limit([_program(argv[0], folder, env["PATH"]), *argv[1:]], attempt.limit)
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=attempt.log_fd,
                stderr=attempt.log_fd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise _Refused(_why_not_started(error, message["argv"], folder)) from error
        process.returncode = 0  # `reaped` waits for it; Popen must not
        attempt.pid = process.pid
        self._by_pid[process.pid] = attempt
        self._close_log(attempt)
        found = processes.look_up(process.pid)
        try:
            attempt.entry.claim(f"claim 1 {process.pid} {found.started if found else 0} {self._boot}")
        except OSError as error:
            # A host after this one would not find it, so it must not run.
            attempt.detail = f"the worker host cannot write to its spool: {error.strerror}"
            self._signal(attempt, signal.SIGKILL)

    def _prepare(self, attempt: _Attempt, message: dict[str, Any]) -> dict[str, str]:
        """Write what the task reads; its environment."""
        entry = attempt.entry
        env = {name: value for name, value in self._environ.items() if not name.startswith(_NOT_INHERITED)}
        own = os.path.dirname(sys.executable)
        secrets = []
        for name, value in message["env"].items():
            if isinstance(value, str):
                env[name] = value
            else:
                try:
                    env[name] = self._secret(value["name"])
                except Exception as error:
                    raise _Refused(f"the secret {value['name']!r} of {name} was not found: {error}") from error
                secrets.append(env[name])
        env["PATH"] = f"{own}:{env.get('PATH', os.defpath)}"
        env["COUNTERPOINT_OUTPUT"] = entry.output
        for name in ("events", "inputs"):
            content = message[name]
            path = entry.write(name, content.encode()) if content != "[]" else self._nothing
            env[f"COUNTERPOINT_{name.upper()}"] = path
        if message["checkpoint"] is not None:
            env["COUNTERPOINT_CHECKPOINT"] = entry.write("checkpoint", message["checkpoint"].encode())
        if secrets:
            attempt.mask = Mask(secrets)
        attempt.output = Output(entry.output, attempt.mask)
        return env

    def _open_log(self, attempt: _Attempt, name: str) -> None:
        name = name or f"{attempt.entry.name}.log"
        attempt.log = os.path.normpath(os.path.join(self._logs, name))
        if not attempt.log.startswith(os.path.join(self._logs, "")):
            raise _Refused(f"a log below the host's log folder was expected, {name!r} was found")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        try:
            log = os.open(attempt.log, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(attempt.log), mode=0o700, exist_ok=True)
            log = os.open(attempt.log, flags, 0o600)
        attempt.log_fd = log
        if attempt.mask:
            # A named pipe, because a fork of a warm process can open it by itself. Opened for reading and
            # writing, it has no end of file before its time; what is in it is read when the attempt has ended.
            pipe = attempt.entry.part("log")
            os.mkfifo(pipe, 0o600)
            attempt.pipe = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
            os.close(log)
            attempt.log_fd = os.open(pipe, os.O_WRONLY)
            self._loop.watch(attempt.pipe, lambda *, writable: self._copy_log(attempt))

    def _close_log(self, attempt: _Attempt) -> None:
        if attempt.log_fd is not None:
            os.close(attempt.log_fd)
            attempt.log_fd = None

    def _copy_log(self, attempt: _Attempt, *, at_end: bool = False) -> None:
        assert attempt.pipe is not None and attempt.mask is not None
        masked = []
        with suppress(BlockingIOError):
            while True:
                masked.append(attempt.mask.stream(os.read(attempt.pipe, _LOG_CHUNK_BYTES)))
                if not at_end:
                    break  # the loop says when there is more; others get their turn
        if at_end:
            masked.append(attempt.mask.rest())
        # What a full disk does not take is not worth an attempt, and the pipe must not fill up.
        with suppress(OSError), open(attempt.log, "ab", buffering=0) as log:
            log.write(b"".join(masked))

    # --- Python functions (`functions.Calls`)

    def _call(self, attempt: _Attempt, message: dict[str, Any], env: dict[str, str]) -> None:
        self._close_log(attempt)
        attempt.is_function = True
        entry, folder = attempt.entry, message["folder"]
        if not os.path.isdir(folder):
            raise _Refused(_no_folder(folder))
        request = {
            "id": entry.name,
            "function": message["function"],
            "arguments": message["arguments"],
            "env": env,
            "folder": folder,
            "log": entry.part("log") if attempt.mask else attempt.log,
            "output": entry.output,
            "entry": entry.path,
            "round": 1,
            "boot": self._boot,
            "join": attempt.limit.join if attempt.limit else "",
        }
        try:
            self._functions.call(request, python=message["python"], paths=tuple(message["paths"]))
        except OSError as error:
            raise _Refused(_why_not_started(error, [message["python"]], folder)) from error

    def started(self, call: str, pid: int) -> None:
        """See `functions.Calls`."""
        attempt = self._by_id[call]
        attempt.pid, attempt.started = pid, datetime.now(UTC)
        self._by_pid[pid] = attempt
        if attempt.grace:
            processes.send(signal.SIGTERM, [pid])

    def ended(self, pid: int, status: int | None, cpu_s: float, memory_bytes: int) -> None:
        """See `functions.Calls`."""
        attempt = self._by_pid.pop(pid, None)
        if attempt:
            attempt.cpu_s, attempt.memory_bytes = cpu_s, memory_bytes
            self._main_ended(attempt, status)

    def orphaned(self, request: dict[str, Any], python: str, paths: tuple[str, ...]) -> None:
        """See `functions.Calls`."""
        attempt = self._by_id[request["id"]]
        # The dead process may have forked without having said so: a claim of our own stops a fork, or shows it.
        if not attempt.entry.claim(f"claim {request['round']} 0 0 -"):
            [(pid, _, _)] = attempt.entry.claimed_by()[-1:]
            self.started(request["id"], pid)
            if not processes.is_child(pid):
                self.ended(pid, None, 0.0, 0)
        elif attempt.is_killed:
            attempt.detail = "it was stopped before its function was called"
            self._finish(attempt)
        elif request["round"] == 1:
            # Once more, and now the fork does the importing: if that is what killed the warm process, only
            # the guilty call dies of it.
            self._functions.call({**request, "round": 2}, python=python, paths=paths)
        else:
            attempt.detail = f"the warm process of {python} ended before it called the function; see host.log"
            self._finish(attempt)

    # --- ending

    def reap(self) -> None:
        """Take the ends of all children that have ended."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._by_pid:
                self.ended(pid, status, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
            elif not self._functions.reaped(pid):
                # Something that an attempt had left behind; perhaps the last of it.
                for attempt in [attempt for attempt in self._by_id.values() if attempt.has_ended]:
                    self._settle(attempt)

    def stop(self, attempt_id: str, grace_s: float) -> None:
        """Ask every process of the attempt to stop, and kill what is left after the grace."""
        for attempt in list(self._by_id.values()):
            if attempt.entry.attempt == attempt_id and not attempt.grace:
                self._signal(attempt, signal.SIGTERM)
                attempt.grace = self._loop.later(grace_s, lambda attempt=attempt: self._kill(attempt))  # type: ignore[misc]

    def stop_all(self, grace_s: float) -> None:
        """Ask every attempt to stop."""
        for attempt in list(self._by_id.values()):
            self.stop(attempt.entry.attempt, grace_s)

    def _signal(self, attempt: _Attempt, number: signal.Signals) -> None:
        found = processes.Census().members(attempt.entry.output, attempt.sessions, attempt.left)
        attempt.left.update(found)
        processes.send(number, found)
        processes.send(signal.SIGCONT, found)  # one that is stopped would not hear it

    def _kill(self, attempt: _Attempt) -> None:
        if attempt.entry.name in self._by_id:
            attempt.is_killed = True
            if attempt.pid is None:
                self._functions.kill(attempt.entry.name)
            # What is forked while the others are killed is found when the main process has ended.
            self._signal(attempt, signal.SIGKILL)

    def _main_ended(self, attempt: _Attempt, status: int | None) -> None:
        attempt.has_ended, attempt.status = True, status
        self._settle(attempt)

    def _settle(self, attempt: _Attempt) -> None:
        """Finish the attempt if nothing of it is left; else see to it that nothing is."""
        left = self._left_of(attempt)
        if not left:
            self._finish(attempt)
            return
        attempt.left.update(left)
        if attempt.is_killed or not attempt.grace:
            processes.send(signal.SIGKILL, left)

    def _strays(self) -> list[int]:
        """Children that are neither a main process nor a warm one: attempts left them behind."""
        known = self._functions.pids
        return [pid for pid in processes.children() if pid not in self._by_pid and pid not in known]

    def _left_of(self, attempt: _Attempt) -> dict[int, int]:
        strays = self._strays()
        if not strays:
            return {}
        table = processes.everyone()
        own = [
            pid
            for pid in strays
            if pid in table
            and (
                table[pid].session in attempt.sessions
                or attempt.left.get(pid) == table[pid].started
                or processes.marked(pid) == attempt.entry.output
                # Nothing tells whose it is; it goes with the last attempt that it may belong to.
                or len(self._by_id) == 1
            )
        ]
        return {pid: table[pid].started for pid in processes.with_descendants(own, table)}

    def _finish(self, attempt: _Attempt) -> None:
        self._read(attempt, at_end=True)
        if attempt.pipe is not None:
            self._copy_log(attempt, at_end=True)
            self._loop.unwatch(attempt.pipe)
            os.close(attempt.pipe)
        self._close_log(attempt)
        if attempt.grace:
            attempt.grace.cancel()
        failure, detail = self._verdict(attempt)
        line = _report_of_end(
            attempt, failure=failure, detail=attempt.mask.text(detail) if attempt.mask else detail
        )
        with suppress(OSError):  # a full disk: it is reported all the same, and kept by nobody
            attempt.entry.keep_end(line)
        del self._by_id[attempt.entry.name]
        self._report(line)
        if attempt.limit:
            attempt.limit.release()

    def _verdict(self, attempt: _Attempt) -> tuple[str, str]:
        """How it failed, and the words for it; two empty texts where it succeeded."""
        status = attempt.status
        if attempt.has_ended and status == 0:
            return "", ""
        if attempt.limit and attempt.limit.exceeded():
            return "out-of-memory", f"it used more than its limit of {attempt.limit.size_bytes / 1e6:.0f} MB"
        if attempt.detail:
            return "signal" if attempt.is_killed else "error", attempt.detail
        if status is None:
            return "error", "its warm process was killed at the same moment: how it ended is not known"
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return "signal", f"it was ended by {_signal_name(-code)}"
        words = _last_words(attempt.log)
        if attempt.is_function and code == _OUT_OF_MEMORY:
            return "out-of-memory", words
        return "exit", f"exit code {code}{': ' if words else ''}{words}"

    # --- watching

    def checkpoints(self) -> list[bytes]:
        """Every checkpoint that running attempts have reported, as lines, for an engine that has just come."""
        running = self._by_id.values()
        return [_progress_line(attempt, text) for attempt in running for text in attempt.output.checkpoints]

    def running(self, attempt: str, look: int) -> bool:
        """Whether an attempt has no end yet."""
        return entry_name(attempt, look) in self._by_id

    def _read(self, attempt: _Attempt, *, at_end: bool = False) -> None:
        with suppress(OSError):
            for text in attempt.output.read(at_end=at_end):
                self._progress(_progress_line(attempt, text))

    def _watch_output(self) -> None:
        if not self._reading and self._by_id:
            self._reading = True
            self._loop.later(_OUTPUT_EVERY_S, self._read_outputs)

    def _read_outputs(self) -> None:
        self._reading = False
        for attempt in list(self._by_id.values()):
            self._read(attempt)
        self._watch_output()

    def _watch_memory(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.later(LOOK_EVERY_S, self._look_at_memory)

    def _look_at_memory(self) -> None:
        self._looking = False
        limited = [attempt for attempt in self._by_id.values() if attempt.limit and not attempt.limit.join]
        if not limited:
            return
        table = processes.everyone()
        for attempt in limited:
            assert attempt.limit is not None
            own = (pid for pid, found in table.items() if found.session in attempt.sessions or pid in attempt.left)
            used = sum(table[pid].rss_bytes for pid in processes.with_descendants(own, table))
            if used > attempt.limit.size_bytes and not attempt.limit.was_exceeded:
                attempt.limit.was_exceeded = True
                self._kill(attempt)
        self._watch_memory()


def _report_of_end(attempt: _Attempt, *, failure: str, detail: str) -> bytes:
    code = None
    if attempt.status is not None:
        code = os.waitstatus_to_exitcode(attempt.status)
    head = json.dumps(
        {
            "type": "ended",
            "attempt": attempt.entry.attempt,
            "look": attempt.entry.look,
            "succeeded": not failure,
            "failure": failure,
            "exit_code": code if code is None or code >= 0 else None,
            "detail": detail,
            "bad_lines": attempt.output.bad,
            "started": attempt.started.isoformat(),
            "ended": datetime.now(UTC).isoformat(),
            "cpu_s": round(attempt.cpu_s, 6),
            "memory_bytes": attempt.memory_bytes,
        }
    )
    # The lines are JSON text already; they are not taken apart again.
    return f'{head[:-1]},"lines":[{",".join(attempt.output.lines)}]}}\n'.encode()


def _progress_line(attempt: _Attempt, text: str) -> bytes:
    return f'{{"type":"progress","attempt":{json.dumps(attempt.entry.attempt)},"line":{text}}}\n'.encode()


def _program(name: str, folder: str, path: str) -> str:
    """The file of a program, as starting it would find it."""
    places = [folder] if "/" in name else path.split(":")
    for place in places:
        file = os.path.join(place, name)
        if os.path.isfile(file) and os.access(file, os.X_OK):
            return file
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _why_not_started(error: OSError | ValueError, argv: list[str], folder: str) -> str:
    program = argv[0] if argv else ""
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR) and not os.path.isdir(folder):
        return _no_folder(folder)
    if number == errno.ENOENT:
        return f"the program {program!r} was not found; install it, or give its path (seen from {folder})"
    if number == errno.EACCES:
        return f"{program!r} may not be run from {folder}; `chmod +x` it, or name its interpreter first"
    if number == errno.ENOEXEC:
        return f"{program!r} is no program the system can run; begin it with a line like `#!/bin/sh`"
    if number == errno.E2BIG:
        return f"the arguments and environment of {program!r} are too long for the system; pass them in a file"
    return f"{program!r} could not be started: {error}"


def _no_folder(folder: str) -> str:
    return f"the folder {folder} was not found; tasks run in the folder of the score that declares them"


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _last_words(log: str) -> str:
    """The last line of a log, which usually says what went wrong."""
    with suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_WORDS_BYTES))
        lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:_LAST_WORDS_MAX] if lines else ""
    return ""
