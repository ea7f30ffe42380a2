"""`wait` and the `check` for files."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any


def test_a_file_is_waited_for(perform: Any, tmp_path: Path) -> None:
    node = {"file": "in/*.csv", "min_size": "3B", "every": "2s"}

    before = perform("wait", node)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("x")
    small = perform("wait", node, look=1)
    (tmp_path / "in" / "b.csv").write_text("xyz")
    after = perform("wait", node, look=2)

    assert (before.state, before.look_after_s) == ("not-yet", 2.0)
    assert before.detail == "in/*.csv, at least 3 B was expected, none was found"
    assert small.state == "not-yet"
    assert "in/a.csv, 1 B" in small.detail
    assert after.state == "done"


def test_a_file_of_a_partition_is_waited_for(perform: Any, tmp_path: Path) -> None:
    (tmp_path / "2026-01-31.csv").touch()

    answer = perform("wait", {"file": "{partition}.csv"}, env={"COUNTERPOINT_PARTITION": "2026-01-31"})

    assert answer.state == "done"


def test_an_old_file_does_not_count(perform: Any, tmp_path: Path) -> None:
    old = tmp_path / "a.csv"
    old.touch()
    os.utime(old, (time.time() - 7200, time.time() - 7200))

    answer = perform("check", {"file": "a.csv", "newer_than": "1h"})

    assert (answer.state, answer.failure) == ("failed", "check")
    assert "expected a.csv, changed within 3600s, found a.csv, 0 B, changed 7200s ago" in answer.detail
    assert perform("check", {"file": "a.csv", "newer_than": "3h"}).state == "done"


def test_a_length_of_time_is_waited_for_without_a_process(perform: Any) -> None:
    before = perform("wait", {"duration": "5m"})
    after = perform("wait", {"duration": "5m"}, look=1, carry=before.carry)

    assert (before.state, before.look_after_s) == ("not-yet", 300.0)
    assert after.state == "done"


def test_a_page_is_waited_for(perform: Any, server: Any) -> None:
    server.on("GET", "/ready", (503, "starting"), (404, "no"), (200, "ok"))
    node = {"http": f"{server.url}/ready"}

    assert [perform("wait", node, look=look).state for look in range(3)] == ["not-yet", "not-yet", "done"]
    assert perform("wait", {"http": {"url": "http://127.0.0.1:9/", "timeout": "1s"}}).state == "not-yet"


def test_every_check_of_a_list_is_carried_out(perform: Any, tmp_path: Path) -> None:
    (tmp_path / "c").touch()

    answer = perform("check", [{"file": "a"}, {"file": "b", "on_fail": "warn"}, {"file": "c", "name": "third"}])

    assert [(verdict["check"], verdict["passed"]) for verdict in answer.verdicts] == [
        ("file a", False),
        ("file b", False),
        ("third", True),
    ]
    assert answer.detail == "file a: expected a, found none"
