"""What can go wrong, as a tree whose branches follow what the caller can do about it.

CounterpointError
├── Mistake               fix the place it names: a score, a request, an argument
│   ├── DeclarationError  a score (or several) is wrong; carries every mistake found
│   ├── NotFound          there is nothing of that name or id
│   └── Conflict          it clashes with what is already there
├── StoreError            leadership ends; load the journal and go on from there
│   ├── LeadershipLost    another engine leads; stand by
│   └── StoreUnavailable  the store did not answer, or the outcome of a commit is unknown
├── HostUnreachable       the worker host did not answer; wait, nothing is known to have ended
└── MissingExtra          an optional dependency is not installed; the message names the extra
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class CounterpointError(Exception):
    """Every error of this project."""

    code = "error"


class Mistake(CounterpointError):
    """One thing that is wrong with what somebody gave us.

    Args:
        message: what was expected, what was found and what to do.
        where: the place, `file:line` for a score; empty where the request itself is the place.
        code: a short stable name for this kind of mistake.
    """

    code = "mistake"

    def __init__(self, message: str, *, where: str = "", code: str | None = None) -> None:
        self.message, self.where = message, where
        if code is not None:
            self.code = code
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.message} [{self.code}]"


class DeclarationError(CounterpointError):
    """A declaration is refused, with all its mistakes at once, in the order of the file."""

    code = "declaration"

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class NotFound(Mistake):
    """Nothing has that name or id."""

    code = "unknown-name"


class Conflict(Mistake):
    """The request clashes with what is already recorded; repeating it will not help."""

    code = "conflict"


class StoreError(CounterpointError):
    """The store could not do what was asked; the caller must stop leading and load again."""

    code = "store"


class LeadershipLost(StoreError):
    """A transaction was refused because another engine has taken a newer epoch."""

    code = "leadership-lost"


class StoreUnavailable(StoreError):
    """The store did not answer, or it is unknown whether the last commit took place."""

    code = "store-unavailable"


class HostUnreachable(CounterpointError):
    """The worker host did not answer. Whether its attempts still run is unknown."""

    code = "host-unreachable"


class MissingExtra(CounterpointError):
    """An optional dependency is not installed."""

    code = "missing-extra"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'counterpoint[{extra}]' [{self.code}]")


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: str = "", remedy: str = "") -> NotFound:
    """The mistake of naming what does not exist, with the nearest name that does."""
    near = get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else remedy or f"declare it under `{kind}s:`"
    return NotFound(f"no {kind} is called {name!r}; {hint}", where=where)
