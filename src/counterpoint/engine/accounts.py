"""Where the time of a run or of an asset went, told from State and history: the material of `analysis.blame`.

An account goes back along the critical path: from a run to the oldest item it took, to the run that made that
change, and so on to a change from outside. What it looks up is bounded; what it does not find is told as such.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from counterpoint.analysis.blame import (
    Earlier,
    Held,
    Stretch,
    Surroundings,
    Try,
    before_run,
    blame_run,
    contiguous,
)
from counterpoint.kernel.decisions import Item
from counterpoint.kernel.records import Backlog, Run
from counterpoint.kernel.state import WHOLE_ASSET, State
from counterpoint.model.pipeline import Pipeline
from counterpoint.ports.store import AttemptRow, EventRow, History, RunRow, VersionRow

#: Runs of a chain of causes that are followed back.
MOST_LINKS = 20
#: Rows of one kind that are looked at for what else went on: others' attempts, and runs of a lane.
MOST_ATTEMPTS, MOST_RUNS = 2000, 200


class Account(Struct, frozen=True):
    """Where the time between two moments went: stretches without a gap."""

    since: datetime
    until: datetime
    stretches: list[Stretch]


class _Place(Struct, frozen=True):
    """Where a change is now: with a run, in a lane, or before a pipeline that was not started."""

    run: Run | None = None
    lane: Backlog | None = None
    pipeline: str = ""


async def account_of_run(
    state: State, history: History, run: Run, *, at: datetime, since: datetime | None = None
) -> Account:
    """The account of a run until its end, or until now.

    Args:
        since: when the change happened that it is asked for; None is the oldest that the run took.
    """
    until = run.ended or at
    return _account(await _chain(state, history, run, until=until, since=since), since, until)


async def account_of_version(
    state: State,
    history: History,
    version: VersionRow,
    *,
    since: datetime | None = None,
    happened: datetime | None = None,
) -> Account | None:
    """The account of a version until it was published; None where no run is on record for it.

    Args:
        since: where it begins; None is with the oldest change that led to it.
        happened: when the change happened that it is asked for; None is the oldest.
    """
    row = await history.row("runs", version.by)
    if not isinstance(row, RunRow):
        return None
    run = msgspec.json.decode(row.document, type=Run)
    return _account(await _chain(state, history, run, until=version.at, since=happened), since, version.at)


async def account_of_change(
    state: State,
    history: History,
    asset: str,
    *,
    source: str,
    mark: int,
    since: datetime,
    at: datetime,
    happened: datetime | None,
) -> Account:
    """The account from `since` until now of changes of a source that an asset does not have yet.

    Args:
        happened: when the oldest of them did; None where any that are missing count.
    """
    place = _whereabouts(state, asset, source, mark)
    found: list[Stretch] = []
    if place.run is not None:
        found = await _chain(state, history, place.run, until=at, since=happened)
    elif place.lane is not None:
        found = await _chain_of_lane(state, history, place.lane, until=at, since=happened)
    elif place.pipeline:
        found = [Stretch(start=since, end=at, cause="not-started", name=place.pipeline)]
    return _account(found, since, at)


def _account(stretches: list[Stretch], since: datetime | None, until: datetime) -> Account:
    begin = since if since is not None else min((each.start for each in stretches), default=until)
    return Account(begin, until, contiguous(stretches, begin, until))


def _whereabouts(state: State, asset: str, source: str, mark: int) -> _Place:
    """Where the changes up to a mark are that an asset lacks: the pipeline nearest to the source that has them."""
    lineage = state.plan.lineage
    seen: dict[str, None] = {}
    nearest = ""
    while True:
        reached = state.marks.get(asset)
        parts = reached.parts if reached is not None else {}
        writers = [each for each in lineage.writers.get(asset, ()) if source in lineage.through.get(each, ())]
        behind = [each for each in writers if parts.get(each, {}).get(source, -1) < mark]
        nearest = next(iter(behind or writers), nearest)
        inputs = [each for each in lineage.inputs.get(nearest, ()) if each.asset and source in each.sources]
        lacking = [
            each.asset
            for each in inputs
            if each.subject != source
            and each.asset not in seen
            and ((marks := state.marks.get(each.asset)) is None or marks.reflects.get(source, -1) < mark)
        ]
        if not lacking or not writers:
            break
        asset = lacking[0]
        seen[asset] = None
    runs = [state.runs[run] for run in state.live.get(nearest, {})]
    lanes = [state.backlogs[lane] for lane in state.waiting_lanes.get(nearest, {})]
    run = min(runs, key=lambda each: (each.phase == "waiting", each.ordinal), default=None)
    lane = min((each for each in lanes if each.first), key=lambda each: str(each.first), default=None)
    return _Place(run=run, lane=None if run is not None else lane, pipeline=nearest)


async def _chain(
    state: State, history: History, run: Run, *, until: datetime, since: datetime | None
) -> list[Stretch]:
    """Stretches of a run, and of what led to it, back to a change from outside."""
    found: list[Stretch] = []
    current: Run | None = run
    for _ in range(MOST_LINKS):
        if current is None:
            break
        items = list(current.items.values()) or _pending(state, current)
        item = _looked_at(items, since)
        begin = min(item.at if item else current.created, until)
        pipeline = _pipeline_of(state, current)
        if pipeline is not None:
            tries = await _tries(history, current.run)
            around = await _surroundings(state, history, current, pipeline, begin, until)
            stretches = blame_run(current, pipeline, tries, around, since=begin, until=until)
            found += await _opened_up(state, history, stretches)
        if item is None:
            break
        current, arrival = await _before(history, item)
        found += arrival
        until = begin
    return found


async def _chain_of_lane(
    state: State, history: History, lane: Backlog, *, until: datetime, since: datetime | None
) -> list[Stretch]:
    """Stretches of items that no run has taken, and of what led to them."""
    item = _looked_at(list(lane.items), since)
    pipeline = state.plan.pipelines.get(lane.pipeline)
    if item is None or pipeline is None:
        return []
    others = await _lane(history, lane.pipeline, lane.partition, lane.key)
    stretches = before_run("", pipeline, Surroundings(lane=others), since=item.at, until=until)
    found = await _opened_up(state, history, stretches)
    run, arrival = await _before(history, item)
    found += arrival
    if run is not None:
        found += await _chain(state, history, run, until=item.at, since=since)
    return found


async def _opened_up(state: State, history: History, stretches: list[Stretch]) -> list[Stretch]:
    """The same, with a failed run before this one told by what it waited for and did itself."""
    found: list[Stretch] = []
    for each in stretches:
        row = await history.row("runs", each.name) if each.cause == "failed" and "#" in each.name else None
        earlier = msgspec.json.decode(row.document, type=Run) if isinstance(row, RunRow) else None
        pipeline = _pipeline_of(state, earlier) if earlier is not None else None
        if earlier is None or pipeline is None:
            found.append(each)
            continue
        tries = await _tries(history, earlier.run)
        around = await _surroundings(state, history, earlier, pipeline, each.start, each.end)
        found += blame_run(earlier, pipeline, tries, around, since=each.start, until=each.end)
    return found


def _pending(state: State, run: Run) -> list[Item]:
    """What a waiting run will take."""
    backlog = state.backlogs.get(run.of)
    return list(backlog.items) if backlog is not None and run.phase == "waiting" and run.automatic else []


def _looked_at(items: Iterable[Item], since: datetime | None) -> Item | None:
    """The item on the critical path: the oldest, of the group of the trigger that was served last.

    Items from before the change that is asked for are left out, unless there are no others.
    """
    oldest: dict[int, Item] = {}
    listed = list(items)
    wanted = [item for item in listed if since is None or item.at >= since] or listed
    for item in wanted:
        if item.group not in oldest or item.at < oldest[item.group].at:
            oldest[item.group] = item
    return max(oldest.values(), key=lambda item: item.at, default=None)


async def _before(history: History, item: Item) -> tuple[Run | None, list[Stretch]]:
    """The run that made an item's change, or how long the change took to get here from outside."""
    for row in await history.events([item.change]):
        by = str(msgspec.json.decode(row.envelope).get("counterpointrun") or "")
        if by:
            earlier = await history.row("runs", by)
            return (msgspec.json.decode(earlier.document, type=Run) if isinstance(earlier, RunRow) else None), []
        if row.time < item.at:
            return None, [Stretch(start=row.time, end=item.at, cause="arrival", name=_named(row))]
    return None, []


