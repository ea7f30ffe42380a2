"""Will what a promise owes be kept? When each asset is expected to have a change, from what goes on now.

From the promised asset the walk goes upstream to where the change is now: reported already, in a run that goes
on, in one that waits, in a lane whose batch is open, or before a pipeline that has yet to get it. From there the
expected moments add up: an attempt ends its p90 after its start (and not before now), a run that waits starts
when what it lacks is expected to get free (else after the p90 of its wait), and each pipeline after that takes
the p90 of its wait and its own p90. Where a length is not known, the answer says so.

It is asked on reading, and looks at what goes on upstream of one asset only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal

from msgspec import Struct

from counterpoint.kernel.lengths import takes, task_takes, waits
from counterpoint.kernel.records import Attempt, Backlog, Obligation, PromiseState, Run
from counterpoint.kernel.rules.batching import forms_at
from counterpoint.kernel.sentences import say_clock
from counterpoint.kernel.state import State
from counterpoint.kernel.urgency import floors_of, next_sample
from counterpoint.model.lineage import world
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.quantity import format_duration
from counterpoint.model.trigger import OnAsset

#: Obligations of one source that are looked at, those due first.
MOST_OBLIGATIONS = 20
#: Runs of a pipeline that are looked at, the oldest, and lanes with pending items.
MOST_RUNS, MOST_LANES = 50, 50
#: Kinds of steps that are worth naming before those that just take long, the worst first.
_CULPRITS = ("overrun", "rest", "rate", "pool", "behind")


class Step(Struct, frozen=True):
    """One expected step on the way: until when, and why not before.

    Attributes:
        kind: `overrun`, `rest`, `rate`, `pool`, `behind`, `batch`, `tick`, `queue`, `attempt`, `run` or `confirm`.
        text: what is expected to go on until then.
    """

    kind: str
    begins: datetime
    until: datetime
    text: str


class Expected(Struct, frozen=True):
    """When something is expected; `at` is None where that is not known, and `unknown` says why.

    Without steps it is there already.
    """

    at: datetime | None
    steps: tuple[Step, ...] = ()
    unknown: str = ""

    def then(self, kind: str, until: datetime, text: str) -> Expected:
        """What follows it, with one step more; none where it takes no time."""
        assert self.at is not None, "nothing follows what is not known"
        if until <= self.at:
            return self
        return Expected(until, (*self.steps, Step(kind, self.at, until, text)))


class Forecast(Struct, frozen=True, kw_only=True):
    """What is to come of a promise.

    Attributes:
        outlook: `kept`: everything open is expected in time; `breaks`: something is not; `unknown`;
            `late`: all that is open was missed already, and is being caught up with; `idle`: nothing is open.
        due: of the obligation that the forecast speaks of: the one that will break, or the tightest.
        expected: when the asset is expected to have what is due then.
        text: one sentence.
        because: what it hangs on; for `unknown`, what is not known.
        steps: what is expected to go on until then.
    """

    outlook: Literal["kept", "breaks", "unknown", "late", "idle"]
    due: datetime | None = None
    expected: datetime | None = None
    text: str
    because: str = ""
    steps: tuple[Step, ...] = ()


def forecast(state: State, promise: PromiseState, at: datetime, walk: Walk | None = None) -> Forecast:
    """What is to come of a promise, at engine time `at`.

    Args:
        walk: of another promise at the same moment, to use again what it found.
    """
    walk = walk or Walk(state, at)
    found = [(each.due, walk.obligation(promise.asset, each)) for each in _first_due(promise)]
    broken = [(due, expected) for due, expected in found if expected.at is not None and expected.at > due]
    if broken:
        due, expected = min(broken, key=lambda pair: pair[0])
        because = _because(expected.steps, at)
        text = (
            f"will break at {say_clock(due)}, because {because}" if because else f"will break at {say_clock(due)}"
        )
        return _of("breaks", due, expected, text, because)
    unknown = next(((due, expected) for due, expected in found if expected.at is None), None)
    if unknown is not None:
        text = f"unknown whether it holds at {say_clock(unknown[0])}: {unknown[1].unknown}"
        return _of("unknown", *unknown, text, unknown[1].unknown)
    if found:
        due, expected = min(found, key=lambda pair: pair[0] - (pair[1].at or at))
        assert expected.at is not None, "those not known were dealt with"
        text = f"kept at {say_clock(expected.at)}, due {say_clock(due)}"
        return _of("kept", due, expected, text, _because(expected.steps, at))
    if promise.late:
        return _late(walk, promise, at)
    return Forecast(outlook="idle", text="nothing is owed at the moment")


def _late(walk: Walk, promise: PromiseState, at: datetime) -> Forecast:
    parts = [walk.asset(promise.asset, source, mark) for source, mark in promise.late.items()]
    expected = _last(parts, at)
    if expected.at is None:
        return _of("late", None, expected, f"late, and unknown until when: {expected.unknown}", expected.unknown)
    because = _because(expected.steps, at)
    text = f"late, expected to have caught up at {say_clock(expected.at)}"
    return _of("late", None, expected, f"{text}, because {because}" if because else text, because)


def _of(
    outlook: Literal["kept", "breaks", "unknown", "late"],
    due: datetime | None,
    expected: Expected,
    text: str,
    because: str,
) -> Forecast:
    return Forecast(
        outlook=outlook, due=due, expected=expected.at, text=text, because=because, steps=expected.steps
    )


def _first_due(promise: PromiseState) -> Iterator[Obligation]:
    for obligations in promise.open.values():
        yield from obligations[:MOST_OBLIGATIONS]


def _because(steps: Iterable[Step], at: datetime) -> str:
    """What the end hangs on: something out of the ordinary, else what takes longest from now."""
    listed = list(steps)
    for culprit in _CULPRITS:
        for step in listed:
            if step.kind == culprit:
                return step.text
    return max(listed, key=lambda step: step.until - max(step.begins, at)).text if listed else ""


def _last(parts: Iterable[Expected], at: datetime) -> Expected:
    """The latest of several that are all needed; unknown if one of them is."""
    latest = Expected(at)
    for part in parts:
        if part.at is None:
            return part
        assert latest.at is not None, "only known ones were compared"
        if part.at > latest.at or (part.at == latest.at and len(part.steps) > len(latest.steps)):
            latest = part
    return latest


class Walk:
    """A walk upstream at one moment; what it found out of assets, runs and resources is used again."""

    def __init__(self, state: State, at: datetime) -> None:
        self._state, self._at = state, at
        self._assets: dict[tuple[str, str, int], Expected] = {}
        self._runs: dict[str, Expected] = {}
        self._free: dict[tuple[str, int], Expected] = {}

    def obligation(self, asset: str, obligation: Obligation) -> Expected:
        """When all that an obligation asks for is expected in the asset."""
        return _last((self.asset(asset, source, mark) for source, mark in obligation.marks.items()), self._at)

    def asset(self, name: str, source: str, mark: int) -> Expected:
        """When an asset is expected to have the changes of a source up to a mark."""
        place = (name, source, mark)
        if place not in self._assets:
            self._assets[place] = Expected(None, unknown=f"{name} is made of itself")  # for a cycle
            self._assets[place] = self._find_asset(name, source, mark)
        return self._assets[place]

    def _find_asset(self, name: str, source: str, mark: int) -> Expected:
        state = self._state
        reached = state.marks.get(name)
        if source == f"asset:{name}" or (reached is not None and reached.reflects.get(source, -1) >= mark):
            return Expected(self._at)
        lineage = state.plan.lineage
        writers = [each for each in lineage.writers.get(name, ()) if source in lineage.through.get(each, ())]
        if not writers:
            return Expected(None, unknown=f"no pipeline brings {_said(source)} to {name}")
        parts = reached.parts if reached is not None else {}
        behind = [each for each in writers if parts.get(each, {}).get(source, -1) < mark]
        return _last((self._pipeline(each, source, mark) for each in behind or writers), self._at)

    def _inputs(self, pipeline: Pipeline, source: str) -> list[str]:
        """The assets through which a source reaches a pipeline; not the source itself."""
        inputs = self._state.plan.lineage.inputs.get(pipeline.name, ())
        return [each.asset for each in inputs if each.asset and each.subject != source and source in each.sources]

    # What goes on in a pipeline.

    def _pipeline(self, name: str, source: str, mark: int) -> Expected:
        """When a pipeline is expected to have published the changes of a source up to a mark."""
        state, pipeline = self._state, self._state.plan.pipelines[name]
        arrival = _last((self.asset(each, source, mark) for each in self._inputs(pipeline, source)), self._at)
        if arrival.at is None:
            return arrival
        runs = [state.runs[run] for run in islice(state.live.get(name, {}), MOST_RUNS)]
        going, waiting = [r for r in runs if r.phase != "waiting"], [r for r in runs if r.phase == "waiting"]
        if arrival.steps:  # it has yet to come, even if that is expected now
            return self._next_run(pipeline, self._opened(pipeline, arrival), going)
        some = islice(state.waiting_lanes.get(name, {}), MOST_LANES)
        # A lane without items only remembers that its runs failed.
        lanes = [
            backlog
            for lane in some
            if (backlog := state.backlogs[lane]) and _needs(floors_of(state, lane), source, mark)
        ]
        if lanes or waiting:
            parts = [self._run(run) for run in waiting]
            absorbed = {run.of for run in waiting if run.automatic and not run.aside}
            parts += [self._lane(pipeline, lane, going) for lane in lanes if lane.lane not in absorbed]
            return _last(parts, self._at)
        carrying = [run for run in going if self._carries(run, source, mark)]
        if carrying:
            return _last((self._run(run) for run in carrying), self._at)
        return self._unprompted(pipeline, source, going)

    def _carries(self, run: Run, source: str, mark: int) -> bool:
        """Whether a run that goes on will publish the changes up to a mark."""
        if source == f"world:{run.pipeline}":
            return run.admitted is not None and run.admitted.timestamp() * 1000 >= mark
        if any(_needs(item.floor, source, mark) for item in run.items.values()):
            return True
        return any(pin.reflects.get(source, -1) >= mark for pin in run.pins)

    def _unprompted(self, pipeline: Pipeline, source: str, going: list[Run]) -> Expected:
        """When a pipeline to which nothing was handed runs next."""
        pause = self._state.paused.get(pipeline.name)
        if pause is not None:
            return Expected(None, unknown=f"{pipeline.name} was paused by {pause.by}")
        ahead = self._state.at - self._state.wall
        ticks = [tick for tick, name, _ in self._state.ticks_to_come if name == pipeline.name]
        start = Expected(self._at)
        if ticks:
            moment = min(ticks) + ahead
            start = start.then("tick", moment, f"{pipeline.name} waits for its clock until {say_clock(moment)}")
        elif pipeline.trigger is None or pipeline.trigger.auto is None:
            return Expected(None, unknown=f"nothing starts {pipeline.name} for what is in {_said(source)} by now")
        elif source == world(pipeline.name):
            moment = next_sample(self._state, pipeline.name) or self._at
            start = start.then("batch", moment, f"{pipeline.name} is due to start at {say_clock(moment)}")
        return self._next_run(pipeline, start, going)

    def _opened(self, pipeline: Pipeline, arrival: Expected) -> Expected:
        """When a pipeline that gets its input at `arrival` may start: at a tick, or at the end of a window."""
        assert arrival.at is not None, "an input that never comes was dealt with"
        trigger = pipeline.trigger
        if trigger is None:
            return Expected(None, unknown=f"{pipeline.name} runs only when somebody asks for it")
        if not any(isinstance(source, OnAsset) for source in trigger.sources) and trigger.auto is None:
            ticks = [tick for tick, name, _ in self._state.ticks_to_come if name == pipeline.name]
            moment = min(ticks) + (self._state.at - self._state.wall) if ticks else None
            if moment is None or moment < arrival.at:
                return Expected(None, unknown=f"{pipeline.name} is not started by what it reads")
            return arrival.then("tick", moment, f"{pipeline.name} waits for its clock until {say_clock(moment)}")
        batch = trigger.batch
        lengths = [length for length in (batch.quiet, batch.wait) if length is not None]
        if not lengths:
            return arrival
        return arrival.then("batch", arrival.at + min(lengths), f"{pipeline.name} gathers a batch")

    def _lane(self, pipeline: Pipeline, lane: Backlog, going: list[Run]) -> Expected:
        """When the run of a lane's pending items is expected to end."""
        state, trigger, name = self._state, pipeline.trigger, pipeline.name
        pause = state.paused.get(name)
        if pause is not None:
            return Expected(None, unknown=f"{name} was paused by {pause.by}")
        if lane.kept or trigger is None:
            return Expected(None, unknown=f"items of {name} are kept back until a person lets them go")
        moment, _ = forms_at(state, lane, pipeline)
        if moment is None:
            return Expected(None, unknown=f"{name} waits for more than has come yet")
        start = Expected(self._at).then("batch", moment, f"the batch of {name} closes at {say_clock(moment)}")
        if lane.rest_until is not None:
            failures = "1 failed run" if lane.failures == 1 else f"{lane.failures} failed runs"
            text = f"{name} rests until {say_clock(lane.rest_until)} after {failures}"
            start = start.then("rest", lane.rest_until, text)
        return self._next_run(pipeline, start, [run for run in going if run.of == lane.lane])

    def _next_run(self, pipeline: Pipeline, start: Expected, ahead: list[Run]) -> Expected:
        """When a run that does not exist yet, and may begin to wait at `start`, is expected to end."""
        if start.at is None:
            return start
        if len(ahead) >= pipeline.concurrency:
            ends = [(run, self._run(run)) for run in ahead]
            known = [(end.at, run, end) for run, end in ends if end.at is not None]
            if not known:
                return ends[0][1]
            at, run, end = min(known, key=lambda entry: entry[0])
            if at > start.at:
                text = f"{pipeline.name} waits for the end of {run.run}"
                start = Expected(at, (*start.steps, *end.steps, Step("behind", start.at, at, text)))
            elif any(step.kind == "overrun" for step in end.steps):
                start = Expected(start.at, (*start.steps, *end.steps))
        return self._run_of(pipeline, self._after_wait(pipeline, start))

    def _after_wait(self, pipeline: Pipeline, start: Expected) -> Expected:
        if not self._state.host():
            return Expected(None, unknown="no worker host is ready")
        if start.at is None:
            return start
        wait = timedelta(seconds=waits(self._state, pipeline.name))
        return start.then("queue", start.at + wait, _turn(pipeline.name, wait))

    def _run_of(self, pipeline: Pipeline, start: Expected) -> Expected:
        """When a run that starts then is expected to end."""
        if start.at is None:
            return start
        length = self._length(pipeline, start.at)
        if length is None:
            return Expected(None, unknown=f"how long {pipeline.name} takes is not known: it has not run yet")
        text = f"{pipeline.name} takes {format_duration(length)} (p90)"
        return start.then("run", start.at + length, text)

    def _waiting(self, run: Run) -> Expected:
        """When a run that waits is expected to end."""
        state, pipeline = self._state, self._state.pipeline_of(run)
        pause = state.paused.get(run.pipeline)
        if pause is not None and run.automatic:
            return Expected(None, unknown=f"{run.pipeline} was paused by {pause.by}")
        start = Expected(self._at)
        if run.held:
            ahead = [other for other in state.active(run.of) if other.run != run.run]
            return self._next_run(pipeline, start, ahead)
        if not state.host():
            return Expected(None, unknown="no worker host is ready")
        request = state.queue.get(run.run, "")
        for resource, amount in request.needs if request is not None else ():
            if state.free(resource) < amount:
                freed = self._freed(run.run, resource, amount)
                if freed.at is None:
                    return freed
                start = _last((start, freed), self._at)
        assert start.at is not None, "each part of it is known"
        wait = timedelta(seconds=waits(state, run.pipeline))
        start = start.then("queue", run.created + wait, _turn(run.run, wait))
        return self._run_of(pipeline, start)

    def _freed(self, waiter: str, resource: str, amount: int) -> Expected:
        """When so much of a resource is expected to be free; told of whoever asks first."""
        place = (resource, amount)
        if place not in self._free:
            self._free[place] = Expected(None, unknown=f"{resource} is waited for in a circle")
            self._free[place] = self._find_free(waiter, resource, amount)
        return self._free[place]

    def _find_free(self, waiter: str, resource: str, amount: int) -> Expected:
        state, (kind, _, name) = self._state, resource.partition(":")
        if amount > state.capacity(resource):
            return Expected(None, unknown=f"{kind} {name} has less than {waiter} needs")
        if kind == "fresh":
            return Expected(None, unknown=f"asset {name} is suspect until it is published again")
        if resource in state.full:
            moment = state.full[resource]
            text = f"{waiter} waits until {say_clock(moment)}, because its rate is used up"
            return Expected(self._at).then("rate", moment, text)
        free = state.free(resource)
        held: list[tuple[str, int, Expected]] = []
        for attempt in state.attempts.values():
            if kind == "pool" and name in attempt.slots:
                held.append((attempt.attempt, attempt.slots[name], self._attempt(attempt)))
        for run in state.runs.values():
            if run.holds.get(resource):
                held.append((run.run, run.holds[resource], self._run(run)))
        unknown = [(holder, slots, end) for holder, slots, end in held if end.at is None]
        known = sorted((end.at, holder, slots, end) for holder, slots, end in held if end.at is not None)
        for at, holder, slots, end in known:
            free += slots
            if free >= amount:
                text = f"{waiter} waits for {kind} {name}, held by {holder} until {say_clock(at)}"
                return Expected(at, (*end.steps, Step("pool", self._at, at, text)))
        if not unknown:
            return Expected(None, unknown=f"{waiter} waits for {kind} {name}, which is kept for others")
        holder, _, end = unknown[0]
        return Expected(None, unknown=f"{waiter} waits for {kind} {name}, held by {holder}, and {end.unknown}")

    def _run(self, run: Run) -> Expected:
        """When a run is expected to end."""
        if run.run not in self._runs:
            self._runs[run.run] = Expected(None, unknown=f"{run.run} waits for itself")  # for a circle
            self._runs[run.run] = self._find_run(run)
        return self._runs[run.run]

    def _find_run(self, run: Run) -> Expected:
        start = Expected(self._at)
        if run.phase == "waiting":
            return self._waiting(run)
        if run.phase == "confirming":
            until = run.confirm_by or self._at
            return start.then("confirm", until, f"{run.run} waits to be confirmed until {say_clock(until)}")
        pipeline, ends = self._state.pipeline_of(run), dict[str, Expected]()
        for name in _in_order(pipeline):
            task = run.tasks.get(name)
            before = _last((ends[after.task] for after in pipeline.tasks[name].after), self._at)
            if before.at is None:
                return before
            if task is None or task.phase in ("done", "skipped", "failed"):
                ends[name] = before
            elif task.attempt:
                ends[name] = self._attempt(self._state.attempts[task.attempt])
            else:
                if task.phase == "resting" and task.not_before is not None:
                    text = f"{run.run}/{name} rests until {say_clock(task.not_before)} after a failure"
                    before = before.then("rest", task.not_before, text)
                length = self._task_length(pipeline, name)
                if length is None or before.at is None:
                    return Expected(None, unknown=_never_timed(f"{pipeline.name}/{name}"))
                text = f"{run.run}/{name} takes {format_duration(length)} (p90)"
                ends[name] = before.then("attempt", before.at + length, text)
            if ends[name].at is None:
                return ends[name]
        return _last(ends.values(), self._at)

    def _attempt(self, attempt: Attempt) -> Expected:
        """When an attempt that goes on is expected to end: its p90 after its start, and not before now."""
        run = self._state.runs[attempt.run]
        length = self._task_length(self._state.pipeline_of(run), attempt.task)
        if length is None:
            return Expected(None, unknown=_never_timed(f"{run.pipeline}/{attempt.task}"))
        until, running = attempt.started + length, format_duration(self._at - attempt.started)
        p90 = f"p90 {format_duration(length)}"
        if until <= self._at:
            step = Step(
                "overrun", attempt.started, self._at, f"{attempt.attempt} has been running {running} ({p90})"
            )
            return Expected(self._at, (step,))
        text = f"{attempt.attempt} has been running {running} ({p90})"
        return Expected(until, (Step("attempt", attempt.started, until, text),))

    # Lengths.

    def _length(self, pipeline: Pipeline, at: datetime) -> timedelta | None:
        """How long a run that starts then takes (p90); None where that is not known."""
        band = takes(self._state, pipeline.name, at)
        return None if band is None else timedelta(seconds=band[1])

    def _task_length(self, pipeline: Pipeline, name: str) -> timedelta | None:
        task = pipeline.tasks.get(name)
        band = task_takes(self._state, pipeline.name, task, self._at) if task is not None else None
        if band is None and len(pipeline.tasks) == 1:
            band = takes(self._state, pipeline.name, self._at)
        return None if band is None else timedelta(seconds=band[1])


def _needs(floor: Mapping[str, int], source: str, mark: int) -> bool:
    """Whether an item may stand for a change up to that mark: the ones before it do not reach so far."""
    return floor.get(source, -1) < mark


def _in_order(pipeline: Pipeline) -> list[str]:
    """Tasks, each behind those that it comes after."""
    placed: dict[str, None] = {}
    while len(placed) < len(pipeline.tasks):
        for name, task in pipeline.tasks.items():
            if name not in placed and all(after.task in placed for after in task.after):
                placed[name] = None
    return list(placed)


def _never_timed(what: str) -> str:
    return f"how long {what} takes is not known: it has not ended yet"


def _turn(who: str, wait: timedelta) -> str:
    return f"{who} waits {format_duration(wait)} for its turn (p90)"


def _said(source: str) -> str:
    """A source in words."""
    kind, _, name = source.partition(":")
    return f"the world as {name} sees it" if kind == "world" else f"{kind} {name}"
