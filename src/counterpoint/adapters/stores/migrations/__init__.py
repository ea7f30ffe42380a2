"""Numbered changes of the schema, as SQL files: one folder a dialect, the same numbers in each.

A file that was released is never altered. A change of what is kept is a new number in both folders.
"""

from __future__ import annotations

from importlib import resources
from typing import Literal

from msgspec import Struct

from counterpoint.errors import Conflict, StoreUnavailable


class Migration(Struct, frozen=True):
    """One step of the schema: its number, its name and its SQL."""

    number: int
    name: str
    sql: str


def migrations(dialect: Literal["sqlite", "postgres"]) -> tuple[Migration, ...]:
    """Every migration of a dialect, oldest first."""
    files = (file for file in (resources.files(__name__) / dialect).iterdir() if file.name.endswith(".sql"))
    found = []
    for file in files:
        number, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.number))


def missing(known: tuple[Migration, ...], version: int, *, where: str, leading: bool) -> tuple[Migration, ...]:
    """The migrations that a store at `version` (0 is an empty one) still needs.

    Only the one that leads alters a store that is in use: an older engine may be running on it.

    Raises:
        Conflict: a newer release has migrated the store.
        StoreUnavailable: the store is older than this release, and we do not lead.
    """
    newest = known[-1].number
    if version > newest:
        raise Conflict(
            f"{where} has schema {version} of a newer release, and this release knows schemas up to {newest};"
            " use the newer release, or restore a backup from before it",
            code="store-is-newer",
        )
    if 0 < version < newest and not leading:
        raise StoreUnavailable(
            f"{where} has schema {version}, and this release needs schema {newest}: start its engine to migrate"
        )
    return known[version:]
