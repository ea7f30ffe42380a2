"""What things take, the tail below a pipeline, latest starts, and the due times of tasks."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import hypot
from typing import Any

import pytest

from counterpoint.kernel import events as e
from counterpoint.kernel.lengths import hour_of_week, tail, takes, task_due
from counterpoint.kernel.outlook import takes_of
from counterpoint.kernel.records import Mark, Obligation, PromiseState, SourceState
from counterpoint.kernel.urgency import Place, first_need, place
from counterpoint.model.pipeline import After, Pipeline
from counterpoint.model.plan import Asset, Plan
from counterpoint.model.promise import Expected, Freshness
from counterpoint.model.trigger import Auto, Batch, Every, OnAsset, OnEvent
from counterpoint.testing.builders import START, Kernel, pipeline, plan, task

MINUTE = timedelta(minutes=1)


def auto(name: str, *, reads: tuple[str, ...], writes: tuple[str, ...], **fields: Any) -> Pipeline:
    """A pipeline that runs when promises ask for it."""
    on = [OnAsset(asset) for asset in reads]
    return pipeline(name, on=on, trigger={"auto": Auto()}, reads=reads, writes=writes, **fields)


def promised(*pipelines: Pipeline, within: dict[str, timedelta], target: float = 0.7, **fields: Any) -> Plan:
    """A plan whose assets owe freshness; p90s suffice for it unless a target asks for more."""
    made = plan(*pipelines, **fields)
    assets = {
        name: Asset(writers="many", freshness=Freshness(within[name], target) if name in within else None)
        for name in made.assets
    }
    return plan(*pipelines, assets=assets, **fields)


def learn(kernel: Kernel, **p90: float | tuple[float, float]) -> None:
    """Tell the kernel how long pipelines take, and wait, in nine of ten cases."""
    pairs = {name: each if isinstance(each, tuple) else (each, 0.0) for name, each in p90.items()}
    bands = [
        e.Band(pipeline=name, p50=took / 2, p90=took, wait_p90=wait, samples=10)
        for name, (took, wait) in pairs.items()
    ]
    kernel.take(e.DurationsLearned, bands=tuple(bands))


def p90_of_tail(kernel: Kernel, name: str, at: datetime) -> float:
    """Seconds from a pipeline's start until the mart has what it made, if each step takes its p90."""
    found = tail(kernel.state, name, "mart", at)
    assert found is not None
    return found.p90


def chain(target: float = 0.7) -> Plan:
    """raw -> clean -> mart, which must be fresh within 30 minutes."""
    return promised(
        auto("clean", reads=("raw",), writes=("clean",)),
        auto("mart", reads=("clean",), writes=("mart",)),
        within={"mart": 30 * MINUTE},
        target=target,
    )


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def test_what_is_not_known_is_said_to_be_unknown(kernel: Kernel) -> None:
    kernel.declare(chain())

    assert takes(kernel.state, "clean") is None
    assert tail(kernel.state, "clean", "mart", START) is None


def test_what_is_declared_holds_until_it_is_learned(kernel: Kernel) -> None:
    expected = Expected(timedelta(seconds=10), timedelta(seconds=20))
    tasks = [
        task("a", takes=expected),
        task("b", takes=expected, after=[After("a")]),
        task("c", takes=expected),
    ]
    kernel.declare(plan(pipeline("build", tasks=tasks)))
    assert takes(kernel.state, "build") == (20, 40)

    learn(kernel, build=5)
    assert takes(kernel.state, "build") == (2.5, 5)


def test_a_few_samples_and_what_is_declared_count_together(kernel: Kernel) -> None:
    expected = Expected(timedelta(seconds=10), timedelta(seconds=40))
    kernel.declare(plan(pipeline("build", tasks=[task("a", takes=expected)])))

    def after(samples: int, p50: float = 20) -> tuple[float, float]:
        band = e.Band(pipeline="build", task="", p50=p50, p90=20, samples=samples)
        kernel.take(e.DurationsLearned, bands=(band,))
        return takes(kernel.state, "build") or (0, 0)

    assert after(15) == pytest.approx((10 * 2**0.5, 20 * 2**0.5))
    assert after(30) == (20, 20)
    assert after(2, p50=1)[0] > 8
    # Three samples of a tenth of what was declared: it was declared wrong.
    assert after(3, p50=1) == (1, 20)


