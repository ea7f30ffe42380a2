"""Kinds of value that several tools take. Settings are what JSON can hold: seconds, bytes, texts."""

from __future__ import annotations

import re

from counterpoint.adapters.tools import expectation
from counterpoint.model.quantity import parse_duration
from counterpoint.tables.kinds import Anything, Either, MapOf, Parsed, Text, size
from counterpoint.tables.records import Key, Record


def text(example: str = "some words", phrase: str = "text") -> Text:
    """Any text but an empty one."""
    return Text(phrase, example, pattern=r"[\s\S]*\S[\s\S]*")


def seconds(example: str) -> Parsed:
    """A length of time, as seconds."""
    phrase = "a duration such as 30s, 5m or 1h30m"
    return Parsed(phrase, example, lambda written: parse_duration(written).total_seconds())


_ADDRESS = re.compile(r"(duckdb|sqlite):.+|postgres(ql)?://.+|.+\.(duckdb|ddb|sqlite3?)", re.DOTALL)
_ADDRESSES = "a database such as x.duckdb, x.sqlite, duckdb:PATH, sqlite:PATH or postgresql://HOST/NAME"


def _address(written: str) -> str:
    if _ADDRESS.fullmatch(written):
        return written
    raise ValueError(f"{_ADDRESSES} was expected, {written!r} was found")


def _expectation(written: str | float) -> str:
    return str(expectation.parse(written if isinstance(written, str) else f"= {written}"))


SECRET = Record(
    "secret with prefix",
    "A reference to a secret; its value is looked up where the task runs and never recorded.",
    Key("secret", text("API_TOKEN"), "Name of the secret.", required=True),
    Key("prefix", Text("text", '"Bearer "'), "Text before the value."),
    phrase="a secret",
    sample='headers: {authorization: {secret: API_TOKEN, prefix: "Bearer "}}',
)


def text_or_secret(example: str) -> Either:
    """A text, or a reference to a secret."""
    return Either(text(example), SECRET)


#: A database's address, which may be a secret as it may hold a password.
DATABASE = Either(Parsed(_ADDRESSES, "warehouse.duckdb", _address), SECRET)

#: What a value should be; a plain number means that number.
EXPECTATION = Parsed(
    "an expectation such as `> 0`, `= ok`, `between 1 and 5`, `0..100` or a number",
    '"> 0"',
    _expectation,
    types=(str, int, float),
)

HEADERS = MapOf(text("accept", "the name of a header"), text_or_secret("application/json"))
PARAMS = Key(
    "params", MapOf(text("day", "a name"), Anything()), "Values for `$name`; the run's own parameters come first."
)
QUERY = Key(
    "sql", text("select count(*) from orders", "an SQL query"), "A query, whose first value counts.", required=True
)
FILE_KEYS = (
    Key(
        "file",
        text('"in/*.csv"', "the path of a file"),
        "A file that must exist; of a pattern such as `in/*.csv`, at least one.",
        required=True,
    ),
    Key("newer_than", seconds("1h"), "It was changed within this time."),
    Key("min_size", size(), "It has at least this size."),
)
