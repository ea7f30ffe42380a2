"""Small makers for tests of the kernel: plans in a few words, and a kernel with a time of its own.

kernel = Kernel()
kernel.declare(plan(pipeline("ingest", writes=["raw"]), pipeline("build", on=[OnAsset("raw")])))
kernel.host()
kernel.run("ingest")
kernel.end("ingest#1/run/1")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import msgspec

from counterpoint.kernel import events as e
from counterpoint.kernel.decisions import AnyDecision
from counterpoint.kernel.evolve import fold
from counterpoint.kernel.snapshots import Document, document_of
from counterpoint.kernel.state import State
from counterpoint.kernel.step import step
from counterpoint.kernel.wakeup import next_moments
from counterpoint.model.pipeline import After, Pipeline, Task
from counterpoint.model.plan import Asset, EventType, Plan, Pool
from counterpoint.model.trigger import OnEvent, Source, Trigger

Fact: TypeAlias = e.AnyEvent | AnyDecision

#: When time begins: a Monday.
START = datetime(2026, 1, 5, 10, tzinfo=UTC)
#: More wake-ups than this without any that is later mean that the kernel asks for one that never passes.
MOST_WAKES = 10_000

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(e.AnyEvent | AnyDecision)


def task(name: str = "run", *, after: Sequence[After] = (), **fields: Any) -> Task:
    """A task that is never carried out; its tool is `command` unless given."""
    return Task(**{"name": name, "tool": "command", "spec": {}, "after": tuple(after)} | fields)


def pipeline(
    name: str,
    *,
    on: Sequence[Source] = (),
    all_of: Sequence[Sequence[Source]] = (),
    trigger: Mapping[str, Any] | None = None,
    tasks: Sequence[Task] = (),
    pools: Mapping[str, int] | None = None,
    reads: Sequence[str] = (),
    writes: Sequence[str] = (),
    **fields: Any,
) -> Pipeline:
    """A pipeline of one task, unless tasks are given.

    Args:
        on: sources of which any starts it; `all_of` several such groups, of which each must have something.
        trigger: more settings of the trigger, such as `batch`.
        pools: what its one task holds.
    """
    groups = tuple(tuple(group) for group in all_of) or ((tuple(on),) if on else ())
    chosen = tuple(tasks) or (task(pools=dict(pools or {})),)
    return Pipeline(
        name=name,
        folder=".",
        tasks={each.name: each for each in chosen},
        trigger=Trigger(groups=groups, **(trigger or {})) if groups else None,
        reads=tuple(reads),
        writes=tuple(writes),
        **fields,
    )


def plan(*pipelines: Pipeline, pools: Mapping[str, int] | None = None, **fields: Any) -> Plan:
    """A plan of pipelines, with the assets and types of events that they name."""
    assets = [asset for each in pipelines for asset in (*each.reads, *each.written)]
    sources = [source for each in pipelines if each.trigger for source in each.trigger.sources]
    return Plan(
        **{
            "name": "test",
            "pools": {name: Pool(slots) for name, slots in (pools or {}).items()},
            "assets": {asset: Asset(writers="many") for asset in sorted(assets)},
            "events": {source.type: EventType() for source in sources if isinstance(source, OnEvent)},
            "pipelines": {each.name: each for each in pipelines},
        }
        | fields
    )


class Kernel:
    """A kernel in virtual time, which keeps every fact.

    Attributes:
        facts: events and decisions in their order, as the journal would have them.
        ahead: how far the clock on the wall is before engine time.
    """

    def __init__(self, now: datetime = START) -> None:
        self.state, self.now, self.ahead = State(), now, timedelta()
        self.facts: list[Fact] = []

    # Events. Each answers with what was decided.

    def take(self, kind: type[e.Event], **fields: Any) -> list[AnyDecision]:
        """Let an event happen now."""
        event: Any = kind(at=self.now, wall=self.now + self.ahead, **fields)
        decisions = step(self.state, event)
        self.facts += [event, *decisions]
        return decisions

    def declare(self, declared: Plan, *, by: str = "test") -> list[AnyDecision]:
        """Declare a plan."""
        return self.take(e.PlanDeclared, digest=declared.digest, content=declared, by=by)

    def host(self, name: str = "h1") -> list[AnyDecision]:
        """Let a worker host appear."""
        return self.take(e.HostAppeared, host=name)

    def run(self, name: str, *, by: str = "test", **fields: Any) -> list[AnyDecision]:
        """Ask for a run."""
        return self.take(e.RunRequested, pipeline=name, by=by, **fields)

    def emit(self, type_: str, data: Any = None, **fields: Any) -> list[AnyDecision]:
        """Accept an event of a declared type."""
        number = self.state.changes + 1
        given: dict[str, Any] = {"source": "test", "id": str(number), "time": self.now} | fields
        change = e.Change(number=number, subject=f"event:{type_}", type=type_, data=data, **given)
        return self.take(e.EventAccepted, change=change)

    def end(self, attempt: str, outcome: str = "succeeded", **fields: Any) -> list[AnyDecision]:
        """Let an attempt end."""
        failure = {} if outcome == "succeeded" else {"failure": "exit", "exit_code": 1}
        return self.take(e.AttemptEnded, attempt=attempt, outcome=outcome, **failure | fields)

    # Time.

    def wake_until(self, moment: datetime) -> Iterator[tuple[datetime, list[AnyDecision]]]:
        """Let time go on to a moment, and wake the kernel whenever it asks for it: when, and what it decided."""
        for _ in range(MOST_WAKES):
            next_at, next_wall = next_moments(self.state)
            moments = [next_at, next_wall - self.ahead if next_wall is not None else None]
            first = min((moment for moment in moments if moment is not None), default=None)
            if first is None or first > moment:
                self.now = max(self.now, moment)
                return
            self.now = max(self.now, first)
            yield self.now, self.take(e.Woke)
        raise AssertionError(f"the kernel asks to be woken at {self.now} again and again")

    def wait(self, length: timedelta) -> list[AnyDecision]:
        """Let some time pass; all that was decided meanwhile."""
        return [each for _, decisions in self.wake_until(self.now + length) for each in decisions]

    # Looking back.

    def document(self) -> bytes:
        """State as a snapshot keeps it."""
        return _encoder.encode(document_of(self.state))

    def reload(self) -> None:
        """Go on from a snapshot, as after a restart."""
        self.state = fold(msgspec.json.decode(self.document(), type=Document), ())

    def folded(self) -> State:
        """State made of the journal alone, read back from its JSON."""
        return fold(None, [_decoder.decode(_encoder.encode(fact)) for fact in self.facts])

    def replayed(self) -> list[Fact]:
        """What a new kernel makes of the same events, read back from their JSON."""
        state, facts = State(), list[Fact]()
        for fact in self.facts:
            if isinstance(fact, e.Event):
                event = _decoder.decode(_encoder.encode(fact))
                assert isinstance(event, e.Event)
                facts += [event, *step(state, event)]
        return facts

    def journal(self, facts: Sequence[Fact] | None = None) -> bytes:
        """Facts as JSON, one a line."""
        return b"\n".join(_encoder.encode(fact) for fact in (self.facts if facts is None else facts))

    def check_journal(self) -> None:
        """The journal alone leads to this State, and its events alone to the whole journal, byte for byte."""
        assert _encoder.encode(document_of(self.folded())) == self.document(), (
            "folding the journal gives another State"
        )
        assert self.journal(self.replayed()) == self.journal(), "the same events give other decisions"
