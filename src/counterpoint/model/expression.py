"""CEL expressions over a change: conditions (`when`), batch keys (`by`) and partitions.

An expression sees one variable, `event`: the change as a CloudEvent, its payload under
`event.data`. Evaluation is pure, so the kernel may ask and a replay gets the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

#: Names that CEL itself knows: its types, and the prefixes of its functions.
_CEL_NAMES = frozenset(
    {"bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"}
    | {"base64", "google", "math", "optional", "sets", "strings"}
)
#: Where a macro names its variable: `event.data.rows.all(row, row > 0)`.
_BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_SYNTAX_ERROR = re.compile(
    r"<input>:(?P<line>\d+):(?P<column>\d+): Syntax error: (?P<what>.*?)(?: expecting |\n|$)"
)


@lru_cache(maxsize=4096)
def _program(source: str) -> Any:
    import cel  # here, because most scores have no expression and the library costs 0.1 s

    return cel.compile(source)


def check(source: str) -> str | None:
    """What is wrong with the expression, in one line; None if it parses and knows its variables."""
    try:
        variables = set(_program(source).variables())
    except ValueError as error:
        return _brief(error)
    unknown = sorted(variables - {"event"} - _CEL_NAMES - set(_BOUND.findall(source)))
    return f"only `event` is known here, not {unknown[0]!r}" if unknown else None


def _brief(error: ValueError) -> str:
    """A syntax error without the parser's list of everything it would have taken."""
    found = _SYNTAX_ERROR.search(str(error))
    said = f"{found['what']} at {found['line']}:{found['column']}" if found else str(error)
    return " ".join(said.split())[:300]


def evaluate(source: str, event: Mapping[str, Any]) -> Any:
    """The expression's value for this change.

    Raises:
        ValueError: it cannot be evaluated, as when it names a field that is not there.
    """
    try:
        return _program(source).execute({"event": dict(event)})
    except KeyError as error:
        raise ValueError(f"there is no field {error} in the event") from error
    except (TypeError, RuntimeError, ValueError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error


def holds(source: str, event: Mapping[str, Any]) -> bool:
    """Whether a condition is true for this change; one that cannot be evaluated is not."""
    try:
        return evaluate(source, event) is True
    except ValueError:
        return False


def key(source: str, event: Mapping[str, Any]) -> str:
    """An expression's value as a batch key or a partition; empty where it cannot be evaluated."""
    try:
        value = evaluate(source, event)
    except ValueError:
        return ""
    if value is None or isinstance(value, str):
        return value or ""
    # As JSON, so that equal values are one key whatever the order of their fields.
    return msgspec.json.encode(value, order="deterministic").decode().strip('"')
