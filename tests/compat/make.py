"""Write the sample of this release: a journal, a snapshot from its middle, and the State that both lead to.

    python tests/compat/make.py

Run it once for each release, when its facts are as they will stay; a sample of a release that is out is never
written again. The story below is told to the kernel itself, so that each kind of fact is one that it can make.
"""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from counterpoint.adapters.tools import standard_tools
from counterpoint.engine import facts as codec
from counterpoint.engine.declare import declare_text
from counterpoint.engine.facts import Fact
from counterpoint.kernel import events as e
from counterpoint.kernel.state import State
from counterpoint.kernel.step import step
from counterpoint.model.plan import Plan
from counterpoint.ports.store import Snapshot

SCORE = """
score: sample
timezone: Europe/Berlin
pools: {db: 2, gpu: 1, tpu: {slots: 1, rate: 5/1h}, lab: 1}
assets:
  {orders: {description: of the shop}, rates: {}, marts: {}, side: {}, seen: {}, shown: {freshness: {within: 20m}},
   ledger: {}, books: {freshness: {within: 20m}}}
events: {order.placed: {}, file.landed: {}, gust.blew: {}}
pipelines:
  nightly: {trigger: {cron: "0 * * * *", catchup: latest}, run: nightly}
  ingest:
    owner: shop
    trigger: {event: order.placed, give_up: 2, rearm: 1m..2m}
    writes: [orders]
    pools: {db: 1}
    retry: {attempts: 2, backoff: 10s, out_of_memory: {memory: x2, pools: {db: 2}}}
    memory: 512MB
    run: ingest
  build:
    trigger: {asset: orders, batch: {max: 100}}
    reads: [orders, rates]
    writes: [marts]
    timeout: 10m
    tasks:
      extract: {python: {function: "shop:extract"}, pools: {gpu: 1}}
      side: {command: {run: side}, after: [extract], writes: [side]}
      test: {check: {file: marts.csv}, after: [side]}
      mail: {command: {run: mail}, after: [{task: test, on: failure}]}
  publish:
    trigger: {asset: marts, when: "event.type != 'x'", delivery: {pattern: sync, timeout: 30m, on_refusal: warn}}
    run: publish
  latest: {trigger: {event: file.landed, batch: {by: event.data.part}}, overlap: cancel, run: latest}
  once: {trigger: {event: file.landed}, overlap: skip, run: once}
  remote:
    tasks:
      job:
        http:
          start: {method: POST, url: "http://127.0.0.1/jobs"}
          poll: {url: "http://127.0.0.1/jobs/{id}", status: state, done: done}
  train: {class: urgent, pools: {db: 2, gpu: 1}, hold: run, run: train}
  hand: {pools: {db: 1}, run: hand}
  spare: {class: bulk, preempt: {minimum: 1m}, pools: {tpu: 1}, run: spare}
  gust: {trigger: {event: gust.blew}, storm: 1/1m, concurrency: 9, run: gust}
  rush: {class: urgent, pools: {tpu: 1}, run: rush}
  watch: {trigger: auto, writes: [seen], run: watch}
  show: {trigger: auto, reads: [seen], writes: [shown], run: show}
  keep: {trigger: auto, reads: [ledger], writes: [books], pools: {lab: 1}, takes: 2m..5m, run: keep}
  study: {pools: {lab: 1}, run: study}
  follow: {trigger: {pipeline: build, checkpoint: halfway}, run: follow}
"""


