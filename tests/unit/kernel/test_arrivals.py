"""When more may come to somebody who waits: the pace of a source, and what is on its way."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from counterpoint.kernel import events as e
from counterpoint.kernel.arrivals import awaited
from counterpoint.kernel.explain import why_pipeline
from counterpoint.model.plan import Asset
from counterpoint.model.promise import Expected, Freshness
from counterpoint.model.trigger import Auto, OnAsset
from counterpoint.testing.builders import START, Kernel, pipeline, plan, task

MINUTE = timedelta(minutes=1)


@pytest.fixture
def kernel() -> Kernel:
    """A pipeline of five minutes that reads `raw`, and may wait for 55 minutes."""
    build = task(takes=Expected(5 * MINUTE, 5 * MINUTE))
    mart = pipeline(
        "mart", on=[OnAsset("raw")], trigger={"auto": Auto()}, tasks=[build], reads=["raw"], writes=["mart"]
    )
    kernel = Kernel()
    kernel.declare(plan(mart, assets={"raw": Asset(), "mart": Asset(freshness=Freshness(60 * MINUTE))}))
    kernel.host()
    return kernel


def report_at(kernel: Kernel, *minutes: int) -> datetime:
    """`raw` changes so many minutes after the start; when it did last."""
    for minute in minutes:
        kernel.wait(START + minute * MINUTE - kernel.state.at)
        kernel.take(e.AssetReported, report=e.Report(asset="raw"), by="test")
    return kernel.state.at


@pytest.mark.parametrize(
    ("minutes", "wait", "expected"),
    [
        ((0,), 30, True),  # nobody knows its pace
        ((0, 40), 30, True),  # one distance says little
        ((0, 40, 80), 30, False),
        ((0, 40, 80), 41, True),
        ((0, 10, 50, 90, 130), 20, False),
        ((0, 10, 20, 60, 100), 20, True),  # one of four came sooner
    ],
)
def test_more_is_expected_after_the_lower_quartile_of_the_distances(
    kernel: Kernel, minutes: tuple[int, ...], wait: int, expected: bool
) -> None:
    last = report_at(kernel, *minutes)

    assert awaited(kernel.state, "mart", last, last + wait * MINUTE) == ("asset:raw" if expected else None)


def test_of_who_was_quiet_for_long_nothing_is_expected(kernel: Kernel) -> None:
    last = report_at(kernel, 0)

    since = last + 200 * MINUTE

    assert awaited(kernel.state, "mart", since, since + 20 * MINUTE) is None
    assert awaited(kernel.state, "mart", since, since + 21 * MINUTE) == "asset:raw"


def test_why_tells_what_a_lane_gathers(kernel: Kernel) -> None:
    last = report_at(kernel, 0)

    lines = why_pipeline(kernel.state, kernel.state.plan.pipelines["mart"], last).lines

    assert lines[-1] == "Until then it gathers: more of raw may come."
