"""From an upstream task's last line to the next one's first line, in another process, durable in between.

Measured from inside: each task writes the time as its one line of user code. The floor (`floor.py`)
takes turns with it, so that both meet the same moods of the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from bench.measuring import OUT, say, summary, table, verdict, write
from bench.running import Server, running, stores, wait_until

PAIRS, WARM_UP = 100, 10
CHAIN = 10
#: At most this many times the floor.
TARGETS = {"command": 2.5, "function": 4.0}
#: How long upstream works: its end must not meet what its start has left to do.
WORK_S = 0.05
#: What must have come to rest before the floor is measured.
SETTLE_S = 0.03

MODULE = f"""
import time

WORK_S = {WORK_S}

def note(name):
    def task():
        if name == "up":
            time.sleep(WORK_S)
        now = time.time()
        with open(name, "a") as file:
            file.write(f"{{now}}\\n")
    return task

""" + "\n".join(f"{name} = note({name!r})" for name in ("up", "down", *(f"t{n}" for n in range(CHAIN))))


def task(kind: str, name: str) -> str:
    """A task whose one line of user code notes the time, as flow YAML."""
    if kind == "function":
        return f'python: "noting:{name}"'
    work = f"sleep {WORK_S}; " if name == "up" else ""
    return f"command: [bash, -c, '{work}echo $EPOCHREALTIME >> {name}']"


def score(kind: str) -> str:
    chain = "\n".join(
        f"      t{n}: {{{task(kind, f't{n}')}{f', after: [t{n - 1}]' if n else ''}}}" for n in range(CHAIN)
    )
    return f"""
score: handoff
events: {{go: {{}}, chain: {{}}}}
assets: {{a: {{}}}}
pipelines:
  up: {{trigger: {{event: go}}, writes: [a], tasks: {{run: {{{task(kind, "up")}}}}}}}
  down: {{trigger: {{asset: a}}, reads: [a], tasks: {{run: {{{task(kind, "down")}}}}}}}
  chain:
    trigger: {{event: chain}}
    tasks:
{chain}
"""


@contextmanager
def floor(kind: str, store: str, size: int) -> Iterator[Any]:
    """Measures the floor once for each call."""
    command = [sys.executable, "-m", "bench.floor", kind, store, str(size), str(OUT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        asking, answers = process.stdin, process.stdout
        assert asking is not None and answers is not None, "both are pipes"

        def once() -> float:
            asking.write("\n")
            asking.flush()
            return float(answers.readline())

        yield once
        asking.close()


def times(folder: Path, name: str) -> list[float]:
    path = folder / name
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def hand_off(server: Server, number: int) -> list[float]:
    """One event, two pipelines: the time between them."""
    server.emit(("go", str(number)))
    wait_until(lambda: len(times(server.folder, "down")) > number, "downstream ran")
    return [times(server.folder, "down")[number] - times(server.folder, "up")[number]]


def chain(server: Server, number: int) -> list[float]:
    """One event, ten tasks one after the other: the times between them."""
    server.emit(("chain", str(number)))
    wait_until(lambda: len(times(server.folder, f"t{CHAIN - 1}")) > number, "the chain ran")
    at = [times(server.folder, f"t{n}")[number] for n in range(CHAIN)]
    return [after - before for before, after in pairwise(at)]


def bytes_of_a_hand_off(server: Server) -> int:
    """What the commit between the two writes: its facts, and the rows' documents, which repeat most of them."""
    server.emit(("go", "weighed"))
    wait_until(lambda: len(times(server.folder, "down")) > 0 and server.is_idle(), "downstream ran", every_s=0.05)
    facts = server.get("/api/v1/journal?limit=500")["rows"]
    kinds = [fact["kind"] for fact in facts]
    first = kinds.index("AttemptEnded")
    last = first + kinds[first:].index("StartAttempt")
    for name in ("up", "down"):
        (server.folder / name).unlink()
    return 2 * sum(len(json.dumps(fact["fact"])) for fact in facts[first : last + 1])


def measure(kind: str, store: str, pairs: int) -> dict[str, Any]:
    with running(score(kind), store=store, files={"noting.py": MODULE}) as server:
        size = bytes_of_a_hand_off(server)
        found: dict[str, Any] = {"bytes": size}
        with floor(kind, store.partition("?")[0], size) as measure_floor:
            for name, once in (("hand-off", hand_off), ("chain of 10", chain)):
                figures: list[float] = []
                floors: list[float] = []
                for number in range(WARM_UP + pairs):
                    figure = once(server, number)
                    time.sleep(SETTLE_S)
                    least = measure_floor()
                    if number >= WARM_UP:
                        figures += figure
                        floors.append(least)
                found[name] = {
                    "figure_s": summary(figures),
                    "floor_s": summary(floors),
                    "ratio": median(figures) / median(floors),
                }
        return found


def run(*, quick: bool = False) -> None:
    """Measure commands and warm functions on every store."""
    say("hand-off: milliseconds from upstream's last line to downstream's first line")
    result: dict[str, Any] = {}
    rows = []
    with stores() as urls:
        for store, url in urls.items():
            for kind, target in TARGETS.items():
                schema = f"{url}?schema=handoff_{kind}" if url else ""
                found = result[f"{store}, {kind}"] = measure(kind, schema, 20 if quick else PAIRS)
                for name in ("hand-off", "chain of 10"):
                    figure, least, ratio = (found[name][part] for part in ("figure_s", "floor_s", "ratio"))
                    rows.append([
                        f"{store}, {kind}, {name}",
                        *(f"{figure[part] * 1000:.2f}" for part in ("p50", "p95")),
                        *(f"{least[part] * 1000:.2f}" for part in ("p50", "p95")),
                        f"{ratio:.2f}",
                        f"{target}",
                        verdict(ratio, target),
                    ])  # fmt: skip
    table(["store, kind, what", "p50", "p95", "floor p50", "floor p95", "ratio", "target", ""], rows)
    write("handoff", result)
