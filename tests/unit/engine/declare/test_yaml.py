"""What YAML means here: the 1.2 core schema, with places, and guarded against what is not meant."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint.engine.declare.yaml import read_yaml
from counterpoint.tables.reading import Reading, Reported


def read(text: str) -> Any:
    return read_yaml(text, "score.yaml", Reading()).plain


def refusal(text: str) -> str:
    reading = Reading()
    with pytest.raises(Reported):
        read_yaml(text, "score.yaml", reading)
    [mistake] = reading.mistakes
    return str(mistake)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("on", "on"),
        ("yes", "yes"),
        ("no", "no"),
        ("07:00", "07:00"),
        ("12:30:45", "12:30:45"),
        ("2026-01-31", "2026-01-31"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
    ],
)
def test_only_core_scalars_are_special(text: str, value: object) -> None:
    assert read(f"key: {text}") == {"key": value}
    assert type(read(f"key: {text}")["key"]) is type(value)


def test_keys_are_text_as_written() -> None:
    assert read("{404: a, on: b, null: c}") == {"404": "a", "on": "b", "null": "c"}


def test_a_value_stands_at_the_line_of_its_key() -> None:
    root = read_yaml("a:\n  - x\n  - y: 1\nb: |\n  text\n", "score.yaml", Reading())

    assert root.at("a").line == 1
    assert root.at("a").entries[1].line == 3
    assert root.at("a").entries[1].at("y").where == "score.yaml:3"
    assert root.at("b").line == 4


def test_an_alias_stands_for_its_anchor() -> None:
    assert read("a: &x {n: 1}\nb: *x\nc: [*x, *x]") == {"a": {"n": 1}, "b": {"n": 1}, "c": [{"n": 1}, {"n": 1}]}


def test_a_doubled_key_is_a_mistake_and_reading_goes_on() -> None:
    reading = Reading()

    root = read_yaml("a: 1\nb: 2\na: 3\n", "score.yaml", reading)

    assert root.plain == {"a": 1, "b": 2}
    assert [str(mistake) for mistake in reading.mistakes] == [
        "score.yaml:3: the key 'a' stands here again, first in line 1; keep one of them [doubled-key]"
    ]


@pytest.mark.parametrize(
    ("text", "line", "saying"),
    [
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("a: 1\n---\nb: 2\n", 2, "a second begins here"),
        ("a:\n\t- b\n", 2, "indent with spaces, not tabs"),
        ("a:\n  b: 1\n c: 2\n", 3, "indentation"),
        ("a: [1\n\nb: 2\n", 1, "check brackets"),
        ("a: 'x\n", 1, "quotes"),
        ("a: b: c\n", 1, "put text with special characters in quotes"),
        ("a: \x01\n", 1, "a character was found"),
        ("a: 1\nb: \ud800\n", 2, "a character was found"),
        ('a: "\\0"\n', 1, "NUL"),
        ("a: *nowhere\n", 1, "no anchor `&nowhere`"),
        ("a: &x [*x]\n", 1, "no anchor `&x` is complete"),
        ("? [a]\n: b\n", 1, "text was expected as a key"),
        ("a: &x 1\n*x : 2\n", 2, "text was expected as a key"),
        ("a: &x {n: 1}\nb:\n  <<: *x\n", 3, "merge keys"),
        ("a: !!binary aGk=\n", 1, "the tag"),
        ("a: !mine {}\n", 1, "the tag '!mine'"),
        ("a: !!int x\n", 1, "the tag"),
        ("a: 99999999999999999999\n", 1, "64 bits"),
        ("a: " + "9" * 5000 + "\n", 1, "64 bits"),
        ("a: 1e999\n", 1, "a smaller number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, line: int, saying: str) -> None:
    said = refusal(text)

    assert said.startswith(f"score.yaml:{line}: ")
    assert saying in said
    assert said.endswith(" [bad-yaml]")


def test_depth_is_limited_before_it_exhausts_the_stack() -> None:
    assert "at most 100 levels" in refusal("[" * 50_000)


def test_depth_by_way_of_aliases_is_limited_too() -> None:
    lines = ["a0: &a0 []"] + [f"a{n}: &a{n} {'[' * 40}*a{n - 1}{']' * 40}" for n in range(1, 40)]

    assert "at most 100 levels" in refusal("\n".join(lines))


def test_aliases_that_explode_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    assert "aliases stand for more than" in refusal("\n".join(lines))
