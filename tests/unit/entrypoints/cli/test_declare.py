"""Verbs around the score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from counterpoint.adapters.tools import standard_tools
from counterpoint.engine.declare import declare

WRONG = """\
score: shop
pipelines:
  load:
    runn: true
  marts:
    trigger: {aset: raw.orders}
    run: "true"
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_score_is_right_and_its_pipelines_are_linked(typed: Any) -> None:
    assert typed("init").code == 0

    done = typed("check")

    assert done.code == 0
    assert done.out.splitlines() == [
        "first-steps is right: 2 pipelines, 1 asset",
        "",
        "greet  every 20s",
        "└─ count  after greetings",
    ]


def test_a_score_that_is_there_is_not_overwritten(typed: Any, in_a_folder: Path) -> None:
    (in_a_folder / "score.yaml").write_text("mine")

    done = typed("init")

    assert done.code == 1
    assert (in_a_folder / "score.yaml").read_text() == "mine"


def test_init_makes_the_folder_it_is_given(typed: Any, in_a_folder: Path) -> None:
    assert "cd new/shop && counterpoint check" in typed("init", "new/shop").out
    assert (in_a_folder / "new/shop/score.yaml").is_file()


def test_every_mistake_is_told_at_once_with_its_place(typed: Any, in_a_folder: Path) -> None:
    (in_a_folder / "score.yaml").write_text(WRONG)

    done = typed("check")

    assert done.code == 2
    lines = done.err.splitlines()
    assert lines[0].startswith("score.yaml:4: ") and "did you mean 'run'?" in lines[0]
    assert lines[1].startswith("score.yaml:6: ") and lines[1].endswith("[unknown-key]")
    assert lines[-1].startswith("2 mistakes")


def test_mistakes_in_json_are_a_list(typed: Any, in_a_folder: Path) -> None:
    (in_a_folder / "score.yaml").write_text(WRONG)

    found = json.loads(typed("check", "--json").out)

    assert found["ok"] is False
    assert [mistake["where"] for mistake in found["mistakes"]] == ["score.yaml:4", "score.yaml:6"]


PROMISES = """\
score: shop
assets: {raw: {}, mart: {freshness: 1h, completion: "07:00"}}
pipelines:
  load: {trigger: {every: 2h}, writes: [raw], takes: 5m, run: "true"}
  mart: {trigger: auto, reads: [raw], writes: [mart], run: "true"}
"""


def test_promises_are_shown_with_their_ways_and_what_is_doubtful(typed: Any, in_a_folder: Path) -> None:
    (in_a_folder / "score.yaml").write_text(PROMISES)

    done = typed("check")

    assert done.code == 0
    assert done.out.splitlines()[2:] == [
        "load  every 2h",
        "└─ mart  as promises ask, from raw",
        "",
        "asset  promise                 sources     verdict   longest way",
        "mart   within 1h, 99% over 7d  world load  doubtful  "
        "the world -> again after 5m -> load 5m -> mart ? -> mart",
        "mart   by 07:00, 95% over 28d  world load  unknown   the world -> load 5m -> mart ? -> mart",
    ]
    assert [line.rpartition("[")[2] for line in done.err.splitlines()] == [
        "unknown-duration]",
        "slow-clock]",
        "unknown-duration]",
    ]
    assert done.err.startswith("score.yaml:2: warning: `freshness` of 'mart': whether the promise can hold")


def test_promises_and_warnings_in_json(typed: Any, in_a_folder: Path) -> None:
    (in_a_folder / "score.yaml").write_text(PROMISES)

    found = json.loads(typed("check", "--json").out)

    assert found["ok"] is True
    assert found["promises"][0] == {
        "asset": "mart",
        "kind": "freshness",
        "sources": ["world:load"],
        "path": ["load", "mart"],
        "path_s": 600.0,
        "unknown": ["mart"],
        "verdict": "doubtful",
    }
    assert [(each["where"], each["code"]) for each in found["warnings"]] == [
        ("score.yaml:2", "unknown-duration"),
        ("score.yaml:2", "slow-clock"),
        ("score.yaml:2", "unknown-duration"),
    ]


