"""The verb `simulate` for scores: tables, JSON, the page, and what it refuses."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from counterpoint.adapters.stores import open_store
from counterpoint.entrypoints.cli.main import main
from counterpoint.ports.store import AttemptRow, Transaction
from counterpoint.sim.compare import Line, written

SCORE = """\
score: shop
pools: {db: 1}
events:
  sold: {arrives: 20m}
assets:
  sums: {freshness: {within: 30m}}
pipelines:
  count:
    trigger: {event: sold}
    writes: [sums]
    tasks:
      add: {command: "true", pools: {db: 1}, takes: 1m..3m, fails: 5%}
  tidy:
    trigger: {every: 6h}
    class: bulk
    tasks:
      sweep: {command: "true", pools: {db: 1}, takes: 40m}
"""


@pytest.fixture
def score(tmp_path: Path) -> Path:
    path = tmp_path / "score.yaml"
    path.write_text(SCORE)
    return path


def test_a_score_is_told_in_tables(score: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(score), "--for", "2d"]) == 0

    told = capsys.readouterr().out
    assert "runs in 2d, seed 1, promise" in told
    assert re.search(r"^sums +freshness +99(\.0)?% ", told, re.MULTILINE)
    assert re.search(r"^count +normal ", told, re.MULTILINE)
    assert re.search(r"^db +1 ", told, re.MULTILINE)


def test_the_same_command_says_the_same(score: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for _ in range(2):
        assert main(["simulate", str(score), "--for", "1d", "--seed", "7", "--json"]) == 0
        outputs.append(capsys.readouterr().out)

    assert outputs[0] == outputs[1]
    (world,) = json.loads(outputs[0])["worlds"]
    assert (world["seed"], world["policy"], world["length_s"]) == (7, "promise", 86400)


def test_another_score_is_held_to_the_promises_of_the_first(
    score: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tmp_path / "before.yaml"
    by_clock = SCORE.replace("{freshness: {within: 30m}}", "{}").replace("{event: sold}", "{every: 6h}")
    before.write_text(by_clock)

    assert main(["simulate", str(score), "--against", str(before), "--for", "2d", "--json"]) == 0

    ours, theirs = json.loads(capsys.readouterr().out)["worlds"]
    assert [each["asset"] for each in theirs["promises"]] == ["sums"]
    assert theirs["share"] < ours["share"]


def test_scores_and_policies_are_put_side_by_side(
    score: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, page = tmp_path / "before.yaml", tmp_path / "page.html"
    before.write_text(SCORE.replace("every: 6h", "every: 1h"))
    arguments = ["simulate", str(score), "--against", str(before), "--policy", "fifo", "--policy", "promise"]

    assert main([*arguments, "--for", "1d", "--html", str(page)]) == 0

    told = capsys.readouterr().out
    header = next(line for line in told.splitlines() if "score.yaml, fifo" in line)
    assert re.findall(r"(\w+)\.yaml, (\w+)", header) == [
        ("score", "fifo"),
        ("score", "promise"),
        ("before", "fifo"),
        ("before", "promise"),
    ]


def test_the_page_stands_alone(score: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"

    assert main(["simulate", str(score), "--for", "1d", "--html", str(page)]) == 0

    text = page.read_text()
    assert not re.search(r"(src|href)=|@import|url\(|<script", text)
    for heading in ("Freshness", "Pools", "Waits", "Slots", "Runs and their cost"):
        assert f"<h2>{heading}" in text
    assert text.count("<svg") >= 4
    assert "nan" not in text.lower().replace("finance", "")


def test_names_cannot_break_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, page = tmp_path / "t.csv", tmp_path / "page.html"
    trace.write_text("id,arrival,duration,pools\n<script>alert(1)</script>,0,5,a<b:1\n")

    assert main(["simulate", "--trace", str(trace), "--slots", "1", "--html", str(page)]) == 0
    assert "<script" not in page.read_text()


def test_durations_come_from_history(score: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_url = f"sqlite:///{score.parent / 'past.sqlite'}"
    _remember(store_url, "count", "add", seconds=600, count=20)
    for arguments in ([], ["--history", store_url]):
        assert main(["simulate", str(score), "--for", "2d", "--json", *arguments]) == 0

    first, second = (json.loads(line)["worlds"][0] for line in capsys.readouterr().out.splitlines())
    assert second["pipelines"][0]["slot_hours"] > 2 * first["pipelines"][0]["slot_hours"]


def _remember(url: str, pipeline: str, task: str, *, seconds: float, count: int) -> None:
    import asyncio

    async def write() -> None:
        store = open_store(url)
        began = datetime(2026, 1, 1, tzinfo=UTC)
        rows = [
            AttemptRow(
                attempt=f"{pipeline}#{number}/{task}/1",
                run=f"{pipeline}#{number}",
                task=task,
                number=1,
                phase="succeeded",
                started_at=began + timedelta(hours=number),
                ended_at=began + timedelta(hours=number, seconds=seconds),
                document=b"{}",
            )
            for number in range(count)
        ]
        epoch = await store.lead()
        await store.append(Transaction(epoch, [], list(rows)))
        await store.close()

    asyncio.run(write())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--for", "soon"], "--for: a duration"),
        (["--for", "0s"], "above 0"),
        (["--from", "monday"], "an ISO time"),
        (["--faults", "fire=1%"], "there is no fault 'fire'"),
        (["--faults", "fail=200%"], "a share such as 1%"),
        (["--slots", "4"], "a score says its pools itself"),
        (["--trace", "x.swf"], "the trace alone"),
        (["--history"], "there is no history"),
        (["--history", "sqlite:///nowhere.sqlite"], "there is no store"),
        (["--policy", "best"], "fifo"),
        (["--html", "no/such/folder/page.html", "--for", "1h"], "cannot be written"),
    ],
)
def test_wrong_use_is_said(
    arguments: list[str],
    message: str,
    score: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(score.parent)

    assert main(["simulate", "score.yaml", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_score_with_mistakes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "score.yaml"
    path.write_text("score: x\npipelines: {a: {run: 3}}\n")

    assert main(["simulate", str(path)]) == 2
    assert "score.yaml:2" in capsys.readouterr().err


def test_faults_are_drawn_from_the_seed(score: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = ["--faults", "fail=60%, lost=6h, late=10%, repeated=50%"]

    assert main(["simulate", str(score), "--for", "3d", "--json", *faults]) == 0

    (world,) = json.loads(capsys.readouterr().out)["worlds"]
    assert world["pipelines"][1]["failed_attempts"] > 0
    assert sum(each["lost_attempts"] for each in world["pipelines"]) > 0


def test_what_is_best_is_better_by_more_than_next_to_nothing() -> None:
    def best(better: str, *values: float | None) -> int | None:
        return Line(about="", measure="", unit="count", better=better, values=values).best  # type: ignore[arg-type]

    assert best("low", 10, 5, 7) == 1
    assert best("high", 10, 5, 7) == 0
    assert best("low", 1000, 1001) is None
    assert best("", 1, 2) is None
    assert best("low", None, 2) is None
    assert best("low", 0, 0) is None


def test_values_are_written_for_people() -> None:
    assert written(None, "share") == "–"
    assert written(0.5, "share") == "50%"
    assert written(0.9912, "share") == "99.12%"
    assert written(1.0, "share") == "100%"
    assert written(90, "seconds") == "1m 30s"
    assert written(1234.5, "hours") == "1,234.5"
