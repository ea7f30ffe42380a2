"""Verbs that change something: what they ask of the engine, with who asked and why."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "anna")


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (
            ["cancel", "load#4", "--skip", "-m", "wrong day"],
            ("cancel", {"run": "load#4", "skip": True, "reason": "wrong day"}),
        ),
        (["retry", "load#4"], ("retry", {"run": "load#4", "reason": ""})),
        (["pause", "load", "--reason", "a migration"], ("pause", {"pipeline": "load", "reason": "a migration"})),
        (["resume", "load"], ("resume", {"pipeline": "load", "reason": ""})),
        (
            ["replay", "load", "7", "9"],
            ("replay", {"pipeline": "load", "changes": [7, 9], "dead": False, "reason": ""}),
        ),
        (
            ["replay", "load", "--dead"],
            ("replay", {"pipeline": "load", "changes": [], "dead": True, "reason": ""}),
        ),
    ],
)
def test_a_person_s_wish_is_handed_on_with_name_and_reason(
    typed: Any, server: Any, service: Any, words: list[str], call: tuple[str, dict[str, Any]]
) -> None:
    done = typed(*words)

    name, arguments = call
    assert done.code == 0
    assert done.out
    assert service.calls == [(name, {**arguments, "by": "anna"})]
    assert isinstance(json.loads(typed(*words, "--json").out), dict)


@pytest.mark.parametrize(
    ("words", "data"),
    [
        ([], None),
        (['{"total": 3}'], {"total": 3}),
        (["[1, 2]"], [1, 2]),
        (
            ["total=3", "name=Ann=a", "big=true", 'where={"x": 1}'],
            {"total": 3, "name": "Ann=a", "big": True, "where": {"x": 1}},
        ),
        (['{"a": "x=y"}'], {"a": "x=y"}),
        (["-"], {"from": "stdin"}),
    ],
)
def test_an_event_s_data_is_read_as_typed(
    typed: Any, server: Any, service: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], data: Any
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"from": "stdin"}'))

    done = typed("emit", "order.placed", *words, "--subject", "S")

    assert done.code == 0, done.err
    [(_, arguments)] = service.calls
    [event] = arguments["events"]
    assert event.get("data") == data
    assert (event["type"], event["source"], event["subject"]) == ("order.placed", "/cli/anna", "S")


def test_an_event_is_one_event_under_its_own_id(typed: Any, server: Any, service: Any) -> None:
    done = typed("emit", "order.placed", "--id", "order-3", "--source", "/shop")

    assert done.out == "order.placed is kept as change 7; its id is order-3\n"


@pytest.mark.parametrize("words", [["{"], ["a=1", "b"], ["text"], ["=3"]])
def test_data_that_is_neither_json_nor_pairs_is_wrong_use(
    typed: Any, server: Any, service: Any, words: list[str]
) -> None:
    assert typed("emit", "order.placed", *words).code == 2
    assert service.calls == []


def test_inside_a_task_the_id_is_derived_so_that_a_retry_does_not_repeat(
    typed: Any, server: Any, service: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("COUNTERPOINT_RUN_ID", "load#4")
    monkeypatch.setenv("COUNTERPOINT_PIPELINE", "load")
    monkeypatch.setenv("COUNTERPOINT_TASK", "load")
    monkeypatch.setenv("COUNTERPOINT_ATTEMPT", "load#4/load/1")
    monkeypatch.setenv("COUNTERPOINT_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("COUNTERPOINT_TOKEN", "task")
    service.tokens["task"] = "load#4/load/1"

    done = typed("emit", "order.placed", "total=3")

    assert done.code == 0, done.err
    [(_, arguments)] = service.calls
    assert arguments["events"][0]["id"] == "load#4/load/1"
    assert arguments["attempt"] == "load#4/load/1"
