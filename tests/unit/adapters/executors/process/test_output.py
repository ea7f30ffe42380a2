from __future__ import annotations

import json
from pathlib import Path

import pytest

from counterpoint.adapters.executors.process.masking import Mask
from counterpoint.adapters.executors.process.output import Output


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "output"


def append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def test_no_file_is_no_report(file: Path) -> None:
    assert list(Output(str(file), None).read(at_end=True)) == []


def test_a_line_is_taken_when_it_is_complete(file: Path) -> None:
    output = Output(str(file), None)
    append(file, '{"kind": "progress", "fraction"')

    assert list(output.read()) == []

    append(file, ': 1}\n{"kind": "asset"}\n')

    assert list(output.read()) == ['{"kind":"progress","fraction":1}']
    assert output.lines == ['{"kind":"progress","fraction":1}', '{"kind":"asset"}']


def test_the_last_line_needs_no_line_break(file: Path) -> None:
    output = Output(str(file), None)
    append(file, '{"kind": "checkpoint", "name": "x"}')

    assert len(list(output.read(at_end=True))) == 1
    assert output.checkpoints == output.lines


def test_a_file_that_is_written_anew_is_read_anew(file: Path) -> None:
    output = Output(str(file), None)
    append(file, '{"kind": "first", "padding": "........"}\n')
    list(output.read())
    file.write_text('{"kind": "second"}\n')
    list(output.read())

    assert [json.loads(line)["kind"] for line in output.lines] == ["first", "second"]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '"text"', '{"x": NaN}', '{"x": "\\ud800"}', "[" * 100_000])
def test_what_is_no_json_object_is_noted_and_skipped(file: Path, line: str) -> None:
    output = Output(str(file), None)
    append(file, f'{line}\n\n{{"kind": "good"}}\n')
    list(output.read())

    assert output.bad == [line[:200]]
    assert output.lines == ['{"kind":"good"}']


def test_many_bad_lines_are_counted(file: Path) -> None:
    output = Output(str(file), None)
    append(file, "bad\n" * 50)
    list(output.read())

    assert output.bad == ["bad"] * 20 + ["... and 30 more bad lines"]


def test_progress_cannot_push_out_an_asset(file: Path) -> None:
    output = Output(str(file), None)
    append(file, '{"kind": "progress"}\n' * 12_000 + '{"kind": "asset"}\n')

    assert len(list(output.read())) == 12_000
    assert len(output.lines) == 5_001 and output.lines[-1] == '{"kind":"asset"}'
    assert "7000 lines were left out" in output.bad[0]


def test_secrets_are_masked_before_a_bad_line_is_cut(file: Path) -> None:
    output = Output(str(file), Mask(["secret-value"]))
    append(file, "x" * 195 + "secret-value\n" + '{"kind": "metric", "name": "secret-value"}\n')
    live = list(output.read())

    assert output.bad == ["x" * 195 + "***"]
    assert live == ['{"kind":"metric","name":"***"}']


def test_a_task_that_writes_without_pause_is_read_in_parts(file: Path) -> None:
    output = Output(str(file), None)
    append(file, '{"kind": "asset", "text": "' + "x" * 70_000 + '"}\n')
    append(file, '{"kind": "progress"}\n' * 100_000)

    at_one_look = len(list(output.read()))
    at_the_next = len(list(output.read(at_end=True)))

    assert 0 < at_one_look < 100_000
    assert at_one_look + at_the_next == 100_000


def test_a_line_without_end_does_not_pile_up(file: Path) -> None:
    output = Output(str(file), None)
    for _ in range(4):
        append(file, "x" * (1 << 20))
        list(output.read())

    assert len(output._partial) <= (1 << 20) + 1

    append(file, '\n{"kind": "asset"}\n')
    list(output.read(at_end=True))

    assert output.bad == ["x" * 200]
    assert output.lines == ['{"kind":"asset"}']
