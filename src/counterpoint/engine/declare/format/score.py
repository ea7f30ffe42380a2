"""The top of a score: pools, events, assets, pipelines."""

from __future__ import annotations

from collections.abc import Mapping

from counterpoint.engine.declare.format.pipelines import pipeline_format
from counterpoint.engine.declare.notations import EventSchema, Timezone, event_type, file_name, wide_name
from counterpoint.model.plan import DEFAULT_WAITS, Asset, EventType, Pool
from counterpoint.model.quantity import format_duration
from counterpoint.ports.tool import Tool
from counterpoint.tables.kinds import Choice, Integer, Later, MapOf, Text, duration
from counterpoint.tables.records import Key, Record


def _class(name: str) -> Key:
    wait = Key("wait", duration(example=format_duration(DEFAULT_WAITS[name])), "Longest wait.", required=True)
    record = Record(
        "class",
        "How long runs of a class wait at most before they move to the top.",
        wait,
        build=lambda values, node, reading: values["wait"],
        short="wait",
    )
    return Key(name, record, f"Runs with `class: {name}`.", otherwise=format_duration(DEFAULT_WAITS[name]))


_POOL = Record(
    "pool",
    "A limited resource: connections, a GPU, an API's tokens.",
    Key("slots", Integer(), "How many slots there are.", required=True),
    Key("target", Later(), "Share of the slots to aim at."),
    model=Pool,
    short="slots",
)
_EVENT = Record(
    "event",
    "A type of event that may come from outside or from a task.",
    Key("description", Text(), "What it says."),
    Key("schema", EventSchema(), "JSON Schema of its payload: a path beside the score, or the schema itself."),
    model=EventType,
    bare=True,
)
_ASSET = Record(
    "asset",
    "Something that pipelines read and write: a table, a file, an index, a model.",
    Key("description", Text(), "What it holds."),
    Key("writers", Choice("one", "many"), "Whether more than one pipeline may write it."),
    Key("freshness", Later(), "A promise on its age."),
    Key("completion", Later(), "A promise on when it is done."),
    model=Asset,
    bare=True,
)
_CLASSES = Record("mapping of classes", "Longest waits by class.", *(_class(name) for name in DEFAULT_WAITS))


def score_format(tools: Mapping[str, Tool]) -> Record:
    """The format of a score whose tasks may use these tools (key of a task -> tool)."""
    return Record(
        "score",
        "What a file declares. Several files together are one plan.",
        Key("score", Text("the name of the score", "shop"), "Name of the score.", otherwise="the file's name"),
        Key("timezone", Timezone(), "Default time zone of schedules.", otherwise="UTC"),
        Key("classes", _CLASSES, "Longest waits by class."),
        Key("pools", MapOf(wide_name("pool", "warehouse"), _POOL, bare=True), "Limited resources."),
        Key(
            "events",
            MapOf(event_type(), _EVENT, bare=True),
            "Types of events; `counterpoint.` is kept for our own.",
        ),
        Key("assets", MapOf(wide_name("asset", "raw.orders"), _ASSET, bare=True), "What is read and written."),
        Key(
            "pipelines",
            MapOf(file_name("pipeline", "load-orders"), pipeline_format(tools), bare=True),
            "What runs.",
        ),
        Key("calendars", Later(), "Days on which promises hold."),
        Key("teams", Later(), "Shares of teams."),
    )
