from __future__ import annotations

from typing import Any

from counterpoint.adapters.tools.settings import (
    DURATION,
    FLAG,
    SIZE,
    TEXT_OR_SECRET,
    Anything,
    Field,
    Kind,
    Many,
    MapOf,
    Record,
    choice,
    integer,
    text,
)
from counterpoint.ports.tool import SpecMistake

_TABLE = Record(
    {
        "name": Field(text(), "Its name.", required=True),
        "every": Field(DURATION, "How often.", default=5.0),
        "size": Field(SIZE, "How much."),
        "tags": Field(Many(text(), single=True), "Words."),
        "mode": Field(choice("fast", "slow"), "How."),
        "extra": Field(MapOf(Anything()), "More."),
        "quiet": Field(FLAG, "Say nothing."),
        "url": Field(TEXT_OR_SECRET, "Where."),
        "retries": Field(integer(0, 9), "How many."),
    },
    short="name",
    together={"size": ("mode",)},
    belongs={"quiet": ("tags", "extra")},
)


def _read(kind: Kind, node: Any) -> tuple[Any, list[SpecMistake]]:
    mistakes: list[SpecMistake] = []
    return kind.read(node, (), mistakes), mistakes


def test_settings_are_numbers_in_seconds_and_bytes_with_defaults_filled_in() -> None:
    node = {
        "name": "a",
        "size": "1KB",
        "mode": "fast",
        "tags": "x",
        "extra": {"n": [1, {"m": None}]},
        "quiet": True,
    }

    assert _read(_TABLE, node) == (
        {"name": "a", "every": 5.0, "size": 1000, "mode": "fast", "tags": ["x"]}
        | {"extra": {"n": [1, {"m": None}]}, "quiet": True},
        [],
    )
    assert _read(_TABLE, "a") == ({"name": "a", "every": 5.0}, [])


def test_all_mistakes_are_found_at_once_each_at_its_place() -> None:
    node = {
        "nam": "a",
        "every": "soon",
        "tags": ["x", 5],
        "mode": "fsat",
        "quiet": 1,
        "url": {"secrt": "A"},
        "retries": True,
    }

    found = {mistake.path: mistake for mistake in _read(_TABLE, node)[1]}

    assert found[("nam",)].message == "unknown key `nam`; did you mean `name`?"
    assert found[()].message == "the key `name` was expected, and is not there"
    assert found[("every",)].message.startswith("a duration such as 30s")
    assert found[("tags", 1)].message == "a text was expected, 5 (quote it to make it a text) was found"
    assert found[("mode",)].message == "`fast` or `slow` was expected, `fsat` was found; did you mean `fast`?"
    assert found[("quiet",)].message == "true or false was expected, 1 (quote it to make it a text) was found"
    assert found[("url", "secrt")].message == "unknown key `secrt`; did you mean `secret`?"
    assert found[("url",)].message == "the key `secret` was expected, and is not there"
    assert found[("retries",)].message == "a whole number was expected, true was found"
    codes = {mistake.code for mistake in found.values()}
    assert codes == {"unknown-key", "missing-key", "wrong-value", "wrong-type"}


def test_keys_that_need_each_other_are_asked_for() -> None:
    found = {
        mistake.path: mistake.message for mistake in _read(_TABLE, {"name": "a", "size": "1KB", "quiet": True})[1]
    }

    assert found == {
        ("size",): "`size` needs `mode` beside it",
        ("quiet",): "`quiet` has a meaning only beside `tags` or `extra`",
    }


def test_exactly_one_of_some_keys_is_asked_for() -> None:
    table = Record({"a": Field(text(), "A."), "b": Field(text(), "B.")}, one_of=("a", "b"))

    assert _read(table, {"a": "x"})[1] == []
    assert "one of `a` or `b` was expected, none was found" in _read(table, {})[1][0].message
    assert "`a` and `b` was found" in _read(table, {"a": "x", "b": "y"})[1][0].message
