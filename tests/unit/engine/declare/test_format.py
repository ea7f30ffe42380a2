"""What each key of a score means in the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from counterpoint.engine.declare import declare
from counterpoint.model.pipeline import After, OutOfMemory, Pipeline, Retry, Secret
from counterpoint.model.plan import Asset, Plan, Pool
from counterpoint.model.promise import (
    Calendar,
    Completion,
    Elastic,
    Expected,
    Freshness,
    Preempt,
    Rate,
    Team,
    Window,
)
from counterpoint.model.trigger import (
    Auto,
    Batch,
    Cron,
    Delivery,
    Every,
    OnAsset,
    OnCheckpoint,
    OnEvent,
    OnState,
    TimeOfDay,
    Trigger,
)

Declared = Callable[[str], Plan]

BASE = """
score: shop
timezone: Europe/Berlin
pools: {warehouse: 4, gpu: {slots: 1}}
events: {order.placed: {}, order.paid: {description: money came}}
assets: {raw: {}, mart: {description: for people}, many: {writers: many}, kept: {freshness: 1h}}
pipelines:
  keeper: {reads: [mart], writes: [kept], run: work}
  other: {run: work}
"""


@pytest.fixture
def pipeline(declared: Declared) -> Callable[[str], Pipeline]:
    """The pipeline `p` with these keys, beside what BASE declares."""
    return lambda keys: declared(f"{BASE}  p: {keys}\n").pipelines["p"]


@pytest.fixture
def trigger(pipeline: Callable[[str], Pipeline]) -> Callable[[str], Trigger]:
    def read(keys: str) -> Trigger:
        found = pipeline(f"{{run: work, trigger: {keys}}}").trigger
        assert found is not None
        return found

    return read


def test_a_score_names_its_parts(declared: Declared) -> None:
    plan = declared(BASE)

    assert plan.name == "shop"
    assert plan.timezone == "Europe/Berlin"
    assert plan.pools == {"warehouse": Pool(4), "gpu": Pool(1)}
    assert plan.events["order.paid"].description == "money came"
    assert plan.assets["many"] == Asset(writers="many")
    assert list(plan.pipelines) == ["keeper", "other"]


def test_sections_and_assets_may_stand_bare(declared: Declared) -> None:
    plan = declared("pools:\nevents:\n  order.placed:\nassets:\n  raw:\n  mart:\npipelines:\n")

    assert list(plan.assets) == ["raw", "mart"]
    assert list(plan.events) == ["order.placed"]
    assert plan.name == "score"


def test_the_waits_of_classes_replace_the_defaults(declared: Declared) -> None:
    plan = declared("classes: {urgent: 90s, bulk: {wait: 2d}}")

    assert plan.waits == {
        "urgent": timedelta(seconds=90),
        "normal": timedelta(hours=1),
        "bulk": timedelta(days=2),
    }


def test_the_short_form_is_one_task_called_run(declared: Declared, tmp_path: Path) -> None:
    found = declared("pipelines:\n  p:\n    run: [python3, work.py]\n").pipelines["p"]

    assert found == Pipeline(
        name="p", tasks={"run": found.tasks["run"]}, folder=str(tmp_path), where="score.yaml:2"
    )
    assert found.tasks["run"].tool == "command"
    assert found.tasks["run"].spec == {"run": ["python3", "work.py"]}


def test_a_pipeline_takes_every_key_of_its_table(pipeline: Callable[[str], Pipeline]) -> None:
    found = pipeline(
        "{description: d, owner: data, reads: [raw], writes: [mart, many], concurrency: 3, overlap: queue,"
        " class: urgent, hold: run, partition: day, write: atomic, suspect: use, run: work}"
    )

    assert (found.description, found.owner, found.team) == ("d", "data", "data")
    assert (found.reads, found.writes) == (("raw",), ("mart", "many"))
    assert (found.concurrency, found.overlap, found.priority_class) == (3, "queue", "urgent")
    assert (found.hold, found.partition, found.write, found.suspect) == ("run", "day", "atomic", "use")


def test_a_team_may_differ_from_the_owner(pipeline: Callable[[str], Pipeline]) -> None:
    assert pipeline("{owner: ada, team: data, run: work}").team == "data"


def test_a_partition_may_be_an_expression(pipeline: Callable[[str], Pipeline]) -> None:
    assert pipeline('{partition: "event.data.day", run: work}').partition == "event.data.day"


def test_tasks_take_over_what_their_pipeline_says(pipeline: Callable[[str], Pipeline]) -> None:
    tasks = pipeline(
        "{pools: {warehouse: 2}, retry: 3, timeout: 10m, grace: 5s, memory: 1GB, env: {A: x, B: y}, tasks: {"
        "a: {command: work},"
        "b: {command: work, pools: {}, retry: {attempts: 1}, timeout: 1h, env: {B: z, C: {secret: TOKEN}}},"
        "c: {wait: {run: x}},"
        "d: {wait: {run: x}, pools: {gpu: 1}}}}"
    ).tasks

    assert tasks["a"].pools == {"warehouse": 2}
    assert tasks["a"].retry == Retry(attempts=3)
    assert (tasks["a"].timeout, tasks["a"].grace) == (timedelta(minutes=10), timedelta(seconds=5))
    assert (tasks["a"].memory, tasks["a"].env) == (10**9, {"A": "x", "B": "y"})
    assert tasks["b"].pools == {}
    assert tasks["b"].retry == Retry()
    assert tasks["b"].timeout == timedelta(hours=1)
    assert tasks["b"].env == {"A": "x", "B": "z", "C": Secret("TOKEN")}
    assert tasks["c"].pools == {}
    assert tasks["d"].pools == {"gpu": 1}


def test_a_task_comes_after_others(pipeline: Callable[[str], Pipeline]) -> None:
    tasks = pipeline(
        "{tasks: {a: {command: x}, b: {check: y, after: [a], writes: [mart]},"
        " c: {python: z, after: [{task: a, on: failure}, {task: b, on: end}]}}}"
    ).tasks

    assert tasks["b"].after == (After("a"),)
    assert tasks["b"].writes == ("mart",)
    assert tasks["c"].after == (After("a", "failure"), After("b", "end"))
    assert [task.tool for task in tasks.values()] == ["command", "check", "python"]


def test_retries_say_what_and_how_long(pipeline: Callable[[str], Pipeline]) -> None:
    retry = (
        pipeline(
            "{run: work, retry: {attempts: 4, backoff: 10s..5m, only: [timeout, 75], never: [check],"
            " out_of_memory: {memory: x1.5, up_to: 4GB, pools: {warehouse: 4}}}}"
        )
        .tasks["run"]
        .retry
    )

    assert retry == Retry(
        attempts=4,
        backoff=(timedelta(seconds=10), timedelta(minutes=5)),
        only=("timeout", 75),
        never=("check",),
        out_of_memory=OutOfMemory(1.5, 4 * 10**9, {"warehouse": 4}),
    )


def test_out_of_memory_has_a_short_form(pipeline: Callable[[str], Pipeline]) -> None:
    retry = pipeline("{run: work, retry: {attempts: 2, out_of_memory: x3}}").tasks["run"].retry

    assert retry.out_of_memory == OutOfMemory(3.0)


@pytest.mark.parametrize(
    ("keys", "source"),
    [
        ('{cron: "*/15 * * * *"}', Cron("*/15 * * * *", "Europe/Berlin")),
        ('{cron: "@daily", timezone: UTC}', Cron("0 0 * * *", "UTC")),
        (
            '{cron: "0 2 * * mon-fri", catchup: all, gap: skip, repeat: both}',
            Cron("0 2 * * mon-fri", "Europe/Berlin", "all", "skip", "both"),
        ),
        ("{every: 90s, catchup: none}", Every(timedelta(seconds=90), datetime(1970, 1, 1, tzinfo=UTC), "none")),
        ("{every: 1h, from: 2026-01-31T06:00}", Every(timedelta(hours=1), datetime(2026, 1, 31, 5, tzinfo=UTC))),
        ("{every: 1h, from: 2026-01-31}", Every(timedelta(hours=1), datetime(2026, 1, 30, 23, tzinfo=UTC))),
        ("{every: 1h, from: 2026-01-31T06:00Z}", Every(timedelta(hours=1), datetime(2026, 1, 31, 6, tzinfo=UTC))),
        ("{event: order.placed}", OnEvent("order.placed")),
        ('{event: order.placed, when: "event.data.total > 0"}', OnEvent("order.placed", "event.data.total > 0")),
        ("{asset: raw}", OnAsset("raw")),
        ("{pipeline: other, state: failed}", OnState("other", "failed")),
        ("{pipeline: other, checkpoint: half}", OnCheckpoint("other", "half")),
    ],
)
def test_a_trigger_of_one_source_is_one_group(
    trigger: Callable[[str], Trigger], keys: str, source: object
) -> None:
    assert trigger(keys) == Trigger(groups=((source,),))  # type: ignore[arg-type]


def test_any_is_one_group_of_several_sources(trigger: Callable[[str], Trigger]) -> None:
    assert trigger("{any: [{asset: raw}, {event: order.paid}]}").groups == (
        (OnAsset("raw"), OnEvent("order.paid")),
    )


def test_all_is_several_groups_and_takes_any_inside(trigger: Callable[[str], Trigger]) -> None:
    found = trigger(
        "{all: [{asset: raw}, {any: [{event: order.placed}, {event: order.paid}]}], within: 1h, at_latest: 07:00}"
    )

    assert found.groups == ((OnAsset("raw"),), (OnEvent("order.placed"), OnEvent("order.paid")))
    assert found.within == timedelta(hours=1)
    assert found.at_latest == TimeOfDay("07:00")
    assert trigger("{all: [{asset: raw}], at_latest: 2h}").at_latest == timedelta(hours=2)


def test_a_trigger_takes_batch_delivery_and_rest(trigger: Callable[[str], Trigger]) -> None:
    found = trigger(
        "{event: order.placed, batch: {quiet: 5s, wait: 1m, max: 500, by: event.data.shop}, rearm: 10s..10m,"
        " give_up: 5, delivery: {pattern: sync, until: started, timeout: 5m, on_refusal: warn}}"
    )

    assert found.batch == Batch(timedelta(seconds=5), timedelta(minutes=1), 500, "event.data.shop")
    assert found.rearm == (timedelta(seconds=10), timedelta(minutes=10))
    assert found.give_up == 5
    assert found.delivery == Delivery("sync", "started", timedelta(minutes=5), "warn")
    assert trigger("{event: order.placed, delivery: sync}").delivery == Delivery("sync")


def test_auto_listens_to_all_that_is_read_and_not_written(pipeline: Callable[[str], Pipeline]) -> None:
    found = pipeline("{trigger: auto, reads: [raw, many, mart], writes: [mart], run: work}").trigger

    assert found == Trigger(groups=((OnAsset("raw"), OnAsset("many")),), auto=Auto())


def test_auto_takes_what_does_not_end_its_batch(pipeline: Callable[[str], Pipeline]) -> None:
    keys = (
        "{trigger: {auto: {eager: idle}, batch: {max: 9, by: event.data.x}, rearm: 1s..1m}, reads: [raw],"
        " writes: [mart], run: x}"
    )

    assert pipeline(keys).trigger == Trigger(
        groups=((OnAsset("raw"),),),
        auto=Auto(eager="idle"),
        batch=Batch(max=9, by="event.data.x"),
        rearm=(timedelta(seconds=1), timedelta(minutes=1)),
    )


@pytest.mark.parametrize("keys", ["auto", "{auto: }", "{auto: {}}"])
def test_auto_without_reads_samples_the_world(pipeline: Callable[[str], Pipeline], keys: str) -> None:
    found = pipeline(f"{{trigger: {keys}, writes: [mart], run: work}}").trigger

    assert found == Trigger(groups=(), auto=Auto())


def test_an_asset_makes_promises(declared: Declared) -> None:
    plan = declared(
        "assets:\n"
        "  a: {freshness: {within: 30m, target: 99.5%, over: 14d, calendar: work, share: time},"
        " completion: {by: 06:30, target: 0.9, over: 30d, cutoff: 22:00, calendar: work}}\n"
        "  b: {freshness: 2h, completion: 07:00}\n"
        "  c: {arrives: 10m}\n"
        "calendars: {work: {timezone: Asia/Tokyo}}\n"
        "timezone: Europe/Berlin\n"
        "events: {e: {arrives: 30s}}\n"
        "pipelines: {p: {reads: [c], writes: [a, b], run: x}}\n"
    )

    assert plan.assets["a"].freshness == Freshness(
        timedelta(minutes=30), 0.995, timedelta(days=14), "work", "time"
    )
    assert plan.assets["a"].completion == Completion(
        "06:30", 0.9, timedelta(days=30), "22:00", "work", "Asia/Tokyo"
    )
    assert plan.assets["b"] == Asset(
        freshness=Freshness(timedelta(hours=2)), completion=Completion("07:00", timezone="Europe/Berlin")
    )
    assert plan.assets["c"].arrives == timedelta(minutes=10)
    assert plan.events["e"].arrives == timedelta(seconds=30)


def test_a_calendar_names_days_and_windows(declared: Declared) -> None:
    plan = declared(
        "timezone: Europe/Berlin\n"
        "calendars:\n"
        "  work: {days: mon-fri, except: [2026-12-25], timezone: UTC,"
        " maintenance: [sun 02:00-04:00, 23:30-00:30]}\n"
        "  some: {days: ['fri-mon', 'wed,tue'], maintenance: 'sat,sun 22:00-24:00'}\n"
        "  all:\n"
    )

    every = (0, 1, 2, 3, 4, 5, 6)
    assert plan.calendars["work"] == Calendar(
        days=(0, 1, 2, 3, 4),
        without=(date(2026, 12, 25),),
        maintenance=(Window("02:00", "04:00", (6,)), Window("23:30", "00:30", every)),
        timezone="UTC",
    )
    assert plan.calendars["some"] == Calendar(
        days=(0, 1, 2, 4, 5, 6), maintenance=(Window("22:00", "00:00", (5, 6)),), timezone="Europe/Berlin"
    )
    assert plan.calendars["all"] == Calendar(timezone="Europe/Berlin")


def test_teams_have_weights_and_pools_have_limits(declared: Declared) -> None:
    plan = declared("teams: {a: 2, b: {weight: 0.5}}\npools: {api: {slots: 2, target: 70%, rate: 60/m}}")

    assert plan.teams == {"a": Team(2.0), "b": Team(0.5)}
    assert plan.pools["api"] == Pool(2, 0.7, Rate(60, timedelta(minutes=1)))


def test_a_pipeline_has_limits(pipeline: Callable[[str], Pipeline]) -> None:
    found = pipeline(
        "{preempt: {minimum: 2m, evictions: 1}, rate: 10/1m, storm: 100/30s, run: x, pools: {gpu: 1},"
        " elastic: {max: 4, by: event.data.x}, concurrency: {max: 2, by: event.data.y},"
        " trigger: {asset: raw, batch: {max: 9}}}"
    )

    assert found.preempt == Preempt(timedelta(minutes=2), 1)
    assert (found.rate, found.storm) == (Rate(10, timedelta(minutes=1)), Rate(100, timedelta(seconds=30)))
    assert found.elastic == Elastic(4, "event.data.x")
    assert (found.concurrency, found.concurrency_by) == (2, "event.data.y")
    assert pipeline("{preempt: true, pools: {gpu: 1}, run: x}").preempt == Preempt()
    assert pipeline("{preempt: false, run: x}").preempt is None


def test_tasks_are_expected_to_take_time_and_to_fail(pipeline: Callable[[str], Pipeline]) -> None:
    tasks = pipeline(
        "{takes: 5m..20m, fails: 1%, tasks: {a: {command: x}, b: {command: y, takes: 30s, fails: 0}}}"
    ).tasks

    assert tasks["a"].takes == Expected(timedelta(minutes=5), timedelta(minutes=20))
    assert tasks["b"].takes == Expected(timedelta(seconds=30), timedelta(seconds=30))
    assert (tasks["a"].fails, tasks["b"].fails) == (0.01, 0.0)


def test_a_pipeline_may_read_what_it_writes_in_place(declared: Declared) -> None:
    plan = declared("assets: {a: {}}\npipelines: {p: {reads: [a], writes: [a], run: work}}")

    assert plan.pipelines["p"].reads == plan.pipelines["p"].writes == ("a",)


def test_the_schema_of_an_event_stands_inline_or_in_a_file(declared: Declared, tmp_path: Path) -> None:
    (tmp_path / "placed.json").write_text('{"type": "object", "required": ["id"]}')

    plan = declared("events: {placed: {schema: placed.json}, paid: {schema: {type: object}}}")

    assert plan.events["placed"].schema == {"type": "object", "required": ["id"]}
    assert plan.events["paid"].schema == {"type": "object"}


def test_where_a_pipeline_stands_does_not_change_the_digest(declared: Declared) -> None:
    assert declared(BASE).digest == declared(f"# a comment\n{BASE}").digest
    assert declared(BASE).digest != declared(BASE.replace("run: work", "run: play")).digest


def test_several_files_are_one_plan(tools: Mapping[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text(
        "score: a\ntimezone: Asia/Tokyo\nassets: {raw: {}}\npipelines: {one: {writes: [raw], run: x}}"
    )
    (tmp_path / "sub" / "b.yaml").write_text(
        'score: b\npipelines: {two: {reads: [raw], trigger: {any: [{asset: raw}, {cron: "@daily"}]}, run: y}}'
    )

    plan = declare([tmp_path / "a.yaml", tmp_path / "sub" / "b.yaml"], tools)

    assert plan.name == "a+b"
    assert plan.timezone == "Asia/Tokyo"
    assert plan.pipelines["one"].folder == str(tmp_path)
    assert plan.pipelines["two"].folder == str(tmp_path / "sub")
    assert plan.pipelines["two"].where == f"{tmp_path}/sub/b.yaml:2"
    assert plan.clocks[0][2] == Cron("0 0 * * *", "UTC")
