"""Exit codes, errors and help: what all verbs have in common."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from counterpoint.entrypoints.cli.main import _SECTIONS, cli
from counterpoint.errors import Conflict, Mistake, StoreUnavailable


def test_help_lists_every_verb_once() -> None:
    listed = [name for names in _SECTIONS.values() for name in names]

    assert sorted(listed) == sorted(cli.commands)


def test_every_verb_can_answer_in_json() -> None:
    for name, verb in cli.commands.items():
        assert any("--json" in option.opts for option in verb.params), name


def test_a_slip_of_the_finger_is_answered_with_the_nearest_verb(typed: Any) -> None:
    done = typed("stauts")

    assert done.code == 2
    assert "did you mean `status`?" in done.err


@pytest.mark.parametrize(
    "words", [["nonsense"], ["run"], ["runs", "--limit", "0"], ["replay", "load"], ["up", "--listen", "x"]]
)
def test_wrong_use_exits_with_2(typed: Any, words: list[str]) -> None:
    assert typed(*words).code == 2


@pytest.mark.parametrize("words", [["status"], ["why", "load"], ["cancel", "load#1"], ["emit", "order.placed"]])
def test_a_server_that_is_not_there_exits_with_3(
    typed: Any, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERPOINT_URL", "http://127.0.0.1:9")

    done = typed(*words)

    assert done.code == 3
    assert "counterpoint up" in done.err


@pytest.mark.parametrize(
    ("error", "code"),
    [(Mistake("no"), 2), (Conflict("it has ended"), 1), (StoreUnavailable("away"), 3), (ZeroDivisionError(), 1)],
)
def test_the_exit_code_says_whose_turn_it_is(
    typed: Any, server: Any, service: Any, error: Exception, code: int
) -> None:
    service.fails = error

    assert typed("pause", "load").code == code


def test_an_error_in_json_stands_where_the_result_would(typed: Any, server: Any) -> None:
    done = typed("why", "nothing", "--json")

    assert json.loads(done.out)["error"]["code"] == "unknown-name"
    assert done.err == ""


def test_help_imports_nothing_heavy() -> None:
    asked = "import sys; import counterpoint.entrypoints.cli.main; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout

    assert {"rich", "msgspec", "starlette", "uvicorn", "asyncio", "http.client"} & set(loaded.split()) == set()
