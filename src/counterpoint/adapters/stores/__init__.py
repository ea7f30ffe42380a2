"""Where facts are kept: memory, SQLite, PostgreSQL; all pass `testing.contracts.store`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from counterpoint.errors import Mistake

if TYPE_CHECKING:
    from counterpoint.adapters.stores.memory import MemoryStore
    from counterpoint.adapters.stores.postgres import PostgresStore
    from counterpoint.adapters.stores.sqlite import SqliteStore

    AnyStore: TypeAlias = MemoryStore | SqliteStore | PostgresStore


def open_store(url: str) -> AnyStore:
    """The store that a URL names; nothing is touched before it is first used.

    Args:
        url: `sqlite:///PATH` (a fourth slash begins an absolute path),
            `postgresql://USER@HOST/DATABASE?schema=NAME` or `memory:`.

    Raises:
        Mistake: the URL is none of these.
        MissingExtra: the driver is not installed.
    """
    scheme, _, rest = url.partition(":")
    match scheme:
        case "memory":
            from counterpoint.adapters.stores.memory import MemoryStore

            return MemoryStore()
        case "sqlite" if rest.startswith("///") and rest != "///":
            from counterpoint.adapters.stores.sqlite import SqliteStore

            return SqliteStore(rest.removeprefix("///"))
        case "postgresql" | "postgres":
            from counterpoint.adapters.stores.postgres import PostgresStore

            return PostgresStore(url)
    # Only the scheme is repeated: the rest may hold a password.
    raise Mistake(
        "a store such as sqlite:///PATH or postgresql://USER@HOST/DATABASE was expected,"
        f" one that begins with {scheme + ':'!r} was found",
        code="store-url",
    )
