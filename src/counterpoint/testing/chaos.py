"""A score run by real processes, which a test may kill, freeze and starve.

`Deployment` is one folder with its `counterpoint up` and its worker host. Everything is asked over HTTP, as
anybody would.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

from counterpoint.adapters.stores import open_store
from counterpoint.engine.facts import Fact
from counterpoint.kernel.events import EventAccepted
from counterpoint.testing.audit import audit

Result = TypeVar("Result")

#: A score with something of everything. Each attempt says once that it started, before anything else.
ORDERS = """\
score: chaos
pools: {slot: 4, gpu: 1}
assets:
  raw: {}
  mart: {freshness: {within: 2s, target: 99%, over: 1h}}
  score: {}
  report: {freshness: {within: 4s, target: 90%, over: 1h}}
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
      settle: {wait: {duration: 100ms}, after: [extract]}
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

#: Its Python function, as `work.py`.
WORK = """\
import os

def rate():
    with open("started.txt", "a") as file:
        file.write(os.environ["COUNTERPOINT_ATTEMPT"] + "\\n")
"""

_PROGRAM = ("-m", "counterpoint.entrypoints.cli.main")
_UP = ("up", "--quiet", "--listen", "127.0.0.1:0")


class Deployment:
    """A folder with a score, and the processes that run it.

    Args:
        store: URL of the store; "" is SQLite in the folder.
    """

    def __init__(self, folder: Path, score: str, *, store: str = "") -> None:
        self.folder, self.store = folder, store
        folder.mkdir(exist_ok=True)
        (folder / "score.yaml").write_text(score)
        (folder / "work.py").write_text(WORK)
        self.engines: list[subprocess.Popen[bytes]] = []

    @property
    def store_url(self) -> str:
        """Where the facts are."""
        return self.store or f"sqlite:///{self.folder / '.counterpoint/counterpoint.sqlite'}"

    # Processes.

    def up(self, *words: str, wait: bool = True, code: str = "") -> subprocess.Popen[bytes]:
        """Start an engine; return when it serves, unless it is not waited for.

        Args:
            code: what Python runs in place of the program `counterpoint`.
        """
        program = ("-c", code) if code else _PROGRAM
        command = [sys.executable, *program, *_UP, *(("--store", self.store) if self.store else ()), *words]
        env = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERPOINT_")}
        with self.log.open("ab") as log:
            engine = subprocess.Popen(command, cwd=self.folder, env=env, stdout=log, stderr=log)
        self.engines.append(engine)
        if wait:
            self.until(lambda: self.serves(engine))
        return engine

    @property
    def engine(self) -> subprocess.Popen[bytes]:
        """The one started last."""
        return self.engines[-1]

    @property
    def log(self) -> Path:
        """What the engines printed."""
        return self.folder / "up.log"

    def serves(self, engine: subprocess.Popen[bytes]) -> bool:
        """Whether that engine is the one that answers here."""
        if engine.poll() is not None:
            raise AssertionError(f"up ended with exit code {engine.returncode}:\n{self.log.read_text()}")
        try:
            return bool(json.loads((self.folder / ".counterpoint/server.json").read_text())["pid"] == engine.pid)
        except (OSError, ValueError):
            return False

    def host(self) -> int | None:
        """The process of the worker host; None while there is none."""
        with suppress(OSError, ValueError, IndexError):
            pid = int((self.folder / ".counterpoint/host/lock").read_text().split()[0])
            # The number of one that has ended may be another process's now.
            if b"process.host" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def kill_engine(self) -> None:
        """End the engine as a power cut would."""
        self.engine.kill()
        self.engine.wait()

    def signal_host(self, number: int) -> bool:
        """Send the worker host a signal; whether there was one."""
        pid = self.host()
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def end(self, engine: subprocess.Popen[bytes] | None = None) -> float:
        """Ask an engine to end; how many seconds it took."""
        engine = engine or self.engine
        began = time.monotonic()
        engine.terminate()
        engine.wait(30)
        return time.monotonic() - began

    def limit_files(self, size_bytes: int | None) -> None:
        """Let no file of the engine grow beyond this, as on a full disk; None makes room again."""
        _, hard = resource.prlimit(self.engine.pid, resource.RLIMIT_FSIZE)
        soft = hard if size_bytes is None else size_bytes
        resource.prlimit(self.engine.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def close(self) -> None:
        """End every process, attempts included."""
        for engine in self.engines:
            if engine.poll() is None:
                engine.kill()
                engine.wait()
        if self.signal_host(signal.SIGCONT) and self.signal_host(signal.SIGTERM):
            with suppress(AssertionError):
                self.until(lambda: self.host() is None, within_s=8)
            self.signal_host(signal.SIGKILL)

    # Questions over HTTP.

    def ask(self, path: str, body: Any = None, *, media: str = "application/json") -> Any:
        """The JSON answer to GET, or to POST where there is a body.

        Raises:
            Unanswered: nobody answers, or not now.
        """
        try:
            url = json.loads((self.folder / ".counterpoint/server.json").read_text())["url"] + path
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(url, data=data, headers={"content-type": media})  # noqa: S310
            with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise Unanswered(error.code, error.read().decode()) from error
        except (OSError, ValueError, HTTPException) as error:
            raise Unanswered(0, str(error)) from error

    def post(self, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Post CloudEvents as one batch; what became of each."""
        answers: list[dict[str, Any]] = self.ask(
            "/api/v1/events", list(events), media="application/cloudevents-batch+json"
        )
        return answers

    def post_until_kept(self, events: Sequence[dict[str, Any]], within_s: float = 30) -> None:
        """Post again and again, as producers do that do not know whether an event arrived."""

        def kept() -> bool:
            try:
                answers = self.post(events)
            except Unanswered:
                return False
            statuses = {answer["status"] for answer in answers}
            assert statuses <= {200, 202}, answers
            return True

        self.until(kept, within_s)

    def post_orders(self, count: int, *, first: int = 0) -> None:
        """Post events for `ORDERS` in batches, each until it is known to be kept."""
        for number in range(first, first + count, 10):
            self.post_until_kept(list(events("order", 10, first=number)))
            time.sleep(0.1)

    def status(self) -> dict[str, Any]:
        """Everything now."""
        found: dict[str, Any] = self.ask("/api/v1/status")
        return found

    def run(self, name: str) -> dict[str, Any]:
        """One run."""
        found: dict[str, Any] = self.ask(f"/api/v1/runs/{name.replace('#', '%23')}")
        return found

    def is_ready(self) -> bool:
        """Whether an engine leads and accepts."""
        try:
            self.ask("/readyz")
        except Unanswered:
            return False
        return True

    def is_settled(self) -> bool:
        """Whether nothing runs and nothing waits."""
        try:
            pipelines = self.status()["pipelines"]
        except Unanswered:
            return False
        return not any(each["running"] or each["waiting"] or each["pending"] for each in pipelines)

    def until(self, condition: Callable[[], Result], within_s: float = 20) -> Result:
        """What the condition answers, as soon as that is something."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"it did not come to pass within {within_s} s\n{self._story()}")

    def _story(self) -> str:
        printed = self.log.read_text()[-3000:] if self.log.exists() else ""
        try:
            return f"{json.dumps(self.status(), indent=1)[:6000]}\nup said: {printed}"
        except Unanswered as error:
            return f"{error}\nup said: {printed}"

    def check(self, *, orders: int) -> list[Fact]:
        """Wait until nothing is left to do, end in order, and hold what is kept against the promises.

        Args:
            orders: how many events must have been accepted.

        Returns:
            Every fact.
        """
        self.until(self.is_settled, within_s=40)
        self.end()
        facts = asyncio.run(self._audit())
        accepted = sum(isinstance(fact, EventAccepted) for fact in facts)
        assert accepted == orders, f"{orders} events were answered with 2xx, {accepted} are kept"
        return facts

    async def _audit(self) -> list[Fact]:
        store = open_store(self.store_url)
        try:
            return await audit(store, started=self.lines("started.txt"))
        finally:
            await store.close()

    # What the outside world saw.

    def lines(self, name: str) -> list[str]:
        """The lines of a file that tasks write."""
        try:
            return (self.folder / name).read_text().splitlines()
        except FileNotFoundError:
            return []


class Unanswered(Exception):
    """A request was not answered, or refused.

    Attributes:
        status: of HTTP; 0 where there was no answer.
    """

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text
        super().__init__(f"{status}: {text}" if status else text)


def events(type_: str, count: int, *, first: int = 0) -> Iterator[dict[str, Any]]:
    """CloudEvents of a type, each with an id of its own."""
    for number in range(first, first + count):
        yield {
            "specversion": "1.0",
            "id": f"{type_}-{number}",
            "source": "/chaos",
            "type": type_,
            "data": {"number": number},
        }
