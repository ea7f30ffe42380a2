"""Sources, watermarks and obligations: what each fact means for those that a promise looks at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import heappush
from itertools import takewhile

import msgspec

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.arrivals import note_arrival
from counterpoint.kernel.decisions import Item
from counterpoint.kernel.folding.incidents import note_caught_up, note_missed
from counterpoint.kernel.folding.learning import touch, touch_above
from counterpoint.kernel.obligations import (
    add_late,
    bucket,
    bucket_start,
    calendar_of,
    is_reached,
    mark_in,
    mark_of,
    samples,
    terms,
)
from counterpoint.kernel.outstanding import Outstanding
from counterpoint.kernel.records import (
    Counts,
    Mark,
    Obligation,
    PromiseState,
    Run,
    SourceState,
    in_ms,
    mark_of_obligation,
)
from counterpoint.kernel.state import GRACE, State
from counterpoint.model.lineage import Lineage, Promised, inputs_of, world
from counterpoint.model.plan import Plan
from counterpoint.model.promise import PromiseKind
from counterpoint.model.workdays import next_cutoff

#: A source remembers so many moments of changes at most; above, each two become one, with the older moment.
MOST_HAPPENED = 10_000
KINDS: tuple[PromiseKind, ...] = ("freshness", "completion")


# Sources.


def note_change(state: State, source: str, happened: datetime) -> None:
    """A source changed: its mark goes up by one. Nothing where no promise looks at it."""
    known = state.sources.get(source)
    if known is None:
        return
    known.mark += 1
    note_arrival(known, state.at)
    known.changes.append(known.mark)
    known.happened.append(min(happened, state.at))
    if len(known.changes) > MOST_HAPPENED:
        _halve(known)
    state.touched.sources[source] = min(happened, state.at)
    _note_more(state, source, (source,))
    name = source.partition(":")[2]
    if source.startswith("asset:") and name in state.plan.assets:
        _settle(state, name, (source,))


def _note_more(state: State, subject: str, sources: Collection[str]) -> None:
    """What pipelines are made of has more of some sources."""
    lineage = state.plan.lineage
    for reader in lineage.readers.get(subject, ()):
        _touch_reader(state, reader, sources)
        known = state.reached.get(reader, {})
        for source in sources:
            if source in known:
                leading = [given for given in lineage.inputs[reader] if source in given.sources]
                known[source] = min([mark_in(state, given, source) for given in leading])


def _touch_reader(state: State, pipeline: str, sources: Iterable[str]) -> None:
    """What a pipeline wrote is looked at: it may have more of some sources without a run."""
    state.touched.readers.setdefault(pipeline, {}).update(dict.fromkeys(sources))


def _halve(source: SourceState) -> None:
    """Keep every second change, as of the older of two: an asset may look older than it is, never younger."""
    even = len(source.changes) // 2 * 2
    source.changes = source.changes[1:even:2] + source.changes[even:]
    source.happened = [*map(min, source.happened[:even:2], source.happened[1:even:2]), *source.happened[even:]]


def note_sample(state: State, run: Run) -> None:
    """A run that samples the world succeeded: the world counts as changed since the run's start."""
    known = state.sources.get(world(run.pipeline))
    if known is None or run.admitted is None or not samples(state, run):
        return
    mark = in_ms(run.admitted)
    if mark > known.mark:
        known.mark, known.changes, known.happened = mark, [mark], [run.admitted]
        state.touched.sources[known.source] = run.admitted


# Items.


def floor_of(state: State, item: Item) -> dict[str, int]:
    """Up to where its subscriber has each source while an item is not done; nothing where no promise looks."""
    lineage = state.plan.lineage
    if item.pipeline not in lineage.inputs:
        return {}
    if item.pipeline in lineage.worlds:
        return item.floor
    given = lineage.by_subject[item.pipeline].get(item.subject)
    if given is None or not given.subscribed:
        return {}
    if not item.floor and item.subject not in given.sources:
        # It came before a promise looked: what is in it is not known.
        return dict.fromkeys(given.sources, 0)
    if tuple(item.floor) == given.sources:
        return item.floor
    return {source: mark for source, mark in item.floor.items() if source in given.sources}


