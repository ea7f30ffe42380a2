"""How things look on a terminal of some width, and what they say of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rich.console import Console

from counterpoint.entrypoints.cli import causes, look, story
from counterpoint.entrypoints.cli.output import Output, clock

LONG = "pool etl has 0 of 1 slots free and it needs 1; held by hog#1/run/1 (1 slot), and two more wait for it"


@pytest.fixture
def on_terminal() -> Any:
    """An output as on a terminal of that width, without its colours."""

    def make(width: int) -> Output:
        out = Output()
        out.__dict__["console"] = Console(
            width=width, force_terminal=True, color_system=None, highlight=False, legacy_windows=False
        )
        return out

    return make


def drawn(out: Output, what: Any) -> list[str]:
    with out.console.capture() as capture:
        out.console.print(what)
    return [line.rstrip() for line in capture.get().splitlines()]


async def a_status(service: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(await service.status())
    found["pipelines"][1]["because"] = f"marts {LONG}."
    return found


@pytest.mark.parametrize("width", [80, 100, 160])
async def test_status_fits_its_terminal(service: Any, on_terminal: Any, width: int) -> None:
    out = on_terminal(width)

    lines = drawn(out, look._status(await a_status(service), out))

    assert max(len(line) for line in lines) <= width
    # The name stands beside the sentence already, and is not said twice.
    assert sum("marts pool" in line for line in lines) == 0
    assert sum("load#4 runs since 12:00:00" in line for line in lines) == 1


async def test_reasons_stand_below_the_table_where_there_is_no_room_beside_it(
    service: Any, on_terminal: Any
) -> None:
    narrow, wide = on_terminal(80), on_terminal(160)

    below = drawn(narrow, look._status(await a_status(service), narrow))
    beside = drawn(wide, look._status(await a_status(service), wide))

    assert not any("BECAUSE" in line for line in below)
    place = next(number for number, line in enumerate(below) if line.startswith("  marts  pool etl"))
    assert below[place + 1].startswith(" " * 9 + "held") or below[place + 1].startswith(" " * 9)
    assert any("BECAUSE" in line for line in beside)


async def test_where_there_is_little_room_the_last_run_is_named_by_its_number(
    service: Any, on_terminal: Any
) -> None:
    found = await a_status(service)
    long = "reconcile-customer-accounts"
    found["pipelines"][0] |= {"name": long, "last_run": f"{long}#3"}
    narrow, wide = on_terminal(80), on_terminal(160)

    below = "\n".join(drawn(narrow, look._status(found, narrow)))
    beside = "\n".join(drawn(wide, look._status(found, wide)))

    assert f"{long}#3" in beside
    assert f"{long}#3" not in below
    assert "✓ #3 5m ago" in below
    assert "…" not in below


def test_a_long_line_is_wrapped_below_itself(on_terminal: Any) -> None:
    lines = drawn(on_terminal(60), on_terminal(60).hung([("  waits for ", ""), (LONG, "")]))

    assert lines[0].startswith("  waits for pool etl")
    assert all(line.startswith(" " * 12) for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == f"waits for {LONG}"


def test_in_a_sliver_a_line_is_left_to_the_terminal(on_terminal: Any) -> None:
    assert on_terminal(40).hung([("  waits for ", ""), (LONG, "")]).plain == f"  waits for {LONG}"


def test_causes_are_a_chain_in_which_those_of_one_run_stand_together() -> None:
    chain = [
        {"what": "ingest#1 published raw version 1", "for": "build#1"},
        {"what": "shop.opened 7 from /shop", "for": "build#1"},
        {"what": "order.placed 1 from /shop", "for": "ingest#1"},
    ]

    assert ["".join(text for text, _ in line) for line in causes.told(chain)] == [
        "  because   ingest#1 published raw version 1",
        "            shop.opened 7 from /shop",
        "            └ order.placed 1 from /shop",
    ]


def test_a_time_of_another_day_comes_with_its_date() -> None:
    now = datetime.now(UTC)
    then = now - timedelta(days=3)

    assert clock(now.isoformat()) == now.strftime("%H:%M:%S")
    assert clock(then.isoformat()) == then.strftime("%Y-%m-%d %H:%M:%S")
    assert clock("2020-01-01T01:00:00+02:00") == "2019-12-31 23:00:00"


@pytest.mark.parametrize(
    ("kind", "text", "fact", "line"),
    [
        ("StartAttempt", "load#1/fetch/2 starts", {}, "12:00:00.000Z  · load#1                 fetch/2 starts"),
        (
            "FinishRun",
            "load#1 succeeded: 1 task done",
            {},
            "12:00:00.000Z  ✓ load#1                 succeeded: 1 task done",
        ),
        (
            "FinishRun",
            "load#1 failed: task fetch: it failed (exit code 3: a long story)",
            {"phase": "failed", "reason": {"code": "task-failed", "figures": {"task": "fetch"}}},
            "12:00:00.000Z  ✗ load#1                 failed: task fetch",
        ),
        (
            "EventAccepted",
            "event order.placed 1 accepted from /shop",
            {"change": {"type": "order.placed"}},
            "12:00:00.000Z  → order.placed           1 accepted from /shop",
        ),
    ],
)
def test_a_fact_is_told_once_in_one_line(
    make_message: Any, kind: str, text: str, fact: dict[str, Any], line: str
) -> None:
    told = story.tell(msgspec.to_builtins(make_message(1, kind, text, fact=fact)))

    assert told is not None
    assert "".join(piece for piece, _ in told) == line


def test_a_run_that_is_followed_alone_is_not_named_in_each_line(make_message: Any) -> None:
    texts = ["load#1/fetch/2 starts", "load#1 succeeded: 1 task done", "raw version 4 published by load#1"]

    told = [
        story.tell(msgspec.to_builtins(make_message(1, "StartAttempt", text)), about="load#1") for text in texts
    ]

    assert ["".join(piece for piece, _ in line) for line in told if line] == [
        "12:00:00.000Z  · fetch/2 starts",
        "12:00:00.000Z  · load#1 succeeded: 1 task done",
        "12:00:00.000Z  · raw version 4 published by load#1",
    ]
