from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint.model.quantity import (
    format_duration,
    format_size,
    parse_duration,
    parse_duration_range,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("1.5m", 90), ("1h30m", 5400), ("7d", 604800), ("1w", 604800), ("0s", 0)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "10", "s", "10 s", "-5s", "5S", "1h 30m", "1,5m", "١s", "1e3s", "9999999999d"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        parse_duration(text)


def test_a_range_goes_from_the_shorter_to_the_longer() -> None:
    assert parse_duration_range("10s..5m") == (timedelta(seconds=10), timedelta(minutes=5))
    assert parse_duration_range("1m") == (timedelta(minutes=1), timedelta(minutes=1))


@pytest.mark.parametrize("text", ["5m..10s", "10s..", "..5m", "1s..2s..3s", "10s...5m"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_duration_range(text)


@pytest.mark.parametrize(
    ("text", "size"), [("96MB", 96_000_000), ("1GiB", 2**30), ("1.5KiB", 1536), ("12 kb", 12_000), ("7B", 7)]
)
def test_sizes_are_decimal_unless_they_say_binary(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "12", "MB", "-1MB", "1XB", "1M"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="512MB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.042, "42ms"),
        (1, "1s"),
        (9.96, "10s"),
        (59.4, "59.4s"),
        (60, "1m"),
        (3725, "1h 2m"),
        (90000, "1d 1h"),
        (-5, "-5s"),
    ],
)
def test_lengths_of_time_are_written_in_at_most_two_units(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@given(st.integers(1, 10**7))
def test_whole_seconds_survive_writing_in_one_unit_and_reading(seconds: int) -> None:
    assert parse_duration(f"{seconds}s") == timedelta(seconds=seconds)


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1_500_000, "1.5 MB"), (5e12, "5 TB")])
def test_sizes_are_written_with_three_digits(size: float, text: str) -> None:
    assert format_size(size) == text
