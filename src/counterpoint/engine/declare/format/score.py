"""The top of a score: pools, teams, calendars, events, assets, pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from counterpoint.engine.declare.format.pipelines import pipeline_format
from counterpoint.engine.declare.notations import (
    EventSchema,
    Timezone,
    day,
    event_type,
    file_name,
    rate,
    time_of_day,
    weekdays,
    weight,
    wide_name,
    window,
)
from counterpoint.model.plan import DEFAULT_WAITS, Asset, EventType, Pool
from counterpoint.model.promise import Calendar, Completion, Freshness, Team
from counterpoint.model.quantity import format_duration
from counterpoint.model.workdays import is_always_in_maintenance
from counterpoint.ports.tool import Tool
from counterpoint.tables.kinds import Choice, Integer, ListOf, MapOf, Name, SetOf, Text, duration, percentage
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading
from counterpoint.tables.records import Key, Record

_MILLISECOND, _SECOND = timedelta(milliseconds=1), timedelta(seconds=1)
#: Longer than any promise that was meant; sums of it with a date stay dates.
_YEAR = timedelta(days=366)


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
    Key(
        "target",
        percentage(),
        "Share of the slots to aim at: above it only what has no time left is started.",
        otherwise="all of them",
    ),
    Key("rate", rate("60/1m"), "So many attempts that use it may start in a time."),
    model=Pool,
    short="slots",
    sample="api: {slots: 4, target: 70%, rate: 60/1m}",
)
_TEAM = Record(
    "team",
    "A team's share of the resources is its weight over the weights of all teams.",
    Key("weight", weight(), "How much it counts.", required=True),
    model=Team,
    short="weight",
)


def _calendar(values: dict[str, Any], node: Node, reading: Reading) -> Calendar:
    values = {"timezone": reading.timezone} | values
    if "days" in values:
        values["days"] = tuple(sorted({number for days in values["days"] for number in days}))
    calendar = Calendar(**values | {"maintenance": tuple(values.get("maintenance", ()))})
    if is_always_in_maintenance(calendar):
        message = "some time outside `maintenance` was expected, none was found; leave some of the week free"
        raise reading.refuse(node.at("maintenance"), message, "wrong-value")
    return calendar


_CALENDAR = Record(
    "calendar",
    "Days on which promises count, and windows of maintenance in which nothing can be asked for.",
    Key("days", ListOf(weekdays(), filled=True, single=True), "Days of the week that count.", otherwise="all"),
    Key("except", SetOf(day()), "Dates that do not count.", field="without", otherwise="none"),
    Key(
        "maintenance",
        ListOf(window(), single=True),
        "Spans of local time in which age stands still; over midnight where the end is not later.",
        otherwise="none",
    ),
    Key("timezone", Timezone(), "Whose days these are.", otherwise="the score's `timezone`"),
    model=Calendar,
    build=_calendar,
    bare=True,
    misplaced={
        **dict.fromkeys(("holidays", "exceptions", "exclude", "without"), "write `except: [2026-12-25]`"),
        **dict.fromkeys(("blackouts", "blackout", "windows"), 'write `maintenance: ["sun 02:00-04:00"]`'),
    },
    sample="""\
business-days:
  days: mon-fri
  except: [2026-12-25, 2027-01-01]
  maintenance: ["sun 02:00-04:00", "01:00-01:30"]
  timezone: Europe/Berlin""",
)


def _over(example: str) -> Key:
    length = duration(at_least=_SECOND, example=example, at_most=_YEAR)
    return Key("over", length, "The window over which the share is taken, up to now.")


_FRESHNESS = Record(
    "freshness",
    "Each change is in the asset so long after it happened.",
    Key("within", duration(at_least=_MILLISECOND, example="30m", at_most=_YEAR), "How long after.", required=True),
    Key("target", percentage(), "The share that is promised."),
    _over("7d"),
    Key(
        "calendar",
        Name("calendar"),
        "On its days off changes are no obligations; in its maintenance age stands still.",
        otherwise="every day counts",
    ),
    Key(
        "share",
        Choice("obligations", "time"),
        "Of what the target is a share: of the changes, or of the time in which nothing was late.",
    ),
    model=Freshness,
    phrase="a freshness promise",
    short="within",
    misplaced=dict.fromkeys(("max_age", "age", "maximum", "every"), "write `within: 30m`")
    | dict.fromkeys(("by", "cutoff", "at"), "a time of day is a promise of its own: write `completion`"),
    sample="freshness: {within: 30m, target: 99%, over: 7d}",
)


def _completion(values: dict[str, Any], node: Node, reading: Reading) -> Completion:
    # A calendar's own zone comes first; calendars are known when all files are read.
    return Completion(timezone=reading.timezone, **values)


_COMPLETION = Record(
    "completion",
    "On each day of the calendar, everything up to the cut-off is in the asset by a time of day.",
    Key(
        "by", time_of_day("07:00"), "By when; where it is not after the cut-off, on the day after.", required=True
    ),
    Key("target", percentage(), "The share of the days that is promised."),
    _over("28d"),
    Key("cutoff", time_of_day("00:00"), "What happened up to this time of the day must be in."),
    Key("calendar", Name("calendar"), "Whose days, and whose time zone.", otherwise="every day"),
    model=Completion,
    phrase="a completion promise",
    build=_completion,
    short="by",
    misplaced=dict.fromkeys(("at", "until", "deadline"), 'write `by: "07:00"`')
    | {
        "within": "a length of time is a promise of its own: write `freshness`",
        "timezone": "the calendar's counts: write `calendar: NAME`, and the zone there",
    },
    sample='completion: {by: "07:00", target: 95%, over: 28d, calendar: business-days}',
)


def _arrives(what: str) -> Key:
    length = duration(at_least=_MILLISECOND, example="10m", at_most=_YEAR)
    return Key("arrives", length, f"How far {what} are apart on average; for simulation only.")


_EVENT = Record(
    "event",
    "A type of event that may come from outside or from a task.",
    Key("description", Text(), "What it says."),
    Key("schema", EventSchema(), "JSON Schema of its payload: a path beside the score, or the schema itself."),
    _arrives("such events"),
    model=EventType,
    bare=True,
)
_ASSET = Record(
    "asset",
    "Something that pipelines read and write: a table, a file, an index, a model.",
    Key("description", Text(), "What it holds."),
    Key("writers", Choice("one", "many"), "Whether more than one pipeline may write it."),
    Key("freshness", _FRESHNESS, "A promise on its age."),
    Key("completion", _COMPLETION, "A promise on when it is done."),
    _arrives("versions of an asset that no pipeline writes"),
    model=Asset,
    bare=True,
    misplaced=dict.fromkeys(
        ("sla", "slo", "deadline", "promise", "promises", "max_age", "age", "stale_after"),
        'write `freshness: 30m` or `completion: "07:00"`',
    )
    | {"by": 'write `completion: "07:00"`', "within": "write `freshness: 30m`"}
    | dict.fromkeys(("owner", "class", "priority"), "that is said of the pipeline that writes it"),
    sample="""\
mart.sales:
  freshness: {within: 30m, target: 99%, over: 7d}
  completion: {by: "07:00", target: 95%, over: 28d}
raw.orders: {arrives: 10m}""",
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
        Key(
            "calendars",
            MapOf(wide_name("calendar", "business-days"), _CALENDAR, bare=True),
            "Days on which promises count.",
        ),
        Key("teams", MapOf(wide_name("team", "data-platform"), _TEAM, bare=True), "Shares of teams."),
    )
