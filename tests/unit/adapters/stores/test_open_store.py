from __future__ import annotations

import sys
from pathlib import Path

import pytest

from counterpoint.adapters.stores import open_store
from counterpoint.adapters.stores.memory import MemoryStore
from counterpoint.adapters.stores.postgres import PostgresStore
from counterpoint.adapters.stores.sqlite import SqliteStore
from counterpoint.errors import MissingExtra, Mistake


def test_three_slashes_begin_a_path_from_here_and_four_one_from_the_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path
):
    monkeypatch.chdir(tmp_path)

    here, root = open_store("sqlite:///.counterpoint/store.db"), open_store("sqlite:////var/lib/store.db")

    assert isinstance(here, SqliteStore)
    assert here.path == tmp_path / ".counterpoint/store.db"
    assert isinstance(root, SqliteStore)
    assert root.path == Path("/var/lib/store.db")
    assert list(tmp_path.iterdir()) == []


def test_a_postgres_store_has_a_schema_of_its_own() -> None:
    default = open_store("postgresql://me:secret@db.example:5433/plans?sslmode=require")
    named = open_store("postgresql://db.example/plans?schema=team_a")

    assert isinstance(default, PostgresStore)
    assert default.name == "db.example/plans, schema counterpoint"
    assert isinstance(named, PostgresStore)
    assert named.schema == "team_a"


def test_memory_is_a_store() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)


@pytest.mark.parametrize("url", ["mysql://me:secret@db/plans", "store.db", "sqlite:store.db", "sqlite:///", ""])
def test_any_other_url_is_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(Mistake, match="sqlite:///PATH or postgresql://") as refused:
        open_store(url)

    assert "secret" not in str(refused.value)


def test_a_schema_that_would_need_quotes_is_refused() -> None:
    with pytest.raises(Mistake, match="small letters"):
        open_store("postgresql://db.example/plans?schema=a;drop")


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)

    with pytest.raises(MissingExtra, match=r"counterpoint\[postgres\]"):
        open_store("postgresql://db.example/plans")