@pytest.mark.parametrize("verb", ["check", "apply", "up"])
def test_without_a_score_the_next_step_is_said(typed: Any, verb: str) -> None:
    done = typed(verb)

    assert done.code == 2
    assert "counterpoint init" in done.err


def test_applying_declares_the_files_as_the_whole_plan(typed: Any, server: Any, service: Any) -> None:
    typed("init")

    done = typed("apply", "--commit", "abc")

    assert done.code == 0, done.err
    [(_, arguments)] = service.calls
    assert done.out == f"+ pipeline load\nplan {arguments['plan'].digest[:8]} is in force\n"
    assert arguments["plan"].digest == declare((Path("score.yaml"),), standard_tools()).digest
    assert (arguments["commit"], arguments["dry_run"]) == ("abc", False)


def test_a_dry_run_shows_the_difference_only(typed: Any, server: Any, service: Any) -> None:
    typed("init")

    done = typed("apply", "--dry-run")

    assert "+ pipeline load" in done.out
    assert "nothing is declared yet" in done.out
    assert service.calls[0][1]["dry_run"] is True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("score.yaml", WRONG),
        (
            "film.py",
            "from counterpoint import Score\nscore = Score('film')\nscore.pool('gpu', 0)\nscore.asset('', x=1)\n",
        ),
        ("broken.py", "import nowhere\n"),
        ("bytes.yaml", "\udcff"),
        ("more/none.yaml", None),
    ],
)
@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--json"]])
def test_applying_says_of_a_wrong_score_what_check_says(
    typed: Any, server: Any, service: Any, in_a_folder: Path, name: str, text: str | None, options: list[str]
) -> None:
    if text is not None:
        (in_a_folder / name).write_bytes(text.encode(errors="surrogateescape"))
    checked = typed("check", name, *(option for option in options if option == "--json"))

    applied = typed("apply", name, *options)

    assert (applied.code, applied.out, applied.err) == (checked.code, checked.out, checked.err)
    assert applied.code == 2
    assert service.calls == []


def test_a_python_score_is_run_here_and_read_there(
    typed: Any, server: Any, service: Any, in_a_folder: Path
) -> None:
    (in_a_folder / "film.py").write_text(
        "from counterpoint import Score\nscore = Score('film')\n\n\n@score.pipeline()\ndef cut(run): ...\n"
    )

    assert typed("apply", "film.py").code == 0

    [(_, arguments)] = service.calls
    pipeline = arguments["plan"].pipelines["cut"]
    assert (pipeline.where, pipeline.folder) == ("film.py:5", str(in_a_folder))


def test_the_score_of_another_folder_can_be_applied(
    typed: Any, server: Any, service: Any, in_a_folder: Path
) -> None:
    typed("init", "elsewhere")

    assert typed("apply", "--folder", "elsewhere").code == 0
    assert service.calls[0][1]["plan"].pipelines["greet"].folder == str(in_a_folder / "elsewhere")


def test_the_schema_is_json_schema(typed: Any) -> None:
    import jsonschema_rs

    jsonschema_rs.meta.validate(json.loads(typed("schema").out))


def test_a_tree_shows_each_pipeline_once(typed: Any, in_a_folder: Path) -> None:
    (in_a_folder / "score.yaml").write_text("""\
score: diamond
assets: {a: {}, b: {}, c: {}}
pipelines:
  one: {run: "true", writes: [a]}
  two: {run: "true", writes: [b], trigger: {asset: a}, reads: [a]}
  three: {run: "true", writes: [c], trigger: {pipeline: one, state: completed}}
  four: {run: "true", trigger: {all: [{asset: b}, {asset: c}]}, reads: [b, c]}
""")

    assert typed("check").out.splitlines()[2:] == [
        "one  by hand",
        "├─ two  after a",
        "│  └─ four  after b and c",
        "└─ three  when one has completed",
        "   └─ four  as above",
    ]