def test_the_last_success_serves_where_nothing_else_is_known(kernel: Kernel) -> None:
    kernel.declare(plan(pipeline("build")))
    kernel.host()
    kernel.run("build")
    kernel.wait(MINUTE)
    kernel.end("build#1/run/1")

    assert takes(kernel.state, "build") == (60, 60)


def test_hours_of_the_week_have_their_own_band(kernel: Kernel) -> None:
    kernel.declare(chain())
    band = e.Band(pipeline="clean", p50=1, p90=2, samples=10, hours={hour_of_week(START): (100, 200)})
    kernel.take(e.DurationsLearned, bands=(band, e.Band(pipeline="mart", p50=5, p90=10, samples=10)))

    assert takes(kernel.state, "clean", START) == (100, 200)
    assert takes(kernel.state, "clean", START + timedelta(hours=1)) == (1, 2)
    assert p90_of_tail(kernel, "clean", START) == 210
    assert p90_of_tail(kernel, "clean", START + timedelta(hours=1)) == 12


def test_the_tail_adds_durations_and_waits_below(kernel: Kernel) -> None:
    kernel.declare(chain())
    learn(kernel, clean=60, mart=(120, 30))

    assert p90_of_tail(kernel, "mart", START) == 120
    assert p90_of_tail(kernel, "clean", START) == 60 + 30 + 120

    learn(kernel, mart=(240, 30))
    assert p90_of_tail(kernel, "clean", START) == 60 + 30 + 240


def test_the_tail_is_that_of_the_longest_way(kernel: Kernel) -> None:
    kernel.declare(
        promised(
            auto("split", reads=("raw",), writes=("left", "right")),
            auto("short", reads=("left",), writes=("a",)),
            auto("long", reads=("right",), writes=("b",)),
            auto("join", reads=("a", "b"), writes=("mart",)),
            within={"mart": 30 * MINUTE},
        )
    )
    learn(kernel, split=1, short=10, long=100, join=1000)

    assert p90_of_tail(kernel, "split", START) == 1101


def test_batch_windows_and_clocks_of_readers_count(kernel: Kernel) -> None:
    kernel.declare(
        promised(
            auto("first", reads=("raw",), writes=("a",)),
            pipeline(
                "batched",
                on=[OnAsset("a")],
                trigger={"batch": Batch(quiet=MINUTE, wait=5 * MINUTE)},
                reads=["a"],
                writes=["b"],
            ),
            pipeline("clocked", on=[Every(10 * MINUTE, START)], reads=["b"], writes=["mart"]),
            within={"mart": timedelta(hours=1)},
        )
    )
    learn(kernel, first=1, batched=10, clocked=100)

    assert p90_of_tail(kernel, "first", START) == 1 + 300 + 10 + 600 + 100


def owed(kernel: Kernel, *dues: timedelta) -> None:
    """Changes of `raw` were reported, and each is owed to the mart so long after the start."""
    state = kernel.state
    state.sources["asset:raw"] = SourceState("asset:raw", mark=len(dues))
    state.reached.clear()
    obligations = [
        Obligation({"asset:raw": number}, START, START + due, mark=number)
        for number, due in enumerate(dues, start=1)
    ]
    state.promises["mart", "freshness"] = PromiseState("mart", "freshness", open={"asset:raw": obligations})


def test_the_place_leaves_time_for_all_that_follows(kernel: Kernel) -> None:
    kernel.declare(chain())
    learn(kernel, clean=60, mart=(120, 30))
    owed(kernel, 30 * MINUTE, 40 * MINUTE)

    found = place(kernel.state, ("clean", "", ""))

    assert found.wanted == START + 30 * MINUTE
    assert found.latest == START + 30 * MINUTE - timedelta(seconds=210)
    # By medians, which are half as long, and without the wait: what comes after it takes a minute.
    assert found.ends == START + 29 * MINUTE
    assert found.until == START + 30 * MINUTE - timedelta(seconds=90)


