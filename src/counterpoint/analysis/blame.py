"""Where the time went: each stretch between a change and what was made of it, blamed on one cause.

The stretches of an account follow each other without a gap or an overlap along the critical path: what ended last
is asked what it waited for last, and so on back to the change. So they add up to the whole time. What is not on
record any more is a stretch of its own, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from msgspec import Struct

from counterpoint.kernel.records import Run
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.quantity import format_duration

#: A stretch up to this long that is only the machinery's own is counted with its neighbour.
NEGLIGIBLE = timedelta(milliseconds=50)
#: A wait in more pieces than this is told by what was waited for, not by each who held it.
MOST_PIECES = 5


class Stretch(Struct, frozen=True, kw_only=True):
    """A stretch of time and what it is blamed on.

    Attributes:
        cause: `pool`, `asset`, `queue`, `batch`, `rest`, `behind`, `backoff`, `failed`, `preempted`, `lost`,
            `ran`, `waited`, `confirm`, `arrival`, `not-started` or `unknown`.
        run: the run that waited or worked; "" where none was there yet.
        name: of the pool, asset, task or run that the cause is about.
        holders: who held it meanwhile.
    """

    start: datetime
    end: datetime
    cause: str
    run: str = ""
    name: str = ""
    holders: tuple[str, ...] = ()

    @property
    def length(self) -> timedelta:
        """How long it was."""
        return self.end - self.start


class Try(Struct, frozen=True, kw_only=True):
    """An attempt as history keeps it; `ended` is None while it goes on."""

    attempt: str
    task: str
    phase: str
    started: datetime
    ended: datetime | None


class Held(Struct, frozen=True, kw_only=True):
    """Somebody held some of a resource for a time; `ended` is None while it is held."""

    resource: str
    holder: str
    amount: int
    started: datetime
    ended: datetime | None


class Earlier(Struct, frozen=True, kw_only=True):
    """A run of the same lane."""

    run: str
    phase: str
    created: datetime
    ended: datetime | None


class Surroundings(Struct, frozen=True, kw_only=True):
    """What else went on while a run waited.

    Attributes:
        held: by others.
        capacity: resource -> how much of it there is.
        needs: what the run needs to be admitted; by task "" or what a task needs.
        lane: other runs of its lane.
    """

    held: Sequence[Held] = ()
    capacity: Mapping[str, int] = {}
    needs: Mapping[str, Mapping[str, int]] = {}
    lane: Sequence[Earlier] = ()


def blame_run(
    run: Run,
    pipeline: Pipeline,
    tries: Sequence[Try],
    around: Surroundings,
    *,
    since: datetime,
    until: datetime,
) -> list[Stretch]:
    """The account of one run from `since` (when the item came that it is looked at for) to `until`.

    Args:
        tries: its attempts.
        until: the end of the account: its end, when it published, or now.
    """
    found = [
        *before_run(run.run, pipeline, around, since=since, until=min(run.created, until)),
        *_shortages(run.run, "", run.created, min(run.admitted or until, until), around, "queue", ""),
    ]
    if run.admitted is not None:
        found += _work(run, pipeline, tries, around, until)
    return contiguous(found, since, until)


def before_run(
    run: str, pipeline: Pipeline, around: Surroundings, *, since: datetime, until: datetime
) -> list[Stretch]:
    """What a lane's items waited for until their run was made: a batch, a run before it, or a rest after one."""
    found: list[Stretch] = []
    cursor = since
    for other in sorted(around.lane, key=lambda each: each.created):
        begin, end = max(other.created, cursor), min(other.ended or until, until)
        if end <= cursor or begin >= until or other.run == run:
            continue
        if begin > cursor:
            found.append(Stretch(start=cursor, end=begin, cause="batch", run=run, name=pipeline.name))
        cause = "failed" if other.phase == "failed" and other.ended is not None else "behind"
        found.append(Stretch(start=begin, end=end, cause=cause, run=run, name=other.run))
        cursor = end
    if cursor < until:
        cause = "rest" if found and found[-1].cause == "failed" else "batch"
        name = found[-1].name if cause == "rest" else pipeline.name
        found.append(Stretch(start=cursor, end=until, cause=cause, run=run, name=name))
    return found