def note_item(state: State, item: Item) -> None:
    """An item is outstanding from now on."""
    floor = floor_of(state, item)
    if not floor:
        return
    found = state.outstanding.get((item.pipeline, item.subject))
    if found is None:
        found = state.outstanding[item.pipeline, item.subject] = Outstanding()
    found.add(item.number, floor)


def end_item(state: State, item: Item) -> None:
    """An item is not outstanding any more."""
    found = state.outstanding.get((item.pipeline, item.subject))
    if found is not None:
        found.remove(item.number)
        if not found:
            del state.outstanding[item.pipeline, item.subject]


def look_again(state: State, pipeline: str) -> None:
    """What a pipeline published may have more than it could claim: what held it back is done."""
    if sources := state.plan.lineage.through.get(pipeline):
        _touch_reader(state, pipeline, sources)


def skip_items(state: State, items: Iterable[Item]) -> None:
    """Items end without a run: what their subscriber wrote, and what it is writing, lacks them."""
    for item in items:
        floor = floor_of(state, item)
        end_item(state, item)
        if not floor:
            continue
        for asset in state.plan.lineage.written[item.pipeline]:
            if asset in state.marks and item.pipeline in state.marks[asset].parts:
                state.marks[asset].behind[item.pipeline] = True
        # Runs of every partition and key: what any of them writes lacks the item.
        for name in state.live.get(item.pipeline, {}):
            run = state.runs.get(name)
            if run is not None and run.admitted is not None:
                for source, mark in floor.items():
                    run.skipped[source] = min(mark, run.skipped.get(source, mark))


# Watermarks.


def note_version(state: State, decision: d.PublishAsset, run: Run | None) -> None:
    """A version was published: what its writer has in it is what the decision says."""
    subject, lineage = f"asset:{decision.asset}", state.plan.lineage
    if subject in lineage.lookers:
        note_change(state, subject, decision.data_through or decision.at)
        return
    if run is None or decision.asset not in lineage.written.get(run.pipeline, ()):
        return
    mark = state.marks.setdefault(decision.asset, Mark(decision.asset))
    state.touched.before.setdefault(decision.asset, mark.reflects)
    mark.edition += 1
    mark.parts[run.pipeline] = decision.reflects
    mark.made[run.pipeline] = _editions(state, run, decision.pins)
    if run.skipped or any(pin.edition < 0 for pin in decision.pins):
        mark.behind[run.pipeline] = True
    else:
        mark.behind.pop(run.pipeline, None)
    touch(state, (run.pipeline,))
    _reckon(state, mark)


def note_confirmed(state: State, decision: d.ConfirmAsset, run: Run | None) -> None:
    """The current version was confirmed: it may reflect more, never less."""
    if run is None or decision.asset not in state.plan.lineage.written.get(run.pipeline, ()):
        return
    mark = state.marks.setdefault(decision.asset, Mark(decision.asset))
    part = mark.parts.get(run.pipeline, {})
    reflects = {source: max(reached, part.get(source, 0)) for source, reached in decision.reflects.items()}
    mark.parts[run.pipeline] = part | reflects
    made = mark.made.setdefault(run.pipeline, {})
    for asset, edition in _editions(state, run, decision.pins).items():
        made[asset] = max(edition, made.get(asset, 0))
    touch(state, (run.pipeline,))
    _reckon(state, mark)


def raise_mark(state: State, decision: d.RaiseMark) -> None:
    mark = state.marks[decision.asset]
    mark.parts[decision.writer] = decision.reflects
    touch(state, (decision.writer,))
    _reckon(state, mark)


def note_end(state: State, run: Run) -> None:
    """A run succeeded: what it left unwritten is behind; a sample of the world counts."""
    for asset in state.plan.lineage.written.get(run.pipeline, ()):
        if asset not in run.published and asset in state.marks and run.pipeline in state.marks[asset].parts:
            state.marks[asset].behind[run.pipeline] = True
    if run.pipeline in state.plan.lineage.worlds:
        note_sample(state, run)


