from __future__ import annotations

from typing import Any

import pytest

from counterpoint.adapters.tools import expectation


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("> 0", 1, True),
        ("> 0", 0, False),
        (">= 2.5", 2.5, True),
        ("!= 3", 3, False),
        ("== 3", 3.0, True),
        ("= ok", "ok", True),
        ("= 'two words'", "two words", True),
        ("between 1 and 5", 5, True),
        ("BETWEEN 1 AND 5", 6, False),
        ("0.5..10", 0.4, False),
        ("-5..-1", -3, True),
        ("2026-01-01..2026-02-01", "2026-01-15", True),
        ("> 0", None, False),
        ("!= 0", None, False),
        ("> 0", "5", False),
        ("= 3", "3", False),
    ],
)
def test_a_value_is_compared_with_what_is_expected(text: str, value: Any, holds: bool) -> None:
    assert expectation.parse(text).holds(value) is holds


@pytest.mark.parametrize("text", ["", "about 3", ">", "5..1", "1..x", "between 1"])
def test_what_is_no_expectation_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match="was expected"):
        expectation.parse(text)


def test_an_expectation_is_a_condition_over_a_column_too() -> None:
    assert expectation.parse("0..10").sql("amount") == "amount >= 0 and amount <= 10"
    assert expectation.parse("= it's").sql("name") == "name = 'it''s'"
    assert expectation.parse("== 1.5").sql("x") == "x = 1.5"
