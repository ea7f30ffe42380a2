"""Tools small enough to read here, and the two things that can become of a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from counterpoint.engine.declare import declare_text
from counterpoint.errors import DeclarationError
from counterpoint.model.plan import Plan
from counterpoint.tables.kinds import Either, ListOf, Text
from counterpoint.tables.records import Key, Record


class SmallTool:
    """Takes a text, a list of texts, or {run: TEXT}; keeps what it got."""

    def __init__(self, name: str) -> None:
        self.name = name
        run = Either(Text("a command", "work"), ListOf(Text()))
        key = Key("run", run, "What.", required=True)
        self.settings = Record(f"tool {name}", "Does it.", key, short="run", phrase=f"`{name}`")

    def prepare(self, task: Any, context: Any) -> Any:
        raise NotImplementedError

    def read(self, task: Any, ended: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="session")
def tools() -> Mapping[str, SmallTool]:
    return {name: SmallTool(name) for name in ("command", "python", "check", "wait")}


@pytest.fixture
def declared(tools: Mapping[str, SmallTool], tmp_path: Path) -> Callable[[str], Plan]:
    """The plan that a text declares."""
    return lambda text: declare_text(text, folder=tmp_path, tools=tools)


@pytest.fixture
def refused(tools: Mapping[str, SmallTool], tmp_path: Path) -> Callable[[str], list[str]]:
    """The mistakes of a text, as the user sees them; empty where it is right."""

    def mistakes(text: str) -> list[str]:
        try:
            declare_text(text, folder=tmp_path, tools=tools)
        except DeclarationError as error:
            return [str(mistake) for mistake in error.mistakes]
        return []

    return mistakes
