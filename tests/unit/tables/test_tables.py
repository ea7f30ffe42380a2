"""Tables read values, find every mistake, and describe what they take."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from msgspec import Struct

from counterpoint.errors import Mistake
from counterpoint.tables import pages
from counterpoint.tables.kinds import (
    Anything,
    Choice,
    Either,
    Flag,
    Integer,
    Kind,
    ListOf,
    MapOf,
    Name,
    Number,
    SetOf,
    Text,
    duration,
    size,
)
from counterpoint.tables.nodes import locate
from counterpoint.tables.reading import Reading, Reported
from counterpoint.tables.records import Key, Record, Variants

_SECRET = Record(
    "secret", "A reference.", Key("secret", Text("the name of a secret", "KEY"), "Its name.", required=True)
)
_TABLE = Record(
    "job",
    "Something to do.",
    Key("name", Text("a name", "load"), "Its name.", required=True),
    Key("every", duration(example="5m"), "How often.", default="5s"),
    Key("size", size(), "How much."),
    Key("tags", ListOf(Text(), filled=True, single=True), "Words."),
    Key("mode", Choice("fast", "slow"), "How.", otherwise="what fits"),
    Key("extra", MapOf(Text(), Anything()), "More."),
    Key("quiet", Flag(), "Say nothing."),
    Key("share", Number(), "Of all."),
    Key("url", Either(Text("an address", "http://h"), _SECRET), "Where."),
    Key("retries", Integer(0, 9), "How many."),
    short="name",
    misplaced={"url_of_job": "write `url`"},
    sample="job: {name: load, every: 5m}",
)
_SOURCES = Variants(
    "source",
    "One thing to listen to.",
    Record("clock", "Ticks.", Key("every", duration(), "Distance.", required=True)),
    Record("asset source", "Versions.", Key("asset", Name("asset"), "Which."), Key("when", Text(), "Only those.")),
    common=(Key("max", Integer(), "At most."),),
    both="choose",
    words=("asset",),
)


def _read(kind: Kind, value: Any) -> tuple[Any, list[Mistake]]:
    reading = Reading()
    try:
        return kind.read(locate(value), reading), reading.mistakes
    except Reported:
        return None, reading.mistakes


def _messages(kind: Kind, value: Any) -> list[str]:
    return [mistake.message for mistake in _read(kind, value)[1]]


def test_what_is_written_is_read_and_defaults_are_filled_in() -> None:
    written = {
        "name": "a",
        "every": "1m",
        "size": "1KB",
        "tags": "x",
        "extra": {"n": [1, {"m": None}]},
        "quiet": True,
    }

    read, mistakes = _read(_TABLE, written)

    assert mistakes == []
    assert read["every"].total_seconds() == 60
    assert (read["size"], read["tags"], read["extra"], read["quiet"]) == (
        1000,
        ["x"],
        {"n": [1, {"m": None}]},
        True,
    )
    assert _read(_TABLE, {"name": "a"})[0]["every"].total_seconds() == 5
    assert "size" not in _read(_TABLE, {"name": "a"})[0]


def test_the_short_form_stands_for_the_whole() -> None:
    assert _read(_TABLE, "a") == _read(_TABLE, {"name": "a"})


def test_a_record_of_a_model_becomes_it_with_the_models_own_defaults() -> None:
    class Pool(Struct):
        slots: int
        aim: int = 3

    table = Record("pool", "Slots.", Key("slots", Integer(), "How many."), model=Pool, short="slots", bare=True)

    assert _read(table, 4) == (Pool(4, 3), [])
    assert "| `slots` | a whole number of at least 1 |  | How many. |" in list(pages.sections(table, set()))


def test_all_mistakes_are_found_at_once() -> None:
    written = {
        "nam": "a",
        "every": "soon",
        "tags": ["x", 5],
        "mode": "fsat",
        "quiet": 1,
        "url": {"secrt": "A"},
        "url_of_job": "x",
        "retries": True,
        "share": "half",
    }

    read, mistakes = _read(_TABLE, written)

    assert read is None
    assert [(mistake.message, mistake.code) for mistake in mistakes] == [
        ("a job has no key 'nam'; did you mean 'name'?", "unknown-key"),
        (
            "`every`: a duration such as 30s, 5m, 1h30m or 7d was expected, 'soon' was found; "
            "write it like `every: 5m`",
            "wrong-value",
        ),
        ("text was expected, 5 was found; put it in quotes", "wrong-type"),
        ("`mode`: `fast` or `slow` was expected, 'fsat' was found; did you mean 'fast'?", "wrong-value"),
        ("`quiet`: true or false was expected, 1 was found; write it like `quiet: true`", "wrong-type"),
        ("a secret has no key 'secrt'; did you mean 'secret'?", "unknown-key"),
        ("a job has no key 'url_of_job'; write `url`", "unknown-key"),
        (
            "`retries`: a whole number from 0 to 9 was expected, true was found; write it like `retries: 1`",
            "wrong-type",
        ),
        ("`share`: a number was expected, 'half' was found; write it like `share: 0.5`", "wrong-type"),
    ]


def test_mistakes_are_told_in_the_order_of_files_and_lines_each_once() -> None:
    reading = Reading()
    reading.files = ["a", "b"]
    for file, line in (("b", 1), ("a", 9), ("a", 2), ("a", 2)):
        reading.add(locate(None, file, line), "wrong", "wrong-value")

    assert [mistake.where for mistake in reading.mistakes] == ["a:2", "a:9", "b:1"]


def test_a_key_that_must_be_there_is_asked_for() -> None:
    assert _messages(_TABLE, {"mode": "fast"}) == ["a job needs `name`, it was not found; write `name: load`"]


def test_a_text_instead_of_a_list_is_put_in_brackets() -> None:
    (message,) = _messages(Record("job", "", Key("reads", SetOf(Text()), "")), {"reads": "a"})

    assert message.endswith("'a' was found; put it in brackets, `reads: [a]`")


def test_a_set_takes_no_repeats() -> None:
    assert _read(SetOf(Text()), ["a", "b"]) == (("a", "b"), [])
    assert _read(ListOf(Text()), ["a", "a"]) == (["a", "a"], [])
    assert "'a' stands here twice" in _messages(SetOf(Text()), ["a", "a"])[0]


def test_names_that_must_be_declared_are_kept_for_whoever_knows_them() -> None:
    reading = Reading()

    _SOURCES.read(locate({"asset": "raw"}), reading)

    assert [(use.of, use.name) for use in reading.uses] == [("asset", "raw")]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            {"asset": "a", "every": "5m"},
            "a source has one of `every`, `asset`, `every` and `asset` were found; choose",
        ),
        ({"max": 1}, "a source needs one of `every`, `asset`, none was found; write it like `{every: 10m}`"),
        ({"every": "5m", "when": "x"}, "a clock has no key 'when'; it takes every, max"),
        ({"evry": "5m"}, "a source has no key 'evry'; did you mean 'every'?"),
        ("auto", "a source, a mapping, was expected, 'auto' was found; write it like `{every: 10m}`"),
        (
            "asset",
            "`asset`: the name of an asset was expected, nothing was found; write it like `asset: some-asset`",
        ),
        (5, "a source, a mapping, was expected, 5 was found; write it like `{every: 10m}`"),
    ],
)
def test_variants_are_told_apart_by_their_leading_key(written: Any, message: str) -> None:
    assert _read(_SOURCES, {"asset": "a", "max": 2}) == ({"asset": "a", "max": 2}, [])
    assert _messages(_SOURCES, written) == [message]


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (
            _TABLE,
            ["a", {"name": "a", "tags": ["x"], "url": {"secret": "A"}}],
            [5, None, {}, {"name": "a", "nam": 1}],
        ),
        (_SOURCES, [{"every": "5m"}, {"asset": "a", "max": 1}], [{}, {"every": "5m", "when": "x"}, {"max": 1}]),
    ],
)
def test_the_schema_takes_what_is_read(kind: Kind, right: list[Any], wrong: list[Any]) -> None:
    schema = jsonschema_rs.Draft202012Validator(pages.schema(kind, "it"))

    for value in right:
        assert (_read(kind, value)[1], schema.is_valid(value)) == ([], True)
    for value in wrong:
        assert (bool(_read(kind, value)[1]), schema.is_valid(value)) == (True, False)


def test_a_section_tells_keys_defaults_and_meanings() -> None:
    page = "\n".join(pages.sections(_TABLE, set()))

    assert page.startswith(
        "## Job\n\nSomething to do. Short form: the value of `name` alone.\n\n```yaml\njob: {name"
    )
    assert "| `name` | a name | **required** | Its name. |" in page
    assert "| `every` | a duration such as 30s, 5m or 1h30m | `5s` | How often. |" in page
    assert "| `mode` | `fast` or `slow` | what fits | How. |" in page
    assert "| `url` | an address or [secret](#secret) |  | Where. |" in page
    assert "## Secret" in page
