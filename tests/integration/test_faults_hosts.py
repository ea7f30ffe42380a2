"""Engine and worker host part: killed, frozen, ended in order. What runs is never guessed about."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from counterpoint.kernel.events import AttemptEnded, AttemptLost, HostUnreachable
from counterpoint.testing.chaos import Deployment, events

#: Runs until the test says go; says once that it started, and once that it is done.
SCORE = """\
score: hosts
pools: {slot: 2}
events: {order: {}}
pipelines:
  hold:
    trigger: {event: order}
    concurrency: 3
    overlap: queue
    pools: {slot: 1}
    run: >-
      sh -c 'echo $COUNTERPOINT_ATTEMPT >> started.txt;
      until [ -e go ]; do sleep 0.05; done; echo $COUNTERPOINT_ATTEMPT >> done.txt'
"""


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployment]:
    """Two attempts run, a third run waits for a slot."""
    with closing(Deployment(tmp_path, SCORE)) as deployed:
        deployed.up()
        deployed.post(list(events("order", 3)))
        deployed.until(lambda: len(deployed.lines("started.txt")) == 2)
        yield deployed


def go(deployed: Deployment) -> None:
    (deployed.folder / "go").touch()


def kinds(facts: list[Any], kind: type[Any]) -> int:
    return sum(isinstance(fact, kind) for fact in facts)


def pool(deployed: Deployment) -> dict[str, Any]:
    found: dict[str, Any] = deployed.status()["pools"][0]
    return found


def test_attempts_go_on_when_the_engine_is_killed_and_the_next_one_records_their_ends_once(
    deployed: Deployment,
) -> None:
    deployed.kill_engine()
    go(deployed)
    deployed.until(lambda: len(deployed.lines("done.txt")) == 2)
    deployed.up()

    facts = deployed.check(orders=3)
    assert sorted(deployed.lines("started.txt")) == ["hold#1/run/1", "hold#2/run/1", "hold#3/run/1"]
    assert kinds(facts, AttemptEnded) == 3
    assert kinds(facts, AttemptLost) == 0


def test_attempts_of_a_killed_host_are_lost_not_left_running_and_tried_under_new_ids(deployed: Deployment) -> None:
    deployed.signal_host(signal.SIGKILL)
    deployed.until(lambda: len(deployed.lines("started.txt")) == 4)
    assert pool(deployed)["used"] == 2
    go(deployed)

    facts = deployed.check(orders=3)
    assert kinds(facts, AttemptLost) == 2
    # None of the first two went on beside the one that took its place.
    assert sorted(deployed.lines("done.txt")) == ["hold#1/run/2", "hold#2/run/2", "hold#3/run/1"]


def test_a_frozen_host_is_shown_keeps_its_slots_and_goes_on_when_it_thaws(deployed: Deployment) -> None:
    deployed.signal_host(signal.SIGSTOP)
    frozen = time.monotonic()
    go(deployed)  # the attempts end, and nobody can know
    deployed.until(lambda: "unreachable" in deployed.status()["hosts"].values(), within_s=15)
    noticed_s = time.monotonic() - frozen
    print(f"noticed after {noticed_s:.1f} s")

    assert noticed_s < 11
    assert pool(deployed)["used"] == 2
    assert len(pool(deployed)["holders"]) == 2
    assert len(deployed.lines("started.txt")) == 2

    deployed.signal_host(signal.SIGCONT)
    deployed.until(lambda: list(deployed.status()["hosts"].values()) == ["ready"], within_s=5)
    facts = deployed.check(orders=3)
    assert sorted(deployed.lines("done.txt")) == ["hold#1/run/1", "hold#2/run/1", "hold#3/run/1"]
    assert kinds(facts, HostUnreachable) == 1
    assert kinds(facts, AttemptLost) == 0


def test_up_ends_in_time_and_leaves_attempts_running_even_if_the_host_does_not_answer(
    deployed: Deployment,
) -> None:
    deployed.signal_host(signal.SIGSTOP)
    assert deployed.end() < 5
    deployed.signal_host(signal.SIGCONT)

    deployed.up()
    assert pool(deployed)["used"] == 2
    go(deployed)
    deployed.check(orders=3)
    assert sorted(deployed.lines("started.txt")) == ["hold#1/run/1", "hold#2/run/1", "hold#3/run/1"]


def test_up_that_drains_waits_for_what_runs_and_records_it(tmp_path: Path) -> None:
    with closing(Deployment(tmp_path, SCORE)) as deployed:
        engine = deployed.up("--drain")
        deployed.post(list(events("order", 1)))
        deployed.until(lambda: deployed.lines("started.txt"))

        engine.terminate()
        time.sleep(1)
        assert engine.poll() is None
        go(deployed)
        assert engine.wait(10) == 0

        deployed.up()
        assert kinds(deployed.check(orders=1), AttemptEnded) == 1
        assert deployed.lines("started.txt") == ["hold#1/run/1"]