def _editions(state: State, run: Run, pins: Iterable[d.Pin]) -> dict[str, int]:
    if run.lane == "backfill":
        return {}
    only_read = {each.asset for each in state.plan.lineage.inputs[run.pipeline] if not each.subscribed}
    return {pin.asset: pin.edition for pin in pins if pin.asset in only_read}


def _reckon(state: State, mark: Mark) -> None:
    """An asset has of each source what the least of its writers has."""
    lineage, before = state.plan.lineage, mark.reflects
    mark.reflects = _least(state.plan.lineage, mark)
    changed = [source for source in before | mark.reflects if before.get(source) != mark.reflects.get(source)]
    if changed:
        _note_more(state, f"asset:{mark.asset}", changed)
        touch(state, lineage.readers.get(f"asset:{mark.asset}", ()))
        _settle(state, mark.asset, changed)


def _least(lineage: Lineage, mark: Mark) -> dict[str, int]:
    writers, sources = lineage.writers[mark.asset], lineage.sources[mark.asset]
    if len(writers) == 1:
        part = mark.parts.get(writers[0], {})
        return {source: reached for source in sources if (reached := part.get(source, 0))}
    least: dict[str, int] = {}
    for source in sources:
        parts = (
            mark.parts.get(writer, {}).get(source, 0) for writer in writers if source in lineage.through[writer]
        )
        if reached := min(parts, default=0):
            least[source] = reached
    return least


# Obligations.


def oblige(state: State, decision: d.Oblige) -> None:
    promise = state.promises[decision.asset, decision.promise]
    if decision.period is not None:
        promise.period = decision.period
        expect_cutoff(state, decision.asset)
    if not decision.marks:
        return
    promise.since = promise.since or decision.at
    if is_reached(state, decision.asset, decision.marks):
        _count(state, promise, decision.at, kept=1)
        return
    source = "" if decision.promise == "completion" else next(iter(decision.marks))
    waiting = promise.open.setdefault(source, [])
    mark = decision.marks[source] if source else in_ms(decision.since)
    obligation = Obligation(dict(decision.marks), decision.since, decision.due, decision.at, mark=mark)
    if source and waiting and waiting[-1].made == decision.at:
        # Changes of one moment are one obligation.
        last = waiting.pop()
        obligation.since, obligation.due = min(last.since, obligation.since), min(last.due, obligation.due)
    older = waiting[-1].mark if source and waiting else 0
    for earlier in reversed(waiting) if source else ():
        if (earlier.sooner or earlier.due) <= obligation.due:
            break
        # What has less than the older ones is concerned, too.
        earlier.sooner, older = obligation.due, 0
    waiting.append(obligation)
    known = state.dues.get((promise.asset, promise.promise))
    if known is None or obligation.due + GRACE < known:
        state.miss_at((promise.asset, promise.promise), obligation.due + GRACE)
    touch_above(state, decision.asset, obligation.marks, since=older)


def miss_obligations(state: State, decision: d.MissObligations) -> None:
    promise = state.promises[decision.asset, decision.promise]
    missed: list[Obligation] = []
    for source, waiting in list(promise.open.items()):
        late = [each for each in waiting if each.due < decision.at]
        if not late:
            continue
        missed += late
        promise.open[source] = [each for each in waiting if each.due >= decision.at]
        if not promise.open[source]:
            del promise.open[source]
        promise.late = _newest([promise.late, *(each.marks for each in late)])
    expect_due(state, promise)
    missed.sort(key=lambda each: (each.due, each.since))
    _count(state, promise, decision.due, missed=len(missed))
    note_missed(state, promise, decision.due, missed)
    touch_above(state, decision.asset, _newest(each.marks for each in missed))


