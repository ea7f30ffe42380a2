"""Each part of the bench of scheduling runs, on little, and what it plays is sound; not how good it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from random import Random

import pytest

from bench import measuring
from bench.scheduling import gpu, million, promises, swf, workflows
from bench.scheduling.landscapes import WAYS, landscape
from bench.scheduling.playing import play


@pytest.fixture(autouse=True)
def _out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "OUT", tmp_path)


def result(folder: Path, part: str) -> dict:
    return json.loads((folder / f"scheduling-{part}.json").read_text())


def test_workflows_keep_their_order_and_bounds(tmp_path: Path) -> None:
    place = tmp_path / "wfinstances"
    place.mkdir()
    edges = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["a"], "f": []}
    takes = {"a": 5.5, "b": 3, "c": 9.25, "d": 2, "e": 4, "f": 7}
    tasks = [{"id": task, "name": task, "parents": before} for task, before in edges.items()]
    times = [{"id": task, "runtimeInSeconds": took} for task, took in takes.items()]
    document = {"workflow": {"specification": {"tasks": tasks}, "execution": {"tasks": times}}}
    (place / "six.json").write_text(json.dumps({"schemaVersion": "1.5", **document}))

    workflows.run(data=str(tmp_path))

    figures = result(tmp_path, "workflows")["figures"]
    assert [f["slots"] for f in figures] == list(workflows.SIZES)
    assert [fault for f in figures for fault in f["faults"]] == []
    assert figures[0]["known_s"] == pytest.approx(sum(takes.values()))


def test_pods_are_read_by_the_rules_and_all_end(tmp_path: Path) -> None:
    place = tmp_path / "traces"
    place.mkdir()
    random = Random(1)
    rows = [pod(n, random) for n in range(120)]
    rows += [[*rows[0][:3], "0", *rows[0][4:]], [*rows[0][:-1], ""], [*rows[0][:-2], "900000", "0"]]
    with (place / gpu.FILE).open("w", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])

    gpu.run(quick=True, data=str(tmp_path))

    found = result(tmp_path, "gpu")
    assert found["left_out"] == {
        "without a GPU": 1,
        "never scheduled": 1,
        "without a run time": 0,
        "over two days": 1,
    }
    assert [f["slots"] for f in found["figures"]] == [8, 8]
    assert all(f["ours"]["most_evictions"] <= gpu.EVICTIONS for f in found["figures"])
    assert all(f["ours"]["high_mean_s"] >= 0 for f in found["figures"])


HEAD = [
    "name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", "qos", "pod_phase",
    "creation_time", "deletion_time", "scheduled_time",
]  # fmt: skip


def pod(number: int, random: Random) -> list[str]:
    arrival, waited, took = number * 300, random.randint(0, 60), random.randint(60, 20_000)
    quality = random.choice(["LS", "BE", "Burstable"])
    gpus = random.choice(["1", "1", "2", "8"])
    times = [str(arrival), str(arrival + waited + took), str(arrival + waited)]
    return [f"pod-{number}", "1000", "1000", gpus, "1000", "", quality, "Running", *times]


def test_a_log_is_played_as_strict_first_come_first_served() -> None:
    found = swf.measured(1, jobs=300)

    assert found["off"] < 0.01
    assert found["promise_s"] > 0


def test_landscapes_are_played_in_all_ways_beside_their_optimum(tmp_path: Path) -> None:
    promises.run(quick=True, seeds=[1001, 1002])

    found = result(tmp_path, "promises")
    for figures in found["figures"] + found["small"] + found["tiny"]:
        for way in WAYS:
            assert 0 <= figures[way]["share"] <= 1
            assert figures[way]["runs"] > 0
            # The kernel's count and our own, from starts and ends alone, agree but for changes of the same second.
            assert figures[way]["off_by"] <= figures["obligations"] * 0.002
    assert all(
        figures["optimum"]["kept"] >= figures["promise"]["kept"]
        for figures in found["small"] + found["tiny"]
        if figures.get("optimum", {}).get("is_proven")
    )


def test_a_landscape_is_played_the_same_way_again() -> None:
    world = landscape(3, pipelines=12, days=0.2)

    assert play(world, "promise") == play(world, "promise")


def test_the_landscape_of_a_million_runs_is_a_faster_one() -> None:
    world = million.world(quick=True)

    assert len(world.steps) == 100
    assert max(step.p50 for step in world.steps) < 600
    assert max(at for times in world.changes.values() for at in times) <= 0.5 * 86_400
