"""Engine and worker host are killed at random moments while events flow; afterwards all is as promised.

COUNTERPOINT_CHAOS_SEEDS=n plays n seeds instead of one, and says each; a seed that fails is worth keeping.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from counterpoint.adapters.stores import open_store
from counterpoint.engine import facts as codec
from counterpoint.testing.audit import audit
from counterpoint.testing.chaos import Deployment, events

SEEDS = range(1, 1 + int(os.environ.get("COUNTERPOINT_CHAOS_SEEDS", "1")))

#: Each attempt says once that it started, before anything else.
SCORE = """\
score: chaos
pools: {slot: 4, gpu: 1}
assets: {raw: {}, mart: {}, score: {}, report: {}}
events: {order: {}}
pipelines:
  ingest:
    trigger: {event: order, rearm: 50ms..200ms}
    concurrency: 6
    overlap: queue
    write: atomic
    writes: [raw]
    pools: {slot: 1}
    retry: {attempts: 3, backoff: 10ms..50ms}
    run: sh -c 'echo $COUNTERPOINT_ATTEMPT >> started.txt; sleep 0.02'
  flaky:
    trigger: {event: order, batch: {max: 20}, rearm: 50ms..200ms}
    pools: {slot: 2, gpu: 1}
    retry: {attempts: 3, backoff: 10ms..50ms}
    run: sh -c 'echo $COUNTERPOINT_ATTEMPT >> started.txt; case $COUNTERPOINT_ATTEMPT in */1) exit 1;; esac'
  build:
    trigger: {asset: raw, rearm: 50ms..200ms}
    reads: [raw]
    writes: [mart]
    pools: {slot: 1}
    tasks:
      extract: {command: {run: "sh -c 'echo $COUNTERPOINT_ATTEMPT >> started.txt'"}}
      settle: {wait: {duration: 100ms, every: 50ms}, after: [extract]}
      load: {command: {run: "sh -c 'echo $COUNTERPOINT_ATTEMPT >> started.txt; sleep 0.05'"}, after: [settle]}
  rate:
    trigger: {asset: raw, rearm: 50ms..200ms}
    reads: [raw]
    writes: [score]
    pools: {gpu: 1}
    tasks: {rate: {python: {function: "work:rate"}}}
  report:
    trigger: {any: [{asset: mart}, {asset: score}], rearm: 50ms..200ms}
    reads: [mart, score]
    writes: [report]
    hold: run
    pools: {slot: 1}
    run: sh -c 'echo $COUNTERPOINT_ATTEMPT >> started.txt'
"""

WORK = """\
import os

def rate():
    with open("started.txt", "a") as file:
        file.write(os.environ["COUNTERPOINT_ATTEMPT"] + "\\n")
"""


def post_orders(deployed: Deployment, count: int) -> None:
    """Post in batches, each again until it is known to be kept."""
    for first in range(0, count, 10):
        deployed.post_until_kept(list(events("order", 10, first=first)))
        time.sleep(0.1)


def check_settled(deployed: Deployment, *, orders: int) -> None:
    """Wait until nothing is left to do, end in order, and hold what is kept against the promises."""
    deployed.until(deployed.is_settled, within_s=30)
    deployed.end()

    async def check() -> None:
        store = open_store(deployed.store_url)
        try:
            facts = await audit(store, started=deployed.lines("started.txt"))
        finally:
            await store.close()
        kinds = Counter(codec.kind_of(fact) for fact in facts)
        print(dict(kinds))
        assert kinds["EventAccepted"] == orders

    asyncio.run(check())


class Kills:
    """What must hold on every store."""

    @pytest.fixture
    def deployed(self, tmp_path: Path, store: str) -> Iterator[Deployment]:
        deployed = Deployment(tmp_path, SCORE, store=store)
        (tmp_path / "work.py").write_text(WORK)
        with closing(deployed):
            yield deployed

    @pytest.mark.parametrize("seed", SEEDS)
    def test_whatever_is_killed_every_promise_is_kept(self, deployed: Deployment, seed: int) -> None:
        print(f"seed {seed}")
        moments = random.Random(seed)
        deployed.up()
        flow = Thread(target=post_orders, args=(deployed, 240))
        flow.start()
        for _ in range(8):
            time.sleep(moments.uniform(0.1, 0.8))
            if moments.random() < 0.6:
                deployed.kill_engine()
                deployed.up(wait=moments.random() < 0.8)
            else:
                deployed.signal_host(signal.SIGKILL)
        flow.join()
        check_settled(deployed, orders=240)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_what_is_killed_while_an_attempt_is_being_started_starts_it_at_most_once(
        self, deployed: Deployment, seed: int
    ) -> None:
        print(f"seed {seed}")
        moments = random.Random(seed)
        deployed.up()
        for number in range(6):
            flow = Thread(target=deployed.post_until_kept, args=(list(events("order", 5, first=number * 5)),))
            flow.start()
            wait_for_a_claim(deployed)
            time.sleep(moments.choice([0, 0, 0.001, 0.003]))
            if number % 2:
                deployed.kill_engine()
                deployed.up(wait=False)
            else:
                deployed.signal_host(signal.SIGKILL)
            flow.join()
        check_settled(deployed, orders=30)


def wait_for_a_claim(deployed: Deployment) -> None:
    """Return in the moment in which the worker host begins with one more attempt."""
    spool = deployed.folder / ".counterpoint/host/spool"
    before = set(os.listdir(spool)) if spool.exists() else set()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if spool.exists() and any("~" not in name for name in set(os.listdir(spool)) - before):
            return
    raise AssertionError("no attempt was started")


class TestKillsOnSqlite(Kills):
    @pytest.fixture
    def store(self) -> str:
        return ""


class TestKillsOnPostgres(Kills):
    @pytest.fixture
    def store(self, postgres_url: str) -> str:
        return postgres_url
