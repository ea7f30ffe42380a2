"""Engine and worker host are killed at random moments while events flow; afterwards all is as promised.

COUNTERPOINT_CHAOS_SEEDS=n plays n seeds instead of one, and says each; a seed that fails is worth keeping.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from counterpoint.testing.chaos import ORDERS, Deployment, events

SEEDS = range(1, 1 + int(os.environ.get("COUNTERPOINT_CHAOS_SEEDS", "1")))


class Kills:
    """What must hold on every store."""

    @pytest.fixture
    def deployed(self, tmp_path: Path, store: str) -> Iterator[Deployment]:
        with closing(Deployment(tmp_path, ORDERS, store=store)) as deployed:
            yield deployed

    @pytest.mark.parametrize("seed", SEEDS)
    def test_whatever_is_killed_every_promise_is_kept(self, deployed: Deployment, seed: int) -> None:
        print(f"seed {seed}")
        moments = random.Random(seed)
        deployed.up()
        with ThreadPoolExecutor(1) as beside:
            flow = beside.submit(deployed.post_orders, 240)
            for _ in range(8):
                time.sleep(moments.uniform(0.1, 0.8))
                if moments.random() < 0.6:
                    deployed.kill_engine()
                    deployed.up(wait=moments.random() < 0.8)
                else:
                    deployed.signal_host(signal.SIGKILL)
            flow.result()
        deployed.check(orders=240)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_what_is_killed_while_an_attempt_is_being_started_starts_it_at_most_once(
        self, deployed: Deployment, seed: int
    ) -> None:
        print(f"seed {seed}")
        moments = random.Random(seed)
        deployed.up()
        with ThreadPoolExecutor(1) as beside:
            for number in range(6):
                flow = beside.submit(deployed.post_until_kept, list(events("order", 5, first=number * 5)))
                wait_for_a_claim(deployed)
                time.sleep(moments.choice([0, 0, 0.001, 0.003]))
                if number % 2:
                    deployed.kill_engine()
                    deployed.up(wait=False)
                else:
                    deployed.signal_host(signal.SIGKILL)
                flow.result()
        deployed.check(orders=30)


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