def _work(
    run: Run, pipeline: Pipeline, tries: Sequence[Try], around: Surroundings, until: datetime
) -> list[Stretch]:
    """From admission to the end, along the tasks that ended last."""
    assert run.admitted is not None, "only a run that began has worked"
    by_task: dict[str, list[Try]] = {}
    for each in sorted(tries, key=lambda each: each.started):
        by_task.setdefault(each.task, []).append(each)
    found: list[Stretch] = []
    cursor = run.admitted
    for task in _critical(run, pipeline, by_task, until):
        previous: Try | None = None
        for each in by_task.get(task, ()):
            if each.started > cursor:
                cause = "queue" if previous is None or previous.phase in ("preempted", "lost") else "backoff"
                found += _shortages(run.run, task, cursor, each.started, around, cause, task)
            end = each.ended or until
            found.append(
                Stretch(
                    start=max(cursor, each.started), end=end, cause=_cause(each, pipeline), run=run.run, name=task
                )
            )
            cursor, previous = max(cursor, end), each
        state = run.tasks.get(task)
        if state is not None and state.phase in ("ready", "resting") and run.ended is None:
            cause = "backoff" if state.phase == "resting" else "queue"
            found += _shortages(run.run, task, cursor, until, around, cause, task)
            cursor = until
    if cursor < until and (run.phase == "confirming" or run.confirm_by is not None):
        found.append(Stretch(start=cursor, end=until, cause="confirm", run=run.run, name=", ".join(_awaited(run))))
    return found


def _awaited(run: Run) -> list[str]:
    return list(dict.fromkeys(awaited.pipeline for awaited in run.confirming.values()))


def _cause(each: Try, pipeline: Pipeline) -> str:
    match each.phase:
        case "failed" | "timed_out":
            return "failed"
        case "preempted" | "lost":
            return each.phase
    task = pipeline.tasks.get(each.task)
    return "waited" if task is not None and task.tool == "wait" else "ran"


def _critical(run: Run, pipeline: Pipeline, by_task: Mapping[str, list[Try]], until: datetime) -> list[str]:
    """The tasks of the critical path, the first one first: back from the one that ended last."""

    def end(task: str) -> datetime | None:
        """When a task ended; `until` while it runs or waits for slots; None where it has not come to it."""
        state = run.tasks.get(task)
        if run.ended is None and state is not None and state.phase in ("ready", "resting", "running"):
            return until
        attempts = by_task.get(task)
        return None if not attempts else attempts[-1].ended or until

    ends = {task: moment for task in pipeline.tasks if (moment := end(task)) is not None}
    path: list[str] = []
    current = max(ends, key=lambda task: ends[task], default=None)
    while current is not None:
        path.append(current)
        before = _before(pipeline, current, ends, set(path))
        current = max(before, key=lambda task: ends[task], default=None)
    return path[::-1]


def _before(pipeline: Pipeline, task: str, ends: Mapping[str, datetime], seen: set[str]) -> list[str]:
    """The tasks with attempts that a task comes after, directly or behind ones that were left out."""
    found: list[str] = []
    queue = [after.task for after in pipeline.tasks[task].after]
    while queue:
        name = queue.pop(0)
        if name in seen:
            continue
        seen.add(name)
        if name in ends:
            found.append(name)
        else:
            queue += [after.task for after in pipeline.tasks[name].after]
    return found


def _shortages(
    run: str, task: str, start: datetime, end: datetime, around: Surroundings, otherwise: str, name: str
) -> list[Stretch]:
    """A wait, cut wherever somebody took or gave back something that is needed; `otherwise` is the rest of it."""
    if end <= start:
        return []
    needs = around.needs.get(task, {})
    changes: list[tuple[datetime, int, Held]] = []
    for number, each in enumerate(around.held):
        if each.resource in needs and each.started < end and (each.ended or end) > start:
            changes += [(max(each.started, start), number, each), (min(each.ended or end, end), number, each)]
    changes.sort(key=lambda change: change[:2])
    there: dict[int, Held] = {}
    found: list[Stretch] = []
    cursor = start
    for moment, number, taken in [*changes, (end, -1, None)]:
        if moment > cursor:
            found.append(
                _piece(run, cursor, moment, needs, list(there.values()), around.capacity, otherwise, name)
            )
            cursor = moment
        # Of each holder the first change is that it took some, the second that it gave it back.
        if taken is not None and there.pop(number, None) is None:
            there[number] = taken
    return found if len(found) <= MOST_PIECES else _joined(found)


def _piece(
    run: str,
    start: datetime,
    end: datetime,
    needs: Mapping[str, int],
    held: Sequence[Held],
    capacity: Mapping[str, int],
    otherwise: str,
    name: str,
) -> Stretch:
    """A part of a wait in which nobody took or gave back anything."""
    lacking = _lacking(needs, held, capacity)
    if lacking is None:
        return Stretch(start=start, end=end, cause=otherwise, run=run, name=name)
    kind, _, resource = lacking.partition(":")
    holders = tuple(dict.fromkeys(each.holder for each in held if each.resource == lacking))
    return Stretch(start=start, end=end, cause=kind, run=run, name=resource, holders=holders)


