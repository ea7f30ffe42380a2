"""Memory limits: a cgroup of version 2 or 1 where one may be made, else looking every 50 ms.

Which it is, is found out when the first limit is asked for, by doing it once.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

#: How often memory is looked at where no cgroup can be made.
LOOK_EVERY_S = 0.05

_MOUNT = "/sys/fs/cgroup"


class Limit:
    """The limit of one attempt.

    Attributes:
        size_bytes: how much it may use.
        join: the file that a process writes `0` to, to come under the limit; empty where the host
            looks at what the attempt's processes use.
        was_exceeded: set by the host, where it looks.
    """

    join = ""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.was_exceeded = False

    def exceeded(self) -> bool:
        """Whether a process was killed because of it."""
        return self.was_exceeded

    def release(self) -> None:
        """Take the limit away, after the last process has ended."""


class CgroupLimit(Limit):
    """A limit that the kernel enforces."""

    def __init__(self, folder: str, size_bytes: int, *, version: int) -> None:
        super().__init__(size_bytes)
        self._folder = folder
        self._events = os.path.join(folder, "memory.events" if version == 2 else "memory.oom_control")
        self.join = os.path.join(folder, "cgroup.procs")
        with suppress(FileExistsError):
            os.mkdir(folder)
        # Swap is switched off or bounded too, or the limit would only make the attempt slow.
        if version == 2:
            _put(folder, "memory.max", size_bytes)
            with suppress(OSError):
                _put(folder, "memory.swap.max", 0)
                _put(folder, "memory.oom.group", 1)
        else:
            _put(folder, "memory.limit_in_bytes", size_bytes)
            with suppress(OSError):
                _put(folder, "memory.memsw.limit_in_bytes", size_bytes)

    def exceeded(self) -> bool:
        """Whether the kernel killed a process because of it."""
        with suppress(OSError), open(self._events, encoding="ascii") as file:
            return any(line.startswith("oom_kill ") and int(line.split()[1]) > 0 for line in file)
        return False

    def release(self) -> None:
        """Take the cgroup away; there must be no process in it."""
        with suppress(OSError):
            os.rmdir(self._folder)


class Limits:
    """Makes limits, in the best way this machine allows.

    Args:
        name: a name for this host, to begin the names of its cgroups with.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._version: int | None = None
        self._parent = ""

    def limit(self, name: str, size_bytes: int) -> Limit:
        """A limit for the attempt of that name."""
        if self._version is None:
            self._version, self._parent = _detect(self._name)
        if self._version:
            with suppress(OSError):  # the cgroup may have been taken away from us since
                folder = os.path.join(self._parent, f"{self._name}.{name}")
                return CgroupLimit(folder, size_bytes, version=self._version)
        return Limit(size_bytes)


class LookingOnly(Limits):
    """Limits without cgroups."""

    def limit(self, name: str, size_bytes: int) -> Limit:
        """A limit that the host looks after."""
        return Limit(size_bytes)


def under_limit(argv: list[str], limit: Limit) -> list[str]:
    """The command, run by a shell that comes under the limit first and is then replaced by it."""
    return ["/bin/sh", "-c", 'echo 0 > "$0" && exec "$@"', limit.join, *argv] if limit.join else argv


def _detect(name: str) -> tuple[int, str]:
    for version, parent in _candidates():
        if _works(os.path.join(parent, f"{name}.probe"), version):
            _sweep(parent, name)
            return version, parent
    return 0, ""


def _candidates() -> list[tuple[int, str]]:
    """Folders below which a cgroup might be made: our own, then those above it, of each version."""
    found = []
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if not controllers:
                version, mount = 2, _MOUNT
            elif "memory" in controllers.split(","):
                version, mount = 1, f"{_MOUNT}/memory"
            else:
                continue
            while True:
                found.append((version, mount + path.rstrip("/")))
                if path in ("/", ""):
                    break
                path = os.path.dirname(path)
    return sorted(found, key=lambda candidate: -candidate[0])


def _works(folder: str, version: int) -> bool:
    try:
        limit = CgroupLimit(folder, 1 << 30, version=version)
    except OSError:
        with suppress(OSError):
            os.rmdir(folder)
        return False
    try:
        quiet = subprocess.DEVNULL
        return subprocess.run(under_limit(["true"], limit), stdin=quiet, stderr=quiet, check=False).returncode == 0
    finally:
        limit.release()


def _sweep(parent: str, name: str) -> None:
    """Remove what a host that was killed left behind."""
    for entry in os.listdir(parent):
        if entry.startswith(f"{name}."):
            with suppress(OSError):
                os.rmdir(os.path.join(parent, entry))


def _put(folder: str, name: str, value: int) -> None:
    # Without O_CREAT: below a folder that is no cgroup this must fail, not make a file.
    fd = os.open(os.path.join(folder, name), os.O_WRONLY)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)
