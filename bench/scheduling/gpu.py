"""Pods of a production GPU cluster on a few slots: preemption by class against strict priority without it.

The rules are in `bench/README.md`, section "Scheduling". They were not chosen blind: other cut-offs and waits
were tried, and the table there says how each of them came out.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import mean
from typing import Any

from bench.measuring import percentile, say, table, verdict, write
from bench.scheduling.inputs import folder
from bench.scheduling.references import Job, strict_priority
from counterpoint.model.promise import Preempt
from counterpoint.sim import jobs as sim

FILE = "openb_pods_before_day133.csv"
SIZES = (8, 11, 12)
#: What ran longer is a service or a workspace: it is held, not run. The most whole days of which the pods ask for
#: no more than the smallest pool has: with three it would be asked for 115 %.
LONGEST_S = 2 * 86_400
#: The longest waits of both classes, of which the usual ones are meant for runs of minutes.
WAITS = {"urgent": timedelta(days=7), "bulk": timedelta(days=7)}
#: Classes of service that go first; the other one is best effort, `BE`.
HIGH = frozenset({"LS", "Guaranteed", "Burstable"})
#: Pods that ask for the same are runs of one pipeline: what ended ones took is all that is known of others.
SHAPE = ("qos", "num_gpu", "gpu_milli", "gpu_spec", "cpu_milli", "memory_mib")
CHECKPOINT_S, RESTART_S, EVICTIONS = 1800.0, 120.0, 3
#: Besides the arrivals as recorded, they are pressed together until the pool is asked for so much.
DENSE = 0.9
#: Most that the high class may wait of what it waits under strict priority, and the low class.
HIGH_MEAN, LOW_P95 = 0.25, 1.25


def run(*, quick: bool = False, data: str | None = None) -> None:
    """Play the pods at each size, as they came and pressed together."""
    say("pods of a GPU cluster: delay = completion - arrival - run time, in seconds")
    place = folder("traces", data)
    if place is None:
        return
    pods, left_out = read(place / FILE)
    if quick:
        pods = pods[:400]
    say(f"   {len(pods):,} pods, {sum(pod.high for pod in pods):,} of them high; left out: "
        + ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()))  # fmt: skip
    figures = [
        measured(pods, slots, load=load) for load in (None, DENSE) for slots in (SIZES[:1] if quick else SIZES)
    ]
    table(
        ["arrivals", "slots", "load", "too large", "high mean: priority", "ours", "ratio", "",
         "low p95: priority", "ours", "ratio", "", "evictions", "most"],
        (
            [
                f["arrivals"], f["slots"], f"{f['load']:.2f}", f["too_large"],
                f"{f['priority']['high_mean_s']:.0f}", f"{f['ours']['high_mean_s']:.0f}",
                f"{f['high_ratio']:.3f}", verdict(f["high_ratio"], HIGH_MEAN),
                f"{f['priority']['low_p95_s']:.0f}", f"{f['ours']['low_p95_s']:.0f}",
                f"{f['low_ratio']:.3f}", verdict(f["low_ratio"], LOW_P95),
                f["ours"]["evictions"], f["ours"]["most_evictions"],
            ]
            for f in figures
        ),
    )  # fmt: skip
    for f in figures:
        own = f["independent_high_mean_s"], f["independent_low_p95_s"]
        played = f["priority"]["high_mean_s"], f["priority"]["low_p95_s"]
        off = max(abs(a - b) / max(b, 1) for a, b in zip(played, own, strict=True))
        say(f"   {f['arrivals']}, {f['slots']} slots: the kernel's strict priority is off an independent one by "
            f"{off:.2%}  {verdict(off, 0.01)}")  # fmt: skip
        assert f["ours"]["most_evictions"] <= EVICTIONS, "a run made room more often than it may"
    write("scheduling-gpu", {"figures": figures, "left_out": left_out})


def read(path: Path) -> tuple[list[Job], dict[str, int]]:
    """The pods by the rules, in order of arrival, from second 0; and what was left out, by reason."""
    left_out = {"without a GPU": 0, "never scheduled": 0, "without a run time": 0, "over two days": 0}
    pods = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if int(row["num_gpu"]) < 1:
                left_out["without a GPU"] += 1
            elif not row["scheduled_time"]:
                left_out["never scheduled"] += 1
            elif (duration := float(row["deletion_time"]) - float(row["scheduled_time"])) <= 0:
                left_out["without a run time"] += 1
            elif duration > LONGEST_S:
                left_out["over two days"] += 1
            else:
                arrival, slots = float(row["creation_time"]), int(row["num_gpu"])
                shape = "/".join(row[column] for column in SHAPE)
                pods.append(Job(row["name"], arrival, duration, slots, high=row["qos"] in HIGH, template=shape))
    pods.sort(key=lambda pod: pod.arrival)
    begin = pods[0].arrival
    return [replace(pod, arrival=pod.arrival - begin) for pod in pods], left_out


def measured(pods: Sequence[Job], slots: int, *, load: float | None) -> dict[str, Any]:
    """Both policies at one size.

    Args:
        load: what the pods ask of the pool when they are pressed together; None leaves them as they came.
    """
    fitting = [pod for pod in pods if pod.slots <= slots]
    offered = _load(fitting, slots)
    if load is not None:
        fitting = [replace(pod, arrival=pod.arrival * offered / load) for pod in fitting]
    result: dict[str, Any] = {
        "arrivals": "as recorded" if load is None else f"for a load of {load}",
        "slots": slots,
        "load": _load(fitting, slots),
        "too_large": len(pods) - len(fitting),
    }
    own = strict_priority(fitting, slots)
    by_class = _delays(fitting, {pod.id: own[pod.id] + pod.duration for pod in fitting})
    result["independent_high_mean_s"] = mean(by_class[True])
    result["independent_low_p95_s"] = percentile(by_class[False], 0.95)
    for name, policy in (("priority", "priority"), ("ours", "promise")):
        ended = sim.play_jobs([_played(pod) for pod in fitting], {"gpu": slots}, policy=policy, waits=WAITS)
        by_class = _delays(fitting, {each.id: each.end_s for each in ended})
        result[name] = {
            "high_mean_s": mean(by_class[True]),
            "low_p95_s": percentile(by_class[False], 0.95),
            "low_mean_s": mean(by_class[False]),
            "evictions": sum(each.evictions for each in ended),
            "most_evictions": max(each.evictions for each in ended),
        }
    result["high_ratio"] = result["ours"]["high_mean_s"] / max(result["independent_high_mean_s"], 1e-9)
    result["low_ratio"] = result["ours"]["low_p95_s"] / max(result["independent_low_p95_s"], 1e-9)
    return result


def _played(pod: Job) -> sim.Job:
    """A pod as the kernel gets it: its length is not told, and best effort may be asked to make room."""
    return sim.Job(
        id=pod.id,
        arrival_s=pod.arrival,
        duration_s=pod.duration,
        slots={"gpu": pod.slots},
        priority_class="urgent" if pod.high else "bulk",
        preempt=None if pod.high else Preempt(evictions=EVICTIONS),
        checkpoint_s=None if pod.high else CHECKPOINT_S,
        restart_s=0.0 if pod.high else RESTART_S,
        template=pod.template,
    )


def _load(pods: Sequence[Job], slots: int) -> float:
    """Work over what the pool could do between the first arrival of a busy day and the last.

    The first months of the trace have a pod now and then: they count from when a hundredth of all has come.
    """
    begin = pods[len(pods) // 100].arrival
    return sum(pod.duration * pod.slots for pod in pods) / (slots * (pods[-1].arrival - begin))


def _delays(pods: Sequence[Job], ends: Mapping[str, float]) -> dict[bool, list[float]]:
    found: dict[bool, list[float]] = {True: [], False: []}
    for pod in pods:
        found[pod.high].append(max(0.0, ends[pod.id] - pod.arrival - pod.duration))
    return found
