from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from counterpoint.adapters.tools.lines import read_lines
from counterpoint.kernel.events import Report
from counterpoint.ports.executor import Ended
from counterpoint.ports.tool import Answer


def _answer(*lines: dict[str, Any], **ended: Any) -> Answer:
    return read_lines(Ended(attempt="daily#1/load/1", look=0, lines=lines, **{"succeeded": True} | ended))


def test_reports_verdicts_and_results_are_collected() -> None:
    answer = _answer(
        {"kind": "asset", "asset": "a", "partition": "p", "unchanged": True, "expect": 4},
        {"kind": "asset", "asset": "b", "data_through": "2026-01-31T00:00:00", "read": {"raw": 7}},
        {"kind": "verdict", "check": "rows", "passed": True, "found": 3, "expected": "> 0"},
        {"kind": "result", "data": {"x": 1, "y": 1}},
        {"kind": "result", "data": {"y": 2}},
        {"kind": "progress", "fraction": 0.5},
        {"kind": "something of the user's own"},
    )

    assert answer == Answer(
        state="done",
        reports=(
            Report(asset="a", partition="p", unchanged=True, expect=4),
            Report(asset="b", data_through=datetime(2026, 1, 31, tzinfo=UTC), read={"raw": 7}),
        ),
        verdicts=({"check": "rows", "passed": True, "found": 3, "expected": "> 0"},),
        result={"x": 1, "y": 2},
    )


def test_a_bad_report_is_skipped_and_said_and_the_good_one_beside_it_is_kept() -> None:
    answer = _answer(
        {"kind": "asset", "asset": "a", "metadata": 5}, {"kind": "asset"}, {"kind": "asset", "asset": "b"}
    )

    assert answer.state == "done"
    assert [report.asset for report in answer.reports] == ["b"]
    assert "a report of asset 'a' was skipped" in answer.detail
    assert "a report of asset '?' was skipped" in answer.detail


def test_a_version_that_was_read_is_a_number() -> None:
    answer = _answer({"kind": "asset", "asset": "a", "read": {"raw": "seven"}})

    assert answer.reports == ()
    assert "a report of asset 'a' was skipped" in answer.detail


def test_a_verdict_that_was_not_passed_fails_the_task_unless_it_only_warns() -> None:
    failed = {"kind": "verdict", "check": "rows", "passed": False, "found": 0, "expected": "> 0"}

    halted = _answer(failed, {"kind": "result", "data": {"x": 1}})

    assert (halted.state, halted.failure, halted.detail) == ("failed", "check", "rows: expected > 0, found 0")
    assert halted.result == {"x": 1}
    assert _answer(failed | {"on_fail": "warn"}).state == "done"
    assert _answer({"kind": "verdict", "check": "no answer at all"}).state == "failed"


def test_not_yet_says_when_to_look_again() -> None:
    line = {
        "kind": "answer",
        "state": "not-yet",
        "look_after_s": 2,
        "callback": True,
        "external_id": "7",
        "carry": {"a": 1},
    }

    answer = _answer(line | {"detail": "queued"})

    assert answer == Answer(
        state="not-yet", detail="queued", look_after_s=2.0, callback=True, external_id="7", carry={"a": 1}
    )


def test_the_last_answer_counts() -> None:
    not_yet, failed = {"kind": "answer", "state": "not-yet"}, {"kind": "answer", "state": "failed", "detail": "no"}

    assert _answer(not_yet, failed).state == "failed"
    assert _answer(failed, not_yet).state == "not-yet"


def test_a_process_that_failed_is_not_done_whatever_it_wrote() -> None:
    not_yet = {"kind": "answer", "state": "not-yet"}
    failed = {"kind": "answer", "state": "failed", "failure": "check", "detail": "said"}

    def ended(line: dict[str, Any], failure: str) -> tuple[str, str, str]:
        answer = _answer(line, succeeded=False, failure=failure, detail="exit code 1")
        return answer.state, answer.failure, answer.detail

    assert ended(not_yet, "exit") == ("failed", "exit", "exit code 1")
    assert ended(failed, "exit") == ("failed", "check", "said")
    assert ended(failed, "out-of-memory") == ("failed", "out-of-memory", "exit code 1")


def test_an_answer_that_makes_no_sense_is_a_failure_and_not_an_error() -> None:
    answer = _answer({"kind": "answer", "state": "not-yet", "look_after_s": "soon"})

    assert (answer.state, answer.failure) == ("failed", "error")


def test_output_that_is_no_json_is_said_and_nothing_else_is_disturbed() -> None:
    ended = Ended(
        attempt="a", look=0, succeeded=True, lines=({"kind": "asset", "asset": "orders"},), bad_lines=("oops", "{")
    )

    answer = read_lines(ended)

    assert answer.state == "done" and answer.reports == (Report(asset="orders"),)
    assert answer.detail == "2 lines of its output skipped, a JSON object was expected, the first was 'oops'"
