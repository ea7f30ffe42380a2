from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from counterpoint.adapters.stores import sqlite
from counterpoint.adapters.stores.migrations import Migration, migrations, missing
from counterpoint.errors import Conflict, StoreUnavailable

KNOWN = (Migration(1, "first", ""), Migration(2, "second", ""))


def test_both_dialects_have_the_same_migrations_in_order_without_a_gap() -> None:
    names = [(migration.number, migration.name) for migration in migrations("sqlite")]

    assert names == [(migration.number, migration.name) for migration in migrations("postgres")]
    assert [number for number, _ in names] == list(range(1, len(names) + 1))


def test_an_empty_store_needs_all_of_them_and_an_older_one_the_rest() -> None:
    assert missing(KNOWN, 0, where="here", leading=False) == KNOWN
    assert missing(KNOWN, 1, where="here", leading=True) == KNOWN[1:]
    assert missing(KNOWN, 2, where="here", leading=False) == ()


def test_a_store_in_use_is_migrated_by_its_leader_only() -> None:
    with pytest.raises(StoreUnavailable, match="start its engine"):
        missing(KNOWN, 1, where="here", leading=False)


def test_a_store_of_a_newer_release_is_refused() -> None:
    with pytest.raises(Conflict, match="schema 3 of a newer release"):
        missing(KNOWN, 3, where="here", leading=True)


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    good = Migration(1, "good", "CREATE TABLE migrations (number INTEGER, name TEXT);\nCREATE TABLE a (x);\n")
    bad = Migration(2, "bad", "CREATE TABLE b (x);\nINSERT INTO missing VALUES (1);\n")
    connection = sqlite3.connect(tmp_path / "store.db", isolation_level=None)

    with pytest.raises(sqlite3.OperationalError, match="missing"):
        sqlite._migrate(connection, (good, bad), where="here", leading=True)
    connection.close()

    with sqlite3.connect(tmp_path / "store.db") as again:
        assert again.execute("SELECT name FROM sqlite_master").fetchall() == []
    again.close()
