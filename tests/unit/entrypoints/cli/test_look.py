"""Verbs that look, over a real connection to a fake engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_status_in_a_pipe_is_plain_aligned_text(typed: Any, server: Any) -> None:
    done = typed("status")

    assert done.code == 0
    assert "\x1b" not in done.out
    header, load, marts = done.out.splitlines()[3:6]
    assert header.index("STATE") == load.index("running") == marts.index("paused")
    assert "anna paused it: a migration" in marts
    assert "3 for 9m, 1 dead" in marts
    assert "load#3 succeeded 5m ago" in load
    assert "! the clock on the wall was set back by 40 s" in done.out
    assert "etl   1/2  load#4/load/1  marts#2" in done.out


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["runs"],
        ["show", "load#1"],
        ["why", "load"],
        ["dead-letters"],
        ["logs", "load#1"],
        ["incidents"],
        ["show", "load"],
        ["show", "raw.orders"],
    ],
)
def test_json_is_one_document(typed: Any, server: Any, service: Any, make_run: Any, words: list[str]) -> None:
    service.history.rows["runs"].append(make_run(1))

    done = typed(*words, "--json")

    assert done.code == 0
    assert isinstance(json.loads(done.out), dict)


def test_runs_are_filtered(typed: Any, server: Any, service: Any, make_run: Any) -> None:
    service.history.rows["runs"] += [make_run(1), make_run(2, phase="failed"), make_run(3, pipeline="marts")]

    assert [line.split()[0] for line in typed("runs").out.splitlines()] == ["RUN", "marts#3", "load#2", "load#1"]
    assert "load#2" not in typed("runs", "load", "--phase", "succeeded").out


def test_more_runs_than_shown_are_said(typed: Any, server: Any, service: Any, make_run: Any) -> None:
    service.history.rows["runs"] += [make_run(number) for number in range(1, 5)]

    assert "there are more; --limit 15 shows them" in typed("runs", "-n", "3").out


def test_show_tells_where_the_time_went_what_was_published_and_why(
    typed: Any, server: Any, service: Any, make_run: Any, make_version: Any
) -> None:
    service.history.rows["runs"].append(make_run(1))
    service.history.rows["versions"] += [make_version(1), make_version(2)]

    out = typed("show", "load#1").out

    assert out.startswith("load#1  succeeded  ")
    assert "  created   2026-11-21 12:00:00 UTC" in out or "  created   12:00:00 UTC" in out
    assert "  waited    0ms to be admitted" in out
    assert "  published raw.orders  version 1" in out
    assert "version 2" not in out
    assert "  because   raw.orders was published" in out


@pytest.mark.parametrize("name", ["load#1", "load/1"])
def test_a_run_s_name_may_be_written_with_a_slash(
    typed: Any, server: Any, service: Any, make_run: Any, name: str
) -> None:
    service.history.rows["runs"].append(make_run(1))

    assert typed("show", name).code == 0


def test_why_tells_what_is_waited_for_until_when_and_its_causes(typed: Any, server: Any) -> None:
    out = typed("why", "marts").out

    assert "waits for pool etl  2 of 2 slots are used; held by load#1" in out
    assert "until     load#1 ends" in out
    assert "because   raw.orders was published" in out


def test_logs_are_printed_as_they_are(typed: Any, server: Any, service: Any, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\n[bold]two[/bold]\n\tthree without an end")
    service.log_paths = [("load#1/load/1", str(tmp_path / "log"))]

    assert typed("logs", "load#1").out == "one\n[bold]two[/bold]\n\tthree without an end"


@pytest.mark.parametrize(("phase", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_followed_logs_end_with_the_run(
    typed: Any, server: Any, service: Any, tmp_path: Path, phase: str, code: int
) -> None:
    (tmp_path / "log").write_text("one\n")
    service.log_paths = [("load#1/load/1", str(tmp_path / "log"))]
    service.phases["load#1"] = phase

    done = typed("logs", "-f", "load#1")

    assert (done.code, done.out) == (code, "==> load#1/load/1 <==\none\n")


def test_dead_letters_are_listed_with_their_event(
    typed: Any, server: Any, service: Any, make_item: Any, make_event: Any
) -> None:
    service.history.rows["items"].append(make_item(4, change=7, state="dead"))
    service.history.rows["events"].append(make_event(7))

    assert "order.placed" in typed("dead-letters").out


def test_dead_letters_are_given_again_or_dropped(typed: Any, server: Any, service: Any, make_item: Any) -> None:
    service.history.rows["items"].append(make_item(4, change=7, state="dead"))

    assert typed("dead-letters", "load", "--discard", "-m", "test data").out == "1 dropped for good\n"
    assert typed("dead-letters", "load", "--replay").out == "load gets 3 again\n"
    assert typed("dead-letters", "--discard").code == 2
    assert [name for name, _ in service.calls] == ["discard", "replay"]


def test_watch_needs_a_terminal(typed: Any, server: Any) -> None:
    assert typed("status", "--watch").code == 2


def test_status_shows_each_promise_with_its_forecast(typed: Any, server: Any) -> None:
    out = typed("status").out

    [row] = [line for line in out.splitlines() if line.startswith("raw.orders freshness")]
    assert "60 % of 90 %" in row
    assert "-300 %" in row
    assert "4x ticket" in row
    assert "9m, unknown world:load" in row
    assert "2, due in 4m" in row
    assert "will break at 12:04:00 UTC, because load#4/load/1 has been running 50m (p90 20m)" in row
    assert row.endswith("; raw.orders:freshness#1 began 10m ago")


def test_why_tells_where_the_time_went_and_adds_it_up(typed: Any, server: Any) -> None:
    out = typed("why", "load#2").out

    assert "  took        48m from " in out
    assert "              load#2 waited 40m for pool etl, held by marts#1/build/1\n" in out
    assert "              load#2/load ran 8m\n" in out


def test_incidents_are_listed_and_reviewed(typed: Any, server: Any, service: Any, make_incident: Any) -> None:
    assert "no promise was broken" in typed("incidents").out

    service.history.rows["incidents"] += [make_incident(1), make_incident(2)]
    header, newest, oldest = typed("incidents").out.splitlines()
    assert header.split() == ["INCIDENT", "STATE", "BEGAN", "LASTED", "MISSED"]
    assert newest.startswith("raw.orders:freshness#2  going on")
    assert "ended" in oldest and "20m" in oldest

    review = typed("incidents", "raw.orders:freshness#1").out
    assert review.startswith("raw.orders:freshness#1  ended after 20m, 4 obligations missed\n")
    assert "the promise was missed: the incident began" in review
    assert "load#2 waited 40m for pool etl" in review
    assert "marts, owned by sales" in review
    assert "mail, without an owner" in review
    assert typed("incidents", "raw.orders:freshness#7").code == 2


def test_an_asset_is_shown_with_what_it_reflects(
    typed: Any, server: Any, service: Any, make_version: Any, make_incident: Any
) -> None:
    service.history.rows["versions"].append(make_version(1))
    service.history.rows["incidents"].append(make_incident(1))

    lines = typed("show", "raw.orders").out.splitlines()

    [source] = [line for line in lines if line.startswith("event:order")]
    assert source.split() == ["event:order", "9m", "5", "7"]
    [never] = [line for line in lines if line.startswith("world:load")]
    assert never.split() == ["world:load", "unknown", "0", "0"]
    assert any(line.startswith("raw.orders freshness") for line in lines)
    assert any(line.startswith("raw.orders:freshness#1") for line in lines)


def test_a_pipeline_is_shown_with_how_long_it_takes(typed: Any, server: Any, service: Any, make_run: Any) -> None:
    service.history.rows["runs"].append(make_run(1))

    out = typed("show", "load").out

    [band] = [line for line in out.splitlines() if line.startswith("(whole run)")]
    assert band.split() == ["(whole", "run)", "1m", "2m", "30s", "5s", "12"]
    assert "load#1" in out
    assert "not learned yet" in typed("show", "marts").out
