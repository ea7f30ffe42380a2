"""What earlier releases wrote is read as it was meant. `make.py` says how a sample is made."""

from __future__ import annotations

import gzip
import typing
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from counterpoint.engine import facts as codec
from counterpoint.engine.facts import Fact
from counterpoint.kernel.decisions import AnyDecision
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.evolve import fold
from counterpoint.kernel.snapshots import SNAPSHOT_VERSION
from counterpoint.kernel.state import State
from counterpoint.ports.store import Snapshot, StoredFact

SAMPLES = sorted(path.parent for path in Path(__file__).parent.glob("*/journal.jsonl.gz"))

#: Kind of fact that no sample holds -> why.
NOT_SAMPLED: dict[str, str] = {}


def lines(sample: Path, name: str) -> list[bytes]:
    return gzip.decompress((sample / name).read_bytes()).split(b"\n")


def journal(sample: Path) -> list[StoredFact]:
    class Line(msgspec.Struct):
        seq: int
        at: datetime
        kind: str
        body: msgspec.Raw

    decoder = msgspec.json.Decoder(Line)
    read = [decoder.decode(line) for line in lines(sample, "journal.jsonl.gz")]
    return [StoredFact(line.seq, line.at, line.kind, bytes(line.body)) for line in read]


def snapshot(sample: Path, name: str) -> Snapshot:
    header, body = lines(sample, name)
    return Snapshot(**msgspec.json.decode(header), body=body)


def said(state: State) -> bytes:
    return codec.encode_state(state).body


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_journal_and_snapshot_of_a_release_lead_to_the_state_that_it_had(sample: Path) -> None:
    stored = journal(sample)
    facts: list[Fact] = codec.decode_all(stored)
    middle, end = snapshot(sample, "snapshot.json.gz"), snapshot(sample, "state.json.gz")

    whole = said(fold(None, facts))
    assert said(fold(codec.decode_state(middle), facts[middle.seq :])) == whole
    assert said(fold(codec.decode_state(end), ())) == whole
    if end.version == SNAPSHOT_VERSION:
        assert end.body == whole


def test_the_samples_hold_every_kind_of_fact() -> None:
    kinds = {kind.__struct_config__.tag for kind in typing.get_args(AnyEvent) + typing.get_args(AnyDecision)}

    sampled = {fact.kind for sample in SAMPLES for fact in journal(sample)}

    assert kinds - sampled == NOT_SAMPLED.keys(), "run tests/compat/make.py for the release to come"
    assert all(NOT_SAMPLED.values())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_a_sample_has_something_of_everything_that_a_state_holds(sample: Path) -> None:
    end, middle = (codec.decode_state(snapshot(sample, name)) for name in ("state.json.gz", "snapshot.json.gz"))

    empty = [name for name in end.__struct_fields__ if not getattr(end, name) and not getattr(middle, name)]

    assert empty == []
