"""State as a document that can be stored, and back. What is derived is not stored: it is built again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from counterpoint.kernel.decisions import Item
from counterpoint.kernel.events import Band
from counterpoint.kernel.records import (
    AssetState,
    Attempt,
    Backlog,
    Last,
    Mark,
    Pause,
    PromiseState,
    Run,
    SourceState,
    Storm,
    Success,
)
from counterpoint.kernel.state import State
from counterpoint.model.plan import Plan

#: The version of snapshot documents that this release writes.
SNAPSHOT_VERSION = 1


def document_of(state: State) -> dict[str, Any]:
    """Everything of State that is not derived, as plain values for a serializer."""
    return {
        "version": SNAPSHOT_VERSION,
        "at": state.at,
        "wall": state.wall,
        "facts": state.facts,
        "changes": state.changes,
        "items": state.items,
        "ordinals": state.ordinals,
        "plan": state.plan,
        "digest": state.digest,
        "declared": state.declared,
        "plans": state.plans,
        "numbers": state.numbers,
        "runs": list(state.runs.values()),
        "attempts": list(state.attempts.values()),
        "backlogs": list(state.backlogs.values()),
        "assets": list(state.assets.values()),
        "dead": list(state.dead.values()),
        "paused": state.paused,
        "starts": state.starts,
        "storms": state.storms,
        "ticks": [(pipeline, source, tick) for (pipeline, source), tick in state.ticks.items()],
        "last": state.last,
        "successes": state.successes,
        "requests": state.requests,
        "hosts": state.hosts,
        "reserved": state.queue.reserved,
        "claims": [(run, task, claim.resources, claim.until) for (run, task), claim in state.queue.claims.items()],
        "promised": [(*holder, start) for holder, start in state.queue.promised.items()],
        "sources": list(state.sources.values()),
        "marks": list(state.marks.values()),
        "promises": list(state.promises.values()),
        "bands": list(state.bands.values()),
    }


class Document(Struct):
    """A snapshot as it is read back; fields as `document_of` has them."""

    version: int
    at: datetime
    wall: datetime
    facts: int
    changes: int
    items: int
    ordinals: int
    plan: Plan
    digest: str
    declared: datetime | None
    plans: dict[str, Plan]
    numbers: dict[str, int]
    runs: list[Run]
    attempts: list[Attempt]
    backlogs: list[Backlog]
    assets: list[AssetState]
    dead: list[Item]
    paused: dict[str, Pause]
    ticks: list[tuple[str, int, datetime]]
    last: dict[str, Last]
    requests: dict[str, str]
    hosts: dict[str, str]
    reserved: dict[str, tuple[str, str]]
    starts: dict[str, list[datetime]] = {}
    storms: dict[str, Storm] = {}
    claims: list[tuple[str, str, dict[str, int], datetime]] = []
    promised: list[tuple[str, str, datetime | None]] = []
    sources: list[SourceState] = []
    marks: list[Mark] = []
    promises: list[PromiseState] = []
    bands: list[Band] = []
    successes: dict[str, Success] = {}


def from_document(document: Document) -> State:
    """The State that a snapshot describes, with its indexes built."""
    state = State()
    for name in ("at", "wall", "facts", "changes", "items", "ordinals", "plan", "digest", "declared", "plans"):
        setattr(state, name, getattr(document, name))
    for name in ("numbers", "paused", "starts", "storms", "last", "successes", "requests", "hosts"):
        setattr(state, name, getattr(document, name))
    state.runs = {run.run: run for run in document.runs}
    state.attempts = {attempt.attempt: attempt for attempt in document.attempts}
    state.backlogs = {(log.pipeline, log.partition, log.key): log for log in document.backlogs}
    state.assets = {(asset.asset, asset.partition): asset for asset in document.assets}
    state.dead = {item.number: item for item in document.dead}
    state.queue.reserved = document.reserved
    for claim in document.claims:
        state.queue.claim(*claim)
    state.queue.promised = {(run, task): start for run, task, start in document.promised}
    state.ticks = {(pipeline, source): tick for pipeline, source, tick in document.ticks}
    state.sources = {source.source: source for source in document.sources}
    state.marks = {mark.asset: mark for mark in document.marks}
    state.promises = {(promise.asset, promise.promise): promise for promise in document.promises}
    state.bands = {(band.pipeline, band.task): band for band in document.bands}
    return state
