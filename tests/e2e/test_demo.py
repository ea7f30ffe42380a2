"""`make demo`, as whoever looks at this project first will run it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples/trendcart/demo.py"


@pytest.mark.timeout(300)
def test_the_demo_plays_to_its_end_and_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "work"

    done = subprocess.run(
        [sys.executable, str(DEMO), "--folder", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    told = done.stdout
    assert done.returncode == 0, told + done.stderr
    assert "\x1b" not in told
    # The bad batch of the third day is stopped by a gate, and put right.
    assert "ingest-orders#3 failed" in told
    assert "The dashboard, refreshed 3 times:" in told
    hand_offs = told.partition("How long each hand-off took")[2].partition("What failed")[0]
    for pipeline in ("ingest-orders", "web-events", "build-marts", "refresh-dashboard"):
        assert pipeline in hand_offs
    assert told.rstrip().endswith("Nothing is left running.")
    assert list(_processes_of(folder)) == []


def _processes_of(folder: Path) -> Iterator[str]:
    """Processes that were started in a folder, or for it."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in command or (process / "cwd").resolve().is_relative_to(folder):
                yield command
        except OSError:
            continue  # it has ended since, or is somebody else's
