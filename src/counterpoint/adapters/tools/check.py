"""`check`: a gate. Every finding is a verdict with what was expected and what was found."""

from __future__ import annotations

from counterpoint.adapters.tools import expectation
from counterpoint.adapters.tools.settings import (
    DURATION,
    NUMBER,
    SIZE,
    Anything,
    Either,
    Field,
    Kind,
    Later,
    Many,
    MapOf,
    Record,
    Scalar,
    converted,
    matching,
    text,
)
from counterpoint.adapters.tools.sql import DATABASE
from counterpoint.adapters.tools.translation import TableTool, call_runtime
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Context

_NAME = r'([A-Za-z_]\w*|"[^"]+")'
_COLUMN = matching(_NAME, "a column's name")
_LATER = ("retry", "branch", "quarantine", "ask")

#: What a value should be; a plain number means that number.
EXPECTATION: Kind = Either(
    (
        converted(lambda value: str(expectation.parse(value)), "an expectation such as '> 0' or '0..100'"),
        Scalar(NUMBER.words, NUMBER.types, NUMBER.rule, lambda value: f"= {value}"),
    )
)


def _on_fail(value: str) -> str:
    if value in ("halt", "warn"):
        return value
    if value in _LATER:
        raise Later(f"halt or warn was expected, `on_fail: {value}` was found, which this release does not act on")
    raise ValueError(f"'halt' or 'warn' was expected, {value!r} was found")


_CHECK = Record(
    {
        "name": Field(text(), "What the check is called in verdicts."),
        "sql": Field(text(), "A query whose first value is compared."),
        "expect": Field(EXPECTATION, "What that value should be."),
        "table": Field(matching(rf"{_NAME}(\.{_NAME}){{0,2}}", "a table's name"), "A table, which must exist."),
        "where": Field(text(), "Look at these rows of the table only."),
        "rows": Field(EXPECTATION, "How many rows there should be."),
        "columns": Field(Many(_COLUMN), "Columns that must be there."),
        "not_null": Field(Many(_COLUMN, single=True), "Columns without nulls."),
        "unique": Field(
            Many(Either((_COLUMN, Many(_COLUMN))), single=True),
            "Columns without repeated values; a list within the list is a compound key.",
        ),
        "ranges": Field(MapOf(EXPECTATION), "Column -> what each of its values should be; nulls are left out."),
        "database": Field(DATABASE, "Where the query or the table is."),
        "params": Field(MapOf(Anything()), "Values for `$name`; the run's own parameters come first."),
        "file": Field(text(), "A file that must exist; a pattern such as `in/*.csv` asks for at least one."),
        "newer_than": Field(DURATION, "The file was changed within this time."),
        "min_size": Field(SIZE, "The file has at least this size."),
        "on_fail": Field(
            Scalar("'halt' or 'warn'", (str,), {"enum": ["halt", "warn"]}, _on_fail),
            "halt: the task fails; warn: the verdict is recorded and the run goes on.",
            default="halt",
        ),
    },
    one_of=("sql", "table", "file"),
    together={"sql": ("database", "expect"), "table": ("database",)},
    belongs={
        "expect": ("sql",),
        "database": ("sql", "table"),
        "params": ("sql", "table"),
        **dict.fromkeys(("where", "rows", "columns", "not_null", "unique", "ranges"), ("table",)),
        **dict.fromkeys(("newer_than", "min_size"), ("file",)),
    },
)


class CheckTool(TableTool):
    """Looks at data or files; one check, or a list of them, of which each is carried out."""

    name = "check"
    table = Many(_CHECK, single=True)
    wrap = "checks"

    def prepare(self, task: Task, context: Context) -> Invocation:
        """The runtime's `check`."""
        return call_runtime("check", task, context)
