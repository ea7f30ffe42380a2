"""What a check expects of a value, as people write it: `> 0`, `= ok`, `between 1 and 5`, `0..100`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

#: A number, or a text such as `ok` or `2026-01-31`.
Operand: TypeAlias = int | float | str

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, "!=": operator.ne,
    "==": operator.eq, ">": operator.gt, "<": operator.lt, "=": operator.eq,
}  # fmt: skip
_COMPARISON = re.compile(r"(>=|<=|!=|==|>|<|=)\s*(.+)", re.DOTALL)
_BETWEEN = re.compile(r"between\s+(.+?)\s+and\s+(.+)|(.+?)\s*\.\.\s*(.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Expectation:
    """Comparisons that must all hold: one, or two for a range, whose ends belong to it."""

    text: str
    comparisons: tuple[tuple[str, Operand], ...]

    def holds(self, value: Any) -> bool:
        """Whether the value is as expected; nothing is expected of a null, so it never is."""
        return all(_holds(sign, value, operand) for sign, operand in self.comparisons)

    def sql(self, column: str) -> str:
        """The same as a condition over a column."""
        return " and ".join(
            f"{column} {'=' if sign == '==' else sign} {_literal(operand)}" for sign, operand in self.comparisons
        )

    def __str__(self) -> str:
        return self.text


def parse(text: str) -> Expectation:
    """Read an expectation.

    Raises:
        ValueError: it is none; the message says what is.

    >>> parse("between 1 and 5").holds(3), parse("0..10").holds(11), parse("= ok").holds("ok")
    (True, False, True)
    """
    text = text.strip()
    if comparison := _COMPARISON.fullmatch(text):
        return Expectation(text, ((comparison[1], _operand(comparison[2])),))
    if span := _BETWEEN.fullmatch(text):
        low, high = _operand(span[1] or span[3]), _operand(span[2] or span[4])
        if isinstance(low, str) != isinstance(high, str) or low > high:  # type: ignore[operator]
            raise ValueError(f"a range from the smaller to the larger was expected, {text!r} was found")
        return Expectation(text, ((">=", low), ("<=", high)))
    raise ValueError(
        f"an expectation such as '> 0', '= ok', 'between 1 and 5' or '0..100' was expected, {text!r} was found"
    )


def _operand(text: str) -> Operand:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    for convert in (int, float):
        try:
            number: int | float = convert(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    return text


def _holds(sign: str, value: Any, operand: Operand) -> bool:
    if value is None or isinstance(value, str) != isinstance(operand, str):
        return False
    return _COMPARE[sign](value, operand)


def _literal(operand: Operand) -> str:
    return "'" + operand.replace("'", "''") + "'" if isinstance(operand, str) else repr(operand)
