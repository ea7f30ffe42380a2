"""The store fails while events flow: cut off in a commit, restarted, without room. `up` goes on by itself."""

from __future__ import annotations

import asyncio
import os
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


def crash(postgres_url: str) -> None:
    """Kill one of the server's own processes: it ends all connections and recovers, as after a power cut."""

    async def checkpointer() -> int:
        import asyncpg

        connection = await asyncpg.connect(postgres_url.partition("?")[0])
        try:
            sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
            return int(await connection.fetchval(sql))
        finally:
            await connection.close()

    os.kill(asyncio.run(checkpointer()), signal.SIGKILL)


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
            deployed.until(deployed.is_ready, within_s=10)
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
            deployed.until(deployed.is_ready, within_s=15)
        flow.result()

        deployed.check(orders=150)
        assert engine is deployed.engine


class TakeOver:
    """A second `up` on the same store."""

    @pytest.fixture
    def deployed(self, tmp_path: Path, store: str) -> Iterator[Deployment]:
        with closing(Deployment(tmp_path, SLOW, store=store)) as deployed:
            yield deployed

    def test_a_second_up_takes_over_at_once_keeps_the_plan_and_reruns_nothing(self, deployed: Deployment) -> None:
        (deployed.folder / "other.yaml").write_text(SLOW + "  more: {run: more}\n")
        first = deployed.up()
        deployed.post(list(events("order", 1)))
        deployed.until(lambda: deployed.lines("started.txt"))
        second = deployed.up("other.yaml", wait=False)
        time.sleep(1)
        assert not deployed.serves(second)

        first.kill()
        killed = time.monotonic()
        deployed.until(lambda: deployed.serves(second), within_s=10)
        took_s = time.monotonic() - killed
        print(f"taken over in {took_s:.2f} s")

        assert took_s < 5
        status = deployed.status()
        assert [pipeline["name"] for pipeline in status["pipelines"]] == ["slow"]
        assert any("plan of the store is kept" in notice for notice in status["notices"])
        deployed.check(orders=1)
        assert deployed.lines("done.txt") == deployed.lines("started.txt") == ["slow#1/run/1"]


def test_what_runs_on_another_machine_is_unreachable_until_that_machine_is_back(
    tmp_path: Path, postgres_url: str
) -> None:
    with (
        closing(Deployment(tmp_path / "one", SLOW, store=postgres_url)) as one,
        closing(Deployment(tmp_path / "two", SLOW, store=postgres_url)) as two,
    ):
        one.up()
        one.post(list(events("order", 1)))
        one.until(lambda: one.lines("started.txt"))
        two.up(wait=False)
        one.kill_engine()
        two.until(lambda: two.serves(two.engine))

        two.until(lambda: "unreachable" in two.status()["hosts"].values())
        one.until(lambda: one.lines("done.txt"))
        assert [pipeline["running"] for pipeline in two.status()["pipelines"]] == [["slow#1"]]
        assert two.lines("started.txt") == []

        one.up(wait=False)
        two.kill_engine()
        one.until(lambda: one.serves(one.engine))
        one.check(orders=1)
        assert one.lines("done.txt") == ["slow#1/run/1"]


class TestTakeOverOnSqlite(TakeOver):
    @pytest.fixture
    def store(self) -> str:
        return ""


class TestTakeOverOnPostgres(TakeOver):
    @pytest.fixture
    def store(self, postgres_url: str) -> str:
        return postgres_url


def test_a_full_disk_is_said_refuses_and_loses_nothing(tmp_path: Path) -> None:
    with closing(Deployment(tmp_path, ORDERS)) as deployed:
        engine = deployed.up()
        deployed.post_orders(20)
        deployed.until(deployed.is_settled)

        deployed.limit_files(4096)
        refused = deployed.until(lambda: refusal(deployed, list(events("order", 50, first=1000))))
        assert refused.status == 503
        said = deployed.until(lambda: refusal(deployed, list(events("order", 50, first=1000))))
        assert said.status == 503
        assert "counterpoint.sqlite cannot be used" in said.text
        assert "disk" in said.text
        assert "counterpoint.sqlite cannot be used" in deployed.log.read_text()

        deployed.limit_files(None)
        deployed.until(deployed.is_ready, within_s=5)
        assert any("the store failed and was loaded again" in notice for notice in deployed.status()["notices"])
        deployed.post_until_kept(list(events("order", 50, first=1000)))
        deployed.check(orders=70)
        assert engine is deployed.engine


def refusal(deployed: Deployment, posted: list[dict[str, object]]) -> Unanswered | None:
    """How a post is refused; None if it is not."""
    try:
        deployed.post(posted)
    except Unanswered as refused:
        return refused
    return None
