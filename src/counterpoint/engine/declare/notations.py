"""Values of a score with a notation of their own: names, schedules, expressions, schemas of events.

Parsers take text and raise `ValueError` with what was expected and what was found.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from counterpoint.model import calendar, expression
from counterpoint.model.quantity import parse_duration
from counterpoint.model.trigger import TimeOfDay
from counterpoint.tables.kinds import Definitions, Kind, Parsed, Schema, Text
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading

_WIDE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,199}"
_WIDE_SIGNS = "letters, digits and `_ . : / @ + -`"
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_FACTOR = re.compile(r"x([0-9]{1,6}(?:\.[0-9]{1,6})?)")
_EXPRESSION_LENGTH_MAX = 10_000


def file_name(of: str, example: str) -> Text:
    """A name that becomes part of a path: of a pipeline or a task."""
    signs = "letters, digits and `_ . -`"
    return Text(f"a name for the {of}", example, pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", made_of=signs)


def wide_name(of: str, example: str) -> Text:
    """A name that may look like one from outside, such as a table's or a bucket's."""
    return Text(f"a name for the {of}", example, pattern=_WIDE_NAME, made_of=_WIDE_SIGNS)


def event_type() -> Text:
    """A type of event, as CloudEvents has it; our own are kept apart."""
    signs = f"{_WIDE_SIGNS}, that does not begin with `counterpoint.`"
    return Text("a type of event", "order.placed", pattern=rf"(?!counterpoint\.){_WIDE_NAME}", made_of=signs)


def variable_name() -> Text:
    """A name of an environment variable; our own are kept apart."""
    signs = "letters, digits and `_`, that does not begin with `COUNTERPOINT_`"
    pattern = r"(?!COUNTERPOINT_)[A-Za-z_][A-Za-z0-9_]*"
    return Text("a name for a variable", "REGION", pattern=pattern, made_of=signs)


def factor() -> Parsed:
    """By how much something grows."""

    def parse(text: str) -> float:
        match = _FACTOR.fullmatch(text)
        if match is None or float(match[1]) < 1:
            raise ValueError(f"a factor of at least x1, such as x2, was expected, {text!r} was found")
        return float(match[1])

    return Parsed("a factor such as x2", "x2", parse)


def cel(example: str) -> Parsed:
    """A CEL expression over the change."""
    return Parsed("a CEL expression", example, _parse_expression, code="bad-expression")


def partition() -> Parsed:
    """How a run's slice of the data is told."""

    def parse(text: str) -> str:
        return text if text in ("day", "hour") else _parse_expression(text)

    return Parsed("`day`, `hour` or a CEL expression", "event.data.day", parse, code="bad-expression")


def cron() -> Parsed:
    """A cron expression of five fields, or one of cron's names for some."""
    example = '"*/15 * * * *"'
    return Parsed("a cron expression of five fields", example, _parse_cron, code="bad-expression")


def at_latest() -> Parsed:
    """A length of time, or a local time of day."""

    def parse(text: str) -> timedelta | TimeOfDay:
        if _TIME_OF_DAY.fullmatch(text):
            return TimeOfDay(text)
        try:
            return parse_duration(text)
        except ValueError:
            message = f"a duration such as 2h, or a time of day such as 07:00, was expected, {text!r} was found"
            raise ValueError(message) from None

    return Parsed("a duration such as 2h or a time of day such as 07:00", "2h", parse)


class Timezone(Text):
    """An IANA time zone."""

    def __init__(self) -> None:
        super().__init__("a time zone such as Europe/Berlin", "Europe/Berlin")

    def convert(self, node: Node, reading: Reading) -> str:
        """The name, if there is such a zone."""
        name = str(node.value)
        if not is_timezone(name):
            raise self.refuse(node, reading, advice=reading.hint(name, available_timezones(), ""))
        return name


class Moment(Kind):
    """A date and time; in the score's time zone where it names none."""

    phrase = "a date and time such as 2026-01-31T06:00"
    example = "2026-01-31T06:00"

    def convert(self, node: Node, reading: Reading) -> datetime:
        """The moment in UTC."""
        try:
            moment = datetime.fromisoformat(node.value)
            zone = moment.tzinfo or ZoneInfo(reading.timezone)
            return moment.replace(tzinfo=zone).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise self.refuse(node, reading) from error

    def schema(self, definitions: Definitions) -> Schema:
        """Text."""
        return {"type": "string", "examples": [self.example]}


class EventSchema(Kind):
    """JSON Schema of an event's payload: the path of a file beside the score, or the schema itself."""

    phrase = "the path of a JSON Schema, or the schema itself"
    example, types = "schemas/product-updated.json", (str, dict)

    def convert(self, node: Node, reading: Reading) -> dict[str, Any]:
        """The schema, checked."""
        schema = self._load(node, reading) if isinstance(node.value, str) else node.plain
        if not isinstance(schema, dict):
            raise self.refuse(node, reading, code="wrong-type")
        wrong = _wrong_with_schema(schema)
        if wrong:
            why = f"a valid JSON Schema was expected, one with a mistake was found ({wrong})"
            raise self.refuse(node, reading, why, advice="correct the schema")
        return schema

    def _load(self, node: Node, reading: Reading) -> Any:
        path = reading.folder / node.value
        try:
            return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        except OSError as error:
            why = f"the path of a JSON Schema was expected, {node.value!r} cannot be read ({error.strerror})"
            advice = "the path is taken from the score's folder"
        except (ValueError, RecursionError) as error:
            why = f"a file of JSON was expected, {node.value!r} is none ({error})"
            advice = "correct the file"
        raise self.refuse(node, reading, why, advice=advice, code="unreadable")


@lru_cache(maxsize=1024)
def is_timezone(name: str) -> bool:
    """Whether there is a time zone of that name."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return False
    return True


@lru_cache(maxsize=4096)
def _parse_cron(text: str) -> str:
    from cronsim import CronSim, CronSimError

    expression = calendar.ALIASES.get(text.strip().lower(), text)
    fields = len(expression.split())
    if fields != 5:
        # With six, one program means seconds first and another the year last: never guess.
        raise ValueError(f"a cron expression of five fields was expected, {text!r} with {fields} was found")
    try:
        CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"a cron expression was expected, {text!r} was found ({str(error).lower()})") from error
    return " ".join(expression.split())


def _parse_expression(text: str) -> str:
    if len(text) > _EXPRESSION_LENGTH_MAX:
        raise ValueError(f"a CEL expression of at most {_EXPRESSION_LENGTH_MAX} characters was expected")
    wrong = expression.check(text)
    if wrong:
        raise ValueError(f"a CEL expression was expected, {text!r} was found ({wrong})")
    return text


def _wrong_with_schema(schema: dict[str, Any]) -> str:
    import jsonschema_rs  # here, because most scores declare no schema and the library is large

    def refuse_retrieval(uri: str) -> Any:
        raise ValueError(f"{uri} is outside the schema")

    try:
        # With references resolved, so that no event is the first to find one that leads nowhere.
        jsonschema_rs.validator_for(schema, retriever=refuse_retrieval)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return str(error).split("\n", 1)[0]
    return ""


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
