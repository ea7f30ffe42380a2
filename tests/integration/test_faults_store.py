"""The store fails while events flow: restarted, cut off in the middle of a commit, without room. `up` goes on by itself."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from counterpoint.testing.chaos import ORDERS, Deployment, Unanswered, events
from counterpoint.testing.wire import Wire

SLOW = """\
score: slow
events: {order: {}}
pipelines:
  slow:
    trigger: {event: order}
    run: sh -c 'echo $COUNTERPOINT_ATTEMPT >> started.txt; sleep 1.5; echo $COUNTERPOINT_ATTEMPT >> done.txt'
"""


@pytest.fixture
def wire(postgres_url: str) -> Iterator[Wire]:
    """A way to the server on which only the connection that leads is cut."""
    with closing(Wire(postgres_url, only=b"pg_try_advisory_lock")) as wire:
        yield wire


def test_up_goes_on_when_its_connection_is_cut_during_commits(tmp_path: Path, wire: Wire) -> None:
    moments = random.Random(3)
    with closing(Deployment(tmp_path, ORDERS, store=wire.url)) as deployed, ThreadPoolExecutor(1) as beside:
        engine = deployed.up()
        flow = beside.submit(deployed.post_orders, 150)
        for cut in ("answer", "request", "answer", "request", "answer"):
            time.sleep(moments.uniform(0.2, 0.5))
            wire.broken.clear()
            wire.cut = cut
            assert wire.broken.wait(10), "no commit was under way"
            wire.cut = ""
            deployed.until(lambda: is_ready(deployed), within_s=10)
        flow.result()
        assert any("the store failed and was loaded again" in notice for notice in deployed.status()["notices"])

        deployed.check(orders=150)
        assert engine is deployed.engine


def test_up_goes_on_when_postgresql_is_restarted_under_load(tmp_path: Path, postgres_url: str) -> None:
    with closing(Deployment(tmp_path, ORDERS, store=postgres_url)) as deployed, ThreadPoolExecutor(1) as beside:
        engine = deployed.up()
        flow = beside.submit(deployed.post_orders, 150)
        for _ in range(2):
            time.sleep(0.7)
            crash(postgres_url)
            time.sleep(0.3)
            deployed.until(lambda: is_ready(deployed), within_s=15)
        flow.result()

        deployed.check(orders=150)
        assert engine is deployed.engine
