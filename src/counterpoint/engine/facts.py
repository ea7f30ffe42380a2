"""Facts as the journal keeps them: JSON with a `kind`, read back through permanent upcasters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from counterpoint.errors import StoreError
from counterpoint.kernel.decisions import AnyDecision
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.evolve import fold
from counterpoint.kernel.snapshots import SNAPSHOT_VERSION, Document, document_of
from counterpoint.kernel.state import State
from counterpoint.ports.store import Snapshot, StoredFact

Fact: TypeAlias = AnyEvent | AnyDecision

#: Kind of fact -> how a body written by an older release becomes one of today. Never removed.
UPCASTERS: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
#: Version of snapshot -> how its document becomes one of the next version. One release back is kept.
SNAPSHOT_UPCASTERS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(AnyEvent | AnyDecision)
_document = msgspec.json.Decoder(Document)


#: NUL as JSON writes it, not after a backslash that is itself escaped.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def has_nul(encoded: bytes) -> bool:
    """Whether a JSON text holds NUL characters, which PostgreSQL cannot keep in text."""
    return b"\\u0000" in encoded and _NUL.search(encoded) is not None


def without_nul(event: AnyEvent) -> AnyEvent:
    """The event with each NUL in its texts replaced: what a task prints must not stop the engine."""
    body = _encoder.encode(event)
    if not has_nul(body):
        return event
    clean: AnyEvent = msgspec.json.decode(_NUL.sub(rb"\1\\ufffd", body), type=AnyEvent)
    return clean


def kind_of(fact: Fact) -> str:
    """The name a fact is recorded under."""
    return str(fact.__struct_config__.tag)


def encode(fact: Fact, seq: int) -> StoredFact:
    """A fact for the journal."""
    return StoredFact(seq, fact.at, kind_of(fact), _encoder.encode(fact))


def decode(stored: StoredFact) -> Fact:
    """A fact from the journal, of whatever release wrote it."""
    upcast = UPCASTERS.get(stored.kind)
    if upcast is None:
        return _decoder.decode(stored.body)
    return _decoder.decode(_encoder.encode(upcast(msgspec.json.decode(stored.body))))


def decode_all(stored: Sequence[StoredFact]) -> list[Fact]:
    """Facts in their order."""
    return [decode(fact) for fact in stored]


def encode_state(state: State) -> Snapshot:
    """A snapshot of State."""
    return Snapshot(state.facts, SNAPSHOT_VERSION, _encoder.encode(document_of(state)))


def decode_state(snapshot: Snapshot) -> Document:
    """The document of a snapshot, of this release or the one before.

    Raises:
        StoreError: it is no document that this release can read.
    """
    try:
        if snapshot.version == SNAPSHOT_VERSION:
            return _document.decode(snapshot.body)
        document = msgspec.json.decode(snapshot.body)
        for version in range(snapshot.version, SNAPSHOT_VERSION):
            document = SNAPSHOT_UPCASTERS[version](document)
        return _document.decode(_encoder.encode(document))
    except (msgspec.MsgspecError, LookupError) as error:
        text = f"the one of fact {snapshot.seq}, version {snapshot.version}, cannot be read: {error}"
        raise StoreError(text) from error


def is_faithful(snapshot: Snapshot) -> bool:
    """Whether the State that a snapshot is read back into says the same again."""
    return encode_state(fold(decode_state(snapshot), ())).body == snapshot.body
