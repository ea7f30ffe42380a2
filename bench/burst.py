"""500 runs at once that do nothing, each attempt a process of its own: how many end per second, durably."""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import median
from typing import Any

from bench.measuring import say, table, verdict, write
from bench.running import Server, running, stores, wait_until

RUNS, REPEATS = 500, 5
TARGET_PER_S = 200

SCORE = """
score: burst
events: {command: {}, function: {}}
pipelines:
  command:
    trigger: {event: command, batch: {by: event.data.key}}
    tasks: {run: {command: ["true"]}}
  function:
    trigger: {event: function, batch: {by: event.data.key}}
    tasks: {run: {python: "nothing:nothing"}}
"""
FILES = {"nothing.py": "def nothing():\n    pass\n"}


def burst(server: Server, kind: str, label: str) -> float:
    """Runs per second, from the post of the events to the last run's end.

    The end is read from history: whoever looks every moment whether all is done takes part in the work.
    """
    done = len(server.runs(kind))
    begin = datetime.now(UTC)
    server.emit(*((kind, f"{label}-{number}") for number in range(RUNS)))
    wait_until(server.is_idle, "all runs have ended", every_s=0.5)
    ended = [datetime.fromisoformat(run["ended_at"]) for run in server.runs(kind)]
    assert len(ended) - done == RUNS, "every event has had a run of its own"
    return RUNS / (max(ended) - begin).total_seconds()


def run(*, quick: bool = False) -> None:
    """Measure both kinds of process on every store."""
    say(f"burst: {RUNS} no-op runs at once, runs per second")
    result: dict[str, Any] = {}
    rows = []
    with stores() as urls:
        for store, url in urls.items():
            with running(SCORE, store=f"{url}?schema=burst" if url else "", files=FILES) as server:
                for kind in ("command", "function"):
                    burst(server, kind, "warm")
                    rates = [burst(server, kind, str(n)) for n in range(2 if quick else REPEATS)]
                    result[f"{store}, {kind}"] = {"runs_per_s": rates}
                    rows.append([
                        f"{store}, {kind}",
                        f"{median(rates):.0f}",
                        f"{min(rates):.0f}",
                        f"{max(rates):.0f}",
                        TARGET_PER_S,
                        verdict(median(rates), TARGET_PER_S, at_least=True),
                    ])  # fmt: skip
    table(["store, kind", "median", "least", "most", "target", ""], rows)
    write("burst", result)