class Story:
    """Events told to the kernel, and the facts that come of them."""

    def __init__(self) -> None:
        self.state = State()
        self.at = self.wall = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
        self.facts: list[Fact] = []

    def tell(self, kind: type[Any], *, after: timedelta = timedelta(seconds=1), **fields: Any) -> None:
        """Step one event, some time after the one before."""
        self.at, self.wall = self.at + after, self.wall + after
        event = kind(at=self.at, wall=self.wall, **fields)
        self.facts += [event, *step(self.state, event)]

    def declare(self, text: str) -> None:
        plan: Plan = declare_text(text, folder=Path("/sample"), tools=standard_tools())
        self.tell(e.PlanDeclared, digest=plan.digest, content=plan, by="anna", commit="4f2a9c1")

    def accept(self, type_: str, name: str, **data: Any) -> None:
        change = e.Change(
            number=self.state.changes + 1,
            subject=f"event:{type_}",
            source="/shop",
            id=name,
            type=type_,
            time=self.at,
            data=data,
            trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        self.tell(e.EventAccepted, change=change)

    def end(self, attempt: str, **fields: Any) -> None:
        """Let an attempt end; well, unless said otherwise."""
        usage = e.Usage(cpu_s=0.25, memory_bytes=1 << 20)
        times = {"started": self.at, "ended": self.at + timedelta(milliseconds=5)}
        given: dict[str, Any] = {"outcome": "succeeded", "exit_code": 0, "usage": usage} | times | fields
        self.tell(e.AttemptEnded, attempt=attempt, **given)

    def fail(self, attempt: str, failure: str = "exit", code: int | None = 1) -> None:
        self.end(attempt, outcome="failed", failure=failure, exit_code=code, detail="it said no")

    def snapshot(self) -> Snapshot:
        return codec.encode_state(self.state)


def tell_first_half(story: Story) -> None:
    """Hosts, orders, retries, dead letters, a branch, sync delivery."""
    story.declare(SCORE)
    story.tell(e.HostAppeared, host="sample-1")
    story.tell(e.AssetReported, report=e.Report(asset="rates", label="ecb", metadata={"usd": 1.1}), by="anna")
    story.tell(e.AssetReported, report=e.Report(asset="rates", expect=7), by="anna")
    story.tell(e.AssetReported, report=e.Report(asset="rates", unchanged=True), by="anna")

    story.accept("order.placed", "o1", sku="s1", ünïcode="ß")
    story.fail("ingest#1/run/1", "out-of-memory", None)
    story.tell(e.Woke, after=timedelta(seconds=10))
    report = e.Report(asset="orders", label="b1", metadata={"rows": 3}, data_through=story.at)
    story.end("ingest#1/run/2", reports=(report, e.Report(asset="elsewhere")), result={"rows": 3})

    story.end("watch#1/run/1")
    story.end("show#1/run/1")
    band = e.Band(pipeline="watch", p50=1.0, p90=2.0, samples=1, hours={"7": (1.0, 3.0)})
    story.tell(e.DurationsLearned, bands=(band,))

    story.tell(e.CheckpointReached, attempt="build#1/extract/1", name="halfway", data={"row": 7})
    story.end("build#1/extract/1")
    story.end("build#1/side/1")
    verdict = {"check": "marts", "passed": True, "found": "1", "expected": "> 0"}
    story.end("build#1/test/1", verdicts=(verdict,))
    story.end("publish#1/run/1")
    story.end("follow#1/run/1")

    story.accept("order.placed", "o2", sku="s2")
    for run in ("ingest#2", "ingest#3"):
        story.fail(f"{run}/run/1")
        story.tell(e.Woke, after=timedelta(seconds=10))
        story.fail(f"{run}/run/2")
        story.tell(e.Woke, after=timedelta(minutes=2))
    story.accept("order.placed", "o3", sku="s3")
    story.tell(e.Woke, after=timedelta(minutes=2))
    story.tell(e.PauseRequested, pipeline="follow", by="anna")


def tell_second_half(story: Story) -> None:
    """People, clocks, hosts that go away, remote jobs, the queue, another plan."""
    dead = list(story.state.dead.values())
    story.tell(e.DiscardRequested, items=(dead[0].number,), by="anna", reason="a test order")
    story.tell(
        e.InputRefused, what="event order.placed e9 of /shop", code="schema", detail="sku is missing", by="shop"
    )

    # A run that is out of reach before it begins.
    story.tell(e.RunRequested, pipeline="study", by="anna")
    story.tell(e.AssetReported, report=e.Report(asset="ledger"), by="anna")
    story.tell(e.Woke, after=timedelta(minutes=16))
    story.tell(e.Woke, after=timedelta(minutes=14))
    story.end("nightly#1/run/1")
    story.end("watch#2/run/1", reports=(e.Report(asset="seen", unchanged=True),))
    story.wall += timedelta(hours=3)
    story.tell(e.ClockJumped, by=timedelta(hours=3))

    for name in ("f1", "f2"):
        story.accept("file.landed", name, part="p")
    story.fail("latest#1/run/1", "signal", None)
    story.end("once#1/run/1")

    story.tell(e.RunRequested, pipeline="remote", by="anna", request="r1", params={"day": "2026-01-05"})
    story.tell(e.RunRequested, pipeline="remote", by="anna", request="r1")
    story.tell(
        e.AttemptDeferred,
        attempt="remote#1/job/1",
        look_at=story.at + timedelta(minutes=5),
        callback=True,
        external_id="job-7",
        note="queued",
        carry={"id": 7},
    )
    story.tell(e.CallbackReceived, attempt="remote#1/job/1", message="m1", data={"state": "done"})
    story.end("remote#1/job/1")

    story.tell(e.PauseRequested, pipeline="ingest", by="anna", reason="maintenance")
    change = next(f.change for f in story.facts if isinstance(f, e.EventAccepted) and f.change.id == "o1")
    story.tell(e.ReplayRequested, pipeline="ingest", changes=(change,), by="anna", reason="again")
    story.tell(e.ResumeRequested, pipeline="ingest", by="anna")

    story.tell(e.RunRequested, pipeline="hand", by="anna", key="k", partition="2026-01-05")
    hand = next(name for name in story.state.runs if name.startswith("hand#"))
    story.tell(e.HostUnreachable, host="sample-1")
    story.tell(e.HostAppeared, host="sample-2")
    story.tell(e.AttemptLost, attempt=f"{hand}/run/1", detail="its worker host was killed")
    story.tell(e.HostLost, host="sample-1")

    story.tell(e.RunRequested, pipeline="train", by="anna")
    story.tell(e.Woke, after=timedelta(minutes=6))
    story.tell(e.Woke, after=timedelta(minutes=6))
    story.tell(e.CancelRequested, run=hand, by="anna", reason="enough", skip=True)
    story.fail(f"{hand}/run/2", "signal", None)
    document = msgspec.to_builtins(story.state.written.runs[hand])
    story.tell(e.RetryRequested, run=hand, by="anna", document=document, reason="after all")
    story.declare(SCORE.replace("gpu: 1, tpu", "gpu: 2, tpu"))
    story.accept("order.placed", "o4", sku="s4")

    for name in ("g1", "g2"):
        story.accept("gust.blew", name)
        story.end(f"gust#{name[1]}/run/1")
    story.tell(e.Woke, after=timedelta(minutes=1))
    story.accept("gust.blew", "g3")
    story.tell(e.RunRequested, pipeline="spare", by="anna")
    story.tell(e.Woke, after=timedelta(minutes=2))
    story.tell(e.RunRequested, pipeline="rush", by="anna")
    story.accept("gust.blew", "g4")


def write(folder: Path) -> None:
    """Tell the story and write what is kept of it."""
    story = Story()
    tell_first_half(story)
    snapshot = story.snapshot()
    tell_second_half(story)
    journal = [codec.encode(fact, seq) for seq, fact in enumerate(story.facts, start=1)]
    folder.mkdir(exist_ok=True)
    _write(folder / "journal.jsonl.gz", b"\n".join(msgspec.json.encode(_line(fact)) for fact in journal))
    header = msgspec.json.encode({"seq": snapshot.seq, "version": snapshot.version})
    _write(folder / "snapshot.json.gz", header + b"\n" + snapshot.body)
    final = story.snapshot()
    header = msgspec.json.encode({"seq": final.seq, "version": final.version})
    _write(folder / "state.json.gz", header + b"\n" + final.body)


def _line(fact: Any) -> dict[str, Any]:
    return {"seq": fact.seq, "at": fact.at, "kind": fact.kind, "body": msgspec.Raw(fact.body)}


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content, mtime=0))


if __name__ == "__main__":
    write(Path(__file__).parent / version("counterpoint"))
