"""The Python front by itself: what a score file can say, and what it costs to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import counterpoint
from counterpoint import Score


def test_names_can_be_listened_to() -> None:
    score = Score("s")
    video, placed = score.asset("video"), score.event("order.placed")

    assert video == "video"
    assert video.updated == {"asset": "video"}
    assert video.updated_when("event.data.x") == {"asset": "video", "when": "event.data.x"}
    assert placed.received == {"event": "order.placed"}
    assert placed.received_when("event.data.x") == {"event": "order.placed", "when": "event.data.x"}


def test_a_decorated_function_stays_itself() -> None:
    def work(run: object) -> int:
        return 5

    work.__qualname__ = "work"

    assert Score("s").pipeline()(work) is work


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", float("nan"), 2**70])
def test_what_cannot_stand_in_a_score_is_refused_at_once(value: object) -> None:
    with pytest.raises(TypeError, match="cannot stand in a score"):
        Score("s").asset("a", description=value)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_cannot_be_recorded_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be recorded"):
        Score("s").asset("a", description=text)


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Scroe'"):
        counterpoint.Scroe  # noqa: B018


def test_importing_the_front_loads_nothing_heavy() -> None:
    program = (
        "import sys; from counterpoint import Run, Score; "
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'yaml', 'msgspec', 'asyncio', 'cel'}))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
