"""A warm process: it has imported a module once, and forks a fresh process for each call of its functions.

It runs under the interpreter that a task names, which need not have Counterpoint: this file is started by
its path and imports the standard library only. It has one thread and no event loop, so that a fork is safe.

Its standard input is a socket to the host; one JSON object a line. The host says:

    {"id", "function", "arguments", "env", "folder", "log", "output", "join", "entry", "round", "boot"}

`arguments` are handed over by name; a first parameter that is named `run`, or annotated with `Run`, gets the
run (`counterpoint.sdk`). `join` is a cgroup's file or empty; `entry`, `round` and `boot` are for the claim
(`spool.py`). It answers:

    {"stale": id}                               a source file changed since it was imported: ask a fresh one
    {"started": id, "pid"}                      or: the call runs in this process
    {"ended": pid, "status", "cpu_s", "memory"} and later: it has ended
"""

from __future__ import annotations

import atexit
import gc
import importlib
import inspect
import json
import os
import select
import signal
import socket
import sys
import sysconfig
import threading
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeAlias

    Call: TypeAlias = Callable[[dict[str, Any]], Any]

#: The exit code after a MemoryError: what a shell says of a process that was killed for its memory.
OUT_OF_MEMORY = 137

#: How the annotation of a parameter that gets the run may be written, and the class's own full name.
_RUN = ("Run", "sdk.Run", "counterpoint.sdk.Run", "counterpoint.sdk.run.Run")


def main() -> None:
    """Serve the host until it hangs up."""
    # Its own folder came first on the path; a task's `client` or `host` must not be found there.
    if os.path.abspath(sys.path[0]) == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    sys.path[:0] = sys.argv[1:]
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    woken, wakeup = os.pipe()
    for end in (woken, wakeup):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # people watch logs
    sources = Sources()
    gc.disable()  # a collection in a fork would copy the memory it shares
    partial = b""
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for end_ in _ends():
                _say(control, end_)
        if control in ready:
            try:
                received = control.recv(1 << 18)
            except ConnectionResetError:
                return
            if not received:
                return
            *lines, partial = (partial + received).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if sources.changed():
                    _say(control, {"stale": request["id"]})
                    continue
                call = sources.load(request["function"]) if request["round"] == 1 else None
                pid = os.fork()
                if pid == 0:
                    os._exit(_child(request, call, (control.fileno(), woken, wakeup)))
                _say(control, {"started": request["id"], "pid": pid})


class Sources:
    """The functions that were imported, and whether the files they came from are still what they were."""

    def __init__(self) -> None:
        paths = sysconfig.get_paths()
        # What is installed does not change under a running process; what people write does.
        self._installed = tuple(
            os.path.join(paths[name], "") for name in ("stdlib", "platstdlib", "purelib", "platlib")
        )
        self._stamps: dict[str, tuple[int, int]] = {}
        self._calls: dict[str, Call | None] = {}

    def load(self, name: str) -> Call | None:
        """A function, imported at its first use; None where that fails.

        The fork then tries by itself, with the task's environment and log.
        """
        if name not in self._calls:
            module = name.partition(":")[0]
            importlib.invalidate_caches()
            try:
                self._calls[name] = _find(name)
            except BaseException:  # whatever a module does when it is imported, we go on
                sys.modules.pop(module, None)
                self._calls[name] = None
            sys.stdout.flush()  # or each fork would print it once more
            self._note()
            gc.collect()
            gc.freeze()
        return self._calls[name]

    def changed(self) -> bool:
        """Whether a file is not what it was when it was imported."""
        return any(_stamp(path) != stamp for path, stamp in self._stamps.items())

    def _note(self) -> None:
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if path and path not in self._stamps and not path.startswith(self._installed):
                stamp = _stamp(path)
                if stamp:
                    self._stamps[path] = stamp


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    try:
        control.sendall(json.dumps(message).encode() + b"\n")
    except OSError:  # the host is gone; its successor ends what still runs
        os._exit(0)


def _ends() -> Iterator[dict[str, Any]]:
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield {
            "ended": pid,
            "status": status,
            "cpu_s": used.ru_utime + used.ru_stime,
            "memory": used.ru_maxrss * 1024,
        }


