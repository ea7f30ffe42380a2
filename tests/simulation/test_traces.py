"""Traces: every row is a job or is listed with its place and reason."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from counterpoint.entrypoints.cli.main import main
from counterpoint.errors import Mistake
from counterpoint.sim.jobs import Job, play_jobs
from counterpoint.sim.replay import quantile, replay
from counterpoint.sim.traces.files import read_trace
from counterpoint.sim.traces.swf import read_swf
from counterpoint.sim.traces.table import read_table
from counterpoint.sim.traces.trace import POOL, Trace, sized
from counterpoint.sim.traces.wfformat import read_wfformat


def row(number: int, submitted: float, run_time: float, *, allocated: int = -1, requested: int = 1) -> str:
    fields: list[float] = [-1] * 18
    fields[0], fields[1], fields[3], fields[4], fields[7], fields[8] = (
        number,
        submitted,
        run_time,
        allocated,
        requested,
        run_time * 2,
    )
    return " ".join(f"{field:g}" for field in fields)


def first_come_first_served(jobs: list[Job], slots: int) -> list[float]:
    """An independent strict queue: nobody starts before the one before."""
    running: list[tuple[float, int]] = []
    free, now, starts = slots, 0.0, []
    for job in jobs:
        now = max(now, job.arrival_s)
        need = job.slots[POOL]
        running.sort()
        while running and (running[0][0] <= now or free < need):
            end, held = running.pop(0)
            now, free = max(now, end), free + held
        starts.append(now)
        free -= need
        running.append((now + job.duration_s, need))
    return starts


# Standard Workload Format.


def test_requested_processors_are_slots_and_the_requested_time_is_the_estimate() -> None:
    trace = read_swf(["; Version: 2", ";  MaxProcs: 64", row(7, 12, 30, allocated=3, requested=4)], "log.swf")

    (job,) = trace.jobs
    assert (job.id, job.arrival_s, job.duration_s, job.slots, job.estimate_s) == ("7", 12, 30, {POOL: 4}, 60)
    assert trace.pools == {POOL: 64}


def test_allocated_processors_serve_where_none_were_requested() -> None:
    (job,) = read_swf([row(1, 0, 5, allocated=3, requested=-1)], "log.swf").jobs

    assert job.slots == {POOL: 3}


def test_rows_of_a_log_that_cannot_be_run_are_listed() -> None:
    lines = [
        row(1, 0, 5),
        row(2, 0, -1),
        row(3, 0, 5, requested=9),
        row(4, 0, 5, requested=-1),
        "5 1 2 3",
        "six " + row(6, 0, 5)[2:].replace("5", "x", 1),
        row(7, 1, 0),
    ]

    trace = sized(read_swf(lines, "log.swf"), {"": 8})

    assert [job.id for job in trace.jobs] == ["1", "7"]
    assert [(each.line, each.id, each.reason.partition(":")[0].partition(" (")[0]) for each in trace.skipped] == [
        (2, "2", "no run time"),
        (3, "3", "larger than the pool"),
        (4, "4", "no processors"),
        (5, "5", "broken"),
        (6, "six", "broken"),
    ]


def test_a_pool_of_unknown_size_is_asked_for() -> None:
    with pytest.raises(Mistake, match="give --slots N"):
        sized(read_swf([row(1, 0, 5)], "log.swf"), {})


def random_jobs(seed: int, count: int) -> list[Job]:
    random, at, jobs = Random(seed), 0.0, []
    for number in range(count):
        at += random.choice([0, random.randint(0, 60)])
        slots = {POOL: random.choice([1, 1, 2, 4, 8, 16])}
        length = random.choice([0, 1, random.randint(1, 400)])
        priority = random.choice(["urgent", "normal", "bulk"])
        jobs.append(
            Job(
                id=str(number), arrival_s=at, duration_s=length, slots=slots, priority_class=priority, estimate_s=1
            )
        )
    return jobs


@pytest.mark.parametrize("seed", range(5))
def test_fifo_starts_every_job_when_a_strict_queue_does(seed: int) -> None:
    jobs = random_jobs(seed, 400)

    ended = play_jobs(jobs, {POOL: 16}, policy="fifo")

    assert [each.start_s for each in ended] == first_come_first_served(jobs, 16)


# WfFormat.


def workflow(**runtimes: float | None) -> str:
    """A chain of tasks in the order given, each telling its parent only."""
    names = list(runtimes)
    tasks = [{"id": name, "name": name, "parents": names[place - 1 : place]} for place, name in enumerate(names)]
    ran = [
        {"id": name, "coreCount": 8} | ({} if length is None else {"runtimeInSeconds": length})
        for name, length in runtimes.items()
    ]
    return json.dumps({"workflow": {"specification": {"tasks": tasks}, "execution": {"tasks": ran}}})


def test_a_task_takes_one_slot_whatever_its_cores_and_its_fraction_survives() -> None:
    trace = sized(read_wfformat(workflow(a=0.123456, b=2), "w.json"), {"": 1})

    runs = replay(trace, "promise").runs

    assert [(run.id, run.start_s, run.end_s, run.slots) for run in runs] == [
        ("a", 0, 0.123456, {POOL: 1}),
        ("b", 0.123456, 2.123456, {POOL: 1}),
    ]


def test_edges_told_by_the_parent_only_count() -> None:
    document = json.loads(workflow(a=1, b=1))
    tasks = document["workflow"]["specification"]["tasks"]
    tasks[0]["children"], tasks[1]["parents"] = ["b"], []

    assert read_wfformat(json.dumps(document), "w.json").jobs[1].after == ("a",)


def test_what_comes_after_a_task_without_run_time_waits_for_what_comes_before_it() -> None:
    trace = read_wfformat(workflow(a=1, b=None, c=1), "w.json")

    assert [(job.id, job.after) for job in trace.jobs] == [("a", ()), ("c", ("a",))]
    assert [each.id for each in trace.skipped] == ["b"]


@pytest.mark.parametrize("text", ["{", "[]", '{"workflow": {}}', '{"workflow": {"specification": {"tasks": 3}}}'])
def test_what_is_no_workflow_is_refused(text: str) -> None:
    with pytest.raises(Mistake) as error:
        read_wfformat(text, "w.json")

    assert error.value.code == "broken-trace"


# CSV.


def test_a_table_says_what_each_job_needs() -> None:
    text = "id,arrival,duration,pools,priority,deadline\na,1.5,10m,gpu:1;cpu:4,urgent,99\n,2,3,,,\n"

    first, second = read_table(text.splitlines(), "t.csv").jobs

    assert (first.id, first.arrival_s, first.duration_s, first.slots) == ("a", 1.5, 600, {"gpu": 1, "cpu": 4})
    assert (first.priority_class, first.deadline_s) == ("urgent", 99)
    assert (second.id, second.slots, second.priority_class, second.deadline_s) == ("2", {POOL: 1}, "normal", None)


def test_a_table_without_a_header_has_the_columns_in_their_order() -> None:
    (job,) = read_table(["0,5,2,bulk,9"], "t.csv").jobs

    assert (job.duration_s, job.slots, job.priority_class, job.deadline_s) == (5, {POOL: 2}, "bulk", 9)


def test_times_of_the_calendar_count_from_the_first_arrival() -> None:
    lines = [
        "arrival,duration,deadline",
        "2026-01-01T00:10:00Z,5,2026-01-01T01:00:00Z",
        "2026-01-01T01:00:00+01:00,5,",
    ]

    jobs = read_table(lines, "t.csv").jobs

    assert [(job.arrival_s, job.deadline_s) for job in jobs] == [(600, 3600), (0, None)]


def test_broken_rows_of_a_table_are_listed_with_line_and_reason() -> None:
    lines = [
        "arrival,duration,pools,priority,deadline",
        "0,5,1,normal,",
        "x,5,1,normal,",
        "0,-5,1,normal,",
        "0,,1,normal,",
        "0,5,gpu:none,normal,",
        "0,5,1,soon,",
        "0,5,1,normal,later",
        "0,5,1,normal,,,",
        "nan,5,1,normal,",
        "-1,5,1,normal,",
        "0,5,0,normal,",
    ]

    trace = read_table(lines, "t.csv")

    assert len(trace.jobs) == 1
    assert [each.line for each in trace.skipped] == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    wanted = [
        "arrival",
        "duration",
        "duration",
        "pools",
        "priority",
        "deadline",
        "columns",
        "arrival",
        "arrival",
        "pools",
    ]
    for skipped, word in zip(trace.skipped, wanted, strict=True):
        assert word in skipped.reason


def test_a_header_without_durations_is_refused() -> None:
    with pytest.raises(Mistake, match="column `duration` was expected"):
        read_table(["arrival,pools", "0,1"], "t.csv")


# The verb.


def test_json_is_all_there_is_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,arrival,duration,pools\na,0,10,2\nb,1,5,1\nc,2,,1\n")

    assert main(["simulate", "--trace", str(path), "--slots", "2", "--policy", "fifo", "--json"]) == 0

    told = capsys.readouterr()
    document = json.loads(told.out)
    assert document["runs"] == [
        {"id": "a", "arrival_s": 0, "start_s": 0, "end_s": 10, "slots": 2, "pools": {POOL: 2}, "evictions": 0},
        {"id": "b", "arrival_s": 1, "start_s": 10, "end_s": 15, "slots": 1, "pools": {POOL: 1}, "evictions": 0},
    ]
    assert [(each["line"], each["id"]) for each in document["skipped"]] == [(4, "c")]
    assert document["summary"]["mean_wait_s"] == 4.5
    assert told.err == ""


def test_skipped_rows_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.swf"
    path.write_text("\n".join([";MaxProcs: 4", row(1, 0, 5), row(2, 0, -1), row(3, 0, 5, requested=5)]))

    assert main(["simulate", "--trace", str(path)]) == 0

    told = capsys.readouterr().out
    assert "2 not run:" in told
    assert "line 3, '2': no run time" in told
    assert "line 4, '3': larger than the pool: needs 5 slots" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slots", "0"], "a number above 0"),
        (["--slots", "many"], "a number above 0"),
        (["--slots", "gpu=3"], "has no pool 'gpu'"),
        ([], "give --slots N"),
    ],
)
def test_wrong_use_is_said(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrival,duration\n0,10\n")

    assert main(["simulate", "--trace", str(path), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "hello\n", "arrival,duration\nx,y\n"])
def test_a_trace_without_jobs_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)

    assert main(["simulate", "--trace", str(path), "--slots", "1"]) == 2
    assert str(path) in capsys.readouterr().err


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(Mistake, match="cannot be read"):
        read_trace(Path("no-such-file.swf"))


@pytest.mark.parametrize(
    ("content", "format_"),
    [("; Version: 2\n" + row(1, 0, 1), "swf"), (row(1, 0, 1), "swf"), (workflow(a=1), "wfformat"), ("0,1", "csv")],
)
def test_a_format_is_told_by_its_content(content: str, format_: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(content)

    trace: Trace = read_trace(path)

    assert (trace.format, len(trace.jobs)) == (format_, 1)


def test_a_quantile_is_one_of_the_values() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.25, 0.5, 0.95, 1.0)] == [1, 1, 2, 4, 4]
