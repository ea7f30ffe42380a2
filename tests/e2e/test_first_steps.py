"""The first minutes with Counterpoint: init, check, run, up."""

from __future__ import annotations

import re
import signal
from typing import Any


def test_the_first_score_runs_event_driven_from_one_command(project: Any) -> None:
    assert project.type("init").returncode == 0
    assert project.type("check").returncode == 0
    server = project.up()

    told = project.type("run", "greet")
    assert told.returncode == 0, told.stdout + told.stderr
    # Its clock may tick at any moment, so the number of the run that was asked for is not known beforehand.
    greet = re.findall(r"greet#\d+", told.stdout)[0]
    project.until(lambda: caused_by(project, greet))

    count = caused_by(project, greet)
    assert "greetings.txt" in project.type("logs", count).stdout
    assert re.search(r"count#\d+", project.type("status").stdout)
    assert project.end(server) < 5
    assert server.returncode == 0
    assert f"▶ {count}" in project.log()


def caused_by(project: Any, greet: str) -> str:
    """The run of `count` that a run of `greet` led to; "" while there is none."""
    for name in (f"count#{number}" for number in range(1, 6)):
        if project.phase(name) == "succeeded":
            causes = project.ask("why", name)["causes"]
            if any(cause.get("run") == greet for cause in causes):
                return name
    return ""


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


def test_exit_codes_tell_what_kind_of_trouble_it_is(project: Any) -> None:
    project.score("""\
score: s
events: {order.placed: {schema: {type: object, required: [sku]}}}
pipelines:
  good: {run: "true", trigger: {event: order.placed}}
  bad: {run: "false"}
""")
    nowhere = "http://127.0.0.1:1"
    assert project.type("status", "--server", nowhere).returncode == 3
    project.up()

    codes = {
        words: project.type(*words.split()).returncode
        for words in (
            "run good",
            "emit order.placed sku=a1",
            "run bad",
            "retry good#1",
            "emit order.placed",
            "emit order.plaxed sku=a1",
            "emit counterpoint.tick",
            "run bda",
            "why nothing",
            "statsu",
            "runs --limit 0",
        )
    }

    done, failed, wrong = 0, 1, 2
    assert codes == {
        "run good": done,
        "emit order.placed sku=a1": done,
        "run bad": failed,
        "retry good#1": failed,
        "emit order.placed": wrong,
        "emit order.plaxed sku=a1": wrong,
        "emit counterpoint.tick": wrong,
        "run bda": wrong,
        "why nothing": wrong,
        "statsu": wrong,
        "runs --limit 0": wrong,
    }


def test_what_apply_says_of_a_wrong_score_is_what_check_says(project: Any) -> None:
    project.score("score: s\npipelines:\n  one: {run: ls}\n")
    project.up()
    project.score("score: s\nassets: {a: {}}\npipelines:\n  one: {run: ls, reads: [b]}\n  two: {runn: ls}\n")
    before = project.ask("status")["digest"]

    checked, applied, preview = project.type("check"), project.type("apply"), project.type("apply", "--dry-run")

    assert checked.stderr.count("score.yaml:") >= 2
    assert (applied.returncode, applied.stderr) == (preview.returncode, preview.stderr) == (2, checked.stderr)
    assert project.ask("status")["digest"] == before


def test_show_tells_what_a_run_read_published_and_waited_for(project: Any) -> None:
    project.score("""\
score: s
assets: {raw: {}, mart: {}}
pipelines:
  load:
    writes: [raw]
    run: sh -c 'cp report.json "$COUNTERPOINT_OUTPUT"'
  build: {trigger: {asset: raw}, reads: [raw], writes: [mart], run: "true"}
""")
    (project.folder / "report.json").write_text('{"kind": "asset", "asset": "raw", "label": "b7"}\n')
    project.up()
    project.type("run", "load")
    project.until(lambda: project.phase("build#1") == "succeeded")

    told, report = project.type("show", "build/1").stdout, project.ask("show", "build#1")

    assert "  read      raw  version 1 (b7)\n" in told
    assert "  published mart  version 1\n" in told
    assert "  because   load#1 published raw version 1  " in told
    assert " to be admitted, then " in told
    times = report["times"]
    assert times["created"] <= times["admitted"] <= times["first_started"] <= times["ended"]
    assert [(version["asset"], version["by"]) for version in report["versions"]] == [("mart", "build#1")]
