"""When the next change may come, as far as the pace of a source says: waiting pays only for what comes.

A pipeline with `trigger: auto` waits for more changes, so that one run has them all. Where none is
expected before it must start at the latest, it waits for nothing.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from counterpoint.kernel.obligations import newest
from counterpoint.kernel.records import SourceState
from counterpoint.kernel.state import State
from counterpoint.kernel.urgency import reach

#: The pace of a source is told by so many of its last distances at most, and not by fewer.
DISTANCES, TELLING = 5, 2
#: Who was quiet for so many times as long as somebody would wait is taken to stay quiet meanwhile.
LONG_QUIET = 10


def note_arrival(source: SourceState, at: datetime) -> None:
    """A source changed."""
    source.lately = [*source.lately[-DISTANCES:], at]


def awaited(state: State, pipeline: str, since: datetime, until: datetime) -> str | None:
    """A source of which more may come to a pipeline that has waited since a moment, before another one.

    It may if a change is on its way already, or if the source is expected to change. None if nothing is expected.
    """
    for name in state.plan.lineage.through[pipeline]:
        if newest(state, name) > reach(state, pipeline, name) or _may_change(state.sources[name], since, until):
            return name
    return None


def _may_change(source: SourceState, since: datetime, until: datetime) -> bool:
    if not source.lately:
        return True
    last = source.lately[-1]
    if since - last >= LONG_QUIET * (until - since):
        return False
    distances = sorted(later - earlier for earlier, later in pairwise(source.lately))
    # The lower quartile: what comes by a clock does not come sooner, and what comes by chance may.
    return len(distances) < TELLING or last + distances[len(distances) // 4] < until
