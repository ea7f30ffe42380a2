"""A training is asked to make room while things go wrong: it is ended once, and goes on from its checkpoint.

Whoever has the GPU holds a lock of the system too, so that two at once would be seen outside.
"""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.testing import audit
from counterpoint.testing.chaos import Deployment, Unanswered, events

SCORE = """\
score: room
pools: {gpu: 1}
events: {landed: {}, asked: {}}
assets: {model: {}, answers: {}}
pipelines:
  train:
    class: bulk
    trigger: {event: landed}
    writes: [model]
    pools: {gpu: 1}
    retry: {attempts: 1}
    grace: GRACE
    preempt: {minimum: 0s, evictions: 1, cooldown: 0s}
    run: python train.py MANNER
  infer:
    class: urgent
    trigger: {event: asked}
    writes: [answers]
    pools: {gpu: 1}
    run: python infer.py
"""

#: What both have: a line in a file, and the GPU, which only one process tree can have at a time.
GPU = """\
import fcntl, os
from counterpoint.sdk import current

run = current()

def note(name, text=""):
    with open(name, "a") as file:
        file.write(f"{run.attempt}{text}\\n")

note("started.txt")
gpu = os.open("gpu.lock", os.O_RDWR | os.O_CREAT)
os.set_inheritable(gpu, True)
try:
    fcntl.flock(gpu, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    note("overlaps.txt")
"""

#: Learns three epochs and keeps the GPU until it is asked to stop; the next attempt learns the other three.
TRAIN = """\
import signal, subprocess, sys, time
from pathlib import Path
from gpu import gpu, note, run

asked = False

def ask(number, frame):
    global asked
    asked = True
    note("asked.txt")

manner = sys.argv[1]
signal.signal(signal.SIGTERM, ask)
saved = run.resumed_from
first = saved["data"]["epoch"] + 1 if saved else 1
for epoch in range(first, 7 if saved else 4):
    note("epochs.txt", f" {epoch}")
    run.checkpoint("epoch", {"epoch": epoch})
if saved:
    run.publish("model")
    sys.exit(0)
if manner == "leaves-a-child":
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], pass_fds=[gpu], stdout=subprocess.PIPE)
    child.stdout.readline()
note("holds.txt")
while not asked or manner == "ignores" or (manner == "when-told" and not Path("go").exists()):
    time.sleep(0.01)
sys.exit(1)
"""

INFER = "import gpu\n"

#: An engine that ends as by a power cut when the first stop is decided and recorded, and before it is asked for.
DIES_BEFORE_IT_ASKS = """
import os, signal, sys
from counterpoint.engine.dispatch import Dispatcher
from counterpoint.entrypoints.cli.main import main

Dispatcher._stop = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(main())
"""


class Training:
    """A training that has the GPU, with three epochs saved."""

    def __init__(self, deployed: Deployment, manner: str, *, grace: str, code: str = "") -> None:
        self.deployed = deployed
        score = SCORE.replace("GRACE", grace).replace("MANNER", manner)
        for name, text in {"score.yaml": score, "gpu.py": GPU, "train.py": TRAIN, "infer.py": INFER}.items():
            (deployed.folder / name).write_text(text)
        deployed.up(code=code)
        deployed.post(list(events("landed", 1)))
        deployed.until(lambda: deployed.lines("holds.txt"))
        # What it reported has arrived.
        deployed.until(lambda: self.kinds().count("CheckpointReached") == 3)

    def kinds(self) -> list[str]:
        """The kinds of all facts so far."""
        return [row["kind"] for row in self.deployed.ask("/api/v1/journal")["rows"]]

    def ask(self) -> None:
        """Somebody with a better claim wants the GPU.

        Raises:
            Unanswered: the engine was gone before it could say that it knows.
        """
        self.deployed.post(list(events("asked", 1)))

    def until_asked(self) -> None:
        """Return when the training was asked to stop."""
        self.deployed.until(lambda: self.deployed.lines("asked.txt"))

    def go(self) -> None:
        """Let it stop, where it waits for that."""
        (self.deployed.folder / "go").touch()

    def check(self) -> list[Any]:
        """Wait for the end of all, and hold it against what must be so however it came about."""
        deployed = self.deployed
        facts = deployed.check(orders=2)
        audit.preemption_keeps_its_budget(facts)
        starts = [fact.attempt for fact in facts if isinstance(fact, d.StartAttempt)]
        assert starts == ["train#1/run/1", "infer#1/run/1", "train#1/run/2"]
        stops = [(fact.attempt, fact.why) for fact in facts if isinstance(fact, d.StopAttempt)]
        assert stops == [("train#1/run/1", "preempt")]
        # Its one try is not used up by having made room, and nothing was learned twice or left out.
        first, second = "train#1/run/1", "train#1/run/2"
        learned = [f"{first if epoch < 4 else second} {epoch}" for epoch in range(1, 7)]
        assert deployed.lines("epochs.txt") == learned
        assert deployed.lines("started.txt") == starts
        assert deployed.lines("overlaps.txt") == []
        published = [(fact.asset, fact.seq) for fact in facts if isinstance(fact, d.PublishAsset)]
        assert published == [("answers", 1), ("model", 1)]
        return facts


