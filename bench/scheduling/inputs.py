"""Where recorded inputs are: they are not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

from bench.measuring import say

#: The folder with `wfinstances` and `traces`, unless an argument names another.
VARIABLE = "COUNTERPOINT_BENCH_DATA"
ROOT = Path(__file__).parents[2]


def folder(name: str, data: str | None) -> Path | None:
    """The folder of that name among the recorded inputs; None, and said, where there is none."""
    given = data or os.environ.get(VARIABLE)
    places = [Path(given)] if given else [ROOT / "data", ROOT.parent / "shared" / "data"]
    for place in places:
        if (place / name).is_dir():
            return place / name
    say(f"   left out: no {name} in {' or '.join(str(place) for place in places)}; name its folder by --data")
    return None
