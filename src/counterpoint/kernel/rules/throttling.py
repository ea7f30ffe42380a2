"""The storm breaker: a pipeline that forms more runs than its `storm` allows forms none for a whole span.

Items collect meanwhile, and are one batch for each lane when it is over. These runs count like any others: where
more lanes wait than the breaker allows, it trips again at once, and in each span so many go through, the oldest
first. Otherwise a storm of many keys would only come a span later. Runs that people ask for are not held back, and
do not count. Rates are no rule of their own: they are resources of the queue (`rate:pool:NAME` and
`rate:pipeline:NAME`), of which there is some again when the oldest start leaves the span.
"""

from __future__ import annotations

from counterpoint.kernel.decisions import CalmStorm, Reason, TripStorm
from counterpoint.kernel.state import State
from counterpoint.model.pipeline import Pipeline


def trip(state: State, pipeline: Pipeline) -> TripStorm | None:
    """The decision to form no more runs for a while, if one more now would be one too many."""
    storm = pipeline.storm
    if storm is None or state.started(f"storm:{pipeline.name}") < storm.count:
        return None
    figures = {"count": storm.count, "per_s": storm.per.total_seconds()}
    return TripStorm(
        at=state.at, reason=Reason("storm", figures), pipeline=pipeline.name, until=state.at + storm.per
    )


def calm(state: State, pipeline: str) -> CalmStorm:
    """The decision that ends a storm, with what it held back."""
    held = [len(state.backlogs[lane]) for lane in state.waiting_lanes.get(pipeline, {})]
    since = state.storms[pipeline].since
    figures = {"after_s": (state.at - since).total_seconds()}
    return CalmStorm(
        at=state.at,
        reason=Reason("calm", figures),
        pipeline=pipeline,
        since=since,
        items=sum(held),
        lanes=sum(1 for items in held if items),
    )