def ends(facts: list[Any], attempt: str) -> list[Any]:
    """How an attempt ended, each time that somebody said so."""
    return [fact for fact in facts if isinstance(fact, e.AttemptEnded | e.AttemptLost) and fact.attempt == attempt]


def is_held(lock: Path) -> bool:
    """Whether a process has a lock."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployment]:
    with closing(Deployment(tmp_path, SCORE)) as deployed:
        yield deployed


@pytest.mark.parametrize("manner", ["ignores", "leaves-a-child"])
def test_a_victim_that_does_not_stop_is_killed_after_its_grace_and_only_then_the_taker_starts(
    deployed: Deployment, manner: str
) -> None:
    training = Training(deployed, manner, grace="1s")
    training.ask()
    facts = training.check()

    stop, taken = (
        next(fact for fact in facts if isinstance(fact, kind) and fact.attempt == attempt)
        for kind, attempt in ((d.StopAttempt, "train#1/run/1"), (d.StartAttempt, "infer#1/run/1"))
    )
    assert 1 <= (taken.at - stop.at).total_seconds() < 10
    (end,) = ends(facts, "train#1/run/1")
    assert end.outcome == "failed"
    assert deployed.lines("asked.txt") == ["train#1/run/1"]


def test_a_stop_that_was_decided_and_not_asked_for_is_asked_for_by_the_next_engine(deployed: Deployment) -> None:
    training = Training(deployed, "stops", grace="30s", code=DIES_BEFORE_IT_ASKS)
    with suppress(Unanswered):
        training.ask()
    assert deployed.engine.wait(10) == -signal.SIGKILL
    assert deployed.lines("asked.txt") == []

    deployed.up()
    # Whether the event was kept is not known to who sent it, so it is sent again.
    training.ask()

    facts = training.check()
    assert len(ends(facts, "train#1/run/1")) == 1
    assert deployed.lines("asked.txt") == ["train#1/run/1"]


@pytest.mark.parametrize("while_away", [True, False], ids=["while-nobody-leads", "under-the-next-engine"])
def test_a_victim_that_was_asked_by_an_engine_that_was_killed_ends_once(
    deployed: Deployment, while_away: bool
) -> None:
    training = Training(deployed, "when-told", grace="30s")
    training.ask()
    training.until_asked()
    deployed.kill_engine()
    if while_away:
        training.go()
        deployed.until(lambda: not is_held(deployed.folder / "gpu.lock"))
    deployed.up()
    if not while_away:
        assert deployed.lines("started.txt") == ["train#1/run/1"]
        training.go()

    facts = training.check()
    (end,) = ends(facts, "train#1/run/1")
    assert (end.outcome, end.exit_code) == ("failed", 1)
    # The second engine asks again, because it cannot know that the first one did; the host does not.
    assert deployed.lines("asked.txt") == ["train#1/run/1"]


def test_a_victim_whose_host_is_killed_while_it_is_being_stopped_is_lost_and_makes_room_all_the_same(
    deployed: Deployment,
) -> None:
    training = Training(deployed, "ignores", grace="30s")
    training.ask()
    training.until_asked()
    deployed.signal_host(signal.SIGKILL)

    facts = training.check()
    (end,) = ends(facts, "train#1/run/1")
    assert isinstance(end, e.AttemptLost)
