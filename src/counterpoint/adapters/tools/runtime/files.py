"""Whether a file is there, new enough and large enough."""

from __future__ import annotations

import glob
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.model.quantity import format_size


def find(spec: Mapping[str, Any], pattern: str) -> tuple[bool, str]:
    """Look for a file that satisfies `newer_than` and `min_size`.

    Returns:
        Whether there is one, and what was found, in words.
    """
    found = "none"
    now = time.time()
    for name in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - Path.glob takes no absolute pattern
        try:
            stat = Path(name).stat()
        except FileNotFoundError:  # gone between the two looks
            continue
        age_s = now - stat.st_mtime
        found = f"{name}, {format_size(stat.st_size)}, changed {max(age_s, 0):.0f}s ago"
        if age_s <= spec.get("newer_than", float("inf")) and stat.st_size >= spec.get("min_size", 0):
            return True, found
    return False, found


def expected(spec: Mapping[str, Any], pattern: str) -> str:
    """What is looked for, in words."""
    parts = [pattern]
    if "min_size" in spec:
        parts.append(f"at least {format_size(spec['min_size'])}")
    if "newer_than" in spec:
        parts.append(f"changed within {spec['newer_than']:g}s")
    return ", ".join(parts)
