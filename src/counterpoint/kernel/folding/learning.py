"""Bands of durations, as they were learned; and who has to look anew when one is another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from counterpoint.kernel import events as e
from counterpoint.kernel.lengths import above, forget, users_of, weigh_work
from counterpoint.kernel.outlook import usual_takes
from counterpoint.kernel.state import State
from counterpoint.kernel.urgency import floors_of, part_of, reach


def durations_learned(state: State, event: e.DurationsLearned) -> None:
    for band in event.bands:
        state.bands[band.pipeline, band.task] = band
    learn_again(state, dict.fromkeys(band.pipeline for band in event.bands))
    # What runs may last longer than was thought, or end sooner.
    state.touched.preemption = True


def learn_again(state: State, pipelines: Iterable[str]) -> None:
    """What pipelines take is another now: whatever was reckoned with it is reckoned anew."""
    for pipeline in pipelines:
        forget(state, pipeline)
        declared = state.plan.pipelines.get(pipeline)
        for task in ("", *(declared.tasks if declared else ())):
            state.queue.learn((pipeline, task), usual_takes(state, pipeline, task))
    touch(state, _above(state, pipelines))
    # Who shares a pool with them only starts earlier or later; where the run waits already, that is over.
    touch(state, _above(state, users_of(state, weigh_work(state, pipelines))), only_planned=True)


def _above(state: State, pipelines: Iterable[str]) -> dict[str, None]:
    """Pipelines and all those whose changes come to them."""
    return dict.fromkeys(name for pipeline in pipelines for name in above(state, pipeline))


def touch_above(state: State, asset: str, marks: Mapping[str, int], *, since: int = 0) -> None:
    """What is owed to a promised asset up to these marks has changed: lanes above that have less are looked at.

    Args:
        since: what has less than this has to serve something older first, which has not changed; it matters
            there only if a run now would serve this too.
    """
    touched = state.touched.lanes
    for source, mark in marks.items():
        for name in _between(state, asset, source):
            if name in state.plan.samplers:
                state.touched.samplers[name] = None
            for lane in state.waiting_lanes.get(name, ()):
                if lane in touched and lane not in state.wanted:
                    continue
                floor = floors_of(state, lane).get(source)
                if floor is None:
                    # Items that have nothing to do with the source do not serve what is owed of it.
                    continue
                has = max(floor, part_of(state, name, source))
                if since <= has < mark or has < mark <= reach(state, name, source):
                    state.touch_lanes((lane,))


def _between(state: State, asset: str, source: str) -> tuple[str, ...]:
    """The automatic pipelines on the ways from a source to a promised asset."""
    known = state.reckoned.automatic.get((asset, source))
    if known is None:
        pipelines, lineage = state.plan.pipelines, state.plan.lineage
        names = _above(state, lineage.writers.get(asset, ()))
        triggers = ((name, pipelines[name].trigger) for name in names if source in lineage.through[name])
        known = tuple(name for name, trigger in triggers if trigger is not None and trigger.auto is not None)
        state.reckoned.automatic[asset, source] = known
    return known


def touch(state: State, pipelines: Iterable[str], *, only_planned: bool = False) -> None:
    """Have pipelines that run automatically looked at: what they wait for has changed.

    Args:
        only_planned: it matters only to lanes for which it was reckoned when they run.
    """
    for name in pipelines:
        declared = state.plan.pipelines.get(name)
        if declared is None or declared.trigger is None or declared.trigger.auto is None:
            continue
        lanes = state.waiting_lanes.get(name, ())
        state.touch_lanes([lane for lane in lanes if lane in state.wanted] if only_planned else lanes)
        if name in state.plan.samplers:
            state.touched.samplers[name] = None
