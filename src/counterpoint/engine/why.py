"""Why anything is as it is: State for what is going on, history for what has ended and what led to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from counterpoint.engine.accounts import Account, account_of_run, account_of_version
from counterpoint.engine.incidents import account_of_obligation, blamed
from counterpoint.engine.promises import promise_statuses
from counterpoint.engine.service import Explanation, PromiseStatus
from counterpoint.engine.status import pool_status
from counterpoint.errors import unknown_name
from counterpoint.kernel.decisions import Reason
from counterpoint.kernel.explain import Why, holders_of, why_pipeline, why_run
from counterpoint.kernel.records import Run
from counterpoint.kernel.sentences import say, say_clock
from counterpoint.kernel.state import State
from counterpoint.model.quantity import format_duration
from counterpoint.ports.store import EventRow, History, RunRow, VersionRow

#: Links of a chain of causes that are followed back.
MOST_CAUSES = 20


async def explain(
    state: State, history: History, name: str, *, at: datetime, progress: Mapping[str, Mapping[str, Any]]
) -> Explanation:
    """Why a run, a pipeline, an asset or a pool is as it is at engine time `at`.

    Args:
        progress: running attempt -> what it last said of its progress.

    Raises:
        NotFound: there is nothing of that name.
    """
    if name in state.runs:
        run = state.runs[name]
        why = why_run(state, run, at)
        lines = [*why.lines, *_why_now(state, run), *_progress_of(run, progress)]
        why = msgspec.structs.replace(why, lines=lines)
        account = await account_of_run(state, history, run, at=at)
        return _explanation(name, why, await causes(history, run), account)
    if name in state.plan.pipelines:
        live = [state.runs[run] for run in state.live.get(name, {})]
        chain = await causes(history, live[0]) if live else []
        why = why_pipeline(state, state.plan.pipelines[name], at)
        dead = sum(item.pipeline == name for item in state.dead.values())
        if dead:
            items = "1 item" if dead == 1 else f"{dead} items"
            told = f"It gave up on {items}: see `counterpoint dead-letters {name}`."
            why = msgspec.structs.replace(why, lines=[*why.lines, told])
        if not live:
            return _explanation(name, why, chain)
        why = msgspec.structs.replace(why, lines=[*why.lines[:1], *_why_now(state, live[0]), *why.lines[1:]])
        return _explanation(name, why, chain, await account_of_run(state, history, live[0], at=at))
    if name in state.plan.assets:
        why = _why_asset(state, name, at)
        return _explanation(
            name,
            why,
            await _asset_causes(state, history, name),
            await _asset_account(state, history, name, at),
        )
    if name in state.plan.pools:
        return _explanation(name, _why_pool(state, name), [])
    row = await history.row("runs", name)
    if isinstance(row, RunRow):
        run = msgspec.json.decode(row.document, type=Run)
        account = await account_of_run(state, history, run, at=at)
        return _explanation(name, _why_ended(run), await causes(history, run), account)
    known = [*state.plan.pipelines, *state.plan.assets, *state.plan.pools, *state.runs]
    raise unknown_name("run, pipeline, asset or pool", name, known, remedy="see `counterpoint status`")


def _progress_of(run: Run, progress: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the running attempts of a run say of their progress."""
    lines = []
    for task in run.tasks.values():
        said = progress.get(task.attempt, {})
        fraction, text = said.get("fraction"), said.get("text")
        parts = [f"{fraction:.0%}"] if isinstance(fraction, int | float) else []
        parts += [str(text)] if text else []
        if parts:
            lines.append(f"{task.attempt} says: {', '.join(parts)}.")
    return lines


