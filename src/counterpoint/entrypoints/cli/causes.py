"""What led to something, told as a small chain: the newest cause first, each below what it caused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from counterpoint.entrypoints.cli.output import DIM, Segments, ago


def told(causes: Sequence[dict[str, Any]]) -> Iterator[Segments]:
    """A line for each cause; those of one run stand at one depth."""
    depth, caused = 0, None
    for place, cause in enumerate(causes):
        if place and cause.get("for") != caused:
            depth += 1
        caused = cause.get("for")
        lead = "  because   " if place == 0 else "            " + ("  " * (depth - 1) + "└ " if depth else "")
        when = f"  {ago(cause['at'])}" if cause.get("at") else ""
        yield [(lead, DIM), (cause["what"] + when, "")]
