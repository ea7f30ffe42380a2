"""The spool: what is known of an attempt, from before it starts until its end is acknowledged.

    ATTEMPT[.LOOK]             the entry: made exclusively, so an attempt starts at most once
    ATTEMPT[.LOOK]~output      what the task writes to COUNTERPOINT_OUTPUT
    ATTEMPT[.LOOK]~events, ~inputs, ~checkpoint
                               what the task reads; left out where there is nothing to say
    ATTEMPT[.LOOK]~log         a pipe, where secrets must be masked in what the task prints

An entry is a file of lines that is only appended to. A claim is `claim ROUND PID START_TIME BOOT`, written by
the process that is about to carry the attempt out; the first claim of a round counts, any other must not
go on; PID 0 is the host's own claim, so that nobody else can make one. The last line is the report of the
end, as it is sent; a line without a line break was not finished.

One small file an attempt: where file systems are slow it is making files that is slow. Nothing is synced to
the disk: a power cut ends the processes too, and the boot id tells.
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

#: The second one is the SDK's: how many events the task has emitted.
_PARTS = ("output", "output.emitted", "events", "inputs", "checkpoint", "log")


class Entry:
    """What the spool has of one attempt (and look)."""

    __slots__ = ("attempt", "look", "path")

    def __init__(self, spool: str, attempt: str, look: int) -> None:
        self.attempt, self.look = attempt, look
        self.path = os.path.join(spool, entry_name(attempt, look))

    @property
    def key(self) -> Key:
        """(attempt, look)."""
        return self.attempt, self.look

    @property
    def name(self) -> str:
        """Its file name, which is unique in the spool."""
        return os.path.basename(self.path)

    @property
    def output(self) -> str:
        """The file of the attempt's reports; also the marker of its processes."""
        return self.part("output")

    def part(self, name: str) -> str:
        """The path of one of the files beside it."""
        return f"{self.path}~{name}"

    def write(self, name: str, content: bytes) -> str:
        """Write one of the files beside it; its path."""
        path = self.part(name)
        _write(path, content, os.O_CREAT | os.O_TRUNC)
        return path

    def claim(self, line: str) -> bool:
        """Append a claim; whether it counts."""
        _write(self.path, line.encode() + b"\n", os.O_APPEND)
        round_ = line.split(" ", 2)[1]
        return next(found for found in self._lines() if found.startswith(f"claim {round_} ")) == line

    def claimed_by(self) -> list[tuple[int, int, str]]:
        """The processes that claimed the attempt: (pid, start time, boot), the first of each round."""
        rounds: dict[str, tuple[int, int, str]] = {}
        for line in self._lines():
            if line.startswith("claim "):
                _, round_, pid, started, boot = line.split(" ")
                rounds.setdefault(round_, (int(pid), int(started), boot))
        return [claim for claim in rounds.values() if claim[0]]

    def keep_end(self, line: bytes) -> None:
        """Keep the report of its end, after a line break in case a host was killed while it wrote one."""
        _write(self.path, b"\n" + line, os.O_APPEND)

    def end(self) -> bytes | None:
        """The report of its end, as a line; None while there is none."""
        last = self._lines()[-1:]
        return last[0].encode() + b"\n" if last and last[0].startswith("{") else None

    def _lines(self) -> list[str]:
        with open(self.path, "rb") as file:
            return file.read().decode().split("\n")[:-1]


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
        _write(entry.path, b"", os.O_CREAT | os.O_EXCL)
        return entry

    def find(self, attempt: str, look: int) -> Entry | None:
        """The entry of an attempt; None where it was never received, or is acknowledged."""
        entry = Entry(self._folder, attempt, look)
        return entry if os.path.exists(entry.path) else None

    def __iter__(self) -> Iterator[Entry]:
        with os.scandir(self._folder) as found:
            # A task may have put things of its own here, beside its output.
            names = sorted(each.name for each in found if "~" not in each.name and each.is_file())
        for name in names:
            yield Entry(self._folder, *parse_entry_name(name))

    def remove(self, attempt: str, look: int) -> None:
        """Forget an attempt whose end is acknowledged."""
        entry = Entry(self._folder, attempt, look)
        # The entry goes last: a host that dies in between still knows of the attempt.
        for path in [*map(entry.part, _PARTS), entry.path]:
            with suppress(OSError):
                os.unlink(path)


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


def _write(path: str, content: bytes, how: int) -> None:
    fd = os.open(path, os.O_WRONLY | how, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
    finally:
        os.close(fd)
