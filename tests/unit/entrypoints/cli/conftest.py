from __future__ import annotations

from collections.abc import Callable

import pytest

from counterpoint.entrypoints.cli.main import main


class Typed:
    """What a command line did: its exit code, and what it wrote."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def typed(capfd: pytest.CaptureFixture[str]) -> Callable[..., Typed]:
    """Types a command line, as in a pipe."""

    def type_(*words: str) -> Typed:
        capfd.readouterr()
        code = main(words)
        written = capfd.readouterr()
        return Typed(code, written.out, written.err)

    return type_
