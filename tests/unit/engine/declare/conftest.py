"""Tools small enough to read here, and the two things that can become of a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from counterpoint.engine.declare import declare_text
from counterpoint.errors import DeclarationError
from counterpoint.model.plan import Plan
from counterpoint.ports.tool import SpecMistake


class SmallTool:
    """Takes a text, a list of texts, or {run: TEXT}; keeps what it got."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read_spec(self, node: Any) -> tuple[dict[str, Any], Sequence[SpecMistake]]:
        if isinstance(node, str | list):
            return {"run": node}, ()
        if not isinstance(node, Mapping):
            return {}, [SpecMistake((), f"a command was expected, {node!r} was found", "wrong-type")]
        mistakes = [SpecMistake((key,), f"no key is called {key!r} here") for key in node if key != "run"]
        return dict(node), mistakes

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": ["string", "array"]}, {"type": "object", "properties": {"run": {}}}]}

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
