"""`sql`: statements against DuckDB, SQLite or PostgreSQL, in one transaction."""

from __future__ import annotations

import re

from counterpoint.adapters.tools.settings import (
    FLAG,
    SECRET,
    Anything,
    Either,
    Field,
    MapOf,
    Record,
    converted,
    text,
)
from counterpoint.adapters.tools.translation import TableTool, call_runtime
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context

_ADDRESS = re.compile(r"(duckdb|sqlite):.+|postgres(ql)?://.+|.+\.(duckdb|ddb|sqlite3?)", re.DOTALL)
_WORDS = "a database such as x.duckdb, x.sqlite, duckdb:PATH, sqlite:PATH or postgresql://HOST/NAME"


def _address(value: str) -> str:
    if _ADDRESS.fullmatch(value):
        return value
    raise ValueError(f"{_WORDS} was expected, {value!r} was found")


#: A database's address, which may be a secret as it may hold a password.
DATABASE = Either((converted(_address, _WORDS), SECRET))


class SqlTool(TableTool):
    """Runs statements; `$name` stands for a parameter in each of the databases."""

    name = "sql"
    table = Record(
        {
            "sql": Field(text(), "The statements, separated by semicolons."),
            "file": Field(text(), "Or a file with them, below the score's folder."),
            "database": Field(DATABASE, "Where they run.", required=True),
            "params": Field(MapOf(Anything()), "Values for `$name`; the run's own parameters come first."),
            "fetch": Field(FLAG, "Take the first row of the last statement as the task's result."),
            "asset": Field(text(), "Take that row as the metadata of this asset's new version."),
            "transaction": Field(FLAG, "False: each statement commits by itself.", default=True),
        },
        one_of=("sql", "file"),
    )

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The runtime's `sql`."""
        return call_runtime("sql", task, context)
