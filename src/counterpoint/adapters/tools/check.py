"""`check`: a gate. Every finding is a verdict with what was expected and what was found."""

from __future__ import annotations

from typing import Any

from counterpoint.adapters.tools.settings import DATABASE, EXPECTATION, FILE_KEYS, PARAMS, QUERY, text
from counterpoint.adapters.tools.translation import LineTool, call_runtime
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context
from counterpoint.tables.kinds import Choice, Either, ListOf, MapOf, Text
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading
from counterpoint.tables.records import Key, Record, Variants

_NAME = r'([A-Za-z_][A-Za-z0-9_]*|"[^"]+")'
_COLUMN = Text("a column's name", "order_id", pattern=_NAME)
_DATABASE = Key("database", DATABASE, "Where it is looked at.", required=True)

_CHECK = Variants(
    "tool check",
    "A gate: it looks at data or a file, and every finding is a verdict. One check, or a list of them, of which "
    "each is carried out.",
    Record(
        "check of a query",
        "The first value of a query is as expected.",
        QUERY,
        Key("expect", EXPECTATION, "What that value should be.", required=True),
        _DATABASE,
        PARAMS,
    ),
    Record(
        "check of a table",
        "A table exists, and is as expected.",
        Key(
            "table",
            Text("a table's name", "marts.orders", pattern=rf"{_NAME}(\.{_NAME}){{0,2}}"),
            "Name of the table.",
            required=True,
        ),
        _DATABASE,
        Key(
            "where",
            text('"day = $partition"', "an SQL condition"),
            "Look at these rows only.",
            otherwise="all rows",
        ),
        Key("rows", EXPECTATION, "How many rows there should be."),
        Key("columns", ListOf(_COLUMN, filled=True), "Columns that must be there."),
        Key("not_null", ListOf(_COLUMN, filled=True, single=True), "Columns without nulls."),
        Key(
            "unique",
            ListOf(Either(_COLUMN, ListOf(_COLUMN, filled=True)), filled=True, single=True),
            "Columns without repeated values; a list within the list is a compound key.",
        ),
        Key("ranges", MapOf(_COLUMN, EXPECTATION), "What each value of a column should be; nulls are left out."),
        PARAMS,
    ),
    Record("check of a file", "A file exists, and is as expected.", *FILE_KEYS),
    common=(
        Key("name", text("orders are there"), "What it is called in verdicts.", otherwise="what it looks at"),
        Key(
            "on_fail",
            Choice("halt", "warn", later=("retry", "branch", "quarantine", "ask")),
            "`halt`: the task fails; `warn`: the verdict is recorded and the run goes on.",
            default="halt",
        ),
    ),
    both="make two checks of them, in a list",
    phrase="a check",
    sample="""\
check: {sql: select count(*) from gmv, database: shop.duckdb, expect: "> 0"}
check:
  - {table: marts.orders, database: shop.duckdb, rows: ">= 100", unique: order_id, ranges: {amount: 0..10000}}
  - {file: landing/orders.csv, newer_than: 1h, on_fail: warn}""",
)


class _Checks(ListOf):
    """Settings with one key, `checks`."""

    def convert(self, node: Node, reading: Reading) -> dict[str, Any]:
        """The checks that could be read."""
        return {"checks": super().convert(node, reading)}


class CheckTool(LineTool):
    """Looks at data or files; one check, or a list of them, of which each is carried out."""

    name = "check"
    settings = _Checks(_CHECK, filled=True, single=True)

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The runtime's `check`."""
        return call_runtime("check", task, context)
