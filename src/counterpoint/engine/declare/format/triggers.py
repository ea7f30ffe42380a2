"""The keys under `trigger`: why a pipeline starts by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from counterpoint.engine.declare.notations import Moment, Timezone, at_latest, cel, cron
from counterpoint.model.trigger import (
    Auto,
    Batch,
    Cron,
    Delivery,
    Every,
    OnAsset,
    OnCheckpoint,
    OnEvent,
    OnState,
    Trigger,
)
from counterpoint.tables.kinds import Choice, Integer, Name, SetOf, Text, duration, duration_range
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading, Reported
from counterpoint.tables.records import Key, Record, Variants

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def _cron(values: dict[str, Any], node: Node, reading: Reading) -> Cron:
    return Cron(**{"timezone": reading.timezone} | values)


def _every(values: dict[str, Any], node: Node, reading: Reading) -> Every:
    return Every(**{"start": _EPOCH} | values)


def _on_pipeline(values: dict[str, Any], node: Node, reading: Reading) -> OnState | OnCheckpoint:
    if "state" in node.value and "checkpoint" in node.value:
        message = (
            "one of `state` and `checkpoint` was expected, both were found; put them into two triggers under `any`"
        )
        raise reading.refuse(node.value["checkpoint"], message, "wrong-value")
    if "state" not in node.value and "checkpoint" not in node.value:
        message = "a pipeline trigger needs `state` or `checkpoint`, none was found; write `state: completed`"
        raise reading.refuse(node, message, "missing-key")
    if "state" in values:
        return OnState(**values)
    if "checkpoint" in values:
        return OnCheckpoint(**values)
    raise Reported


_WHEN = Key(
    "when", cel('"event.data.rows > 0"'), "Only changes for which this CEL expression over `event` is true."
)
_CATCHUP = Key(
    "catchup", Choice("none", "latest", "all"), "Which ticks missed while nothing could run are made up for."
)
_SOURCES = (
    Record(
        "cron trigger",
        "Ticks of a cron expression.",
        Key("cron", cron(), "Five fields, or `@hourly` to `@yearly`.", field="expression", required=True),
        Key("timezone", Timezone(), "Time zone of the expression.", otherwise="the score's `timezone`"),
        _CATCHUP,
        Key(
            "gap",
            Choice("next", "skip"),
            "A local time that a clock change skips: run at the next valid one, or not.",
        ),
        Key(
            "repeat", Choice("first", "both"), "A local time that a clock change repeats: run once, or both times."
        ),
        model=Cron,
        build=_cron,
    ),
    Record(
        "clock trigger",
        "Ticks at a fixed distance.",
        Key(
            "every",
            duration(at_least=_SECOND, example="5m"),
            "Distance of the ticks.",
            field="period",
            required=True,
        ),
        Key("from", Moment(), "A tick to count from.", field="start", otherwise="1970-01-01T00:00Z"),
        _CATCHUP,
        model=Every,
        build=_every,
    ),
    Record(
        "event trigger",
        "Events of a declared type.",
        Key("event", Name("event"), "Type of the event.", field="type", required=True),
        _WHEN,
        model=OnEvent,
    ),
    Record(
        "asset trigger",
        "New versions of an asset.",
        Key("asset", Name("asset"), "Name of the asset.", required=True),
        _WHEN,
        model=OnAsset,
    ),
    Record(
        "pipeline trigger",
        "Runs of another pipeline that reach a `state` or a `checkpoint`; one of the two is needed.",
        Key("pipeline", Name("pipeline"), "Name of the other pipeline.", required=True),
        Key("state", Choice("completed", "failed", "started"), "The state that its runs reach."),
        Key("checkpoint", Text("the name of a checkpoint", "loaded"), "The checkpoint that its runs report."),
        _WHEN,
        model=OnState,
        build=_on_pipeline,
    ),
)
_BOTH_SOURCES = "put them under `any` or `all`"
_NO_NESTING = {
    "all": "`any` takes sources only: turn it round and put `any` inside `all`",
    "any": "put its sources into the `any` around it",
}
_SOURCE = Variants(
    "source", "One thing that a trigger listens to.", *_SOURCES, both=_BOTH_SOURCES, misplaced=_NO_NESTING
)
_ANY = Key("any", SetOf(_SOURCE, filled=True), "Sources; a change of any of them serves.", required=True)
_MEMBER = Variants(
    "member of all",
    "A source, or several of which any serves.",
    *_SOURCES,
    Record(
        "any of several",
        "Several sources of which any serves.",
        _ANY,
        build=lambda values, node, reading: values["any"],
    ),
    both="make two entries of them",
    misplaced={"all": "put its members into the `all` around it"},
)

_AUTO = Record(
    "auto",
    "Run when the promises downstream ask for it, and not before.",
    Key("eager", Choice("never", "idle"), "`idle`: earlier, when everything it needs stands idle."),
    model=Auto,
    phrase="`auto`",
    bare=True,
)
_BATCH = Record(
    "batch",
    "How pending items are gathered before a run takes them.",
    Key("quiet", duration(example="5s"), "Wait until nothing new has come for this long."),
    Key("wait", duration(example="1m"), "Run this long after the oldest item, quiet or not."),
    Key("max", Integer(), "A run takes at most this many; a full batch does not wait."),
    Key("by", cel("event.data.shop"), "CEL expression whose value is the key; each key has its own batch."),
    model=Batch,
    sample="batch: {quiet: 5s, wait: 1m, max: 500, by: event.data.shop}",
)


def _delivery(values: dict[str, Any], node: Node, reading: Reading) -> Delivery:
    unused = sorted(values.keys() - {"pattern"})
    if unused and node.at("pattern").value in (None, "async"):
        message = f"`pattern: sync` was expected beside `{unused[0]}`, it was not found; add it"
        raise reading.refuse(node.value[unused[0]], message, "wrong-value")
    return Delivery(**values)


_DELIVERY = Record(
    "delivery",
    "How a change is handed over.",
    Key(
        "pattern",
        Choice("async", "sync", later=("reconcile",)),
        "`sync`: the producer's run is confirmed only when this pipeline is `until`.",
    ),
    Key("until", Choice("accepted", "started", "succeeded"), "How far this pipeline must be with the change."),
    Key("timeout", duration(at_least=_SECOND), "How long the producer's run waits for that."),
    Key("on_refusal", Choice("fail", "warn"), "What becomes of the producer's run otherwise."),
    model=Delivery,
    build=_delivery,
    short="pattern",
    sample="delivery: {pattern: sync, until: succeeded, timeout: 10m, on_refusal: warn}",
)
_TRIGGER_KEYS = (
    Key("batch", _BATCH, "How items are gathered.", otherwise="each run takes what is pending"),
    Key("delivery", _DELIVERY, "How changes are handed over.", otherwise="`async`"),
    Key("rearm", duration_range("1m..1h"), "Rest after a run that failed for good: from, doubling up to."),
    Key("give_up", Integer(), "After so many failed runs, event items become dead letters.", otherwise="never"),
)
_SAMPLE = """\
trigger: {cron: "0 6 * * mon-fri", timezone: Europe/Berlin}
trigger: {every: 5m}
trigger: {event: order.placed, when: "event.data.total > 0", batch: {quiet: 5s, max: 500}}
trigger: {asset: raw.orders}
trigger: {pipeline: load-orders, state: failed}
trigger: {any: [{asset: raw.orders}, {event: order.placed}]}
trigger: {all: [{asset: raw.orders}, {asset: raw.rates}], within: 1h, at_latest: "07:00"}
trigger: auto
trigger: {auto: {eager: idle}, batch: {max: 500, by: event.data.shop}}"""
_TRIGGER_FIELDS = ("within", "at_latest", *(key.name for key in _TRIGGER_KEYS))


def _trigger(values: dict[str, Any], node: Node, reading: Reading) -> Trigger:
    """A trigger of what its own variant and the keys common to all gave."""
    common = {name: values.pop(name) for name in _TRIGGER_FIELDS if name in values}
    if "all" in values:
        members = values["all"]
        groups = tuple(member if isinstance(member, tuple) else (member,) for member in members)
    elif "any" in values:
        groups = (values["any"],)
    elif "auto" in values:
        # What it listens to is what its pipeline reads, which is not known here.
        common["auto"], groups = values["auto"], ()
        _refuse_windows(node.at("batch"), reading)
    else:
        leading = next(record for record in _SOURCES if record.keys[0].name in node.value)
        groups = ((leading.build(values, node, reading),),)
    trigger = Trigger(groups=groups, **common)
    if trigger.give_up is not None and not any(isinstance(source, OnEvent) for source in trigger.sources):
        message = (
            "an event trigger was expected beside `give_up`, none was found; other items never become dead letters"
        )
        raise reading.refuse(node.value["give_up"], message, "wrong-value")
    return trigger


def _refuse_windows(batch: Node, reading: Reading) -> None:
    """Put on the list what would end a batch that ends by promises."""
    for name in ("quiet", "wait"):
        if name in batch.members:
            message = f"`max` or `by` was expected beside `auto`, `{name}` was found; leave it out: "
            message += "the promises downstream say how long changes may be gathered"
            reading.add(batch.members[name], message, "wrong-value")


TRIGGER = Variants(
    "trigger",
    "Why a pipeline starts by itself. Without one it is started by hand.",
    *(Record(source.name, source.doc, *source.keys, model=source.model, build=_trigger) for source in _SOURCES),
    Record("any trigger", "A change of any of several sources.", _ANY, build=_trigger),
    Record(
        "all trigger",
        "A change of each of several members; the run takes all that is pending of each.",
        Key("all", SetOf(_MEMBER, filled=True), "Members; each must have a pending item.", required=True),
        Key("within", duration(example="1h"), "The newest items of all members must lie within this span."),
        Key(
            "at_latest",
            at_latest(),
            "Then run with what is there, marked partial: after the oldest item, or at a time of day.",
        ),
        model=Trigger,
        build=_trigger,
    ),
    Record(
        "auto trigger",
        "What the pipeline reads, but does not write itself, when the promises downstream ask for it."
        " Without that each run samples the world. Short form: `auto`.",
        Key("auto", _AUTO, "How.", required=True),
        build=_trigger,
    ),
    common=_TRIGGER_KEYS,
    both=_BOTH_SOURCES,
    words=("auto",),
    sample=_SAMPLE,
)
