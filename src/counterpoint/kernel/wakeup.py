"""When the kernel must be asked next, if nothing happens before."""

from __future__ import annotations

from datetime import datetime

from counterpoint.kernel.state import State


def next_moments(state: State) -> tuple[datetime | None, datetime | None]:
    """The next moment by engine time, and the next by the wall; None where there is none.

    A moment may prove to be stale: then the step it leads to decides nothing.
    """
    moments = [state.agenda[0][0]] if state.agenda else []
    if state.rests:
        moments.append(state.rests[0][0])
    return min(moments, default=None), state.ticks_to_come[0][0] if state.ticks_to_come else None
