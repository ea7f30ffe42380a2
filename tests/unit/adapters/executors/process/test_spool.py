from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.adapters.executors.process.spool import Spool, entry_name, parse_entry_name


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "spool"))


@pytest.mark.parametrize("attempt", ["p#412/task/2", "a.b", "a%2Fb", "~x", "käse#1", ".."])
@pytest.mark.parametrize("look", [0, 1, 12])
def test_a_file_name_can_be_read_back(attempt: str, look: int) -> None:
    name = entry_name(attempt, look)

    assert parse_entry_name(name) == (attempt, look)
    assert not set(name) & set("/~") and name not in (".", "..")


def test_an_entry_is_made_once(spool: Spool) -> None:
    spool.create("a", 0)
    spool.create("a", 1)

    with pytest.raises(FileExistsError):
        spool.create("a", 0)


def test_the_first_claim_of_a_round_counts(spool: Spool) -> None:
    entry = spool.create("a", 0)

    assert entry.claim("claim 1 10 100 boot")
    assert not entry.claim("claim 1 11 100 boot")
    assert entry.claim("claim 2 12 100 boot")
    assert entry.claimed_by() == [(10, 100, "boot"), (12, 100, "boot")]


def test_a_claim_of_the_host_names_no_process(spool: Spool) -> None:
    entry = spool.create("a", 0)

    assert entry.claim("claim 1 0 0 -")
    assert not entry.claim("claim 1 11 100 boot")
    assert entry.claimed_by() == []


def test_an_end_is_there_when_it_is_complete(spool: Spool) -> None:
    entry = spool.create("a", 0)
    entry.claim("claim 1 10 100 boot")
    with Path(entry.path).open("ab") as file:
        file.write(b'\n{"type": "ended", "att')  # killed while it wrote

    assert entry.end() is None

    entry.keep_end(b'{"type": "lost"}\n')

    assert entry.end() == b'{"type": "lost"}\n'


def test_an_acknowledged_attempt_leaves_nothing(spool: Spool, tmp_path: Path) -> None:
    entry = spool.create("a", 0)
    other = spool.create("a", 1)
    entry.write("events", b"[1]")
    Path(f"{entry.output}.emitted").write_text("3")  # as the SDK does (`sdk/events.py`)

    spool.remove("a", 0)

    assert spool.find("a", 0) is None
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [other.name]


def test_a_spool_lists_its_entries_and_not_what_lies_beside_them(spool: Spool) -> None:
    spool.create("a/b", 2).write("output", b"{}")

    assert [entry.key for entry in spool] == [("a/b", 2)]
