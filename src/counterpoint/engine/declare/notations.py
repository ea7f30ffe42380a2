"""Values with a notation of their own: names, durations, sizes, schedules, expressions, schemas of events.

Parsers take text and raise `ValueError` with what was expected and what was found.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from counterpoint.engine.declare.document import Node
from counterpoint.engine.declare.kinds import Definitions, Kind, NewName, Parsed, Schema, Text
from counterpoint.engine.declare.reading import Reading
from counterpoint.model import expression
from counterpoint.model.quantity import parse_duration, parse_duration_range, parse_size
from counterpoint.model.trigger import TimeOfDay

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_WIDE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,199}"
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_FACTOR = re.compile(r"x([0-9]{1,6}(?:\.[0-9]{1,6})?)")
_EXPRESSION_LENGTH_MAX = 10_000


def file_name(of: str, example: str) -> NewName:
    """A name that becomes part of a path: of a pipeline or a task."""
    signs = f"a name for the {of}, of letters, digits and `_ . -`,"
    return NewName(signs, example, r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def wide_name(of: str, example: str) -> NewName:
    """A name that may look like one from outside, such as a table's or a bucket's."""
    return NewName(f"a name for the {of}, of letters, digits and `_ . : / @ + -`,", example, _WIDE_NAME)


def event_type() -> NewName:
    """A type of event, as CloudEvents has it; our own are kept apart."""
    signs = "a type of event, of letters, digits and `_ . : / @ + -`, that does not begin with `counterpoint.`,"
    return NewName(signs, "order.placed", rf"(?!counterpoint\.){_WIDE_NAME}")


def variable_name() -> NewName:
    """A name of an environment variable; our own are kept apart."""
    signs = "a name for a variable, of letters, digits and `_`, that does not begin with `COUNTERPOINT_`,"
    return NewName(signs, "REGION", r"(?!COUNTERPOINT_)[A-Za-z_][A-Za-z0-9_]*")


def duration(at_least: timedelta = timedelta(0), example: str = "10m") -> Parsed:
    """A length of time."""

    def parse(text: str) -> timedelta:
        length = parse_duration(text)
        if length < at_least:
            raise ValueError(
                f"a duration of at least {at_least.total_seconds():g}s was expected, {text!r} was found"
            )
        return length

    return Parsed("a duration such as 30s, 5m or 1h30m", example, parse)


def duration_range(example: str) -> Parsed:
    """A length of time and the longest that it may grow to."""
    return Parsed("a range of durations such as 10s..5m", example, parse_duration_range)


def size() -> Parsed:
    """A number of bytes, at least one."""

    def parse(text: str) -> int:
        size_bytes = parse_size(text)
        if size_bytes < 1:
            raise ValueError(f"a size of at least 1B was expected, {text!r} was found")
        return size_bytes

    return Parsed("a size such as 512MB or 2GiB", "512MB", parse)


def factor() -> Parsed:
    """By how much something grows."""

    def parse(text: str) -> float:
        match = _FACTOR.fullmatch(text)
        if match is None or float(match[1]) < 1:
            raise ValueError(f"a factor of at least x1, such as x2, was expected, {text!r} was found")
        return float(match[1])

    return Parsed("a factor such as x2", "x2", parse)


def cel() -> Parsed:
    """A CEL expression over the change."""
    return Parsed("a CEL expression", '"event.data.rows > 0"', _parse_expression, code="bad-expression")


def partition() -> Parsed:
    """How a run's slice of the data is told."""

    def parse(text: str) -> str:
        return text if text in ("day", "hour") else _parse_expression(text)

    return Parsed("`day`, `hour` or a CEL expression", "day", parse, code="bad-expression")


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

    def read(self, node: Node, reading: Reading) -> str:
        """The name, if there is such a zone."""
        name = super().read(node, reading)
        if not is_timezone(name):
            raise self.refuse(
                node, reading, advice=reading.hint(name, available_timezones(), ""), code="wrong-value"
            )
        return name


class Moment(Kind):
    """A date and time; in the score's time zone where it names none."""

    phrase = "a date and time such as 2026-01-31T06:00"
    example = "2026-01-31T06:00"

    def read(self, node: Node, reading: Reading) -> datetime:
        """The moment in UTC."""
        try:
            moment = datetime.fromisoformat(node.value)
            zone = moment.tzinfo or ZoneInfo(reading.timezone)
            return moment.replace(tzinfo=zone).astimezone(UTC)
        except (TypeError, ValueError, OverflowError) as error:
            raise self.refuse(node, reading, code="wrong-value") from error

    def schema(self, definitions: Definitions) -> Schema:
        """Text."""
        return {"type": "string", "examples": [self.example]}


class EventSchema(Kind):
    """JSON Schema of an event's payload: the path of a file beside the score, or the schema itself."""

    phrase = "the path of a JSON Schema, or the schema itself"
    example = "schemas/product-updated.json"

    def read(self, node: Node, reading: Reading) -> dict[str, Any]:
        """The schema, checked."""
        schema = self._load(node, reading) if isinstance(node.value, str) else node.plain
        if not isinstance(schema, dict):
            raise self.refuse(node, reading)
        wrong = _wrong_with_schema(schema)
        if wrong:
            why = f"a valid JSON Schema was expected, one with a mistake was found ({wrong})"
            raise self.refuse(node, reading, why, advice="correct the schema", code="wrong-value")
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

    def schema(self, definitions: Definitions) -> Schema:
        """A path, or an object."""
        return {"type": ["string", "object"]}


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

    expression = _ALIASES.get(text.strip().lower(), text)
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
