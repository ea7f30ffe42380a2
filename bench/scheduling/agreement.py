"""Engine and simulation agree: the example catalog run for real, then simulated with the same world.

What is compared is how old a product change is when the index has it, read from the index in both worlds. The
simulation is given what the real world drew (when changes came, how long the n-th run of each step took) and
nothing of what the engine decided.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from bench.measuring import OUT, percentile, say, table, verdict, write
from counterpoint.bootstrap import tools
from counterpoint.engine.declare import declare
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.model.plan import Plan
from counterpoint.sim.agenda import ARRIVES
from counterpoint.sim.learning import Learning
from counterpoint.sim.stage import Stage, quiet_collector
from counterpoint.sim.work import Floor, Going, Work

EXAMPLE = Path(__file__).parents[2] / "examples" / "catalog" / "demo.py"
SOURCE, INDEX = "shop.products", "search.index"
HOURS, QUICK_HOURS = 13.0, 2.0
DIFFERENCE = 0.10


@dataclass(frozen=True)
class Recording:
    """What a real run of the example left.

    Attributes:
        changes: when each change happened, in seconds since 1970.
        published: (when, how many of the first changes the index then held).
        lengths: run -> how long it took, in seconds.
    """

    changes: list[float]
    published: list[tuple[float, int]]
    lengths: dict[str, float]
    scale: float


def run(*, quick: bool = False, data: str | None = None) -> None:
    """Run the example for real, unless `data` has a recording of it; then simulate and compare."""
    say("engine and simulation: the example catalog")
    folder = Path(data) if data and (Path(data) / "recording.json").exists() else OUT / "catalog"
    if folder == OUT / "catalog":
        record(folder, QUICK_HOURS if quick else HOURS)
    recording = load(folder)
    plan = declare([folder / "after" / "score.yaml"], tools())
    simulated = simulate(plan, recording)
    real_s, simulated_s = ages(recording.changes, recording.published), ages(recording.changes, simulated)
    rows = [
        [name, f"{minutes(real_s, share, recording):.2f}", f"{minutes(simulated_s, share, recording):.2f}"]
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("longest", 1.0))
    ]
    table(["age in the index, min of the shop", "engine", "simulation"], rows)
    off = abs(percentile(simulated_s, 0.95) / percentile(real_s, 0.95) - 1)
    say(f"   {len(real_s)} changes, median task {median(recording.lengths.values()):.2f} s, "
        f"{len(recording.published)} against {len(simulated)} versions")  # fmt: skip
    say(f"   p95 differs by {off:.1%}  {verdict(off, DIFFERENCE)}")
    write("scheduling-agreement", {"real_s": real_s, "simulated_s": simulated_s, "difference_of_p95": off})


def record(folder: Path, hours: float) -> None:
    """Run the example for real."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, str(EXAMPLE), "--folder", str(folder), "--hours", str(hours)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def load(folder: Path) -> Recording:
    """What the example recorded of the world with the promise."""
    document = json.loads((folder / "recording.json").read_text())
    world: dict[str, Any] = document["worlds"]["after"]
    lengths = {each["run"]: each["ended"] - each["started"] for each in world["runs"]}
    return Recording(world["changes"], [(at, n) for at, n in world["published"]], lengths, document["scale"])


def simulate(plan: Plan, recording: Recording) -> list[tuple[float, int]]:
    """The same world in virtual time: when the index was published, and what it then held."""
    usual = median(recording.lengths.values())
    stage = Stage(plan, moment(recording.changes[0]) - timedelta(seconds=1))
    #: Asset -> how many of the first changes it holds; run -> what it found in its input when it started.
    held: dict[str, int] = {}
    found: dict[str, int] = {}
    published: list[tuple[float, int]] = []

    def work_for(decision: d.StartAttempt) -> Work:
        pipeline = plan.pipelines[decision.run.partition("#")[0]]
        found[decision.run] = held.get(pipeline.reads[0], 0)
        return Work(length=timedelta(seconds=recording.lengths.get(decision.run, usual)))

    def ended(going: Going, how: str, lost_s: float) -> None:
        held[plan.pipelines[going.run.partition("#")[0]].writes[0]] = found.pop(going.run)

    def change(number: int) -> None:
        held[SOURCE] = number + 1
        report = e.Report(asset=SOURCE, data_through=moment(recording.changes[number]))
        stage.take(e.AssetReported(at=stage.now, wall=stage.now, report=report, by="bench"))

    def publish(decision: d.PublishAsset) -> None:
        if decision.asset == INDEX:
            published.append((stage.now.timestamp(), held[INDEX]))

    floor = Floor(stage, work_for)
    floor.watchers.append(ended)
    Learning(stage, floor)
    stage.on(d.PublishAsset, publish)
    stage.raise_curtain()
    for number, at in enumerate(recording.changes):
        stage.agenda.note(moment(at), ARRIVES, change, number)
    with quiet_collector():
        stage.play(until=moment(recording.published[-1][0] + 60))
    return published


def ages(changes: list[float], published: list[tuple[float, int]]) -> list[float]:
    """How old each change was when the index had it, in seconds; those that never came into it are left out."""
    found: list[float] = []
    waiting = 0
    for at, through in published:
        found += [at - happened for happened in changes[waiting:through]]
        waiting = max(waiting, through)
    return found


def minutes(values: list[float], share: float, recording: Recording) -> float:
    return percentile(values, share) * recording.scale / 60


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
