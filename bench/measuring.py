"""What every bench shares: percentiles, facts about the machine, tables, and where results go."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

OUT = Path(__file__).parent / "out"


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of all samples does not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def summary(samples: Sequence[float]) -> dict[str, float]:
    """Median, the tails and the longest, with how many samples there were."""
    return {
        "count": len(samples),
        "p50": median(samples),
        "p95": percentile(samples, 0.95),
        "p99": percentile(samples, 0.99),
        "longest": max(samples),
    }


def machine() -> dict[str, Any]:
    """What a figure depends on and cannot show."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "kernel": platform.release(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(name: str, result: dict[str, Any]) -> None:
    """Keep a result as JSON in `bench/out`, with the machine it was measured on."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    say(f"   written to bench/out/{path.name}")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a head; the first column is text, the others are figures."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for number, line in enumerate(lines):
        first, *others = line
        say(
            "   "
            + "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:], strict=True))])
        )
        if number == 0:
            say("   " + "  ".join("-" * width for width in widths))


def say(text: str = "") -> None:
    """One line of output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def verdict(figure: float, target: float, *, at_least: bool = False) -> str:
    """Whether a figure meets its target, for the last column of a table."""
    return "ok" if (figure >= target if at_least else figure <= target) else "MISSED"
