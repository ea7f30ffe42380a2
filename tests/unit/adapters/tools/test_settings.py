"""Kinds of value that several tools take."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint.adapters.tools.settings import DATABASE, EXPECTATION, SECRET, seconds, text
from counterpoint.tables.kinds import Kind
from counterpoint.tables.nodes import locate
from counterpoint.tables.reading import Reading, Reported


@pytest.mark.parametrize(
    ("kind", "written", "setting"),
    [
        (text(), "a", "a"),
        (seconds("5s"), "1m30s", 90.0),
        (EXPECTATION, 3, "= 3"),
        (EXPECTATION, "0..10", "0..10"),
        (DATABASE, "postgresql://h/d", "postgresql://h/d"),
        (DATABASE, {"secret": "URL"}, {"secret": "URL"}),
        (SECRET, {"secret": "KEY", "prefix": "Bearer "}, {"secret": "KEY", "prefix": "Bearer "}),
    ],
)
def test_settings_are_what_json_can_hold(kind: Kind, written: Any, setting: Any) -> None:
    assert kind.read(locate(written), Reading()) == setting


@pytest.mark.parametrize(
    ("kind", "written"), [(text(), " "), (seconds("5s"), 5), (EXPECTATION, True), (DATABASE, "x.db"), (SECRET, {})]
)
def test_anything_else_is_a_mistake(kind: Kind, written: Any) -> None:
    reading = Reading()

    with pytest.raises(Reported):
        kind.read(locate(written), reading)

    assert reading.mistakes
