"""Scores written in Python: the file declares, the reader checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from counterpoint.engine.declare import declare, declare_text
from counterpoint.errors import DeclarationError
from counterpoint.model.plan import Plan

CAPTIONS = '''
from datetime import timedelta

from counterpoint import Run, Score

score = Score("captions", timezone="Europe/Berlin", classes={"bulk": "2d"})
video, captions = score.asset("video"), score.asset("captions", description="text")
uploaded = score.event("video.uploaded", schema={"type": "object"})
gpu = score.pool("gpu", 1)


@score.pipeline(trigger=video.updated, reads=[video], writes=[captions], pools={gpu: 1}, retry=3,
                timeout=timedelta(minutes=10), class_="urgent", owner="media")
def caption(run: Run) -> None:
    """Write captions for new videos.

    More about it.
    """


score.add_pipeline(
    "ingest",
    run="python3 ingest.py",
    trigger={"all": [uploaded.received_when("event.data.ready"), {"cron": "@daily"}], "within": "1h"},
    writes=[video],
)
'''
SAME_IN_YAML = """
score: captions
timezone: Europe/Berlin
classes: {bulk: 2d}
assets: {video: {}, captions: {description: text}}
events: {video.uploaded: {schema: {type: object}}}
pools: {gpu: {slots: 1}}
pipelines:
  caption:
    description: Write captions for new videos.
    trigger: {asset: video}
    reads: [video]
    writes: [captions]
    pools: {gpu: 1}
    retry: 3
    timeout: 10m
    class: urgent
    owner: media
    tasks: {run: {python: "film:caption"}}
  ingest:
    run: python3 ingest.py
    trigger: {all: [{event: video.uploaded, when: event.data.ready}, {cron: "@daily"}], within: 1h}
    writes: [video]
"""


@pytest.fixture
def python(tools: Mapping[str, Any], tmp_path: Path) -> Callable[[str], Plan]:
    """The plan that a file `film.py` with this text declares."""

    def plan(text: str) -> Plan:
        path = tmp_path / "film.py"
        path.write_text(text)
        return declare([path], tools)

    return plan


def mistake(plan: Callable[[], Plan]) -> str:
    with pytest.raises(DeclarationError) as refusal:
        plan()
    return str(refusal.value)


def test_both_fronts_build_the_same_plan(
    python: Callable[[str], Plan], tools: Mapping[str, Any], tmp_path: Path
) -> None:
    plan = python(CAPTIONS)

    assert plan.digest == declare_text(SAME_IN_YAML, folder=tmp_path, tools=tools).digest
    assert plan.pipelines["caption"].where == f"{tmp_path}/film.py:12"
    assert plan.pipelines["caption"].tasks["run"].timeout == timedelta(minutes=10)
    assert plan.pipelines["ingest"].where == f"{tmp_path}/film.py:21"


PROMISES = """\
from datetime import date, time, timedelta
from counterpoint import Score

score = Score("shop")
work = score.calendar("work", days="mon-fri", except_=[date(2026, 12, 25)], maintenance=["01:00-01:30"])
score.team("data", 2)
raw = score.asset("raw", arrives=timedelta(minutes=10))
mart = score.asset("mart", freshness={"within": timedelta(minutes=30), "target": 0.99, "calendar": work},
                   completion={"by": time(7)})
api = score.pool("api", 4, target="70%", rate="60/1m")


@score.pipeline(trigger="auto", reads=[raw], writes=[mart], pools={api: 1}, preempt=True,
                takes=timedelta(minutes=5))
def build(run): ...
"""
SAME_PROMISES_IN_YAML = """
score: shop
calendars: {work: {days: mon-fri, except: [2026-12-25], maintenance: ["01:00-01:30"]}}
teams: {data: 2}
assets:
  raw: {arrives: 10m}
  mart: {freshness: {within: 30m, target: 99%, calendar: work}, completion: 07:00}
