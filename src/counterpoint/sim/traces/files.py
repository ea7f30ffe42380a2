"""Trace files: the one place of the simulation that reads from disk."""

from __future__ import annotations

import io
from pathlib import Path

from counterpoint.errors import Mistake
from counterpoint.sim.traces.swf import read_swf
from counterpoint.sim.traces.table import read_table
from counterpoint.sim.traces.trace import Trace
from counterpoint.sim.traces.wfformat import read_wfformat


def read_trace(path: Path) -> Trace:
    """Read a trace, whatever its format: told by its ending, else by what is in it.

    Raises:
        Mistake: the file cannot be read, or is none of the formats.
    """
    name = str(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Mistake(f"the trace cannot be read: {error.strerror}", where=name, code="unreadable") from error
    if path.suffix == ".gz" or content.startswith(b"\x1f\x8b"):
        raise Mistake(
            "the trace is compressed; unpack it first (`gunzip -k FILE`)", where=name, code="broken-trace"
        )
    # A log may hold letters of other encodings in its comments; they are of no matter here.
    text = content.decode("utf-8-sig", errors="replace")
    match _format(path, text):
        case "swf":
            return read_swf(text.split("\n"), name)
        case "wfformat":
            return read_wfformat(text, name)
        case _:
            return read_table(io.StringIO(text, newline=""), name)


def _format(path: Path, text: str) -> str:
    ending = {".swf": "swf", ".json": "wfformat", ".csv": "csv"}.get(path.suffix.lower())
    if ending is not None:
        return ending
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if first.startswith("{"):
        return "wfformat"
    return "swf" if first.startswith(";") or (len(first.split()) == 18 and "," not in first) else "csv"
