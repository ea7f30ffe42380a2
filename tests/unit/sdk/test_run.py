from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from counterpoint.sdk import NotInATask, current
from counterpoint.sdk.__main__ import main

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lines:
    """A task's surroundings; what it has reported so far."""
    events = [{"id": "1", "type": "order.placed"}]
    (tmp_path / "events").write_text(json.dumps(events))
    (tmp_path / "inputs").write_text('[{"asset": "raw.orders", "partition": "", "seq": 3}]')
    (tmp_path / "checkpoint").write_text('{"page": 7}')
    output = tmp_path / "output"
    given = {
        "RUN_ID": "daily#1",
        "PIPELINE": "daily",
        "TASK": "load",
        "ATTEMPT": "daily#1/load/2",
        "PARTITION": "2026-01-31",
        "PARAMS": '{"limit": 5}',
        "DUE": "2026-01-31T07:00:00Z",
        "EVENTS": str(tmp_path / "events"),
        "INPUTS": str(tmp_path / "inputs"),
        "CHECKPOINT": str(tmp_path / "checkpoint"),
        "OUTPUT": str(output),
    }
    for name, value in given.items():
        monkeypatch.setenv(f"COUNTERPOINT_{name}", value)
    return lambda: [json.loads(line) for line in output.read_text().splitlines()]


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUN_ID", "OUTPUT", "EVENTS", "INPUTS", "DUE", "PARAMS", "CHECKPOINT", "URL"):
        monkeypatch.delenv(f"COUNTERPOINT_{name}", raising=False)


def test_a_task_sees_what_it_was_given(lines: Lines) -> None:
    run = current()

    assert (run.id, run.pipeline, run.task, run.attempt) == ("daily#1", "daily", "load", "daily#1/load/2")
    assert (run.partition, run.params) == ("2026-01-31", {"limit": 5})
    assert run.due == datetime(2026, 1, 31, 7, tzinfo=UTC)
    assert run.events == [{"id": "1", "type": "order.placed"}]
    assert run.inputs["raw.orders"].items() >= {"seq": 3, "metadata": {}, "suspect": False}.items()
    assert run.resumed_from == {"page": 7}


def test_reports_are_lines_of_the_output(lines: Lines) -> None:
    run = current()
    run.progress(0.5, "half")
    run.checkpoint("loaded", {"page": 3})
    run.publish(
        "raw.orders", label="b-1", metadata={"rows": 3}, expect=4, data_through=datetime(2026, 1, 31, tzinfo=UTC)
    )
    run.publish("raw.items", unchanged=True, partition="p")
    run.metric("rows", 3)

    assert lines() == [
        {"kind": "progress", "fraction": 0.5, "text": "half"},
        {"kind": "checkpoint", "name": "loaded", "data": {"page": 3}},
        {"kind": "asset", "asset": "raw.orders", "label": "b-1", "metadata": {"rows": 3}, "unchanged": False}
        | {"expect": 4, "data_through": "2026-01-31T00:00:00+00:00"},
        {"kind": "asset", "asset": "raw.items", "label": "", "metadata": {}, "unchanged": True, "partition": "p"},
        {"kind": "metric", "name": "rows", "value": 3},
    ]


def test_a_command_reports_the_same_way(lines: Lines) -> None:
    for argv in (
        ["progress", "0.25", "a quarter"],
        ["checkpoint", "loaded", '{"page": 3}'],
        ["publish", "raw.orders", "rows=120", "source=erp", "--label", "b-1", "--partition", "p"],
        ["publish", "raw.items", "--unchanged"],
        ["metric", "rows", "3"],
    ):
        assert main(argv) == 0

    progress, checkpoint, orders, items, metric = lines()
    assert progress == {"kind": "progress", "fraction": 0.25, "text": "a quarter"}
    assert checkpoint == {"kind": "checkpoint", "name": "loaded", "data": {"page": 3}}
    assert orders["metadata"] == {"rows": 120, "source": "erp"}
    assert (orders["label"], orders["partition"]) == ("b-1", "p")
    assert items["unchanged"] is True
    assert metric["value"] == 3


@pytest.mark.parametrize(
    "argv",
    [
        ["progress", "2"],
        ["publish", "a", "rows"],
        ["checkpoint", "a", "{"],
        ["checkpoint", "a", "5"],
        ["emti"],
        [],
    ],
)
def test_wrong_use_exits_with_2_and_says_what_was_expected(lines: Lines, argv: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(argv)

    assert exit_.value.code == 2
    assert capsys.readouterr().err


def test_outside_of_a_task_it_is_said(outside: None, capsys: Any) -> None:
    run = current()

    assert run.inputs == {}
    assert (run.events, run.params, run.due, run.resumed_from) == ([], {}, None, None)
    with pytest.raises(NotInATask, match="COUNTERPOINT_OUTPUT is not set"):
        run.progress(0.5)
    assert main(["progress", "0.5"]) == 1
    assert "does not run as a task" in capsys.readouterr().err


def test_the_sdk_needs_nothing_but_the_standard_library() -> None:
    code = "import sys; sys.modules['msgspec'] = None; import counterpoint.sdk.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "counterpoint.kernel" not in loaded
    assert "counterpoint.model" not in loaded


def test_what_is_no_json_is_refused_where_it_is_reported(lines: Lines) -> None:
    with pytest.raises(ValueError, match="a metric cannot be reported, NaN and infinity are no JSON: use None"):
        current().metric("loss", float("nan"))

    current().publish("raw.orders")
    assert [line["kind"] for line in lines()] == ["asset"]
