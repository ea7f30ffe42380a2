"""Values of a score with a notation of their own: names, schedules, expressions, schemas of events.

Parsers take text and raise `ValueError` with what was expected and what was found.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from counterpoint.model import calendar, expression
from counterpoint.model.promise import Expected, Rate, Window
from counterpoint.model.quantity import parse_duration, parse_duration_range
from counterpoint.model.trigger import TimeOfDay
from counterpoint.tables.kinds import Definitions, Kind, Parsed, Schema, Text
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading

_WIDE_NAME = r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,199}"
_WIDE_SIGNS = "letters, digits and `_ . : / @ + -`"
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RATE = re.compile(r"([0-9]{1,9})/(.+)")
_WINDOW = re.compile(r"(?:(\S+) +)?([0-9]{2}:[0-9]{2}) ?- ?([0-9]{2}:[0-9]{2})")
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


def time_of_day(example: str) -> Parsed:
    """A local time of day, as `HH:MM`."""

    def parse(text: str) -> str:
        if not _TIME_OF_DAY.fullmatch(text):
            raise ValueError(f"a time of day from 00:00 to 23:59 was expected, {text!r} was found")
        return text

    return Parsed("a time of day such as 07:00", f'"{example}"', parse)


def weekdays() -> Parsed:
    """Days of the week, Monday is 0: one, a range of them, or several with commas."""
    return Parsed("days of the week such as mon-fri", "mon-fri", _parse_weekdays)


def day() -> Parsed:
    """A date."""

    def parse(text: str) -> date:
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"a date such as 2026-12-25 was expected, {text!r} was found") from None

    return Parsed("a date such as 2026-12-25", "2026-12-25", parse)


def window() -> Parsed:
    """A span of local time that comes again, on all days or on some."""

    def parse(text: str) -> Window:
        match = _WINDOW.fullmatch(text.strip())
        start, end = (match[2], match[3]) if match else ("", "")
        end = "00:00" if end == "24:00" else end
        if match is None or not _TIME_OF_DAY.fullmatch(start) or not _TIME_OF_DAY.fullmatch(end):
            message = f"a window such as 01:00-01:30 or sun 02:00-04:00 was expected, {text!r} was found"
            raise ValueError(message)
        return Window(start, end, _parse_weekdays(match[1]) if match[1] else (0, 1, 2, 3, 4, 5, 6))

    return Parsed("a window such as sun 02:00-04:00", '"sun 02:00-04:00"', parse)


def rate(example: str) -> Parsed:
    """So many in a span of time."""

    def parse(text: str) -> Rate:
        match = _RATE.fullmatch(text)
        if match is None or not int(match[1]):
            raise ValueError(f"a rate such as 60/1m, at least one in a time, was expected, {text!r} was found")
        per = parse_duration(match[2] if match[2][0].isdigit() else f"1{match[2]}")
        if not per:
            raise ValueError(
                f"a rate in a time longer than nothing, such as 60/1m, was expected, {text!r} was found"
            )
        return Rate(int(match[1]), per)

    return Parsed("a rate such as 60/1m", example, parse)


def expected_time() -> Parsed:
    """How long something is expected to take: always, or in half of the cases and in nine of ten."""
    return Parsed(
        "a duration such as 5m, or the median and the 90th percentile such as 5m..20m",
        "5m..20m",
        lambda text: Expected(*parse_duration_range(text)),
    )


def weight() -> Parsed:
    """A number above zero."""

    def parse(number: float) -> float:
        if not 0 < number <= 1_000_000:
            raise ValueError(f"a number above 0, such as 2, was expected, {number!r} was found")
        return float(number)

    return Parsed("a number above 0", "2", parse, types=(int, float))


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


def _parse_weekdays(text: str) -> tuple[int, ...]:
    """The days that `mon-fri`, `sat,sun` or `fri-mon` name, ascending."""
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.strip().partition("-")
        if first not in _WEEKDAYS or (dash and last not in _WEEKDAYS):
            raise ValueError(f"days of the week such as mon-fri or sat,sun were expected, {text!r} was found")
        start = _WEEKDAYS.index(first)
        length = (_WEEKDAYS.index(last) - start) % 7 if dash else 0
        found.update((start + number) % 7 for number in range(length + 1))
    return tuple(sorted(found))


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