def test_a_promise_of_more_than_nine_in_ten_leaves_more_time(kernel: Kernel) -> None:
    kernel.declare(chain(target=0.99))
    learn(kernel, clean=60, mart=60)
    owed(kernel, 30 * MINUTE)
    kernel.state.marks["clean"] = Mark("clean", {"asset:raw": 1}, {"clean": {"asset:raw": 1}})
    kernel.state.reached.clear()

    latest = place(kernel.state, ("mart", "", "")).latest

    # Median 30 s; p90 is 1.28 standard deviations above it, and 2.71 are in time in 99.67 % of cases.
    seconds = (START + 30 * MINUTE - (latest or START)).total_seconds()
    assert seconds == pytest.approx(30 + 30 * 2.7131 / 1.2816, abs=0.1)


def test_the_more_changes_run_as_one_the_less_the_oldest_counts(kernel: Kernel) -> None:
    kernel.declare(chain(target=0.99))
    learn(kernel, mart=60, clean=60)
    found = []
    for count in (1, 5, 30):
        owed(kernel, *[30 * MINUTE] * count)
        kernel.state.marks["clean"] = Mark("clean", {"asset:raw": count}, {"clean": {"asset:raw": count}})
        kernel.state.reached.clear()
        found.append(place(kernel.state, ("mart", "", "")).latest or START)

    assert found == sorted(set(found))
    assert found[-1] == START + 29 * MINUTE


def test_what_a_pipeline_has_served_asks_nothing_of_it(kernel: Kernel) -> None:
    kernel.declare(chain())
    learn(kernel, clean=60, mart=120)
    owed(kernel, 30 * MINUTE, 40 * MINUTE)
    kernel.state.marks["clean"] = Mark("clean", {"asset:raw": 1}, {"clean": {"asset:raw": 1}})
    kernel.state.reached.clear()

    assert place(kernel.state, ("clean", "", "")).wanted == START + 40 * MINUTE
    assert place(kernel.state, ("mart", "", "")).wanted == START + 30 * MINUTE


def test_what_is_not_there_upstream_cannot_be_served(kernel: Kernel) -> None:
    kernel.declare(chain())
    learn(kernel, clean=60, mart=120)
    owed(kernel, 30 * MINUTE)

    clean, mart = (first_need(kernel.state, name, {"asset:raw": 0}) for name in ("clean", "mart"))
    assert clean is not None and clean.moment == START + 27 * MINUTE
    assert mart is not None and (mart.moment, mart.lead) == (START + 30 * MINUTE, None)
    assert place(kernel.state, ("mart", "", "")) == Place()


def test_items_are_asked_for_only_what_they_hold_back(kernel: Kernel) -> None:
    kernel.declare(chain())
    owed(kernel, 30 * MINUTE, 40 * MINUTE)

    need = first_need(kernel.state, "clean", {"asset:raw": 1})
    assert need is not None and need.due == START + 40 * MINUTE
    assert first_need(kernel.state, "clean", {"asset:raw": 2}) is None
    assert first_need(kernel.state, "clean", {}) is None


def sharing(*others: str, slots: int = 1, needs: int = 1) -> Plan:
    """raw -> clean, which must be fresh within 30 minutes and shares slots with others, of which it needs some."""
    needed = {"clean": needs} | dict.fromkeys(others, 1)
    pipelines = [auto(name, reads=("raw",), writes=(name,), pools={"db": n}) for name, n in needed.items()]
    return promised(*pipelines, within={"clean": 30 * MINUTE}, pools={"db": slots})


def lead_of_clean(kernel: Kernel) -> float | None:
    """How many seconds before it is due a run of `clean` is made for a change."""
    owed(kernel, 30 * MINUTE)
    kernel.state.promises = {
        ("clean", "freshness"): PromiseState(
            "clean", "freshness", open=kernel.state.promises["mart", "freshness"].open
        )
    }
    need = first_need(kernel.state, "clean", {"asset:raw": 0})
    return need.lead.total_seconds() if need is not None and need.lead is not None else None


