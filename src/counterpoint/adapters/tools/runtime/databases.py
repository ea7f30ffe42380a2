"""DuckDB, SQLite and PostgreSQL behind one small face: run a statement, take its first row."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from counterpoint.adapters.tools.runtime import statements
from counterpoint.adapters.tools.runtime.output import Failed
from counterpoint.errors import MissingExtra

_CONNECT_TIMEOUT_S = 10.0


class Unreachable(Failed):
    """The database cannot be opened now: it is away, not there yet, or locked."""


@dataclass(frozen=True)
class Row:
    """The first row of what a statement returned, as JSON can hold it; None where there was none."""

    columns: tuple[str, ...]
    values: tuple[Any, ...] | None

    @property
    def first(self) -> Any:
        """The first value; None where there is no row."""
        return self.values[0] if self.values else None

    def as_dict(self) -> dict[str, Any]:
        """Column -> value; empty where there is no row."""
        return dict(zip(self.columns, self.values, strict=True)) if self.values else {}


class Database(Protocol):
    """An open database."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its driver raises."""
        ...

    def execute(self, statement: str, params: Mapping[str, Any]) -> Row:
        """Run one statement with exactly the parameters it names."""
        ...

    def close(self) -> None:
        """Let go; what was not committed is undone."""
        ...


class Session:
    """A database with the run's parameters and the driver's errors turned into ours."""

    def __init__(self, database: Database, params: Mapping[str, Any]) -> None:
        self._database, self._params = database, params

    def execute(self, statement: str) -> Row:
        """Run one statement.

        Raises:
            Failed: the database refused it, or it names a parameter that the run does not have.
        """
        names = statements.parameters(statement)
        if missing := [name for name in names if name not in self._params]:
            known = ", ".join(f"${name}" for name in self._params) or "none"
            raise Failed(f"the parameter ${missing[0]} was expected; known are {known}")
        try:
            row = self._database.execute(statement, {name: self._params[name] for name in names})
        except self._database.errors as error:
            raise Failed(f"{_shortened(statement)}: {_words(error)}") from error
        return Row(row.columns, None if row.values is None else tuple(_plain(value) for value in row.values))


@contextmanager
def connect(address: str, *, params: Mapping[str, Any], readonly: bool) -> Iterator[Session]:
    """Open a database for a while.

    Args:
        address: as `sql.DATABASE` describes it.
        params: values for `$name`; the run's own parameters and its partition come before them.

    Raises:
        Unreachable: it cannot be opened now.
        MissingExtra: its driver is not installed.
    """
    given = {"partition": os.environ.get("COUNTERPOINT_PARTITION", "")}
    given |= dict(params) | json.loads(os.environ.get("COUNTERPOINT_PARAMS") or "{}")
    database = _open(address, readonly=readonly)
    try:
        yield Session(database, given)
    finally:
        database.close()


def _open(address: str, *, readonly: bool) -> Database:
    scheme, _, path = address.partition(":")
    if scheme in ("postgresql", "postgres"):
        return _Postgres(address, readonly=readonly)
    if scheme in ("duckdb", "sqlite"):
        return (_DuckDB if scheme == "duckdb" else _SQLite)(path, readonly=readonly)
    if Path(address).suffix in (".duckdb", ".ddb"):
        return _DuckDB(address, readonly=readonly)
    if Path(address).suffix in (".sqlite", ".sqlite3"):
        return _SQLite(address, readonly=readonly)
    raise Failed("the database's address names no kind of database that is known")


class _DuckDB:
    def __init__(self, path: str, *, readonly: bool) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise MissingExtra("DuckDB", "duckdb") from error
        self.errors: tuple[type[Exception], ...] = (duckdb.Error,)
        try:
            self._connection = duckdb.connect(path, read_only=readonly and path != ":memory:")
        except duckdb.Error as error:
            raise Unreachable(f"{path}: {_words(error)}") from error

    def execute(self, statement: str, params: Mapping[str, Any]) -> Row:
        cursor = self._connection.execute(statement, dict(params) or None)
        columns = tuple(column[0] for column in cursor.description or ())
        return Row(columns, cursor.fetchone() if columns else None)

    def close(self) -> None:
        self._connection.close()


class _SQLite:
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: str, *, readonly: bool) -> None:
        uri = f"{Path(path).absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
        try:
            # isolation_level None: transactions are begun and ended by statements only.
            self._connection = sqlite3.connect(
                ":memory:" if path == ":memory:" else uri, uri=path != ":memory:", isolation_level=None, timeout=30
            )
        except sqlite3.Error as error:
            raise Unreachable(f"{path}: {_words(error)}") from error

    def execute(self, statement: str, params: Mapping[str, Any]) -> Row:
        cursor = self._connection.execute(statement, dict(params))
        columns = tuple(column[0] for column in cursor.description or ())
        return Row(columns, cursor.fetchone() if columns else None)

    def close(self) -> None:
        self._connection.close()


class _Postgres:
    def __init__(self, address: str, *, readonly: bool) -> None:
        try:
            import asyncpg
        except ImportError as error:
            raise MissingExtra("PostgreSQL", "postgres") from error
        # InterfaceError is how the driver refuses a value of the wrong type.
        self.errors: tuple[type[Exception], ...] = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
        self._readonly = readonly
        self._runner = asyncio.Runner()
        settings = {"default_transaction_read_only": "on"} if readonly else {}
        try:
            self._connection = self._runner.run(
                asyncpg.connect(address, timeout=_CONNECT_TIMEOUT_S, server_settings=settings)
            )
            self._runner.run(self._take_texts())
        except (*self.errors, ValueError, TimeoutError) as error:
            self._runner.close()
            # Not the address: it may hold a password.
            raise Unreachable(f"PostgreSQL: {_words(error)}") from error

    async def _take_texts(self) -> None:
        """Let a text stand for a date or a number, as a score and JSON have no other way to write one."""
        for name in ("date", "time", "timestamp", "timestamptz", "numeric", "interval"):
            await self._connection.set_type_codec(
                name,
                schema="pg_catalog",
                encoder=str,
                decoder=_number if name == "numeric" else str,
                format="text",
            )

    def execute(self, statement: str, params: Mapping[str, Any]) -> Row:
        return self._runner.run(self._execute(statements.numbered(statement), tuple(params.values())))

    async def _execute(self, statement: str, values: tuple[Any, ...]) -> Row:
        prepared = await self._connection.prepare(statement)
        columns = tuple(attribute.name for attribute in prepared.get_attributes())
        if self._readonly:
            row = await prepared.fetchrow(*values)
        else:
            # All rows: a select ends with the last one that was asked for, and so do the functions it calls.
            row = next(iter(await prepared.fetch(*values)), None)
        return Row(columns, tuple(row.values()) if row is not None else None)

    def close(self) -> None:
        try:
            self._runner.run(self._connection.close(timeout=5))
        except Exception:
            self._connection.terminate()  # the work is done or has failed; the link alone is broken
        finally:
            self._runner.close()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return _number(str(value))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def _number(text: str) -> int | float:
    value = Decimal(text)
    return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def _shortened(statement: str) -> str:
    text = " ".join(statement.split())
    return text if len(text) <= 100 else text[:99] + "…"
