from __future__ import annotations

import pytest

from counterpoint.model import expression

EVENT = {
    "type": "placed",
    "time": "2026-01-05T10:00:00Z",
    "data": {"total": 120, "shop": "berlin", "rows": [1, 2]},
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("event.data.total > 100", True),
        ("event.data.total > 200", False),
        ("event.data.shop == 'berlin' && event.type == 'placed'", True),
        ("event.data.rows.all(row, row > 0)", True),
        ("has(event.data.missing)", False),
        ("event.data.total", False),
        ("event.data.missing > 1", False),
        ("event.data.shop > 1", False),
    ],
)
def test_a_condition_holds_only_if_it_is_true(source: str, expected: bool) -> None:
    assert expression.holds(source, EVENT) is expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("event.data.shop", "berlin"),
        ("event.data.total", "120"),
        ("event.data.missing", ""),
        ("event.data.shop + '/' + event.type", "berlin/placed"),
        ("null", ""),
        ("event.data.total > 100", "true"),
        ("timestamp(event.time)", "2026-01-05T10:00:00Z"),
        ("event.data.rows", "[1,2]"),
        ("{'b': 1, 'a': 2}", '{"a":2,"b":1}'),
    ],
)
def test_a_key_is_text_and_empty_where_there_is_no_value(source: str, expected: str) -> None:
    assert expression.key(source, EVENT) == expected


@pytest.mark.parametrize("data", [None, {}, [], "text", 3, {"total": None}])
def test_no_payload_makes_a_condition_raise(data: object) -> None:
    assert expression.holds("event.data.total > 100", {"data": data}) is False
    assert expression.key("event.data.total", {"data": data}) == ""


def test_a_value_that_cannot_be_had_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="missing"):
        expression.evaluate("event.data.missing", EVENT)


@pytest.mark.parametrize("source", ["event.data.total >", "1 +", "event.data..x", ""])
def test_what_does_not_parse_is_refused_in_one_line(source: str) -> None:
    mistake = expression.check(source)

    assert mistake and "\n" not in mistake


def test_only_event_is_known() -> None:
    assert expression.check("event.data.total > 100") is None
    assert "'evnt'" in str(expression.check("evnt.data.total > 100"))