pools: {api: {slots: 4, target: 0.7, rate: 60/m}}
pipelines:
  build:
    trigger: auto
    reads: [raw]
    writes: [mart]
    pools: {api: 1}
    takes: 5m
    preempt: true
    tasks: {run: {python: "film:build"}}
"""


def test_both_fronts_promise_the_same(
    python: Callable[[str], Plan], tools: Mapping[str, Any], tmp_path: Path
) -> None:
    assert python(PROMISES).digest == declare_text(SAME_PROMISES_IN_YAML, folder=tmp_path, tools=tools).digest


def test_mistakes_stand_at_the_call_that_declared(python: Callable[[str], Plan], tmp_path: Path) -> None:
    text = (
        "from counterpoint import Score\nscore = Score('s')\nscore.pool('gpu', 0)\nscore.asset('a', freshnes=1)\n"
    )

    assert mistake(lambda: python(text)).splitlines() == [
        f"{tmp_path}/film.py:3: `slots`: a whole number of at least 1 was expected, 0 was found; "
        "write it like `slots: 1` [wrong-value]",
        f"{tmp_path}/film.py:4: an asset has no key 'freshnes'; did you mean 'freshness'? [unknown-key]",
    ]


def test_a_name_that_is_declared_again_is_a_mistake(python: Callable[[str], Plan], tmp_path: Path) -> None:
    text = "from counterpoint import Score\nscore = Score('s')\nscore.asset('a')\nscore.asset('a')\n"

    assert mistake(lambda: python(text)) == (
        f"{tmp_path}/film.py:4: 'a' is declared again under `assets`, first at {tmp_path}/film.py:3; "
        "keep one of them [doubled-name]"
    )


@pytest.mark.parametrize(
    ("text", "line", "saying"),
    [
        ("x = 1\n", 1, "a `Score` at the top level of the module was expected"),
        ("import json\n\nraise SystemExit(3)\n", 3, "the file raised SystemExit: 3"),
        ("def broken(:\n", 1, "the file raised SyntaxError"),
        ("\nimport nowhere_to_be_found\n", 2, "the file raised ModuleNotFoundError"),
        ("import os\nos._exit(7)\n", 1, "its process ended with 7"),
        (
            "from counterpoint import Score\nscore = Score('s')\nscore.asset('a', description=object)\n",
            3,
            "cannot stand in a score",
        ),
        (
            "from counterpoint import Score\nscore = Score('s')\n"
            "def make():\n    @score.pipeline()\n    def inner(run): ...\nmake()\n",
            6,
            "define it at the top of the module",
        ),
    ],
)
def test_a_file_that_declares_nothing_is_refused_where_it_fails(
    python: Callable[[str], Plan], tmp_path: Path, text: str, line: int, saying: str
) -> None:
    said = mistake(lambda: python(text))

    assert said.startswith(f"{tmp_path}/film.py:")
    assert saying in said
    assert said.endswith("[unreadable]")


def test_what_the_file_prints_and_imports_stays_in_its_own_process(
    python: Callable[[str], Plan], capfd: pytest.CaptureFixture[str]
) -> None:
    python("print('noise')\nfrom counterpoint import Score\nscore = Score('s')\n")

    assert capfd.readouterr() == ("", "")


def test_a_file_named_like_another_module_is_refused(tools: Mapping[str, Any], tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("")

    assert "'json' is the name of another module" in mistake(lambda: declare([tmp_path / "json.py"], tools))


def test_pipelines_may_stand_in_modules_beside_the_score(python: Callable[[str], Plan], tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(
        "from counterpoint import Score\nscore = Score('s')\n\n@score.pipeline()\ndef work(run): ...\n"
    )

    plan = python("from parts import score\n")

    assert plan.pipelines["work"].where == f"{tmp_path}/parts.py:4"
    assert plan.pipelines["work"].tasks["run"].spec == {"run": "parts:work"}