async def causes(history: History, run: Run) -> list[dict[str, Any]]:
    """What led to a run, newest first: the changes it took, the runs that made them, and so on."""
    chain: list[dict[str, Any]] = []
    seen = {run.run}
    current: Run | None = run
    while current is not None and len(chain) < MOST_CAUSES:
        if not current.items:
            if current.by:
                chain.append(
                    {"what": f"{current.by} asked for {current.run}", "run": current.run, "at": current.created}
                )
            break
        earlier = ""
        numbers = sorted({item.change for item in current.items.values()}, reverse=True)
        for row in await history.events(numbers[:5]):
            envelope = msgspec.json.decode(row.envelope)
            by = str(envelope.get("counterpointrun", ""))
            chain.append(
                {
                    "what": _told(row, envelope),
                    "change": row.number,
                    "run": by,
                    "for": current.run,
                    "at": row.time,
                }
            )
            earlier = earlier or by
        if not earlier or earlier in seen:
            break
        seen.add(earlier)
        before = await history.row("runs", earlier)
        current = msgspec.json.decode(before.document, type=Run) if isinstance(before, RunRow) else None
    return chain


def _told(row: EventRow, envelope: Mapping[str, Any]) -> str:
    """A change in words: `ingest#1 published raw version 4`."""
    by, data = envelope.get("counterpointrun", ""), envelope.get("data")
    match row.type, data:
        case "counterpoint.asset.published", {"asset": asset, "partition": partition, "seq": seq}:
            version = f"{asset}/{partition} version {seq}" if partition else f"{asset} version {seq}"
            return f"{by} published {version}" if by else f"{version} was reported"
        case "counterpoint.checkpoint", {"checkpoint": name}:
            return f"{by} reached checkpoint {name}"
        case "counterpoint.tick", {"pipeline": pipeline}:
            return f"{pipeline} ticked at {row.time:%H:%M:%S} UTC"
        case kind, _ if kind.startswith("counterpoint.run.") and by:
            return f"{by} {kind.removeprefix('counterpoint.run.')}"
    return f"{row.type} {row.id} from {row.source}"


async def _asset_causes(state: State, history: History, name: str) -> list[dict[str, Any]]:
    newest = max(
        (asset for asset in state.assets.values() if asset.asset == name), key=lambda a: a.at, default=None
    )
    if newest is None or "#" not in newest.by:
        return []
    row = await history.row("runs", newest.by)
    if not isinstance(row, RunRow):
        return []
    chain = await causes(history, msgspec.json.decode(row.document, type=Run))
    return [{"what": f"{newest.by} published {name}", "run": newest.by, "at": newest.at}, *chain]


def _why_ended(run: Run) -> Why:
    """What became of a run, and how long it took."""
    reason = msgspec.convert(run.reason, Reason) if run.reason.get("code") else Reason("unknown")
    lines = [f"{run.run} {run.phase}: {say(reason)}."]
    if run.admitted and run.ended:
        waited, took = run.admitted - run.created, run.ended - run.admitted
        lines.append(f"It waited {format_duration(waited)} and took {format_duration(took)}.")
    for name, task in run.tasks.items():
        if task.failure == "cancelled":
            lines.append(f"Task {name} was cancelled{': ' + task.detail if task.detail else ''}.")
        elif task.phase == "failed":
            attempts = "1 attempt" if task.number == 1 else f"{task.number} attempts"
            lines.append(
                f"Task {name} failed after {attempts}: {task.failure}{', ' + task.detail if task.detail else ''}."
            )
        elif task.phase == "done" and task.number > 1:
            lines.append(f"Task {name} took {task.number} attempts.")
    frees = f"`counterpoint retry {run.run}` goes on from its failed tasks" if run.phase == "failed" else ""
    return Why(run.phase, lines, [], frees)


async def _asset_account(state: State, history: History, name: str, at: datetime) -> Account | None:
    """Where the time went of what is missing most urgently, else of the newest version."""
    promises = [state.promises[key] for key in state.promises if key[0] == name]
    late = [(each.promise, each.origin) for each in promises if each.late and each.origin is not None]
    waiting = [(each.promise, owed) for each in promises for listed in each.open.values() for owed in listed[:1]]
    for kind, obligation in (*late, *sorted(waiting, key=lambda pair: pair[1].due)):
        return await account_of_obligation(state, history, name, kind, obligation, at)
    for _, row in await history.page("versions", where={"asset": name}, limit=1):
        assert isinstance(row, VersionRow), "the versions table holds versions"
        return await account_of_version(state, history, row)
    return None


