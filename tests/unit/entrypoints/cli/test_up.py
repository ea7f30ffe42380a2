"""`up` and the engine that `run` is for a moment, with a fake engine under them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from counterpoint.entrypoints.cli.client import Client
from counterpoint.entrypoints.cli.location import find_running
from counterpoint.errors import LeadershipLost, StoreUnavailable


class FakeEngine:
    """An engine that keeps what was done with it."""

    def __init__(self, service: Any) -> None:
        self.service, self.store_url, self.done = service, "sqlite:///here", list[str]()
        self.given: tuple[Any, dict[str, Any]] = (None, {})
        self.drained = asyncio.Event()
        self.ended: asyncio.Future[None]

    async def drain(self) -> None:
        self.done.append("drain")
        await self.drained.wait()

    async def close(self) -> None:
        self.done.append("close")


@pytest.fixture
def engine(service: Any, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What `counterpoint.bootstrap` starts here."""
    made = FakeEngine(service)

    async def start(plan: Any, **more: Any) -> FakeEngine:
        made.given = (plan, more)
        made.ended = asyncio.get_running_loop().create_future()
        return made

    monkeypatch.setattr("counterpoint.bootstrap.start", start)
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Any) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COUNTERPOINT_URL", raising=False)
    monkeypatch.delenv("COUNTERPOINT_TOKEN", raising=False)
    typed("init")
    return tmp_path


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Does something in another thread, then sends this process SIGTERM."""
    threads = []

    def do(what: Callable[[], None]) -> None:
        def work() -> None:
            try:
                what()
            finally:
                # An `up` that has failed listens no more, and the signal would end the tests.
                if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
                    os.kill(os.getpid(), signal.SIGTERM)

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield do
    for thread in threads:
        thread.join()


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come to pass")


def test_up_serves_until_a_signal_and_leaves_what_runs(
    typed: Any, folder: Path, engine: FakeEngine, meanwhile: Any
) -> None:
    seen: dict[str, Any] = {}

    def look() -> None:
        running = until(lambda: find_running(folder))
        seen["status"] = Client(running.url).get("status")["score"]

    meanwhile(look)
    done = typed("up", "--listen", "127.0.0.1:0")

    assert done.code == 0, done.err
    assert seen == {"status": "shop"}
    assert engine.done == ["close"]
    assert find_running(folder) is None
    lines = done.out.splitlines()
    assert lines[0].startswith("Counterpoint ")
    assert "  store  sqlite:///here" in lines
    assert lines[-1] == "ended; what runs goes on, and is found again at the next start"
    plan, more = engine.given
    assert list(plan.pipelines) == ["greet", "count"]
    assert more["url"].startswith("http://127.0.0.1:")


def test_up_tells_decisions_worth_telling(
    typed: Any, folder: Path, engine: FakeEngine, service: Any, make_message: Any, meanwhile: Any
) -> None:
    service.messages += [
        make_message(41, "AdvanceClock", "small print"),
        make_message(42, "AdmitRun", "load#1: it begins, a slot is free"),
    ]

    def wait() -> None:
        until(lambda: find_running(folder))
        time.sleep(0.3)

    meanwhile(wait)
    out = typed("up", "--listen", "127.0.0.1:0").out

    assert "small print" not in out
    assert "▶ load#1                 it begins, a slot is free" in out


def test_draining_waits_for_what_runs_until_a_second_signal(
    typed: Any, folder: Path, engine: FakeEngine, meanwhile: Any
) -> None:
    def signal_once() -> None:
        until(lambda: find_running(folder))
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: "drain" in engine.done)

    meanwhile(signal_once)
    done = typed("up", "--listen", "127.0.0.1:0", "--drain")

    assert done.code == 0, done.err
    assert engine.done == ["drain", "close"]


def test_a_token_is_asked_for_and_found_by_verbs_in_the_folder(
    typed: Any, folder: Path, engine: FakeEngine, meanwhile: Any
) -> None:
    codes = {}

    def look() -> None:
        running = until(lambda: find_running(folder))
        codes["found"] = running.token
        try:
            Client(running.url).get("status")
        except Exception as error:
            codes["without"] = type(error).__name__

    meanwhile(look)
    typed("up", "--listen", "127.0.0.1:0", "--token", "secret")

    assert codes == {"found": "secret", "without": "Refused"}


def test_another_address_than_loopback_needs_a_token(typed: Any, folder: Path, engine: FakeEngine) -> None:
    done = typed("up", "--listen", "0.0.0.0:0")

    assert done.code == 2
    assert "a token is needed" in done.err


def test_an_engine_that_cannot_start_is_told(
    typed: Any, folder: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(plan: Any, **more: Any) -> Any:
        raise LeadershipLost("another engine leads")

    monkeypatch.setattr("counterpoint.bootstrap.start", start)

    done = typed("up", "--listen", "127.0.0.1:0")

    assert done.code == 1
    assert "another engine leads" in done.err


def test_an_engine_that_ends_by_an_error_ends_up(typed: Any, folder: Path, engine: FakeEngine) -> None:
    def fail() -> None:
        until(lambda: find_running(folder))
        loop = engine.ended.get_loop()
        loop.call_soon_threadsafe(engine.ended.set_exception, StoreUnavailable("the disk is full"))

    thread = threading.Thread(target=fail)
    thread.start()
    done = typed("up", "--listen", "127.0.0.1:0")
    thread.join()

    assert done.code == 1
    assert "the disk is full" in done.err
    assert engine.done == ["close"]


def test_standing_by_can_be_ended(
    typed: Any, folder: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, meanwhile: Any
) -> None:
    standing = threading.Event()

    async def start(plan: Any, *, on_standby: Callable[[], None], **more: Any) -> Any:
        on_standby()
        standing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("counterpoint.bootstrap.start", start)
    meanwhile(lambda: standing.wait(10))

    done = typed("up", "--listen", "127.0.0.1:0")

    assert done.code == 0
    assert "standing by" in done.out


def test_run_without_a_server_hosts_an_engine_for_a_moment(
    typed: Any, folder: Path, engine: FakeEngine, service: Any, make_run: Any, make_message: Any
) -> None:
    service.history.rows["runs"].append(make_run(1))
    service.messages.append(make_message(41, "FinishRun", fact={"phase": "succeeded"}))

    done = typed("run", "load", "--json")

    assert done.code == 0, done.err
    assert json.loads(done.out)["run"] == "load#1"
    assert engine.done == ["close"]
    assert find_running(folder) is None


def test_run_without_a_server_cannot_return_before_the_end(typed: Any, folder: Path, engine: FakeEngine) -> None:
    assert typed("run", "load", "--no-wait").code == 2
