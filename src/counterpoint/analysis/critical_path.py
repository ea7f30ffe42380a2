"""Whether promises can hold even on an empty system: the longest way from a source to each promised asset.

Durations are those that the score expects (`takes`, the median). On an empty system nothing waits for a pool;
a change waits only for a batch window and for a clock. What surely cannot hold is told apart from what only
may not: a clock is slow for changes just after a tick, a window for the first change in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from counterpoint.model.calendar import next_tick, ticks_between
from counterpoint.model.lineage import Input, Promised, world
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.plan import Plan
from counterpoint.model.promise import Calendar, Completion, Freshness, PromiseKind
from counterpoint.model.quantity import format_duration
from counterpoint.model.trigger import Clock, Cron, Every, OnCheckpoint, OnState
from counterpoint.model.workdays import counts, elapsed, in_maintenance, next_cutoff

_NOTHING, _DAY = timedelta(0), timedelta(days=1)
#: Clocks are looked at for so long from here, so many ticks at most, or so many cut-offs: from a Monday
#: after which no clock changes for weeks.
_SAMPLED_FROM = datetime(2026, 1, 5, tzinfo=UTC)
_SAMPLED_FOR, _TICKS_MAX, _CUTOFFS = 8 * _DAY, 2000, 14
#: A longer way is shown by its beginning and its end.
_PARTS_MAX = 12


class Step(Struct, frozen=True):
    """What one pipeline adds to a way.

    Attributes:
        takes: from the start of its run to the publication, as expected.
        window: how long a change may be gathered in its batch.
        is_sure: nothing closes that window earlier.
        ticks_apart: how long a change may wait for its clock at most.
        again: where it samples the world, how long after a start the next one can be: as long as a run
            takes, unless its runs may overlap.
    """

    pipeline: str
    takes: timedelta
    window: timedelta = _NOTHING
    is_sure: bool = True
    ticks_apart: timedelta = _NOTHING
    again: timedelta = _NOTHING


class Way(Struct, frozen=True):
    """A way from a source to an asset.

    Attributes:
        takes: what a change needs on it: work, windows that nothing closes earlier, and, where clocks are
            counted, the distance of their ticks.
    """

    source: str
    steps: tuple[Step, ...]
    asset: str
    takes: timedelta

    def __str__(self) -> str:
        parts = [_shown_source(self.source)]
        for step in self.steps:
            parts += [f"again after {_shown(step.again)}"] if step.again else []
            parts += [f"batch {_shown(step.window)}"] if step.window and step.is_sure else []
            parts.append(f"{step.pipeline} {_shown(step.takes) if step.takes else '?'}")
        if len(parts) > _PARTS_MAX:
            parts = [*parts[:8], "...", *parts[-2:]]
        return " -> ".join([*parts, self.asset])


class Finding(Struct, frozen=True, kw_only=True):
    """Something about a promise that its author should know.

    Attributes:
        is_certain: the promise cannot hold; else it may not.
        pipeline: the one to change, whatever promise it is; "" for the promise itself.
    """

    code: str
    message: str
    is_certain: bool = False
    pipeline: str = ""


class Outlook(Struct, frozen=True, kw_only=True):
    """What can be said of a promise before anything has run.

    Attributes:
        sources: whose changes it counts.
        way: the longest; None for an asset that is its own source.
        unknown: pipelines on the ways to it whose durations the score does not tell.
    """

    asset: str
    kind: PromiseKind
    sources: tuple[str, ...]
    way: Way | None
    unknown: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Literal["holds", "unknown", "doubtful", "impossible"]:
        """What the findings come to, on an empty system."""
        if any(finding.is_certain for finding in self.findings):
            return "impossible"
        if any(finding.code != "unknown-duration" for finding in self.findings):
            return "doubtful"
        return "unknown" if self.unknown else "holds"


def outlooks(plan: Plan) -> list[Outlook]:
    """Every promise of a plan, in its order, and whether it can hold.

    Tasks must have no cycle; time grows with pipelines and inputs above promises, once for each calendar.
    """
    ways: dict[tuple[str, PromiseKind, bool], _Ways] = {}
    above = _Above(plan)
    found = []
    for name, asset in plan.assets.items():
        promises: list[tuple[PromiseKind, Freshness | Completion | None]] = [
            ("freshness", asset.freshness),
            ("completion", asset.completion),
        ]
        for kind, promise in promises:
            if promise is None:
                continue
            calendar = plan.calendars.get(promise.calendar)
            surely, at_worst = (
                ways.setdefault((promise.calendar, kind, with_clocks), _Ways(plan, calendar, kind, with_clocks))
                for with_clocks in (False, True)
            )
            found.append(_outlook(plan, (name, kind), promise, surely, at_worst, above))
    return found


def _outlook(
    plan: Plan,
    promised: Promised,
    promise: Freshness | Completion,
    surely: _Ways,
    at_worst: _Ways,
    above: _Above,
) -> Outlook:
    asset, kind = promised
    sources = plan.lineage.tracked(asset)
    if asset not in plan.lineage.writers:
        return Outlook(asset=asset, kind=kind, sources=sources, way=None, unknown=(), findings=())
    way, unknown = surely.to(asset), above.unknown(asset)
    findings = [*_unknown(unknown), *_unheard(plan, above.deaf(asset))]
    if isinstance(promise, Freshness):
        findings += _of_freshness(promise, way, at_worst)
    else:
        findings += _of_completion(plan, promise, way, above.clocked(asset))
    return Outlook(asset=asset, kind=kind, sources=sources, way=way, unknown=unknown, findings=tuple(findings))


def _of_freshness(promise: Freshness, way: Way, at_worst: _Ways) -> Iterator[Finding]:
    within = promise.within
    if way.takes > within:
        yield Finding(
            code="impossible-promise",
            message=(
                f"a way of at most {_shown(within)} was expected, {way} with {_shown(way.takes)} was found: "
                "the promise cannot hold even on an empty system; promise more, or make the way shorter"
            ),
            is_certain=True,
        )
        return
    if at_worst.length(way.asset) > within:
        worst = at_worst.to(way.asset)
        clock = max(worst.steps, key=lambda step: step.ticks_apart)
        yield Finding(
            code="slow-clock",
            message=(
                f"the clock of {clock.pipeline!r} ticks up to {_shown(clock.ticks_apart)} apart: with the way "
                f"after it a change can need {_shown(worst.takes)}, and {_shown(within)} are promised; "
                "write `trigger: auto`, let it tick more often, or promise more"
            ),
        )
    for step in way.steps:
        if step.window * 2 > within:
            yield Finding(
                code="wide-batch",
                message=(
                    f"the batch window of {step.pipeline!r}, {_shown(step.window)}, is more than half of the "
                    f"{_shown(within)} that are promised; make it shorter, or write `trigger: auto`"
                ),
            )


def _of_completion(plan: Plan, promise: Completion, way: Way, clocked: tuple[str, ...]) -> Iterator[Finding]:
    cutoff, due = next_cutoff(promise, None, _SAMPLED_FROM)
    if way.takes > due - cutoff:
        yield Finding(
            code="impossible-promise",
            message=(
                f"a way of at most {_shown(due - cutoff)}, from {promise.cutoff} to {promise.by}, was expected, "
                f"{way} with {_shown(way.takes)} was found: the promise cannot hold even on an empty system; "
                "promise a later time, take an earlier `cutoff`, or make the way shorter"
            ),
            is_certain=True,
        )
        return
    calendar = plan.calendars.get(promise.calendar)
    days, after = [], _SAMPLED_FROM
    for _ in range(_CUTOFFS):
        after, due = next_cutoff(promise, calendar, after)
        days.append((after, due))
    late = [due for _, due in days if in_maintenance(calendar, due)]
    if late:
        yield Finding(
            code="due-in-maintenance",
            message=(
                f"{promise.by} lies in the maintenance of the calendar {promise.calendar!r}; "
                "promise a time at which something can be asked for"
            ),
        )
    for name in clocked:
        for clocks in _limits(plan.pipelines[name]):
            missed = [cutoff for cutoff, due in days if not _ticks_within(clocks, cutoff, due)]
            if len(missed) > (1 - promise.target) * len(days):
                yield Finding(
                    code="slow-clock",
                    message=(
                        f"the clock of {name!r} does not tick between {promise.cutoff} and {promise.by} on "
                        f"{len(missed)} of {len(days)} days; write `trigger: auto`, or let it tick in between"
                    ),
                )
                break


def _unknown(pipelines: tuple[str, ...]) -> Iterator[Finding]:
    if pipelines:
        shown = ", ".join(pipelines[:5]) + (f" and {len(pipelines) - 5} more" if len(pipelines) > 5 else "")
        yield Finding(
            code="unknown-duration",
            message=(
                f"whether the promise can hold is unknown until {shown} ran some times; "
                "write how long their tasks take, as `takes: 5m`"
            ),
        )


def _unheard(plan: Plan, deaf: tuple[str, ...]) -> Iterator[Finding]:
    """What the promise counts and nothing starts."""
    for name in deaf:
        if plan.pipelines[name].trigger is None:
            yield Finding(
                code="nothing-starts",
                message=(
                    f"{name!r} is started by hand only, and a promise counts what it writes; "
                    "give it a trigger, such as `trigger: auto`"
                ),
                pipeline=name,
            )
            continue
        for asset in _not_heard(plan, name):
            yield Finding(
                code="nothing-starts",
                message=(
                    f"changes of {asset!r} do not start {name!r}, which reads it, and the promise counts them; "
                    "write `trigger: auto`, or let it listen to that asset as well"
                ),
                pipeline=name,
            )


def _not_heard(plan: Plan, name: str) -> list[str]:
    """Inputs of a pipeline whose changes do not start it, though a clock or another pipeline may."""
    trigger = plan.pipelines[name].trigger
    sources = trigger.sources if trigger else ()
    if any(isinstance(source, Cron | Every | OnState | OnCheckpoint) for source in sources):
        return []
    return [each.asset for each in plan.lineage.inputs[name] if not each.subscribed]


class _Above:
    """Which pipelines of some sorts lie on the ways to an asset, as bits: to join two sets is one operation."""

    def __init__(self, plan: Plan) -> None:
        lineage = plan.lineage
        self._names = list(lineage.inputs)
        numbers = {name: number for number, name in enumerate(self._names)}
        self._sets: dict[str, tuple[int, int, int]] = {}
        for name in _order(plan):
            pipeline = plan.pipelines[name]
            is_unknown = any(task.takes is None for task in pipeline.tasks.values())
            is_deaf = pipeline.trigger is None or bool(_not_heard(plan, name))
            flags = (is_unknown, is_deaf, bool(_limits(pipeline)))
            sets = [int(flag) << numbers[name] for flag in flags]
            for each in lineage.inputs[name]:
                sets = [own | other for own, other in zip(sets, self._of(each.asset), strict=True)]
            for asset in lineage.written[name]:
                unknown, deaf, clocked = (a | b for a, b in zip(sets, self._of(asset), strict=True))
                self._sets[asset] = (unknown, deaf, clocked)

    def unknown(self, asset: str) -> tuple[str, ...]:
        """Those whose durations the score does not tell."""
        return self._members(self._of(asset)[0])

    def deaf(self, asset: str) -> tuple[str, ...]:
        """Those that some of what they read does not start."""
        return self._members(self._of(asset)[1])

    def clocked(self, asset: str) -> tuple[str, ...]:
        """Those that wait for a clock."""
        return self._members(self._of(asset)[2])

    def _of(self, asset: str) -> tuple[int, int, int]:
        return self._sets.get(asset, (0, 0, 0))

    def _members(self, bits: int) -> tuple[str, ...]:
        found = []
        while bits:
            lowest = bits & -bits
            found.append(self._names[lowest.bit_length() - 1])
            bits ^= lowest
        return tuple(found)


def _order(plan: Plan) -> Iterable[str]:
    """The pipelines above promises, each after those it is made of."""
    lineage = plan.lineage
    graph = {
        name: [writer for each in inputs for writer in lineage.writers.get(each.asset, ())]
        for name, inputs in lineage.inputs.items()
    }
    return TopologicalSorter(graph).static_order()


class _Reach(Struct):
    """The longest way to a subject so far: how long, its last step, and the subject before that."""

    length: timedelta
    step: Step
    before: str


class _Ways:
    """The longest ways to everything above a promise."""

    def __init__(self, plan: Plan, calendar: Calendar | None, kind: PromiseKind, with_clocks: bool) -> None:
        self._plan, self._calendar, self._kind, self._with_clocks = plan, calendar, kind, with_clocks

    def to(self, asset: str) -> Way:
        """The longest way to an asset that a pipeline writes."""
        steps: list[Step] = []
        subject = f"asset:{asset}"
        while subject in self._reached:
            reach = self._reached[subject]
            steps.append(reach.step)
            subject = reach.before
        return Way(subject, tuple(reversed(steps)), asset, self.length(asset))

    def length(self, asset: str) -> timedelta:
        """How long the longest way to an asset is."""
        reach = self._reached.get(f"asset:{asset}")
        return reach.length if reach else _NOTHING

    @cached_property
    def _reached(self) -> dict[str, _Reach]:
        lineage = self._plan.lineage
        reached: dict[str, _Reach] = {}
        for name in _order(self._plan):
            pipeline = self._plan.pipelines[name]
            begins = [self._begin(pipeline, each, reached) for each in lineage.inputs[name]]
            if not begins:
                clocks = _limits(pipeline)
                # Each start asks for a later one; a completion asks for one after the cut-off only.
                again = _again(pipeline) if self._kind == "freshness" else _NOTHING
                first = Step(name, _NOTHING, ticks_apart=self._apart(clocks), again=again)
                begins = [(first, _NOTHING, world(name))]
            step, length, before = max(begins, key=lambda begin: begin[1] + self._wait(begin[0]))
            ends = _ends(pipeline)
            for asset in lineage.written[name]:
                takes = ends[asset]
                whole = length + self._wait(step) + takes
                known = reached.get(f"asset:{asset}")
                if known is None or whole > known.length:
                    own = replace(step, takes=takes)
                    reached[f"asset:{asset}"] = _Reach(whole, own, before)
        return reached

    def _begin(self, pipeline: Pipeline, each: Input, reached: dict[str, _Reach]) -> tuple[Step, timedelta, str]:
        """How a change of an input gets into a run: the step without its work, the length before, and whence."""
        before = reached.get(each.subject)
        trigger = pipeline.trigger
        window, is_sure = _NOTHING, True
        if trigger is not None and trigger.auto is None and each.subscribed:
            batch = trigger.batch
            spans = [span for span in (batch.quiet, batch.wait) if span is not None]
            window, is_sure = min(spans, default=_NOTHING), batch.max is None
        clocks = _limits(pipeline) if each.subscribed else _all_clocks(pipeline)
        step = Step(pipeline.name, _NOTHING, window, is_sure, self._apart(clocks))
        return step, before.length if before else _NOTHING, each.subject

    def _wait(self, step: Step) -> timedelta:
        apart = step.ticks_apart if self._with_clocks else _NOTHING
        return (step.window if step.is_sure else _NOTHING) + max(apart, step.again)

    def _apart(self, groups: list[tuple[Clock, ...]]) -> timedelta:
        return max((_apart(clocks, self._calendar) for clocks in groups), default=_NOTHING)


def _again(pipeline: Pipeline) -> timedelta:
    """How long after a start a pipeline can start again."""
    may_overlap = pipeline.concurrency > 1 and (pipeline.write == "atomic" or not pipeline.written)
    return _NOTHING if may_overlap else max(_ends_of_tasks(pipeline).values(), default=_NOTHING)


def _ends(pipeline: Pipeline) -> dict[str, timedelta]:
    """Asset -> when it is published after the start of a run in which nothing fails."""
    ends = _ends_of_tasks(pipeline)
    published = dict.fromkeys(pipeline.writes, max(ends.values(), default=_NOTHING))
    for name, task in pipeline.tasks.items():
        if task.writes:
            checks = [
                other.name
                for other in pipeline.tasks.values()
                if other.tool == "check"
                and any(after.task == name and after.on == "success" for after in other.after)
            ]
            published.update(dict.fromkeys(task.writes, max(ends[each] for each in (name, *checks))))
    return published


def _ends_of_tasks(pipeline: Pipeline) -> dict[str, timedelta]:
    """Task -> when it has ended after the start of a run in which nothing fails."""
    graph = {name: [after.task for after in task.after] for name, task in pipeline.tasks.items()}
    ends: dict[str, timedelta] = {}
    skipped: set[str] = set()
    for name in TopologicalSorter(graph).static_order():
        task = pipeline.tasks[name]
        if any(after.on == "failure" or (after.on == "success" and after.task in skipped) for after in task.after):
            skipped.add(name)
        start = max((ends[after.task] for after in task.after), default=_NOTHING)
        ends[name] = start + (task.takes.p50 if task.takes and name not in skipped else _NOTHING)
    return ends


def _limits(pipeline: Pipeline) -> list[tuple[Clock, ...]]:
    """Groups of clocks of which each must have ticked before a run."""
    groups = pipeline.trigger.groups if pipeline.trigger else ()
    clocks = [tuple(source for source in group if isinstance(source, Cron | Every)) for group in groups]
    return [found for found, group in zip(clocks, groups, strict=True) if len(found) == len(group)]


def _all_clocks(pipeline: Pipeline) -> list[tuple[Clock, ...]]:
    """All clocks of a pipeline as one group, if it has any."""
    sources = pipeline.trigger.sources if pipeline.trigger else ()
    clocks = tuple(source for source in sources if isinstance(source, Cron | Every))
    return [clocks] if clocks else []


@lru_cache(maxsize=4096)
def _apart(clocks: tuple[Clock, ...], calendar: Calendar | None) -> timedelta:
    """How far the ticks of some clocks are apart at most, after a tick on a day that counts."""
    ticks = sorted({tick for clock in clocks for tick in _sample(clock)})
    return max((elapsed(calendar, a, b) for a, b in pairwise(ticks) if counts(calendar, a)), default=_NOTHING)


@lru_cache(maxsize=4096)
def _sample(clock: Clock) -> tuple[datetime, ...]:
    """Ticks of some days; of a slow clock, some in a row."""
    if isinstance(clock, Every):
        _, ticks = ticks_between(clock, _SAMPLED_FROM, _SAMPLED_FROM + 2 * clock.period, 2)
        return tuple(ticks)
    first: list[datetime] = []
    tick = next_tick(clock, _SAMPLED_FROM)
    while tick is not None and (len(first) < 3 or tick < _SAMPLED_FROM + _SAMPLED_FOR) and len(first) < _TICKS_MAX:
        first.append(tick)
        tick = next_tick(clock, tick)
    return tuple(first)


def _ticks_within(clocks: tuple[Clock, ...], start: datetime, end: datetime) -> bool:
    ticks = (next_tick(clock, start - timedelta(microseconds=1)) for clock in clocks)
    return any(tick is not None and tick <= end for tick in ticks)


def _shown_source(source: str) -> str:
    kind, _, name = source.partition(":")
    return {"world": "the world", "event": f"event {name}"}.get(kind, name)


def _shown(length: timedelta) -> str:
    return format_duration(length)
