"""`run`: it asks, tells what happens, and answers with how it ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from counterpoint.ports.store import AttemptRow


@pytest.fixture
def play(service: Any, make_run: Any, make_message: Any) -> Any:
    """Has the run `load#1` end in a phase."""

    def played(phase: str) -> None:
        service.history.rows["runs"].append(make_run(1, phase=phase))
        service.messages += [
            make_message(39, text="an old story"),
            make_message(41, "AdmitRun", "it begins: anna asked for it"),
            make_message(42, "AdvanceClock", "small print"),
            make_message(43, "AdmitRun", "of another run", run="marts#1"),
            make_message(44, "FinishRun", f"it {phase}", fact={"phase": phase}),
        ]

    return played


def test_a_run_is_told_as_it_goes_and_ends_with_0(typed: Any, server: Any, service: Any, play: Any) -> None:
    play("succeeded")

    done = typed("run", "load", "-p", "day=3", "--request", "once", "-m", "by hand")

    assert done.code == 0
    told = [line.split(None, 2)[1:] for line in done.out.splitlines()]
    assert told == [["▶", "it begins: anna asked for it"], ["✓", "it succeeded"]]
    [(_, arguments)] = service.calls
    assert (arguments["params"], arguments["request"], arguments["reason"]) == ({"day": 3}, "once", "by hand")


def test_a_run_may_say_how_long_it_takes_and_when_it_is_due(typed: Any, server: Any, service: Any) -> None:
    due = ["--takes", "90m", "--deadline", "2026-01-31T06:00"]

    assert typed("run", "load", "--no-wait", *due).code == 0

    [(_, arguments)] = service.calls
    assert arguments["takes_s"] == 5400
    assert arguments["deadline"] == datetime(2026, 1, 31, 6, tzinfo=UTC)
    refused = typed("run", "load", "--deadline", "soon")
    assert refused.code == 2 and "a duration such as 2h" in refused.err


def test_a_run_that_failed_ends_with_1_and_the_last_lines_of_its_log(
    typed: Any, server: Any, service: Any, play: Any, make_run: Any, tmp_path: Path
) -> None:
    play("failed")
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(30)))
    service.log_paths = [("load#1/load/1", str(log))]
    run = make_run(1)
    service.history.rows["attempts"].append(
        AttemptRow(
            attempt="load#1/load/1",
            run="load#1",
            task="load",
            number=1,
            phase="failed",
            started_at=run.created_at,
            ended_at=run.created_at,
            document=b"{}",
        )
    )

    done = typed("run", "load")

    assert done.code == 1
    assert "│ line 29" in done.out
    assert "line 5\n" not in done.out
    assert "counterpoint retry load#1" in done.out


def test_a_run_whose_task_could_not_be_started_ends_with_1_and_names_no_log(
    typed: Any, server: Any, service: Any, play: Any, make_run: Any, tmp_path: Path
) -> None:
    play("failed")
    service.log_paths = [("load#1/load/1", str(tmp_path / "never-written"))]
    created = make_run(1).created_at
    service.history.rows["attempts"].append(
        AttemptRow(
            attempt="load#1/load/1",
            run="load#1",
            task="load",
            number=1,
            phase="failed",
            started_at=created,
            ended_at=created,
            document=b"{}",
        )
    )

    done = typed("run", "load")

    assert done.code == 1
    assert "counterpoint logs" not in done.out
    assert "`counterpoint retry load#1` goes on from what failed" in done.out
    assert "log" not in done.err


def test_without_waiting_it_returns_when_it_is_accepted(typed: Any, server: Any) -> None:
    assert json.loads(typed("run", "load", "--no-wait", "--json").out) == {"run": "load#1"}


def test_the_end_of_a_run_is_seen_even_if_the_stream_has_lost_it(
    typed: Any, server: Any, service: Any, make_run: Any
) -> None:
    service.history.rows["runs"].append(make_run(1))

    assert json.loads(typed("run", "load", "--json").out)["phase"] == "succeeded"


def test_an_unknown_pipeline_is_answered_with_the_nearest(typed: Any, server: Any) -> None:
    done = typed("run", "laod")

    assert done.code == 2
    assert "did you mean 'load'?" in done.err
