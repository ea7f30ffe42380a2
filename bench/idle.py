"""What it costs to be there: memory and CPU of an idle engine, the time to be ready, the time of `--help`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.measuring import say, summary, table, verdict, write
from bench.running import COUNTERPOINT, running, stores

PAIRS, STARTS = 100, 10
#: How long an idle engine is watched.
WATCH_S = 30.0
#: At most.
PSS_MB, CPU_SHARE, READY_S, HELP_S = 100, 0.005, 1.5, 0.25

#: It waits for an event, and for a tick that is far away.
SCORE = """
score: idle
events: {go: {}}
assets: {a: {}}
pipelines:
  on-event: {trigger: {event: go}, writes: [a], run: "true"}
  on-asset: {trigger: {asset: a}, reads: [a], run: "true"}
  yearly: {trigger: {cron: "0 0 1 1 *"}, run: "true"}
"""


def pss_mb(pid: int) -> float:
    """Memory of a process, its share of what it shares with others counted in part."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None, "the kernel tells PSS"
    return int(found[1]) / 1000


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(store: str, *, quick: bool) -> dict[str, Any]:
    ready = []
    for number in range(2 if quick else STARTS):
        with running(SCORE, store=f"{store}?schema=ready_{number}" if store else "") as server:
            ready.append(server.ready_s)
    with running(SCORE, store=f"{store}?schema=idle" if store else "") as server:
        time.sleep(3)
        pids = (server.process.pid, server.host_pid)
        before, begin = sum(map(cpu_s, pids)), time.monotonic()
        time.sleep(3 if quick else WATCH_S)
        share = (sum(map(cpu_s, pids)) - before) / (time.monotonic() - begin)
        return {"pss_mb": [pss_mb(pid) for pid in pids], "cpu_share": share, "ready_s": summary(ready)}


def time_of(command: list[str | Path]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def run(*, quick: bool = False) -> None:
    """Measure every store, and `--help` in turn with a Python that does nothing."""
    say("idle: engine and worker host; warm processes start on first use")
    result: dict[str, Any] = {}
    rows: list[list[object]] = []
    with stores() as urls:
        for store, url in urls.items():
            found = result[store] = measure(url, quick=quick)
            memory, cpu, ready = sum(found["pss_mb"]), found["cpu_share"], found["ready_s"]["p50"]
            rows += [
                [f"{store}: PSS, MB (engine + host)", f"{memory:.0f}", PSS_MB, verdict(memory, PSS_MB)],
                [f"{store}: CPU, % of a core", f"{cpu:.2%}", f"{CPU_SHARE:.1%}", verdict(cpu, CPU_SHARE)],
                [f"{store}: ready, s", f"{ready:.2f}", READY_S, verdict(ready, READY_S)],
            ]
    helps, floors = [], []
    for _ in range(10 if quick else PAIRS):
        helps.append(time_of([COUNTERPOINT, "--help"]))
        floors.append(time_of([sys.executable, "-c", "pass"]))
    result["help_s"], result["python_s"] = summary(helps), summary(floors)
    rows.append(["counterpoint --help, s", f"{median(helps):.3f}", HELP_S, verdict(median(helps), HELP_S)])
    rows.append(["python -c pass, s", f"{median(floors):.3f}", "", ""])
    table(["what", "figure", "target", ""], rows)
    write("idle", result)
