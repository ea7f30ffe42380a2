"""The first minutes with Counterpoint: init, check, run, up."""

from __future__ import annotations

import signal
from typing import Any


def test_the_first_score_runs_event_driven_from_one_command(project: Any) -> None:
    assert project.type("init").returncode == 0
    assert project.type("check").returncode == 0
    server = project.up()

    told = project.type("run", "greet")
    project.until(lambda: project.phase("count#1") == "succeeded")

    assert told.returncode == 0, told.stdout + told.stderr
    assert "greet#1" in told.stdout
    assert "greetings.txt" in project.type("logs", "count#1").stdout
    causes = project.ask("why", "count#1")["causes"]
    assert any(cause.get("run") == "greet#1" for cause in causes)
    assert "count#1" in project.type("status").stdout
    assert project.end(server) < 5
    assert server.returncode == 0
    assert "▶ count#1" in project.log()


def test_run_without_a_server_takes_the_lease_and_gives_it_back(project: Any) -> None:
    project.type("init")

    first, second = project.type("run", "greet"), project.type("run", "greet")

    assert first.returncode == 0, first.stdout + first.stderr
    assert second.returncode == 0, second.stdout + second.stderr
    assert project.serving() is None


def test_a_run_that_fails_exits_with_1_and_shows_its_last_words(project: Any) -> None:
    project.score("score: s\npipelines:\n  bad:\n    run: sh -c 'echo before; echo oops >&2; exit 3'\n")

    done = project.type("run", "bad")

    assert done.returncode == 1
    assert "│ oops" in done.stdout
    assert "exit code 3" in done.stdout


def test_a_failed_run_is_retried_from_what_failed(project: Any) -> None:
    project.score("""\
score: s
pipelines:
  two-steps:
    tasks:
      first: {command: "sh -c 'echo 1 >> first.txt'"}
      second: {command: "test -e let-me", after: [first]}
""")
    project.up()
    assert project.type("run", "two-steps").returncode == 1

    (project.folder / "let-me").touch()
    assert project.type("retry", "two-steps#1", "-m", "it may now").returncode == 0
    project.until(lambda: project.phase("two-steps#1") == "succeeded")

    assert (project.folder / "first.txt").read_text() == "1\n"


def test_a_wrong_score_starts_nothing(project: Any) -> None:
    project.score("score: s\npipelines:\n  a: {runn: ls}\n")

    done = project.type("up", "--listen", "127.0.0.1:0")

    assert done.returncode == 2
    assert "score.yaml:3:" in done.stderr
    assert not (project.folder / ".counterpoint").exists()


def test_applying_a_changed_score_changes_what_runs(project: Any) -> None:
    project.score("score: s\npipelines:\n  one: {run: ls}\n")
    project.up()
    project.score("score: s\npipelines:\n  two: {run: ls}\n")

    preview = project.type("apply", "--dry-run")
    before = [pipeline["name"] for pipeline in project.ask("status")["pipelines"]]
    applied = project.type("apply")
    after = [pipeline["name"] for pipeline in project.ask("status")["pipelines"]]

    assert "+ pipeline two" in preview.stdout and "- pipeline one" in preview.stdout
    assert before == ["one"]
    assert applied.returncode == 0, applied.stderr
    assert after == ["two"]


def test_ctrl_c_ends_up_as_sigterm_does(project: Any) -> None:
    project.type("init")
    server = project.up()

    assert project.end(server, signal.SIGINT) < 5
    assert server.returncode == 0