def _named(row: EventRow) -> str:
    return f"{row.type} {row.id}" if not row.type.startswith("counterpoint.") else row.subject


def _pipeline_of(state: State, run: Run) -> Pipeline | None:
    plan = state.plan if run.digest == state.digest else state.plans.get(run.digest, state.plan)
    return plan.pipelines.get(run.pipeline)


async def _tries(history: History, run: str) -> list[Try]:
    rows = await history.page("attempts", where={"run": run}, limit=500)
    return [
        Try(attempt=row.attempt, task=row.task, phase=row.phase, started=row.started_at, ended=row.ended_at)
        for _, row in rows
        if isinstance(row, AttemptRow)
    ]


async def _lane(history: History, pipeline: str, partition: str, key: str) -> list[Earlier]:
    """The newest runs of a lane."""
    rows = await history.page("runs", where={"pipeline": pipeline}, limit=MOST_RUNS)
    return [
        Earlier(run=row.run, phase=row.phase, created=row.created_at, ended=row.ended_at)
        for _, row in rows
        if isinstance(row, RunRow) and (row.partition, row.key) == (partition, key)
    ]


async def _surroundings(
    state: State, history: History, run: Run, pipeline: Pipeline, begin: datetime, end: datetime
) -> Surroundings:
    """What else went on between two moments, as far as it may have kept a run waiting."""
    pools = {pool: entry.slots for pool, entry in state.plan.pools.items()}
    needs = _needs(run, pipeline)
    lane = [other for other in await _lane(history, run.pipeline, run.partition, run.key) if other.run != run.run]
    held: list[Held] = []
    if any(name.startswith("pool:") for need in needs.values() for name in need):
        held += await _pool_holders(state, history, run.run, begin, end)
    if any(name.startswith("asset:") for need in needs.values() for name in need):
        held += await _asset_holders(state, history, run, pipeline, begin, end)
    capacity = {f"pool:{pool}": slots for pool, slots in pools.items()}
    capacity |= {f"asset:{asset}": WHOLE_ASSET for asset in state.plan.assets}
    # A run of the lane that ended badly with the same items is part of their story; one that went well is not,
    # unless it was going on while they waited.
    return Surroundings(
        held=held, capacity=capacity, needs=needs, lane=[o for o in lane if o.created < run.created]
    )


