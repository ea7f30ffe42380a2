"""The spool: one folder an attempt, from before it starts until its end is acknowledged.

    spool/ATTEMPT[.LOOK]/
        pid, pid.2   the process that claimed the attempt: number, start time, boot
        output       what the task writes to COUNTERPOINT_OUTPUT
        events, inputs, checkpoint
                     what the task reads; left out where there is nothing to say
        log          a pipe, where secrets must be masked in what the task prints
        end          the report of its end, as the line that is sent

Making the folder is what starts an attempt at most once: it exists or it does not. Nothing is
synced to the disk: a power cut ends the processes too, and the boot id tells.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    Key: TypeAlias = tuple[str, int]

_CLAIMS = ("pid", "pid.2")


class Entry:
    """The folder of one attempt (and look)."""

    __slots__ = ("attempt", "folder", "look")

    def __init__(self, spool: str, attempt: str, look: int) -> None:
        self.attempt, self.look = attempt, look
        self.folder = os.path.join(spool, entry_name(attempt, look))

    @property
    def key(self) -> Key:
        """(attempt, look)."""
        return self.attempt, self.look

    @property
    def output(self) -> str:
        """The file of the attempt's reports; also the marker of its processes."""
        return self.path("output")

    def path(self, name: str) -> str:
        """The path of one of its files."""
        return os.path.join(self.folder, name)

    def write(self, name: str, content: bytes) -> str:
        """Write one of its files; the path."""
        path = self.path(name)
        _write(path, content, os.O_TRUNC)
        return path

    def claim_path(self, *, again: bool = False) -> str:
        """Where the process that carries the attempt out writes who it is, before anything else."""
        return self.path(_CLAIMS[again])

    def claimed_by(self) -> list[tuple[int, int, str]]:
        """Who claimed the attempt: (pid, start time, boot)."""
        found = []
        for name in _CLAIMS:
            with suppress(OSError, ValueError), open(self.path(name), encoding="ascii") as file:
                pid, started, boot = file.read().split()
                found.append((int(pid), int(started), boot))
        return found

    def end(self) -> bytes | None:
        """The report of its end, as a line; None while there is none."""
        with suppress(FileNotFoundError), open(self.path("end"), "rb") as file:
            return file.read()
        return None

    def keep_end(self, line: bytes) -> None:
        """Keep the report of its end: all of it, or nothing."""
        os.rename(self.write("end.new", line), self.path("end"))


class Spool:
    """The entries of one host folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def create(self, attempt: str, look: int) -> Entry:
        """Make the entry of an attempt.

        Raises:
            FileExistsError: there is one; the attempt must not be started.
        """
        entry = Entry(self._folder, attempt, look)
        os.mkdir(entry.folder, mode=0o700)
        return entry

    def find(self, attempt: str, look: int) -> Entry | None:
        """The entry of an attempt; None where it was never received, or is acknowledged."""
        entry = Entry(self._folder, attempt, look)
        return entry if os.path.isdir(entry.folder) else None

    def __iter__(self) -> Iterator[Entry]:
        for name in sorted(os.listdir(self._folder)):
            yield Entry(self._folder, *parse_entry_name(name))

    def remove(self, attempt: str, look: int) -> None:
        """Forget an attempt whose end is acknowledged. One without an end stays."""
        entry = Entry(self._folder, attempt, look)
        if os.path.exists(entry.path("end")):
            # The end goes last: a host that dies in between finds an entry with an end, not a lost one.
            for name in sorted(os.listdir(entry.folder), key="end".__eq__):
                _remove(entry.path(name))
            os.rmdir(entry.folder)


def entry_name(attempt: str, look: int) -> str:
    """The file name of an attempt and look; no two share one, and it can be read back.

    >>> entry_name("sales#412/load/2", 1)
    'sales%23412%2Fload%2F2.1'
    """
    name = re.sub(rb"[^A-Za-z0-9_-]", lambda match: b"%%%02X" % match[0][0], attempt.encode()).decode()
    return f"{name}.{look}" if look else name


def parse_entry_name(name: str) -> Key:
    """The attempt and look of a file name.

    >>> parse_entry_name("sales%23412%2Fload%2F2.1")
    ('sales#412/load/2', 1)
    """
    escaped, _, look = name.partition(".")
    attempt = re.sub(rb"%(..)", lambda match: bytes([int(match[1], 16)]), escaped.encode())
    return attempt.decode(), int(look or 0)


def claim(path: str, pid: int, started: int, boot: str) -> bool:
    """Write who carries an attempt out; false if somebody else did before."""
    try:
        _write(path, f"{pid} {started} {boot}".encode(), os.O_EXCL)
    except FileExistsError:
        return False
    return True


def _write(path: str, content: bytes, how: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except IsADirectoryError:  # the task made one
        import shutil

        shutil.rmtree(path, ignore_errors=True)