def _why_now(state: State, run: Run) -> list[str]:
    """Why a run was made when it was, and what its place in the queue follows from."""
    lines = []
    if run.reason.get("code"):
        lines.append(f"It began to wait at {say_clock(run.created)}: {say(msgspec.convert(run.reason, Reason))}.")
    declared = state.plan.pipelines.get(run.pipeline)
    if run.phase != "waiting" or declared is None:
        return lines
    if run.latest is not None and run.latest <= run.raised_at:
        below = dict.fromkeys(asset for asset, _ in state.plan.lineage.below.get(run.pipeline, ()))
        promised = f" to keep what is promised of {' and '.join([*below][:3])}" if below else ""
        lines.append(f"It should start by {say_clock(run.latest)}{promised}; that is its place in the queue.")
    else:
        place = f"class {declared.priority_class}, and how long it has waited"
        lines.append(f"Its place in the queue follows from its {place}: no promise asks for it sooner.")
    return lines


def _explanation(
    subject: str, why: Why, chain: list[dict[str, Any]], account: Account | None = None
) -> Explanation:
    return Explanation(
        subject=subject,
        state=why.state,
        lines=why.lines,
        blockers=[msgspec.to_builtins(blocker) for blocker in why.blockers],
        frees=why.frees,
        when=why.when,
        causes=chain,
        blame=blamed(account.stretches) if account is not None else [],
    )


def _why_asset(state: State, name: str, at: datetime) -> Why:
    lines = [_promised(promise) for promise in promise_statuses(state, at) if promise.asset == name]
    partitions = [asset for asset in state.assets.values() if asset.asset == name]
    for asset in partitions[:20]:
        where = f"{name}/{asset.partition}" if asset.partition else name
        if asset.seq:
            lines.append(f"{where} is at version {asset.seq}, published by {asset.by} at {asset.at:%H:%M:%S} UTC.")
        if asset.suspect:
            lines.append(f"{where} is suspect: a writer in place failed since; automatic readers hold.")
    if not partitions:
        lines.append(f"{name} has no version yet.")
    writers = state.plan.writers.get(name, ())
    parts = [(writer, why_pipeline(state, state.plan.pipelines[writer], at)) for writer in writers]
    for writer, part in parts:
        lines += [f"Its writer {writer} is {part.state}: {line}" for line in part.lines[:2]]
    if not writers:
        lines.append(f"No pipeline writes {name}; its versions are reported from outside.")
    suspect = any(asset.suspect for asset in partitions)
    current = any(asset.seq for asset in partitions)
    return Why(
        "suspect" if suspect else "published" if current else "missing",
        lines,
        [blocker for _, part in parts for blocker in part.blockers],
        next((part.frees for _, part in parts if part.frees), ""),
        min((part.when for _, part in parts if part.when), default=None),
    )


def _promised(promise: PromiseStatus) -> str:
    """How a promise stands, in one sentence."""
    share = promise.budget.share
    held = f"{share * 100:.4g} % held" if share is not None else "no data yet"
    owed = f"{promise.asset} promises {promise.promise} {promise.owed}: {held}"
    broken = f"; broken since {say_clock(promise.breached_at)}" if promise.breached_at else ""
    return f"{owed}{broken}; {promise.forecast.text}."


def _why_pool(state: State, name: str) -> Why:
    pool = pool_status(state, name)
    holders = holders_of(state, f"pool:{name}")
    held = ", ".join(f"{holder} ({amount})" for holder, amount in holders.items())
    lines = [f"{pool.used} of {pool.slots} slots of {name} are held" + (f" by {held}." if held else ".")]
    if pool.waiting:
        lines.append(f"First in the queue for it: {', '.join(pool.waiting)}.")
    if pool.reserved_for:
        lines.append(f"What gets free is kept for {pool.reserved_for}, which was passed over too long.")
    return Why("full" if pool.used >= pool.slots else "free", lines, [], "a holder ends" if pool.waiting else "")
