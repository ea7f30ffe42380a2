"""What survives the end of `up`: attempts, accepted events, the way to the server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

SLOW = """\
score: s
pipelines:
  slow:
    run: sh -c 'echo begun >> begun.txt; sleep 2; echo done >> done.txt'
"""


def test_the_end_of_up_leaves_attempts_running_and_the_next_one_finds_them(project: Any) -> None:
    project.score(SLOW)
    server = project.up()
    project.ask("run", "slow", "--no-wait")
    project.until((project.folder / "begun.txt").exists)

    assert project.end(server) < 5
    project.until((project.folder / "done.txt").exists)
    project.up()
    project.until(lambda: project.phase("slow#1") == "succeeded")

    assert (project.folder / "begun.txt").read_text() == "begun\n"


def test_draining_waits_for_what_runs(project: Any) -> None:
    project.score(SLOW)
    server = project.up("--drain")
    project.ask("run", "slow", "--no-wait")
    project.until((project.folder / "begun.txt").exists)

    project.end(server)

    assert server.returncode == 0
    assert (project.folder / "done.txt").exists()


def test_a_second_up_stands_by_and_takes_over(project: Any) -> None:
    project.score(SLOW)
    first = project.up()
    second = project.up(wait=False)
    project.until(lambda: "standing by" in project.log())

    first.send_signal(signal.SIGKILL)
    first.wait()
    project.until(lambda: project.serving() == second.pid, within_s=5)

    assert project.type("run", "slow").returncode == 0


#: `counterpoint` with a rule that has a mistake in it.
BROKEN = """
import sys
from importlib import import_module

from counterpoint.entrypoints.cli.main import main
from counterpoint.kernel.events import RunRequested

step = import_module("counterpoint.kernel.step")


def broken(state, event):
    if isinstance(event, RunRequested):
        raise ZeroDivisionError("a rule is wrong")
    return ()


step.FIRST = (*step.FIRST, broken)
sys.exit(main())
"""


def test_an_engine_that_ends_by_a_mistake_of_ours_ends_up_which_says_where_to_look(project: Any) -> None:
    project.score(SLOW)
    server = project.up(program=[sys.executable, "-c", BROKEN])

    assert project.type("run", "slow", "--no-wait").returncode != 0
    server.wait(10)

    assert server.returncode == 1
    last = project.log().splitlines()[-1]
    assert last.startswith("error: the engine ended by a mistake of ours (ZeroDivisionError: a rule is wrong)")
    assert ".counterpoint/error.log" in last
    assert "Traceback" not in project.log()
    assert "in broken" in (project.folder / ".counterpoint/error.log").read_text()
    assert project.serving() is None
    # Nothing of it was recorded, so the next engine is not broken by it again.
    project.up()
    assert project.ask("runs")["rows"] == []


def test_a_run_without_a_server_ends_with_its_engine(project: Any) -> None:
    project.score(SLOW)

    done = subprocess.run(
        [sys.executable, "-c", BROKEN, "run", "slow"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("error: the engine ended by a mistake of ours (ZeroDivisionError")


def test_a_task_emits_with_its_own_token_and_may_do_nothing_else(project: Any) -> None:
    project.score("""\
score: s
events: {order.placed: {}}
pipelines:
  shop:
    run: >-
      sh -c 'python -m counterpoint.entrypoints.cli.main emit order.placed total=3 &&
      ! python -m counterpoint.entrypoints.cli.main pause shop'
  book:
    trigger: {event: order.placed}
    run: sh -c 'cat "$COUNTERPOINT_EVENTS" > taken.json'
""")
    project.up("--token", "secret")

    done = project.type("run", "shop")
    project.until(lambda: project.phase("book#1") == "succeeded")

    assert done.returncode == 0, done.stdout + project.type("logs", "shop#1").stdout
    assert '"total":3' in (project.folder / "taken.json").read_text().replace(" ", "")
    assert "may emit events and report for its own attempt only" in project.type("logs", "shop#1").stdout


def test_a_token_is_asked_of_everyone_but_found_by_verbs_in_the_folder(project: Any, tmp_path: Any) -> None:
    project.type("init")
    project.up("--token", "secret")
    url = json.loads((project.folder / ".counterpoint/server.json").read_text())["url"]

    assert project.type("status").returncode == 0
    assert project.type("status", "--server", url).returncode == 2
    assert project.type("status", "--server", url, COUNTERPOINT_TOKEN="secret").returncode == 0
