"""Watermarks: up to where a version has every change of each source that a promise looks at.

Of each input a pipeline has all but what is outstanding. An input that starts it: everything below the lowest
item that is pending, taken by another run, or a dead letter. One that it only reads: what the version it was
pinned with has. The least of all inputs that lead to a source is what a version may claim, so a delta, one
key, an old partition or a backfill never claims more than was there already.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from counterpoint.kernel.decisions import Pin, RaiseMark, Reason
from counterpoint.kernel.events import AnyEvent, Change
from counterpoint.kernel.obligations import is_slice, is_sliced, lower, mark_in, marks_of, newest, samples
from counterpoint.kernel.records import AssetState, Mark, Run, in_ms
from counterpoint.kernel.state import State
from counterpoint.model.lineage import Input, inputs_of, world
from counterpoint.model.pipeline import Pipeline


def inherit(state: State, event: AnyEvent) -> Iterator[RaiseMark]:
    """Let versions inherit what is known of their inputs since, where no run is needed for it."""
    while state.touched.readers:
        readers, state.touched.readers = state.touched.readers, {}
        for name, sources in readers.items():
            for asset in state.plan.lineage.written.get(name, ()):
                mark = state.marks.get(asset)
                if mark is None or name not in mark.parts or name in mark.behind:
                    continue
                before = mark.parts[name]
                raised = {
                    source: reached
                    for source in sources
                    if (reached := _inherited(state, name, mark, source)) > before.get(source, 0)
                }
                if raised:
                    yield RaiseMark(
                        at=state.at,
                        reason=Reason("inherited"),
                        asset=asset,
                        reflects=before | raised,
                        writer=name,
                    )


def _inherited(state: State, pipeline: str, mark: Mark, source: str) -> int:
    """Up to where a writer's version of an asset has a source as long as no run is needed."""
    before, least = mark.parts[pipeline].get(source, 0), None
    for given in state.plan.lineage.inputs[pipeline]:
        if source not in given.sources:
            continue
        # What is only read is in the slice of each run only.
        made = mark.made.get(pipeline, {}) if not (given.subscribed or is_sliced(state.plan, pipeline)) else {}
        if not given.subscribed and made.get(given.asset) != edition(state, given.asset):
            return before
        has = mark_in(state, given, source)
        waiting = state.outstanding.get((pipeline, given.subject))
        if waiting is not None:
            has = min(has, waiting.lowest().get(source, has))
        if has <= before:
            return before
        least = has if least is None else min(has, least)
    return before if least is None else least


def claims(
    state: State,
    run: Run,
    asset: str,
    pins: Sequence[Pin],
    *,
    task: str,
    over: AssetState | None = None,
) -> dict[str, int]:
    """What the version that a run publishes or confirms now has of each source; nothing where no promise looks.

    Args:
        task: whose own write it is; "" for a write of the pipeline.
        over: the version that it replaces; None where it is only confirmed.
    """
    lineage = state.plan.lineage
    if asset not in lineage.written.get(run.pipeline, ()):
        return {}
    known = state.marks.get(asset)
    before = known.parts.get(run.pipeline, {}) if known is not None else {}
    declared = state.pipeline_of(run)
    if run.digest != state.digest and inputs_of(declared) != inputs_of(state.plan.pipelines[run.pipeline]):
        # What it is made of is not what the plan in force says.
        return dict(before)
    overtakes = run.overtaken or (over is not None and over.is_made_of_newer(pins))
    own: Container[int] = () if overtakes or _is_written_again(run, declared, asset, task) else run.items
    pinned = {pin.asset: pin for pin in pins}
    found: dict[str, int] = {}
    if run.pipeline in lineage.worlds:
        source = world(run.pipeline)
        found[source] = _sampled(state, run, own, before.get(source, 0))
    for given in lineage.inputs[run.pipeline]:
        pin = pinned.get(given.asset)
        if pin is not None and pin.edition < 0:
            has = _of(given, before)
        elif given.subscribed:
            has = _dealt_with(state, run.pipeline, given, own)
        else:
            has = _read(state, run, given, pin, before)
        lower(found, has)
    for source, mark in run.skipped.items():
        if source in found:
            found[source] = min(mark, found[source])
    return {source: least for source in lineage.through[run.pipeline] if (least := found[source])}


