from __future__ import annotations

import base64
import json
import os
from urllib.parse import quote

import pytest

from counterpoint.adapters.executors.process.masking import Mask

SECRET = 'pass word/"quoted"'


def streamed(mask: Mask, text: bytes, size: int) -> bytes:
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    return b"".join([*map(mask.stream, chunks), mask.rest()])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_value_is_masked_wherever_a_stream_is_cut(size: int) -> None:
    text = f"before {SECRET} between {SECRET}{SECRET} after {SECRET[:5]}".encode()

    assert streamed(Mask([SECRET]), text, size) == f"before *** between ****** after {SECRET[:5]}".encode()


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_value_that_begins_with_another_is_masked_whole(size: int) -> None:
    assert streamed(Mask(["abc", "abcdef"]), b"-abcdef-abcd-", size) == b"-***-***d-"


def test_what_cannot_be_the_start_of_a_value_is_not_held_back() -> None:
    mask = Mask(["secret"])

    assert mask.stream(b"progress 10%") == b"progress 10%"
    assert mask.stream(b" se") == b" "
    assert mask.stream(b"ven\n") == b"seven\n"


@pytest.mark.parametrize(
    "form",
    [
        base64.b64encode(SECRET.encode()).decode(),
        quote(SECRET, safe=""),
        json.dumps(SECRET)[1:-1],
    ],
)
def test_usual_encodings_are_masked(form: str) -> None:
    assert form not in Mask([SECRET]).text(f"<{form}>")


def test_each_long_line_of_a_value_is_masked() -> None:
    key = "-----BEGIN-----\nMIIEvQIBADANBg\n-----END-----"

    assert Mask([key]).text("line: MIIEvQIBADANBg") == "line: ***"


def test_json_values_are_masked_in_depth() -> None:
    value = {"a": ["x secret y", 1, None, {"secret": True}]}

    assert Mask(["secret"]).value(value) == {"a": ["x *** y", 1, None, {"***": True}]}


def test_an_empty_value_masks_nothing() -> None:
    assert streamed(Mask([""]), b"some text", 4) == b"some text"


def test_a_value_that_is_no_text_is_masked_too() -> None:
    value = os.fsdecode(b"p\xff\xfeword-of-bytes")

    assert streamed(Mask([value]), b"<p\xff\xfeword-of-bytes>", 4) == b"<***>"
    assert Mask([value]).text(f"<{value}>") == "<***>"
