"""Forecasts, worked out by hand: bands are in round minutes, and so are the answers."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from counterpoint.analysis.forecast import Forecast, forecast
from counterpoint.kernel import events as e
from counterpoint.kernel.records import Mark, Obligation, PromiseState
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.plan import Asset
from counterpoint.model.promise import Freshness, Rate
from counterpoint.model.trigger import Auto, Batch, Every, OnAsset, OnEvent, Trigger
from counterpoint.testing.builders import START, Kernel, pipeline, plan

MINUTE = timedelta(minutes=1)
SOURCE = "event:order"
INGEST = pipeline("ingest", on=[OnEvent("order")], writes=["raw"], pools={"db": 1})
BUILD = pipeline("build", on=[OnAsset("raw")], reads=["raw"], writes=["mart"])


def shop(*more: Pipeline, build: Pipeline = BUILD) -> Kernel:
    """A kernel with orders -> ingest -> raw -> build -> mart; ingest takes 20 min, build 10 min and waits 5."""
    kernel = Kernel()
    assets = {"raw": Asset(), "mart": Asset(freshness=Freshness(within=30 * MINUTE, target=0.7))}
    kernel.declare(plan(INGEST, build, *more, pools={"db": 1}, assets=assets))
    kernel.host()
    learn(kernel, ingest=20, build=10)
    kernel.state.bands["build", ""] = e.Band(pipeline="build", p50=300, p90=600, wait_p90=300)
    return kernel


def learn(kernel: Kernel, **minutes: int) -> None:
    for name, length in minutes.items():
        kernel.take(e.DurationsLearned, bands=(e.Band(pipeline=name, p50=length * 30, p90=length * 60),))


def owed(kernel: Kernel, due: datetime, mark: int = 1) -> PromiseState:
    """The promise that the mart has the order by then."""
    promise = PromiseState("mart", "freshness", since=START)
    promise.open[SOURCE] = [Obligation({SOURCE: mark}, START, due, mark=mark)]
    kernel.state.promises["mart", "freshness"] = promise
    return promise


def told(kernel: Kernel, minutes: int) -> Forecast:
    """The forecast of an order that is due so many minutes after the start."""
    return forecast(kernel.state, owed(kernel, START + minutes * MINUTE), kernel.now)


def test_a_running_attempt_ends_its_p90_after_its_start_and_the_rest_follows() -> None:
    kernel = shop()
    kernel.emit("order")

    # ingest until 10:20, build waits 5 min and takes 10.
    kept = told(kernel, 35)
    assert (kept.outlook, kept.expected) == ("kept", START + 35 * MINUTE)
    assert kept.text == "kept at 10:35:00 UTC, due 10:35:00 UTC"

    late = told(kernel, 34)
    assert (late.outlook, late.due) == ("breaks", START + 34 * MINUTE)
    assert [step.kind for step in late.steps] == ["attempt", "queue", "run"]
    assert late.text == "will break at 10:34:00 UTC, because ingest#1/run/1 has been running 0ms (p90 20m)"


def test_what_runs_too_long_is_expected_now_and_named() -> None:
    kernel = shop()
    kernel.emit("order")
    kernel.wait(50 * MINUTE)

    found = told(kernel, 60)

    assert (found.outlook, found.expected) == ("breaks", START + 65 * MINUTE)
    assert found.because == "ingest#1/run/1 has been running 50m (p90 20m)"


def test_what_the_asset_has_already_is_kept_now() -> None:
    kernel = shop()
    kernel.state.marks["mart"] = Mark("mart", {SOURCE: 1})

    assert told(kernel, 5).expected == START


def test_a_run_that_waits_starts_when_what_it_lacks_is_free() -> None:
    other = pipeline("export", on=[OnEvent("wish")], pools={"db": 1})
    kernel = shop(other)
    learn(kernel, export=40)
    kernel.emit("wish")
    kernel.emit("order")

    found = told(kernel, 60)

    # export until 10:40, ingest until 11:00, then 15 min.
    assert found.expected == START + 75 * MINUTE
    assert found.because == "ingest#1 waits for pool db, held by export#1/run/1 until 10:40:00 UTC"


def test_an_open_batch_closes_first() -> None:
    build = pipeline(
        "build",
        on=[OnAsset("raw")],
        reads=["raw"],
        writes=["mart"],
        trigger={"batch": Batch(wait=30 * MINUTE)},
    )
    kernel = shop(build=build)
    kernel.emit("order")
    kernel.wait(10 * MINUTE)
    kernel.end("ingest#1/run/1")
    kernel.state.marks["raw"] = Mark("raw", {SOURCE: 1})

    found = told(kernel, 50)

    # The batch closes at 10:40; then 5 and 10 min.
    assert found.expected == START + 55 * MINUTE
    assert [step.kind for step in found.steps] == ["batch", "queue", "run"]


def test_a_rest_after_a_failure_is_waited_out_and_named() -> None:
    kernel = shop()
    kernel.emit("order")
    kernel.wait(MINUTE)
    kernel.end("ingest#1/run/1", "failed")

    found = told(kernel, 30)

    # The rest is a minute; ingest takes 20, the rest 15.
    assert found.expected == START + 37 * MINUTE
    assert found.because == "ingest rests until 10:02:00 UTC after 1 failed run"


def test_a_pipeline_by_the_clock_waits_for_its_tick() -> None:
    build = pipeline("build", on=[Every(60 * MINUTE, START)], reads=["raw"], writes=["mart"])
    kernel = shop(build=build)
    kernel.emit("order")

    found = told(kernel, 40)

    assert found.expected == START + 75 * MINUTE
    assert found.because == "build waits for its clock until 11:00:00 UTC"


def test_what_was_never_timed_is_unknown() -> None:
    kernel = shop()
    del kernel.state.bands["ingest", ""]
    kernel.emit("order")

    found = told(kernel, 40)

    assert (found.outlook, found.expected) == ("unknown", None)
    assert found.because == "how long ingest/run takes is not known: it has not ended yet"


def test_a_pause_is_unknown_until_somebody_ends_it() -> None:
    kernel = shop()
    kernel.take(e.PauseRequested, pipeline="ingest", by="ann")
    kernel.emit("order")

    assert told(kernel, 40).because == "ingest was paused by ann"


def test_without_a_host_nothing_is_known() -> None:
    kernel = shop()
    kernel.take(e.HostLost, host="h1")
    kernel.emit("order")

    assert told(kernel, 40).because == "no worker host is ready"


def test_nothing_owed_has_no_forecast() -> None:
    assert forecast(shop().state, PromiseState("mart", "freshness"), START).outlook == "idle"


def test_what_was_missed_is_caught_up_with_at_a_time() -> None:
    kernel = shop()
    kernel.emit("order")
    promise = PromiseState("mart", "freshness", late={SOURCE: 1})

    found = forecast(kernel.state, promise, kernel.now)

    assert (found.outlook, found.expected) == ("late", START + 35 * MINUTE)


def test_a_sample_of_the_world_is_as_old_as_its_run_and_the_next_is_foreseen() -> None:
    kernel = Kernel()
    sample = pipeline("sample", writes=["prices"])
    sample = msgspec.structs.replace(sample, trigger=Trigger(groups=(), auto=Auto()))
    promised = {"prices": Asset(freshness=Freshness(within=30 * MINUTE, target=0.7))}
    kernel.declare(plan(sample, assets=promised))
    kernel.host()
    kernel.wait(MINUTE)
    kernel.end("sample#1/run/1")
    learn(kernel, sample=10)

    found = forecast(kernel.state, kernel.state.promises["prices", "freshness"], kernel.now)

    # The first sample began at 10:00, so a later one must be in by 10:30; it takes 10 min, and starts at 10:20.
    assert (found.outlook, found.due, found.expected) == ("kept", START + 30 * MINUTE, START + 30 * MINUTE)
    assert found.steps[0].text == "sample is due to start at 10:20:00 UTC"


def test_an_automatic_batch_closes_at_its_latest_start() -> None:
    build = pipeline("build", on=[OnAsset("raw")], reads=["raw"], writes=["mart"], trigger={"auto": Auto()})
    kernel = shop(build=build)
    kernel.emit("order")
    kernel.wait(10 * MINUTE)
    kernel.end("ingest#1/run/1")

    found = forecast(kernel.state, kernel.state.promises["mart", "freshness"], kernel.now)

    # Due at 10:30: 10 min of build after 5 min of waiting, so it begins to wait at 10:15.
    assert (found.outlook, found.expected) == ("kept", START + 30 * MINUTE)
    assert found.steps[0].text == "the batch of build closes at 10:15:00 UTC"


def test_both_branches_of_a_diamond_are_waited_for() -> None:
    left = pipeline("left", on=[OnAsset("raw")], reads=["raw"], writes=["a"])
    right = pipeline("right", on=[OnAsset("raw")], reads=["raw"], writes=["b"])
    build = pipeline("build", all_of=[[OnAsset("a")], [OnAsset("b")]], reads=["a", "b"], writes=["mart"])
    kernel = Kernel()
    assets = {name: Asset() for name in ("raw", "a", "b")} | {
        "mart": Asset(freshness=Freshness(within=60 * MINUTE))
    }
    kernel.declare(plan(INGEST, left, right, build, pools={"db": 1}, assets=assets))
    kernel.host()
    learn(kernel, ingest=10, left=5, right=25, build=10)
    kernel.emit("order")

    found = forecast(kernel.state, kernel.state.promises["mart", "freshness"], kernel.now)

    # ingest 10, the longer branch 25, build 10.
    assert (found.outlook, found.expected) == ("kept", START + 45 * MINUTE)
    assert "left" not in " ".join(step.text for step in found.steps)


def test_a_rate_that_is_used_up_is_waited_for_and_named() -> None:
    ingest = msgspec.structs.replace(INGEST, rate=Rate(1, 60 * MINUTE), concurrency=2)
    kernel = Kernel()
    promised = {"raw": Asset(freshness=Freshness(within=30 * MINUTE))}
    kernel.declare(plan(ingest, pools={"db": 2}, assets=promised))
    kernel.host()
    learn(kernel, ingest=10)
    kernel.emit("order")
    kernel.wait(10 * MINUTE)
    kernel.end("ingest#1/run/1")
    kernel.emit("order")

    found = forecast(kernel.state, kernel.state.promises["raw", "freshness"], kernel.now)

    assert (found.outlook, found.due, found.expected) == ("breaks", START + 40 * MINUTE, START + 70 * MINUTE)
    assert found.because == "ingest#2 waits until 11:00:00 UTC, because its rate is used up"
