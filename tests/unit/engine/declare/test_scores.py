"""Scores that come as text from another process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from counterpoint.engine.declare import ScoreText, declare, declare_scores, read_files
from counterpoint.errors import DeclarationError

YAML = "score: shop\nassets: {orders: {}}\npipelines:\n  load: {run: ./load, writes: [orders]}\n"
PYTHON = """\
from counterpoint import Score

score = Score("film")


@score.pipeline(trigger={"asset": "orders"})
def cut(run):
    pass
"""


@pytest.fixture
def refused(tools: Mapping[str, Any]) -> Callable[..., list[str]]:
    """The mistakes of scores, as the user sees them; empty where they are right."""

    def mistakes(*scores: ScoreText) -> list[str]:
        try:
            declare_scores(scores, tools)
        except DeclarationError as error:
            return [str(mistake) for mistake in error.mistakes]
        return []

    return mistakes


def exported(**changes: Any) -> str:
    """What a Python score might declare, as JSON."""
    entry = {"section": "assets", "name": "a", "value": {}, "file": "/s/film.py", "line": 3}
    document = {"file": "/s/film.py", "line": 1, "head": {"score": "s"}, "entries": [entry | changes]}
    return json.dumps({"documents": [document]})


def test_texts_declare_what_their_files_do(tools: Mapping[str, Any], tmp_path: Path) -> None:
    files = [tmp_path / "shop.yaml", tmp_path / "film.py"]
    files[0].write_text(YAML)
    files[1].write_text(PYTHON)

    plan = declare_scores(read_files(files), tools)

    assert plan == declare(files, tools)
    assert plan.pipelines["cut"].where == f"{tmp_path}/film.py:6"


def test_files_that_cannot_be_read_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"a: 1\n\xff")

    with pytest.raises(DeclarationError) as refusal:
        read_files([tmp_path / "none.yaml", tmp_path / "bytes.yaml"])

    assert [mistake.where for mistake in refusal.value.mistakes] == [
        f"{tmp_path}/none.yaml:1",
        f"{tmp_path}/bytes.yaml:2",
    ]


def test_what_failed_in_a_python_file_is_a_mistake_where_it_is_read(
    refused: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "film.py").write_text("\nimport nowhere_to_be_found\n")

    (mistake,) = refused(*read_files([tmp_path / "film.py"]))

    assert mistake.startswith(f"{tmp_path}/film.py:2: a Python score was expected, the file raised ModuleNotFound")


@pytest.mark.parametrize("folder", ["", "here", "/nowhere/to/be/found", "/\0"])
def test_a_folder_that_is_not_here_is_refused(refused: Callable[..., list[str]], folder: str) -> None:
    (mistake,) = refused(ScoreText("score.yaml", folder, YAML))

    assert mistake.endswith("[unreadable]")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "print('no JSON')",
        "[]",
        "{}",
        '{"documents": [3]}',
        "[" * 5000,
        exported(line="three"),
        exported(name="a\0"),
        exported(value={"description": "a\0b"}),
        exported(value={"a\0b": 1}),
        exported(value=1 << 70),
        exported(value=json.loads("[" * 150 + "]" * 150)),
        exported(section="score", value=3),
        exported(section="pipelines", value=None),
        exported(section="nothing"),
    ],
)
def test_what_no_python_score_declares_is_refused(refused: Callable[..., list[str]], text: str) -> None:
    assert refused(ScoreText("film.py", "/", text))