def _joined(pieces: Iterable[Stretch]) -> list[Stretch]:
    """Neighbours that wait for one thing as one stretch, with all who held it meanwhile."""
    found: list[Stretch] = []
    for _, same in groupby(pieces, key=lambda each: (each.cause, each.name)):
        several = list(same)
        holders = dict.fromkeys(holder for each in several for holder in each.holders)
        first, last = several[0], several[-1]
        found.append(
            Stretch(
                start=first.start,
                end=last.end,
                cause=first.cause,
                run=first.run,
                name=first.name,
                holders=tuple(holders),
            )
        )
    return found


def _lacking(needs: Mapping[str, int], held: Sequence[Held], capacity: Mapping[str, int]) -> str | None:
    """The first resource of which others held so much that too little was left."""
    for resource, amount in needs.items():
        taken = sum(each.amount for each in held if each.resource == resource)
        if taken and capacity.get(resource, 0) - taken < amount:
            return resource
    return None


def contiguous(stretches: Iterable[Stretch], start: datetime, end: datetime) -> list[Stretch]:
    """Stretches in order, cut to fit between two moments; what they leave out is `unknown`."""
    found: list[Stretch] = []

    def add(stretch: Stretch) -> None:
        last = found[-1] if found else None
        is_negligible = stretch.cause == "unknown" and stretch.length <= NEGLIGIBLE
        if last is not None and (is_negligible or _same(last, stretch)):
            found[-1] = _until(last, stretch.end)
        else:
            found.append(stretch)

    cursor = start
    for each in sorted(stretches, key=lambda each: each.start):
        begin, until = max(each.start, cursor), min(each.end, end)
        if until <= begin:
            continue
        if begin > cursor:
            add(Stretch(start=cursor, end=begin, cause="unknown", run=each.run))
        add(Stretch(start=begin, end=until, cause=each.cause, run=each.run, name=each.name, holders=each.holders))
        cursor = until
    if cursor < end:
        add(Stretch(start=cursor, end=end, cause="unknown"))
    return found


def _same(one: Stretch, other: Stretch) -> bool:
    return (one.cause, one.run, one.name, one.holders) == (other.cause, other.run, other.name, other.holders)


def _until(stretch: Stretch, end: datetime) -> Stretch:
    return Stretch(
        start=stretch.start,
        end=end,
        cause=stretch.cause,
        run=stretch.run,
        name=stretch.name,
        holders=stretch.holders,
    )


def say_stretch(stretch: Stretch) -> str:
    """A stretch as one line: `build#4 waited 40m for pool gpu, held by train#2/run/1`."""
    length, run, name = format_duration(stretch.length), stretch.run or "it", stretch.name
    held = f", held by {', '.join(stretch.holders[:3])}" if stretch.holders else ""
    more = len(stretch.holders) - 3
    held += f" and {more} more" if more > 0 else ""
    match stretch.cause:
        case "pool" | "asset":
            return f"{run} waited {length} for {stretch.cause} {name}{held}"
        case "queue":
            what = f"{run}/{name}" if name else run
            return f"{what} waited {length} for its turn"
        case "batch":
            return f"{name} gathered a batch for {length}"
        case "behind":
            return f"{run} waited {length} for {name} to end"
        case "rest":
            return f"{run} waited {length} after {name} had failed"
        case "backoff":
            return f"{run}/{name} waited {length} before it was tried again"
        case "failed":
            what = name if "#" in name else f"{run}/{name}"
            return f"{what} ran {length} and failed"
        case "preempted":
            return f"{run}/{name} ran {length} and made room for others"
        case "lost":
            return f"{run}/{name} was lost after {length}"
        case "waited":
            return f"{run}/{name} waited {length}"
        case "ran":
            return f"{run}/{name} ran {length}"
        case "confirm":
            return f"{run} waited {length} to be confirmed" + (f" by {name}" if name else "")
        case "arrival":
            return f"{name} took {length} to arrive"
        case "not-started":
            return f"{name} was not started for {length}"
        case _:
            return f"{length} are not on record"


def totals(stretches: Iterable[Stretch]) -> list[tuple[Stretch, timedelta]]:
    """Causes with all the time blamed on each, the worst first; a cause is named by its first stretch."""
    found: dict[tuple[str, str, str], tuple[Stretch, timedelta]] = {}
    for each in stretches:
        place = (each.cause, each.run, each.name)
        first, length = found.get(place, (each, timedelta()))
        found[place] = (first, length + each.length)
    return sorted(found.values(), key=lambda entry: entry[1], reverse=True)