def _needs(run: Run, pipeline: Pipeline) -> dict[str, dict[str, int]]:
    """What a run needed to be admitted ("") and each task to be started."""
    tasks = {
        name: {f"pool:{pool}": slots for pool, slots in task.pools.items()}
        for name, task in pipeline.tasks.items()
    }
    first = next((name for name, task in pipeline.tasks.items() if not task.after), "")
    whole: dict[str, int] = dict(tasks.get(first, {}))
    if pipeline.hold == "run":
        for need in tasks.values():
            whole |= {name: max(amount, whole.get(name, 0)) for name, amount in need.items()}
        tasks = {name: {} for name in tasks}
    whole |= {f"asset:{asset}": 1 for asset in pipeline.reads}
    if pipeline.write == "in_place":
        whole |= {f"asset:{asset}": WHOLE_ASSET for asset in pipeline.written}
    return {"": whole, **tasks}


async def _pool_holders(state: State, history: History, run: str, begin: datetime, end: datetime) -> list[Held]:
    """Others' attempts with slots between two moments, those of runs that hold theirs throughout included."""
    found: list[Held] = []
    before: int | None = None
    for _ in range(MOST_ATTEMPTS // 500):
        rows = await history.page("attempts", before=before, limit=500)
        for _, row in rows:
            assert isinstance(row, AttemptRow), "the attempts table holds attempts"
            if row.run == run or row.started_at >= end or (row.ended_at or end) <= begin:
                continue
            slots: dict[str, Any] = msgspec.json.decode(row.document).get("slots") or {}
            found += [
                Held(
                    resource=f"pool:{pool}",
                    holder=row.attempt,
                    amount=int(amount),
                    started=row.started_at,
                    ended=row.ended_at,
                )
                for pool, amount in slots.items()
            ]
        if len(rows) < 500:
            break
        before = rows[-1][0]
    for other in state.runs.values():
        if other.run == run or other.admitted is None:
            continue
        for resource, amount in other.holds.items():
            if resource.startswith("pool:"):
                found.append(
                    Held(resource=resource, holder=other.run, amount=amount, started=other.admitted, ended=None)
                )
    return found


async def _asset_holders(
    state: State, history: History, run: Run, pipeline: Pipeline, begin: datetime, end: datetime
) -> list[Held]:
    """Other runs that read or wrote the run's assets in place between two moments."""
    plan = state.plan
    wanted = dict.fromkeys((*pipeline.reads, *pipeline.written))
    names = dict.fromkeys(
        other for asset in wanted for other in (*plan.readers.get(asset, ()), *plan.writers.get(asset, ()))
    )
    found: list[Held] = []
    for name in names:
        other = plan.pipelines[name]
        holds = {asset: 1 for asset in other.reads if asset in wanted}
        if other.write == "in_place":
            holds |= {asset: WHOLE_ASSET for asset in other.written if asset in wanted}
        for _, row in await history.page("runs", where={"pipeline": name}, limit=MOST_RUNS) if holds else ():
            assert isinstance(row, RunRow), "the runs table holds runs"
            if row.run == run.run or row.started_at is None or row.started_at >= end:
                continue
            if (row.ended_at or end) <= begin:
                continue
            found += [
                Held(
                    resource=f"asset:{asset}",
                    holder=row.run,
                    amount=amount,
                    started=row.started_at,
                    ended=row.ended_at,
                )
                for asset, amount in holds.items()
            ]
    return found