def _newest(marks: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The newest mark of each source."""
    newest: dict[str, int] = {}
    for each in marks:
        for source, mark in each.items():
            newest[source] = max(mark, newest.get(source, 0))
    return newest


def _settle(state: State, asset: str, changed: Collection[str]) -> None:
    """An asset has more of some sources: obligations it has reached are kept, what was late may be made good."""
    if (asset, "freshness") not in state.promises and (asset, "completion") not in state.promises:
        return
    for kind in KINDS:
        promise = state.promises.get((asset, kind))
        if promise is None:
            continue
        kept = 0
        for source in (*changed, ""):
            waiting = promise.open.get(source)
            if waiting is None:
                continue
            reached = _count_reached(state, asset, source, waiting)
            if reached:
                touch_above(state, asset, waiting[reached - 1].marks)
                del waiting[:reached]
                kept += reached
            if not waiting:
                del promise.open[source]
        if kept:
            _count(state, promise, state.at, kept=kept)
            expect_due(state, promise)
        made_good = {
            source: promise.late[source]
            for source in changed
            if source in promise.late and mark_of(state, asset, source) >= promise.late[source]
        }
        if made_good:
            promise.late = {source: mark for source, mark in promise.late.items() if source not in made_good}
            touch_above(state, asset, made_good)
            if not promise.late and promise.breached is not None:
                add_late(state.plan, (asset, kind), promise.counts, promise.breached, state.at)
                note_caught_up(state, promise, state.at)
    for source in changed:
        _forget_happened(state, source, asset)


def _count_reached(state: State, asset: str, source: str, waiting: Sequence[Obligation]) -> int:
    """How many of the obligations of a source, the oldest first, an asset has reached."""
    if source:
        return bisect_right(waiting, mark_of(state, asset, source), key=mark_of_obligation)
    return sum(1 for _ in takewhile(lambda each: is_reached(state, asset, each.marks), waiting))


def _forget_happened(state: State, source: str, asset: str) -> None:
    """Drop what every asset with a promise has: its moment is not asked for any more."""
    known = state.sources.get(source)
    if known is None or not known.changes or source.startswith("world:"):
        return
    oldest = known.changes[0]
    least = min(known.mark, mark_of(state, asset, source))
    if least < oldest:
        # This asset itself asks for the oldest yet.
        return
    for looker, _ in state.plan.lineage.lookers[source]:
        least = min(least, mark_of(state, looker, source))
        if least < oldest:
            return
    reached = bisect_right(known.changes, least)
    del known.changes[:reached], known.happened[:reached]


def _count(state: State, promise: PromiseState, at: datetime, *, kept: int = 0, missed: int = 0) -> None:
    over = terms(state.plan, (promise.asset, promise.promise)).over
    number = bucket(over, at)
    oldest = bucket(over, state.at - over)
    promise.counts.forget(oldest + 1)
    if number > oldest:
        promise.counts.add(number, kept, missed)


# Moments.


def expect_due(state: State, promise: PromiseState) -> None:
    """Ask to be woken when the first open obligation of a promise is past its due."""
    due = min(map(_first_due, promise.open.values()), default=None)
    state.miss_at((promise.asset, promise.promise), None if due is None else due + GRACE)


def _first_due(waiting: Sequence[Obligation]) -> datetime:
    """The first due of the open obligations of a source: the oldest has it, unless one of the others is sooner."""
    return waiting[0].due if waiting[0].sooner is None else min(each.due for each in waiting)


def expect_cutoff(state: State, asset: str) -> None:
    """Note when the next period of a completion ends, by the wall."""
    promise = state.promises[asset, "completion"]
    completion = state.plan.assets[asset].completion
    if completion is not None and promise.period is not None:
        cutoff, _ = next_cutoff(completion, calendar_of(state.plan, (asset, "completion")), promise.period)
        heappush(state.cutoffs_to_come, (cutoff, asset))


# Plans.


def take_promises(state: State, before: Plan, event: e.PlanDeclared) -> None:
    """What no promise of the new plan looks at is forgotten; what is new begins with nothing heard of."""
    lineage, old = state.plan.lineage, before.lineage
    state.reached = {}
    state.sources = {source: state.sources.get(source) or SourceState(source) for source in lineage.lookers}
    for name in [name for name in state.marks if name not in lineage.writers]:
        del state.marks[name]
    for mark in state.marks.values():
        changed = [
            writer
            for writer in mark.parts
            if writer not in lineage.writers[mark.asset]
            or writer not in before.pipelines
            or inputs_of(before.pipelines[writer]) != inputs_of(state.plan.pipelines[writer])
        ]
        for writer in changed:
            # What it made is not made of what it is made of now.
            mark.parts.pop(writer, None)
            mark.made.pop(writer, None)
            mark.behind.pop(writer, None)
        for writer, part in mark.parts.items():
            mark.parts[writer] = {
                source: reached for source, reached in part.items() if source in lineage.through[writer]
            }
    _forget_editions(state)
    promises = state.promises
    state.promises = {}
    promised = _promised(state.plan)
    for promise, gone in promises.items():
        if promise not in promised:
            # Nobody is owed anything any more; its next incident, if it comes back, has a name of its own.
            note_caught_up(state, gone, state.at)
            if gone.incidents:
                state.numbers[_numbered(promise)] = gone.incidents
    for promise in promised:
        known = promises.get(promise) or PromiseState(
            *promise,
            incidents=state.numbers.pop(_numbered(promise), 0),
            period=event.wall if promise[1] == "completion" else None,
        )
        state.promises[promise] = known
        _take_terms(state, before if promise in old.promises.get(promise[0], ()) else None, promise, known)
    for mark in state.marks.values():
        _reckon(state, mark)


def _forget_editions(state: State) -> None:
    """Of what no promise looks at no editions are counted; when one does again, they begin anew."""
    counted = state.plan.lineage.by_subject
    for version in state.assets.values():
        writers = [counted.get(writer, {}) for writer in state.plan.writers.get(version.asset, ())]
        for name in [name for name in version.made_of if "#" not in name]:
            if not any(f"asset:{name}" in inputs for inputs in writers):
                del version.made_of[name]
    for run in state.runs.values():
        inputs = counted.get(run.pipeline, {})
        if any(pin.edition > 0 and f"asset:{pin.asset}" not in inputs for pin in run.pins):
            run.pins = tuple(
                pin
                if pin.edition <= 0 or f"asset:{pin.asset}" in inputs
                else msgspec.structs.replace(pin, reflects={}, edition=0)
                for pin in run.pins
            )


def _numbered(promise: Promised) -> str:
    """Under which name the number of incidents is kept while a promise is not in force: no pipeline has it."""
    return f"{promise[0]}:{promise[1]}"


def _promised(plan: Plan) -> list[Promised]:
    return sorted({each for promises in plan.lineage.lookers.values() for each in promises})


def _take_terms(state: State, before: Plan | None, promise: Promised, known: PromiseState) -> None:
    """Leave out of a promise what it does not look at any more; counts go to the buckets of its new window."""
    sources = state.plan.lineage.sources[promise[0]]
    for waiting in known.open.values():
        for each in waiting:
            each.marks = {source: mark for source, mark in each.marks.items() if source in sources}
    known.open = {
        source: left
        for source, waiting in known.open.items()
        if (left := [each for each in waiting if each.marks])
    }
    known.late = {source: mark for source, mark in known.late.items() if source in sources}
    if before is not None:
        was, over = terms(before, promise).over, terms(state.plan, promise).over
        counts, known.counts = known.counts, Counts()
        oldest = bucket(over, state.at - over)
        for number, kept, missed, late_s in counts:
            place = bucket(over, bucket_start(was, number))
            if place > oldest:
                known.counts.add(place, kept, missed, late_s)
    if not known.late and known.breached is not None:
        note_caught_up(state, known, state.at)


def turn_back(state: State, wall: datetime) -> None:
    """The wall clock was set back by more than a day: cut-offs come again, as ticks do."""
    for (asset, kind), promise in state.promises.items():
        if kind == "completion" and promise.period is not None and promise.period - wall > timedelta(days=1):
            promise.period = wall
            expect_cutoff(state, asset)


def rebuild_promises(state: State) -> None:
    """Make the indexes of promises anew from what is stored."""
    if not state.plan.lineage:
        return
    items = [item for backlog in state.backlogs.values() for item in backlog.items]
    items += [item for run in state.runs.values() for item in run.items.values()]
    items += state.dead.values()
    for item in sorted(items, key=lambda item: item.number):
        note_item(state, item)
    for asset, kind in state.promises:
        if kind == "completion":
            expect_cutoff(state, asset)
    expect_dues(state)


def expect_dues(state: State) -> None:
    """Ask to be woken for what every promise owes."""
    for promise in state.promises.values():
        expect_due(state, promise)
