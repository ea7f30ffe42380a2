"""When the kernel must be asked next, if nothing happens before."""

from __future__ import annotations

from datetime import datetime

from counterpoint.kernel.state import State


def next_moments(state: State) -> tuple[datetime | None, datetime | None]:
    """The next moment by engine time, and the next by the wall; None where there is none."""
    by_wall = [state.ticks_to_come[0][0]] if state.ticks_to_come else []
    if state.cutoffs_to_come:
        by_wall.append(state.cutoffs_to_come[0][0])
    return state.next_moment(), min(by_wall, default=None)
