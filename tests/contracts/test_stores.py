from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from counterpoint.adapters.stores import open_store as open_store_at
from counterpoint.adapters.stores.memory import MemoryJournal, MemoryStore
from counterpoint.testing.contracts.store import StoreAndHistory, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], StoreAndHistory]:
        journal = MemoryJournal()
        return lambda: MemoryStore(journal)


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], StoreAndHistory]:
        return lambda: open_store_at(f"sqlite:///{tmp_path}/store.db")


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def open_store(self, postgres_url: str) -> Callable[[], StoreAndHistory]:
        return lambda: open_store_at(postgres_url)
