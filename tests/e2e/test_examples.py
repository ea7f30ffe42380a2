"""The examples, as whoever looks at this project first will run them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.timeout(300)
def test_trendcart_plays_to_its_end_and_leaves_nothing_running(tmp_path: Path) -> None:
    told = play("trendcart", tmp_path / "work")

    # The bad batch of the third day is stopped by a gate, and put right.
    assert "ingest-orders#3 failed" in told
    assert "The dashboard, refreshed 3 times:" in told
    hand_offs = told.partition("How long each hand-off took")[2].partition("What failed")[0]
    for pipeline in ("ingest-orders", "web-events", "build-marts", "refresh-dashboard"):
        assert pipeline in hand_offs


@pytest.mark.timeout(200)
def test_a_training_makes_room_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    told = play("gpu-contention", tmp_path / "work")

    assert "train#1/run/1 is stopped" in told
    # Asked to make room twice: three attempts, and each epoch once (the demo fails otherwise).
    assert "train#1/run/3" in told
    assert "Every epoch was learned once." in told


@pytest.mark.timeout(300)
def test_a_catalogue_by_a_promise_is_fresher_than_by_the_clock(tmp_path: Path) -> None:
    told = play("catalog", tmp_path / "work", "--hours", "2.5")

    assert "A week in virtual time" in told
    assert (tmp_path / "work" / "report.html").stat().st_size > 10_000
    recorded = json.loads((tmp_path / "work" / "recording.json").read_text())["worlds"]
    assert len(recorded["after"]["published"]) > len(recorded["before"]["published"])


def play(example: str, folder: Path, *options: str) -> str:
    """What an example's demo says; it must end well, without colours where there is no terminal."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example / "demo.py"), "--folder", str(folder), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    told = done.stdout
    assert done.returncode == 0, told + done.stderr
    assert "\x1b" not in told
    assert told.rstrip().endswith("Nothing is left running.")
    assert list(_processes_of(folder)) == []
    return told


def _processes_of(folder: Path) -> Iterator[str]:
    """Processes that were started in a folder, or for it."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in command or (process / "cwd").resolve().is_relative_to(folder):
                yield command
        except OSError:
            continue  # it has ended since, or is somebody else's