def test_the_more_others_need_beyond_what_there_is_to_spare_the_less_is_kept_back_for_them(kernel: Kernel) -> None:
    kernel.declare(sharing("first", "second"))
    found = []
    for seconds in (300, 1000, 1740):
        learn(kernel, clean=60, first=seconds, second=seconds)
        found.append(lead_of_clean(kernel))

    # Medians are half as long, and so are spreads, which add up by their squares.
    needed = [seconds + hypot(30, seconds / 2, seconds / 2) - 30 for seconds in (300, 1000, 1740)]
    # There are 29 minutes to spare: enough for one run of each in the first two cases.
    assert found == pytest.approx([60 + needed[0], 60 + needed[1], 60 + 1740**2 / needed[2]])


def test_who_needs_all_slots_at_once_waits_for_whoever_has_one(kernel: Kernel) -> None:
    found = []
    for needs in (1, 2):
        kernel.declare(sharing("first", "second", slots=2, needs=needs))
        learn(kernel, clean=60, first=300, second=300)
        found.append(lead_of_clean(kernel))

    # Each takes half of the pool's time, and must meet another on the other slot to be in the way of one slot.
    alone, both = (
        30 + 2 * 150 * part + hypot(30, *[150 * part * more] * 2) for part, more in ((1 / 4, 1), (1 / 2, 2**-0.5))
    )
    assert found == pytest.approx([alone, both])


def test_less_is_kept_back_in_a_pool_in_which_runs_wait_long(kernel: Kernel) -> None:
    kernel.declare(sharing("first", "second"))
    found = []
    for wait in (0, 247.5, 495):
        learn(kernel, clean=60, first=(300, wait), second=(300, wait))
        found.append(lead_of_clean(kernel))

    # A quarter of one run of each is 165 s: what they wait on average, and then half of it.
    # A quarter of each: medians of 37.5 s, spreads too.
    assert found == pytest.approx([30 + 300 + hypot(30, 150, 150)] * 2 + [30 + 75 + hypot(30, 37.5, 37.5)])


def test_a_deadline_gives_a_place(kernel: Kernel) -> None:
    kernel.declare(plan(pipeline("build"), pools={}))
    kernel.run("build", deadline=START + 30 * MINUTE, takes_s=600.0)
    run = kernel.state.runs["build#1"]

    assert (run.latest, run.wanted_by) == (START + 20 * MINUTE, START + 30 * MINUTE)
    assert (run.due, run.top_at) == (START + 30 * MINUTE, START + 60 * MINUTE)
    assert takes_of(kernel.state, run, "") == 600


def test_a_run_that_nobody_waits_for_is_due_when_it_moves_up(kernel: Kernel) -> None:
    kernel.declare(plan(pipeline("build", on=[OnEvent("go")])))
    kernel.emit("go")
    run = kernel.state.runs["build#1"]

    assert (run.latest, run.wanted_by, run.due) == (None, None, run.top_at)


def test_tasks_on_the_longest_path_are_due_first(kernel: Kernel) -> None:
    tasks = [
        task("root"),
        task("long", after=[After("root")]),
        task("longer", after=[After("long")]),
        task("short", after=[After("root")]),
    ]
    kernel.declare(plan(pipeline("build", tasks=tasks)))
    kernel.run("build")
    run = kernel.state.runs["build#1"]
    due = {name: (task_due(kernel.state, run, name) - run.due).total_seconds() for name in run.tasks}
    assert due == {"root": 0, "long": 1, "longer": 2, "short": 2}

    band = e.Band(pipeline="build", task="short", p50=50, p90=100, samples=10)
    kernel.take(e.DurationsLearned, bands=(band,))
    due = {name: (task_due(kernel.state, run, name) - run.due).total_seconds() for name in run.tasks}
    assert due == {"root": 0, "short": 1, "long": 49, "longer": 50}
