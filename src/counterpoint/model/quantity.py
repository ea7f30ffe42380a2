"""Durations, sizes and ranges as people write them: `90s`, `1h30m`, `512MB`, `10s..5m`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_UNIT_BYTES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?I?B)", re.IGNORECASE)


def parse_duration(text: str) -> timedelta:
    """Read a length of time such as `500ms`, `10s`, `5m`, `1h30m` or `7d`.

    Raises:
        ValueError: the text is no duration; the message says what is.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"a duration such as 30s, 5m, 1h30m or 7d was expected, {text!r} was found")
    try:
        return timedelta(seconds=sum(float(number) * _UNIT_S[unit] for number, unit in parts))
    except OverflowError as error:
        raise ValueError(f"a shorter duration than {text!r} was expected, such as 1h30m or 7d") from error


def parse_duration_range(text: str) -> tuple[timedelta, timedelta]:
    """Read `10s..5m`; one duration alone is a range of itself.

    >>> parse_duration_range("1m..1h")
    (datetime.timedelta(seconds=60), datetime.timedelta(seconds=3600))
    """
    low, dots, high = text.partition("..")
    first, last = parse_duration(low), parse_duration(high if dots else low)
    if last < first:
        raise ValueError(f"a range from the shorter to the longer was expected, {text!r} was found")
    return first, last


def parse_size(text: str) -> int:
    """Read a number of bytes such as `512MB` (10^6) or `1GiB` (2^30).

    >>> parse_size("1.5KiB")
    1536
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a size such as 512MB or 2GiB was expected, {text!r} was found")
    return int(float(match[1]) * _UNIT_BYTES[match[2].upper()])


def format_duration(length: timedelta) -> str:
    """Write a length of time for people, in at most two units.

    >>> format_duration(timedelta(seconds=3725))
    '1h 2m'
    >>> format_duration(timedelta(milliseconds=42))
    '42ms'
    """
    seconds = length.total_seconds()
    if seconds < 0:
        return "-" + format_duration(-length)
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s".replace(".0s", "s")
    whole = int(seconds)
    for size, unit, below, below_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size}{unit}" + (f" {rest}{below_unit}" if rest else "")
    raise AssertionError("unreachable: a length of a minute or more has a unit above")


def format_size(size_bytes: float) -> str:
    """Write a number of bytes for people.

    >>> format_size(1_500_000)
    '1.5 MB'
    >>> format_size(999_900)
    '1 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 999.5:  # from there on three digits would show 1000 of a unit
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"
