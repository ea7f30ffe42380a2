"""When a pipeline starts by itself: every trigger is a subscription to changes.

A trigger is a list of groups: it fires when every group has a pending item, and an item
belongs to a group when any of the group's sources matches. `{any: [...]}` is one group with
several sources, `{all: [...]}` several groups; a plain trigger is one group with one source.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from msgspec import Struct


class Cron(Struct, frozen=True, tag_field="kind", tag="cron", gc=False):
    """Ticks of a cron expression in a time zone.

    Attributes:
        catchup: which ticks missed while nothing could run are made up for.
        gap: a local time that a clock change skips runs at the next valid instant, or not.
        repeat: a local time that a clock change repeats runs once, or both times.
    """

    expression: str
    timezone: str
    catchup: Literal["none", "latest", "all"] = "latest"
    gap: Literal["next", "skip"] = "next"
    repeat: Literal["first", "both"] = "first"


class Every(Struct, frozen=True, tag_field="kind", tag="every", gc=False):
    """Ticks at a fixed distance, counted from `start` (the epoch unless given)."""

    period: timedelta
    start: datetime
    catchup: Literal["none", "latest", "all"] = "latest"


class OnEvent(Struct, frozen=True, tag_field="kind", tag="event", gc=False):
    """Events of a declared type, for which the CEL condition `when` holds."""

    type: str
    when: str | None = None


class OnAsset(Struct, frozen=True, tag_field="kind", tag="asset", gc=False):
    """New versions of an asset."""

    asset: str
    when: str | None = None


class OnState(Struct, frozen=True, tag_field="kind", tag="state", gc=False):
    """Runs of another pipeline that reach a state."""

    pipeline: str
    state: Literal["started", "completed", "failed"]
    when: str | None = None


class OnCheckpoint(Struct, frozen=True, tag_field="kind", tag="checkpoint", gc=False):
    """A named checkpoint that a run of another pipeline reports."""

    pipeline: str
    checkpoint: str
    when: str | None = None


Clock: TypeAlias = Cron | Every
Source: TypeAlias = Cron | Every | OnEvent | OnAsset | OnState | OnCheckpoint


class Batch(Struct, frozen=True, gc=False):
    """How pending items are gathered before a run takes them.

    Attributes:
        quiet: wait until nothing new has come for this long (debounce).
        wait: but never longer than this after the oldest item.
        max: a run takes at most this many; a full batch does not wait.
        by: CEL expression whose value is the key; each key has its own batch.
    """

    quiet: timedelta | None = None
    wait: timedelta | None = None
    max: int | None = None
    by: str | None = None


class Delivery(Struct, frozen=True, gc=False):
    """How a change is handed over. `sync`: the producer's run is confirmed only when we are `until`."""

    pattern: Literal["async", "sync"] = "async"
    until: Literal["accepted", "started", "succeeded"] = "succeeded"
    timeout: timedelta = timedelta(hours=1)
    on_refusal: Literal["fail", "warn"] = "fail"


class Auto(Struct, frozen=True, gc=False):
    """`trigger: auto`: run when the promises downstream ask for it, and not before.

    The trigger's one group listens to every asset that the pipeline reads; without reads it has no group,
    and each run samples the world.

    Attributes:
        eager: `idle` runs earlier when everything it needs stands idle.
    """

    eager: Literal["never", "idle"] = "never"


class TimeOfDay(Struct, frozen=True, tag_field="kind", tag="time-of-day", gc=False):
    """A local time of day, as `HH:MM`."""

    text: str


class Trigger(Struct, frozen=True, kw_only=True, gc=False):
    """A pipeline's subscription.

    Attributes:
        groups: all must have a pending item; within a group any source serves.
        within: the newest items of all groups must lie within this span.
        at_latest: run with what is there this long after the oldest item, or at this local time
            of day, marked partial.
        rearm: how long the subscription rests after a run that failed for good: from, doubling up to.
        give_up: after so many failed runs event items become dead letters; None is never.
        auto: the batch window ends by decision, when promises ask for it; None is by `batch` alone.
    """

    groups: tuple[tuple[Source, ...], ...]
    within: timedelta | None = None
    at_latest: timedelta | TimeOfDay | None = None
    batch: Batch = Batch()
    delivery: Delivery = Delivery()
    rearm: tuple[timedelta, timedelta] = (timedelta(minutes=1), timedelta(hours=1))
    give_up: int | None = None
    auto: Auto | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every source of every group, in the order of the score."""
        return tuple(source for group in self.groups for source in group)
