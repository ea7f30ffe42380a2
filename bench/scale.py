"""The kernel alone at size: 10,000 pipelines; 1k, 10k and 100k waiting runs over 50 pools and 200 request shapes.

Nine of ten waiting runs ask for a pool that stays full; the others wait for their turn in pools
through which work flows. Each size lives in a process of its own; the sizes take turns, a block
of steps each, so that a slow spell of the machine meets all of them. Python's garbage collector is on.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from multiprocessing.connection import Connection
from time import perf_counter_ns
from typing import Any, Literal

import msgspec

from bench.measuring import say, summary, table, verdict, write
from counterpoint.kernel import events as e
from counterpoint.kernel.decisions import AnyDecision
from counterpoint.kernel.derived import Written
from counterpoint.kernel.evolve import fold
from counterpoint.kernel.snapshots import Document, document_of
from counterpoint.kernel.state import State
from counterpoint.kernel.step import step
from counterpoint.model.pipeline import Pipeline, Retry, Task
from counterpoint.model.plan import Asset, EventType, Plan, Pool
from counterpoint.model.trigger import Batch, Every, OnAsset, OnEvent, Trigger

SIZES = (1_000, 10_000, 100_000)
PIPELINES = 10_000
POOLS = 50
SHAPES = 200
#: Pools through which work flows; the first shapes ask for these only.
FLOWING_POOLS = 5
FLOWING_SHAPES = 20
SLOTS = 20
#: Steps of each kind in a block, and blocks: a size is measured this often for each kind.
BLOCK, ROUNDS = 100, 40
#: Items and ends of attempts between the snapshot and the take-over.
TAIL = 2_000

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


# The plan.


def shape(number: int, slots: int) -> dict[str, int]:
    """Which pools the pipelines of a shape ask for, and how much; no two shapes are the same."""
    flowing, amount = f"p{number % FLOWING_POOLS:02}", 1 + number // FLOWING_POOLS
    if number < FLOWING_SHAPES:
        return {flowing: amount}
    full = f"p{FLOWING_POOLS + number % (POOLS - FLOWING_POOLS):02}"
    amount = 1 + number // (POOLS - FLOWING_POOLS)
    # Half of them need a flowing pool as well, so an event of flowing work meets them too.
    return {full: amount, flowing: 1} if number % 2 else {full: amount}


def plan(slots: int = SLOTS) -> Plan:
    """10,000 pipelines of 200 shapes and a few more for single kinds of events."""
    pipelines = [
        pipeline(
            f"work-{n:05}", shape(n % SHAPES, slots), Trigger(groups=((OnEvent(f"work.{n:05}"),),), batch=KEYED)
        )
        for n in range(PIPELINES - POOLS - 6)
    ]
    pipelines += [pipeline(f"hog-{n:02}", {f"p{n:02}": SLOTS}) for n in range(POOLS)]
    pipelines += [
        pipeline("free", {}, Trigger(groups=((OnEvent("free"),),), batch=KEYED)),
        pipeline("joins", {"p49": 1}, Trigger(groups=((OnEvent("joins"),),))),
        pipeline("writes", {}, Trigger(groups=((OnEvent("writes"),),), batch=KEYED), writes=("a",)),
        pipeline("reads", {}, Trigger(groups=((OnAsset("a"),),)), reads=("a",)),
        pipeline("fails", {}, Trigger(groups=((OnEvent("fails"),),), batch=KEYED), retry=Retry(attempts=3)),
        pipeline("ticks", {}, Trigger(groups=((Every(timedelta(seconds=1), start=BEGIN),),))),
    ]
    return Plan(
        name="scale",
        pools={f"p{n:02}": Pool(slots) for n in range(POOLS)},
        assets={"a": Asset()},
        events={
            source.type: EventType() for p in pipelines for source in sources(p) if isinstance(source, OnEvent)
        },
        pipelines={p.name: p for p in pipelines},
        # Nobody grows old here; ageing is measured by itself.
        waits={"urgent": timedelta(days=1), "normal": timedelta(days=1), "bulk": timedelta(days=1)},
    )


def sources(declared: Pipeline) -> tuple[Any, ...]:
    return declared.trigger.sources if declared.trigger else ()


KEYED = Batch(by="event.data.key")


def pipeline(
    name: str,
    pools: dict[str, int],
    trigger: Trigger | None = None,
    *,
    reads: tuple[str, ...] = (),
    writes: tuple[str, ...] = (),
    retry: Retry = Retry(),  # noqa: B008  a frozen value
) -> Pipeline:
    task = Task(name="run", tool="command", spec={"command": ["true"]}, pools=pools, retry=retry)
    return Pipeline(name=name, folder="/", tasks={"run": task}, trigger=trigger, reads=reads, writes=writes)


# The world: what an engine would submit, one event at a time.


class World:
    """A State of one size and the events that keep it flowing."""

    def __init__(self, waiting: int) -> None:
        self.state = State()
        self.at = BEGIN
        self.numbers = count(1)
        self.facts: list[Any] = []
        self.keep_facts = False
        self.do(e.PlanDeclared(**self.now(), digest="1", content=plan(), by="bench"))
        self.do(e.HostAppeared(**self.now(), host="h"))
        for number in range(POOLS):
            self.do(e.RunRequested(**self.now(), pipeline=f"hog-{number:02}", by="bench"))
        # The hogs of the flowing pools end when the queue stands: then work begins to flow.
        turn = self.turns()
        while len(self.state.queue) < waiting:
            self.item(next(turn))
        for number in range(FLOWING_POOLS):
            self.end(f"hog-{number:02}#1/run/1")
        while len(self.state.queue) < waiting:
            self.item(next(turn))
        self.flowing = self.flowing_turns()

    def turns(self) -> Iterator[str]:
        """Pipelines in turn: one of ten of a shape that flows, nine of shapes that do not."""
        names = [name for name in self.state.plan.pipelines if name.startswith("work-")]
        flows = [name for name in names if int(name[-5:]) % SHAPES < FLOWING_SHAPES]
        stands = [name for name in names if int(name[-5:]) % SHAPES >= FLOWING_SHAPES]
        for number in count():
            yield flows[number // 10 % len(flows)] if number % 10 == 0 else stands[number % len(stands)]

    def flowing_turns(self) -> Iterator[str]:
        for number in count():
            yield f"work-{number % FLOWING_SHAPES + number // FLOWING_SHAPES % 40 * SHAPES:05}"

    def now(self) -> dict[str, Any]:
        self.at += timedelta(microseconds=200)
        return {"at": self.at, "wall": self.at}

    def do(self, event: e.AnyEvent) -> tuple[float, int]:
        """One step: how long it took in microseconds, and how much it decided."""
        begin = perf_counter_ns()
        decided = step(self.state, event)
        taken = (perf_counter_ns() - begin) / 1000
        # The engine turns these into rows and forgets them.
        self.state.written = Written()
        if self.keep_facts:
            self.facts += [event, *decided]
        return taken, len(decided)

    def item(self, name: str) -> tuple[float, int]:
        subject, number = name.replace("work-", "work."), next(self.numbers)
        change = e.Change(
            number=self.state.changes + 1, subject=f"event:{subject}", source="/bench", id=str(number),
            type=subject, time=self.at, data={"key": str(number)},
        )  # fmt: skip
        return self.do(e.EventAccepted(**self.now(), change=change))

    def end(self, attempt: str, outcome: Literal["succeeded", "failed"] = "succeeded") -> tuple[float, int]:
        return self.do(
            e.AttemptEnded(
                **self.now(), attempt=attempt, outcome=outcome, failure="" if outcome == "succeeded" else "exit"
            )
        )

    def newest(self, pipeline: str) -> str:
        """The newest attempt of a pipeline that is running."""
        return next(name for name in reversed(self.state.attempts) if name.startswith(pipeline))

    def oldest_flowing(self) -> str:
        return next(name for name in self.state.attempts if name.startswith("work-"))


def drop(samples: dict[str, list[float]], kind: str, taken: tuple[float, int]) -> None:
    assert taken[1] <= 10, f"{kind}: {taken[1]} decisions are not flowing work"
    samples.setdefault(kind, []).append(taken[0])


def block(world: World) -> dict[str, list[float]]:
    """A block of steps of every kind of flowing work; the queue is as long after it as before."""
    samples: dict[str, list[float]] = {}
    for _ in range(BLOCK):
        drop(samples, "item, its run waits", world.item(next(world.flowing)))
        drop(samples, "end, the next of the queue starts", world.end(world.oldest_flowing()))
        drop(samples, "item, its run starts", world.item("free"))
        drop(samples, "end, nothing follows", world.end(world.newest("free#")))
        drop(samples, "item, joins a waiting run", world.item("joins"))
        world.item("writes")
        drop(samples, "end, publishes and starts its reader", world.end(world.newest("writes#")))
        world.end(world.newest("reads#"))
        world.item("fails")
        failed = world.newest("fails#")
        drop(samples, "end, a retry is set", world.end(failed, "failed"))
        world.at += timedelta(seconds=10)
        drop(samples, "wake-up, a retry starts and a clock ticks", world.do(e.Woke(**world.now())))
        world.end(world.newest("fails#"))
        world.end(world.newest("ticks#"))
    return samples


# What is not flowing work: one figure each, by decision.


def other(world: World) -> dict[str, dict[str, float]]:
    """A plan, a pool resized, a take-over and an ageing queue: the whole and by decision."""
    found: dict[str, dict[str, float]] = {}

    def note(kind: str, taken_us: float, decisions: int, what: str = "decisions") -> None:
        found[kind] = {"ms": taken_us / 1000, what: decisions, "us_each": taken_us / max(decisions, 1)}

    take_over(world, note)

    bigger = plan(SLOTS)
    note("plan, nothing decided", *world.do(e.PlanDeclared(**world.now(), digest="2", content=bigger, by="bench")))
    resized = msgspec.structs.replace(bigger, pools={**bigger.pools, "p00": Pool(SLOTS), "p20": Pool(SLOTS + 500)})
    note(
        "plan, one pool larger", *world.do(e.PlanDeclared(**world.now(), digest="3", content=resized, by="bench"))
    )
    world.at += timedelta(days=2)
    note("wake-up, the whole queue has grown old", *world.do(e.Woke(**world.now())))
    return found


def take_over(world: World, note: Callable[..., None]) -> None:
    """What another engine does: load a snapshot, fold the facts after it, look at all once."""
    body, encoding_us = timed(lambda: msgspec.json.encode(document_of(world.state)))
    note("snapshot encoded", encoding_us, len(world.state.runs), "runs")
    world.keep_facts = True
    for _ in range(TAIL):
        world.item(next(world.flowing))
        world.end(world.oldest_flowing())
    world.keep_facts = False
    tail = [msgspec.json.encode(fact) for fact in world.facts]
    world.facts.clear()
    digest = digest_of(world.state)
    # The other engine has a memory of its own.
    world.state = State()
    decode = msgspec.json.Decoder(e.AnyEvent | AnyDecision).decode
    document, decoding_us = timed(lambda: msgspec.json.decode(body, type=Document))
    note("take-over: snapshot decoded", decoding_us, len(document.runs), "runs")
    world.state, folding_us = timed(lambda: fold(document, map(decode, tail)))
    note("take-over: tail folded, indexes built", folding_us, len(tail), "facts")
    assert digest_of(world.state) == digest, "what is folded and what was stepped differ"
    waking_us, _ = world.do(e.Woke(**world.now()))
    note("take-over: first step", waking_us, len(world.state.runs), "runs")


def digest_of(state: State) -> str:
    return sha256(msgspec.json.encode(document_of(state))).hexdigest()


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = perf_counter_ns()
    result = work()
    return result, (perf_counter_ns() - begin) / 1000


# One process for each size, and the one that asks them in turn.


def live(size: int, connection: Connection) -> None:
    """A process of one size: do as it is told until it is told to end."""
    world, making_us = timed(lambda: World(size))
    assert gc.isenabled(), "the figures are meant with the collector on"
    connection.send({"made_s": making_us / 1e6, "waiting": len(world.state.queue)})
    while (order := connection.recv()) != "end":
        connection.send(block(world) if order == "block" else other(world))
        if order == "block":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.send(
        {"flowing_mb": peak / 1000, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}
    )


def run(*, quick: bool = False) -> None:
    """Measure every size in turn, print the figures and keep them."""
    say("kernel at size: microseconds of one step, garbage collector on")
    context = multiprocessing.get_context("spawn")
    lines: dict[int, Connection] = {}
    samples: dict[int, dict[str, list[float]]] = {}
    for size in SIZES:
        ours, theirs = context.Pipe()
        context.Process(target=live, args=(size, theirs), daemon=True).start()
        lines[size] = ours
        samples[size] = {}
        made = ours.recv()
        say(f"   {made['waiting']:,} waiting runs in {made['made_s']:.1f} s")
    for _ in range(5 if quick else ROUNDS):
        for size, line in lines.items():
            line.send("block")
            for kind, taken in line.recv().items():
                samples[size].setdefault(kind, []).extend(taken)
    rest, memory = {}, {}
    for size, line in lines.items():
        line.send("other")
        rest[size] = line.recv()
        line.send("end")
        memory[size] = line.recv()

    flowing = {size: {kind: summary(taken) for kind, taken in by.items()} for size, by in samples.items()}
    smallest, largest = SIZES[0], SIZES[-1]
    rows = []
    for kind in flowing[largest]:
        ratio = flowing[largest][kind]["p50"] / flowing[smallest][kind]["p50"]
        worst = max(flowing[size][kind]["p99"] for size in SIZES)
        rows.append([
            kind,
            *(f"{flowing[size][kind]['p50']:.0f}" for size in SIZES),
            *(f"{flowing[size][kind]['p99']:.0f}" for size in SIZES),
            *(f"{flowing[size][kind]['longest'] / 1000:.1f}" for size in SIZES),
            f"{ratio:.2f}",
            verdict(max(ratio / 1.5, worst / 1000), 1),
        ])  # fmt: skip
    table(
        [
            "flowing work",
            "p50 1k",
            "10k",
            "100k",
            "p99 1k",
            "10k",
            "100k",
            "max ms 1k",
            "10k",
            "100k",
            "ratio",
            "",
        ],
        rows,
    )
    table(
        ["the rest, at 100k", "ms", "decisions", "us each"],
        (
            [
                kind,
                f"{f['ms']:.0f}",
                next(f"{f[k]:,} {k}" for k in ("decisions", "runs", "facts") if k in f),
                f"{f['us_each']:.1f}",
            ]
            for kind, f in rest[largest].items()
        ),
    )
    say(f"   peak memory at 100k while work flows: {memory[largest]['flowing_mb']:.0f} MB, with the rest: "
        f"{memory[largest]['peak_mb']:.0f} MB  {verdict(memory[largest]['flowing_mb'], 1000)}")  # fmt: skip
    write("scale", {"flowing_us": flowing, "other": rest, "memory": memory})
