"""What one reading has found so far: its mistakes, its doubts, and the names that must exist."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path

from msgspec import Struct

from counterpoint.errors import Mistake
from counterpoint.tables.nodes import Node

#: Looking for the nearest of many names is slow; when so many were compared, the rest goes without.
_COMPARISONS_MAX = 200_000


class Reported(Exception):
    """A mistake is on the list already, and there is no value to go on with."""


class Use(Struct, frozen=True):
    """A name that something else must declare.

    Attributes:
        of: what it names, such as a pool.
        amount: how much of it is asked for, where that is counted.
    """

    of: str
    name: str
    node: Node
    amount: int = 0


class Reading:
    """Collects what is found while documents are read: mistakes refuse them, warnings do not.

    Attributes:
        files: the files read, in the order in which their mistakes are told.
        folder: the folder of the document that is being read.
        timezone: its default time zone.
        uses: names that must be declared somewhere, for whoever knows all that are.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self.folder = Path()
        self.timezone = "UTC"
        self.uses: list[Use] = []
        self._found: list[tuple[str, int, Mistake]] = []
        self._doubts: list[tuple[str, int, Mistake]] = []
        self._comparisons_left = _COMPARISONS_MAX

    def add(self, node: Node, message: str, code: str) -> None:
        """Put a mistake on the list."""
        self._found.append((node.file, node.line, Mistake(message, where=node.where, code=code)))

    def warn(self, node: Node, message: str, code: str) -> None:
        """Note what may not be meant. It is told, and refuses nothing."""
        self._doubts.append((node.file, node.line, Mistake(message, where=node.where, code=code)))

    def refuse(self, node: Node, message: str, code: str) -> Reported:
        """Put a mistake on the list; raise what it returns to give up on this value."""
        self.add(node, message, code)
        return Reported()

    def hint(self, name: str, known: Collection[str], otherwise: str) -> str:
        """`did you mean 'X'?` where there is a near name, else the other advice."""
        if self._comparisons_left > 0:
            self._comparisons_left -= len(known)
            for near in get_close_matches(name, known, n=1):
                return f"did you mean {near!r}?"
        return otherwise

    @property
    def mistakes(self) -> list[Mistake]:
        """Every mistake in the order of the files and their lines; those of one line as they were found."""
        return self._in_order(self._found)

    @property
    def warnings(self) -> list[Mistake]:
        """What is doubtful, in the same order."""
        return self._in_order(self._doubts)

    def _in_order(self, found: list[tuple[str, int, Mistake]]) -> list[Mistake]:
        ranks: dict[str, int] = {}
        for file in (*self.files, *(file for file, _, _ in found)):
            ranks.setdefault(file, len(ranks))
        in_order = sorted(found, key=lambda each: (ranks[each[0]], each[1]))
        # What an alias stands for is read once for each alias: one mistake is told once.
        return list({str(mistake): mistake for _, _, mistake in in_order}.values())
