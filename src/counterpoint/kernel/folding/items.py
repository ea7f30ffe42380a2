"""Changes and their items: pending in a lane, taken by a run, ended."""

from __future__ import annotations

from typing import Any

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.folding.promises import end_item, look_again, note_change, note_item, skip_items
from counterpoint.kernel.obligations import lower
from counterpoint.kernel.records import Awaited, Backlog, Lane, Run
from counterpoint.kernel.state import State
from counterpoint.model.trace import traceparent


def input_refused(state: State, event: e.InputRefused) -> None:
    """A record only."""


def event_accepted(state: State, event: e.EventAccepted) -> None:
    state.changes = max(state.changes, event.change.number)
    note_change(state, event.change.subject, event.change.time)
    state.touched.changes.append(event.change)
    state.written.changes[event.change.number] = event.change


def replay_requested(state: State, event: e.ReplayRequested) -> None:
    """The rule that answers it delivers."""


def discard_requested(state: State, event: e.DiscardRequested) -> None:
    for number in event.items:
        item = state.dead.pop(number, None)
        if item is not None:
            skip_items(state, (item,))
            state.written.items[number] = (item, "skipped", "")


def deliver(state: State, decision: d.Deliver) -> None:
    change = decision.change
    if change.number > state.changes:
        # A change of our own; an accepted or replayed event is on record already, with its payload.
        state.changes = change.number
        state.written.changes[change.number] = change
    for item in decision.items:
        state.items = item.number
        lane = (item.pipeline, item.partition, item.key)
        backlog = state.backlogs.get(lane)
        if backlog is None:
            backlog = state.backlogs[lane] = Backlog(*lane)
            state.waiting_lanes.setdefault(item.pipeline, {})[lane] = None
        backlog.groups.setdefault(state.group_of(item), {})[item.number] = item
        note_item(state, item)
        backlog.first = backlog.first or item.at
        backlog.last = item.at
        if lane in state.floors:
            lower(state.floors[lane], item.floor)
        backlog.kept = False
        state.touch_lanes((lane,))
        state.written.items[item.number] = (item, "pending", "")
        producer = state.runs.get(item.confirms)
        if producer is not None and item.confirm_by is not None:
            producer.confirming[item.number] = Awaited(item.pipeline, item.confirm_by)
            state.remember(item.confirm_by, "confirm", producer.run)
        if item.origin is not None and item.origin in state.dead:
            letter = state.dead.pop(item.origin)
            end_item(state, letter)
            state.written.items[item.origin] = (letter, "replayed", "")


def rest_subscription(state: State, decision: d.RestSubscription) -> None:
    lane = (decision.pipeline, decision.partition, decision.key)
    backlog = state.backlogs.get(lane)
    if backlog is not None:
        backlog.failures, backlog.rest_until = decision.failures, decision.until
        state.look_at(lane, decision.until)


def end_items(state: State, decision: d.EndItems) -> None:
    lane = (decision.pipeline, decision.partition, decision.key)
    backlog = state.backlogs.get(lane)
    if backlog is None:
        return
    state.forget_items(lane)
    for group in backlog.groups.values():
        for number in [number for number in decision.items if number in group]:
            item = group.pop(number)
            if decision.outcome == "dead":
                state.dead[number] = item
            else:
                skip_items(state, (item,))
            state.written.items[number] = (item, decision.outcome, "")
            if item.confirms:
                state.touched.confirms.append((item.confirms, number, "refused"))
    _drop_if_empty(state, lane)


def announce(
    state: State,
    *,
    subject: str,
    type_: str,
    name: str,
    run: Run | None,
    partition: str,
    data: dict[str, Any],
    hops: int | None = None,
) -> None:
    """Put a change of our own up for delivery; numbered only when somebody wants it."""
    state.touched.changes.append(
        e.Change(
            number=0,
            subject=subject,
            source=f"/counterpoint/{state.plan.name}",
            id=name,
            type=type_,
            time=state.at,
            partition=partition,
            hops=hops if hops is not None else (run.hops if run else 0),
            data=data,
            by_run=run.run if run else "",
            trace=traceparent(run.trace, run.run) if run and run.trace else "",
        )
    )


def announce_run(state: State, run: Run, reached: str) -> None:
    subject = f"run:{run.pipeline}:{reached}"
    if subject in state.plan.subscribers:
        announce(
            state,
            subject=subject,
            type_=f"counterpoint.run.{reached}",
            name=f"{run.run}/{reached}/{sum(task.number for task in run.tasks.values())}",
            run=run,
            partition=run.partition,
            data={"run": run.run, "pipeline": run.pipeline, "key": run.key, "failure": run.failure},
        )


def take_items(state: State, run: Run, numbers: tuple[int, ...]) -> None:
    """Move items from the lane's backlog to the run."""
    backlog = state.backlogs.get(run.of)
    if backlog is None:
        return
    state.forget_items(run.of)
    for group in backlog.groups.values():
        for number in [number for number in numbers if number in group]:
            run.items[number] = group.pop(number)
    # A backlog that remembers failures stays until a run succeeds.
    if backlog.failures:
        backlog.settle()
    else:
        _drop_if_empty(state, run.of)


def _drop_if_empty(state: State, lane: Lane) -> None:
    backlog = state.backlogs[lane]
    backlog.groups = {group: items for group, items in backlog.groups.items() if items}
    if backlog.groups:
        backlog.settle()
        return
    del state.backlogs[lane]
    state.waiting_lanes[lane[0]].pop(lane, None)


def give_back_items(state: State, run: Run, become: str) -> None:
    """End a run's items, or put them back in front of what came since."""
    if become in ("done", "skipped"):
        if become == "skipped":
            skip_items(state, run.items.values())
        for item in run.items.values():
            end_item(state, item)
            state.written.items[item.number] = (item, become, run.run)
        if any(task.published for task in run.tasks.values()):
            # Its items were not done yet when other runs published, and theirs were not when it did.
            look_again(state, run.pipeline)
        backlog = state.backlogs.get(run.of)
        if backlog is not None and not len(backlog):
            _drop_if_empty(state, run.of)
        return
    backlog = state.backlogs.get(run.of)
    if not run.items:
        # Cancelled before it took anything: what it would have taken must not start the next one at once.
        if backlog is not None and become == "kept" and run.automatic:
            backlog.kept = True
        return
    if backlog is None:
        backlog = state.backlogs[run.of] = Backlog(*run.of)
        state.waiting_lanes.setdefault(run.pipeline, {})[run.of] = None
    newer = len(backlog) > 0
    state.forget_items(run.of)
    for item in run.items.values():
        backlog.groups.setdefault(state.group_of(item), {})[item.number] = item
        state.written.items[item.number] = (item, "pending", "")
    backlog.groups = {
        number: dict(sorted(group.items())) for number, group in sorted(backlog.groups.items()) if group
    }
    backlog.settle()
    backlog.kept = become == "kept" and not newer
