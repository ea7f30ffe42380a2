"""Changes and their subscribers: each subscriber that wants a change gets an item of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from counterpoint.kernel.decisions import AnyDecision, Deliver, Item, Note, Reason
from counterpoint.kernel.events import AnyEvent, Change
from counterpoint.kernel.rules.reflecting import floor_at
from counterpoint.kernel.state import State
from counterpoint.model import expression
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.trace import trace_of
from counterpoint.model.trigger import Cron, Every

#: So many runs may lie between a change and the one that began its chain; a longer chain is a loop.
MOST_HOPS = 64


def deliver(state: State, event: AnyEvent) -> Iterator[AnyDecision]:
    """Hand out every change that came up in this step."""
    while state.touched.changes:
        change = state.touched.changes.pop(0)
        if change.hops > MOST_HOPS:
            figures = {"hops": change.hops, "change": change.id}
            yield Note(at=state.at, reason=Reason("hop-limit", figures), subject=change.subject)
            continue
        if not change.number:
            change = msgspec.structs.replace(change, number=state.changes + 1)
        items = items_for(state, change)
        if items:
            reason = Reason("subscribed", {"subscribers": len(items)})
            yield Deliver(at=state.at, reason=reason, change=recorded(change), items=items)
        elif change.subject not in state.plan.subscribers:
            # Only an accepted event gets here: changes of our own come up where somebody listens.
            yield Note(at=state.at, reason=Reason("nobody-listens", {"change": change.id}), subject=change.subject)


def items_for(
    state: State,
    change: Change,
    *,
    only: str | None = None,
    group: int | None = None,
    origin: int | None = None,
) -> tuple[Item, ...]:
    """The items a change becomes: one for each group of each subscriber that wants it.

    Args:
        only, group: the one subscriber, and the one group of its trigger, that a replay is for.
        origin: the item that is replayed.
    """
    document: dict[str, Any] | None = None
    items: dict[tuple[str, int], Item] = {}
    trace = trace_of(change.trace) if change.trace else ""
    # A replay is between its subscriber and whoever asked; nobody waits for it to be confirmed.
    producer = state.runs.get(change.by_run) if only is None and change.by_run else None
    for name, number, source in state.plan.subscribers.get(change.subject, ()):
        if (name, number) in items or only not in (None, name) or group not in (None, number):
            continue
        pipeline = state.plan.pipelines[name]
        trigger = pipeline.trigger
        assert trigger is not None, "a subscriber has a trigger"
        when = None if isinstance(source, Cron | Every) else source.when
        by = (trigger.batch.by, pipeline.concurrency_by, pipeline.elastic.by if pipeline.elastic else None)
        is_keyed = any(by) or pipeline.partition is not None
        if when or is_keyed:
            document = document or as_event(change)
            if when and not expression.holds(when, document):
                continue
        delivery = trigger.delivery
        is_awaited = producer is not None and delivery.pattern == "sync" and delivery.until != "accepted"
        items[name, number] = Item(
            number=state.items + len(items) + 1,
            change=change.number,
            subject=change.subject,
            pipeline=name,
            group=number,
            at=state.at,
            key=key_of(pipeline, document or {}) if is_keyed else "",
            partition=partition_of(pipeline, change, document or {}, state.plan.timezone) if is_keyed else "",
            split=expression.key(pipeline.elastic.by, document or {}) if pipeline.elastic else "",
            slot=expression.key(pipeline.concurrency_by, document or {}) if pipeline.concurrency_by else "",
            hops=change.hops,
            origin=origin,
            confirms=change.by_run if is_awaited else "",
            confirm_by=state.at + delivery.timeout if is_awaited else None,
            trace=trace,
            floor=floor_at(state, name, change, is_replay=only is not None, origin=origin),
        )
    return tuple(items.values())


def key_of(pipeline: Pipeline, document: dict[str, Any]) -> str:
    """What an item gathers under: the value of `batch.by`, and of `concurrency_by`, so that no run has two."""
    by = pipeline.trigger.batch.by if pipeline.trigger else None
    return "/".join(expression.key(each, document) for each in (by, pipeline.concurrency_by) if each)


def as_event(change: Change) -> dict[str, Any]:
    """A change as the CloudEvent that expressions see."""
    return {
        "specversion": "1.0",
        "id": change.id,
        "source": change.source,
        "type": change.type,
        "subject": change.subject.partition(":")[2],
        "time": change.time.isoformat(),
        "partition": change.partition,
        "data": change.data,
    }


def partition_of(pipeline: Pipeline, change: Change, document: dict[str, Any], timezone: str) -> str:
    """The partition a run for this change covers."""
    match pipeline.partition:
        case None:
            return ""
        case "day" | "hour":
            return change.partition or _slice(change.time, timezone, pipeline.partition)
        case source:
            return expression.key(source, document)


def _slice(time: datetime, timezone: str, unit: str) -> str:
    local = time.astimezone(ZoneInfo(timezone))
    return local.strftime("%Y-%m-%d" if unit == "day" else "%Y-%m-%dT%H")


def recorded(change: Change) -> Change:
    """The change as its delivery records it: the payload of an accepted event is on record already."""
    return msgspec.structs.replace(change, data=None) if change.subject.startswith("event:") else change
