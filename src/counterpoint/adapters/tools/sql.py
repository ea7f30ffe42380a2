"""`sql`: statements against DuckDB, SQLite or PostgreSQL, in one transaction."""

from __future__ import annotations

from counterpoint.adapters.tools.settings import DATABASE, PARAMS, text
from counterpoint.adapters.tools.translation import LineTool, call_runtime
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context
from counterpoint.tables.kinds import Flag, Name
from counterpoint.tables.records import Key, Record, Variants


class SqlTool(LineTool):
    """Runs statements; `$name` stands for a parameter in each of the databases."""

    name = "sql"
    settings = Variants(
        "tool sql",
        "Statements against DuckDB, SQLite or PostgreSQL; `$name` stands for a parameter in each of them.",
        Record(
            "sql of statements",
            "Statements that stand in the score.",
            Key(
                "sql", text("delete from orders", "SQL"), "The statements, separated by semicolons.", required=True
            ),
        ),
        Record(
            "sql of a file",
            "Statements that stand in a file.",
            Key(
                "file",
                text("load.sql", "the path of a file"),
                "The file, below the score's folder.",
                required=True,
            ),
        ),
        common=(
            Key("database", DATABASE, "Where they run.", required=True),
            PARAMS,
            Key(
                "fetch",
                Flag(),
                "The first row of the last statement is the task's result.",
                otherwise="false",
            ),
            Key("asset", Name("asset"), "That row is the metadata of this asset's new version."),
            Key("transaction", Flag(), "All in one transaction; false: each commits by itself.", default=True),
        ),
        both="keep one, or make two tasks of them",
        phrase="`sql`",
        sample="""\
sql: {file: load.sql, database: warehouse.duckdb, params: {shop: 7}}
sql: {sql: "delete from orders where day = $partition", database: {secret: WAREHOUSE_URL}}""",
    )

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The runtime's `sql`."""
        return call_runtime("sql", task, context)
