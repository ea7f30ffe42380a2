"""SQL texts as their statements, and their `$name` parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: What may hold a semicolon or a `$name` without meaning it, then the two themselves.
_TOKEN = re.compile(
    r"""(?P<opaque>'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/
        | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag))
      | (?P<parameter>(?<![\w$])\$[A-Za-z_]\w*)
      | (?P<end>;)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_TRIGGER = re.compile(r"\s*create\s+(temp\w*\s+)?trigger\b", re.IGNORECASE)


def split(sql: str) -> Iterator[str]:
    """The statements one by one, without their semicolons; what is only comment is left out.

    A SQLite trigger is kept whole: its body, between `begin` and `end`, has semicolons of its own.
    """
    start = 0
    ends = [(token.start(), token.end()) for token in _TOKEN.finditer(sql) if token["end"]]
    for end, after in (*ends, (len(sql), len(sql))):
        statement = sql[start:end]
        code = _COMMENT.sub(" ", statement)
        if _TRIGGER.match(code) and after < len(sql) and not re.search(r"\bend\s*$", code, re.IGNORECASE):
            continue
        start = after
        if code.strip():
            yield statement.strip()


def parameters(statement: str) -> list[str]:
    """Names of the parameters in a statement, each once, in order of appearance."""
    return list(
        dict.fromkeys(token["parameter"][1:] for token in _TOKEN.finditer(statement) if token["parameter"])
    )


def numbered(statement: str) -> str:
    """The statement with `$1`, `$2`, ... for its parameters, as PostgreSQL wants them."""
    numbers = {name: number for number, name in enumerate(parameters(statement), start=1)}
    return _TOKEN.sub(
        lambda token: f"${numbers[token['parameter'][1:]]}" if token["parameter"] else token[0], statement
    )