def _child(request: dict[str, Any], call: Call | None, not_ours: tuple[int, ...]) -> int:
    """What happens in the fork; the exit code."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for fd in not_ours:
        os.close(fd)
    if not _claim(request):
        return 0  # another fork of this call was first, or the host gave the call up
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        if request["join"]:
            with open(request["join"], "w") as file:
                file.write("0")
        _change_environ(request["env"])
        os.chdir(request["folder"])
        sys.argv = [request["function"]]
        gc.enable()
        _seed()
        _make(call or _find(request["function"]), request)
        code = 0
    except SystemExit as exit_:
        code = _exit_code(exit_)
    except BaseException as error:
        # Without the frames of this file, which say nothing about the task.
        frames = error.__traceback__
        while frames and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        traceback.print_exception(type(error), error, frames)
        code = OUT_OF_MEMORY if isinstance(error, MemoryError) else 1
    return _leave(code)


def _claim(request: dict[str, Any]) -> bool:
    """Write into the spool who carries the attempt out (`spool.py`); whether this process may."""
    # Before anything of the task runs: a host that starts after ours was killed must find this process.
    stat = os.open("/proc/self/stat", os.O_RDONLY)
    started = os.read(stat, 4096).rpartition(b") ")[2].split()[19].decode()
    os.close(stat)
    start = f"claim {request['round']} ".encode()
    line = start + f"{os.getpid()} {started} {request['boot']}\n".encode()
    entry = os.open(request["entry"], os.O_RDWR | os.O_APPEND)
    os.write(entry, line)
    lines = os.pread(entry, 4096, 0).splitlines(keepends=True)
    os.close(entry)
    return next(found for found in lines if found.startswith(start)) == line


def _find(name: str) -> Call:
    """Import a function; what calls it with the task's arguments, by name, after the run if it wants that."""
    module, _, path = name.partition(":")
    function: Any = importlib.import_module(module)
    for part in path.split("."):
        function = getattr(function, part)
    signature = inspect.signature(function)
    wants_run = _wants_run(signature)

    def call(arguments: dict[str, Any]) -> Any:
        given: tuple[Any, ...] = ()
        if wants_run:
            from counterpoint.sdk import current

            given = (current(),)
        try:
            signature.bind(*given, **arguments)
        except TypeError as error:
            raise SystemExit(_unfit(name, signature, wants_run, arguments, error)) from None
        return function(*given, **arguments)

    return call


def _wants_run(signature: inspect.Signature) -> bool:
    """Whether the first parameter is called `run`, or annotated with `Run` of our SDK."""
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        return False
    annotation = first.annotation
    if not isinstance(annotation, str):
        annotation = f"{getattr(annotation, '__module__', '')}.{getattr(annotation, '__qualname__', '')}"
    return first.name == "run" or annotation.strip("'\"") in _RUN


def _unfit(
    name: str, signature: inspect.Signature, wants_run: bool, arguments: dict[str, Any], error: TypeError
) -> str:
    """What to say when the arguments do not fit; without their values, which may be long."""
    own = list(signature.parameters.values())[wants_run:]
    expected = signature.replace(parameters=own, return_annotation=signature.empty)
    found = ", ".join(arguments)
    return (
        f"{name}: arguments for `{expected}` were expected, `({found})` was found: {error}; "
        "change `arguments` in the score, or the function"
    )


def _make(call: Call, request: dict[str, Any]) -> None:
    result = call(request["arguments"])
    if inspect.iscoroutine(result):
        import asyncio

        result = asyncio.run(result)
    if isinstance(result, dict):
        line = json.dumps({"kind": "result", "data": result}, allow_nan=False)
        with open(request["output"], "a") as file:
            file.write(line + "\n")


def _change_environ(env: dict[str, str]) -> None:
    # Only what differs, which is little: a variable costs as much as a system call.
    for name in os.environ.keys() - env.keys():
        del os.environ[name]
    for name, value in env.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _seed() -> None:
    # Python's own generator is seeded anew by a fork; numpy's is not, and every attempt would draw the same.
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def _exit_code(exit_: SystemExit) -> int:
    if exit_.code is None:
        return 0
    if isinstance(exit_.code, int):
        return exit_.code & 0xFF
    print(exit_.code, file=sys.stderr)  # noqa: T201 - what Python does with a text
    return 1


def _leave(code: int) -> int:
    """What Python does before it exits, but for taking the interpreter apart, which costs milliseconds."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        return code or 1
    return code


if __name__ == "__main__":
    main()
    # Without taking the interpreter apart: some bindings complain of what that leaves, in the host's log.
    os._exit(_leave(0))
