"""When the kernel must be asked next, if nothing happens before."""

from __future__ import annotations

from datetime import datetime

from counterpoint.kernel.state import State


def next_moments(state: State) -> tuple[datetime | None, datetime | None]:
    """The next moment by engine time, and the next by the wall; None where there is none."""
    return state.next_moment(), state.ticks_to_come[0][0] if state.ticks_to_come else None
