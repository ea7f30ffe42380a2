"""CEL expressions over a change: conditions (`when`), batch keys (`by`) and partitions.

An expression sees one variable, `event`: the change as a CloudEvent, its payload under
`event.data`. Evaluation is pure, so the kernel may ask and a replay gets the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=4096)
def _program(source: str) -> Any:
    import cel  # here, because most scores have no expression and the library costs 0.1 s

    return cel.compile(source)


def check(source: str) -> str | None:
    """What is wrong with the expression's syntax, in one line; None if it parses."""
    try:
        _program(source)
    except ValueError as error:
        return " ".join(str(error).split("\n")[0].split())[:300]
    return None


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
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)