def _of(given: Input, marks: Mapping[str, int]) -> dict[str, int]:
    """The marks of the sources of an input; 0 where there is none."""
    return {source: marks.get(source, 0) for source in given.sources}


def _is_written_again(run: Run, pipeline: Pipeline, asset: str, task: str) -> bool:
    """Whether a write of a task is one of several that the run makes of an asset, and others are to come."""
    if not task:
        return False
    others = (name for name, each in pipeline.tasks.items() if name != task and asset in each.writes)
    return asset in pipeline.writes or any(not run.tasks[name].published for name in others)


def _dealt_with(state: State, pipeline: str, given: Input, own: Container[int]) -> dict[str, int]:
    """Source -> up to where a pipeline has dealt with an input that starts it."""
    reached = marks_of(state, given)
    waiting = state.outstanding.get((pipeline, given.subject))
    if waiting is not None:
        for source, floor in waiting.lowest(own).items():
            if floor < reached.get(source, 0):
                reached[source] = floor
    return reached


def _read(state: State, run: Run, given: Input, pin: Pin | None, before: Mapping[str, int]) -> dict[str, int]:
    """Source -> up to where an input that a run only reads had it.

    Of a slice nothing is known but what was before.
    """
    if pin is None or is_slice(state, run):
        return _of(given, before)
    # It may have been confirmed since.
    is_current = pin.edition == edition(state, pin.asset)
    reached = marks_of(state, given) if is_current else _of(given, pin.reflects)
    if run.lane == "backfill":
        lower(reached, _of(given, before))
    return reached


def _sampled(state: State, run: Run, own: Container[int], before: int) -> int:
    """Up to where a run has the world: as of its start, or before the oldest tick whose slice is still to come."""
    source = world(run.pipeline)
    reached = in_ms(run.admitted) if run.admitted is not None else 0
    if not samples(state, run):
        return before if is_slice(state, run) else min(before, reached)
    if is_sliced(state.plan, run.pipeline):
        for subject in state.plan.subjects(run.pipeline):
            waiting = state.outstanding.get((run.pipeline, subject))
            if waiting is not None:
                reached = min(reached, waiting.lowest(own).get(source, reached))
    return reached


def edition(state: State, asset: str) -> int:
    """How often an asset was published since a promise looks at it."""
    if state.plan.lineage.is_source(asset):
        return newest(state, f"asset:{asset}")
    known = state.marks.get(asset)
    return known.edition if known is not None else 0


def as_pinned(state: State, pipeline: str, asset: str) -> tuple[dict[str, int], int]:
    """What an asset that a pipeline only reads reflects now, and the edition of any that it is made of.

    Nothing where no promise looks.
    """
    given = state.plan.lineage.by_subject.get(pipeline, {}).get(f"asset:{asset}")
    if given is None:
        return {}, 0
    known = {} if given.subscribed else marks_of(state, given)
    return {source: mark for source, mark in known.items() if mark}, edition(state, asset)


def floor_at(
    state: State, pipeline: str, change: Change, *, is_replay: bool, origin: int | None
) -> dict[str, int]:
    """Up to where a subscriber has each source while it has not dealt with a change that comes now.

    Args:
        is_replay: the change came before; of a dead letter (`origin`) its floor still holds.
    """
    lineage = state.plan.lineage
    if pipeline not in lineage.inputs:
        return {}
    if origin is not None and origin in state.dead:
        return state.dead[origin].floor
    if pipeline in lineage.worlds:
        is_slice = change.subject.startswith("tick:") and is_sliced(state.plan, pipeline)
        return {world(pipeline): in_ms(change.time) - 1} if is_slice and not is_replay else {}
    given = lineage.by_subject[pipeline].get(change.subject)
    if given is None:
        return {}
    if is_replay:
        return marks_of(state, given)
    if change.subject in given.sources:
        return {change.subject: newest(state, change.subject) - 1}
    known = state.marks.get(given.asset)
    before = state.touched.before.get(given.asset, known.reflects if known is not None else {})
    # Many items may wait for hours: those of one version share what was there before it.
    return before if tuple(before) == given.sources else _of(given, before)
