"""`counterpoint` as a person uses it: real processes, in a folder of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from counterpoint.adapters.executors.process.launch import is_gone

COUNTERPOINT = [sys.executable, "-m", "counterpoint.entrypoints.cli.main"]


class Project:
    """A folder with a score, and what was started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERPOINT_")}

    def score(self, text: str) -> None:
        (self.folder / "score.yaml").write_text(text)

    def type(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """One command line, to its end."""
        return subprocess.run(
            [*COUNTERPOINT, *words],
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def ask(self, *words: str) -> Any:
        """One command line that must succeed, its answer read from JSON."""
        done = self.type(*words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def up(
        self, *words: str, wait: bool = True, program: list[str] = COUNTERPOINT, **env: str
    ) -> subprocess.Popen[str]:
        """Start `up`, and return when it serves."""
        with (self.folder / f"up-{len(self.started)}.log").open("w") as log:
            process = subprocess.Popen(
                [*program, "up", "--listen", "127.0.0.1:0", *words],
                cwd=self.folder,
                env=self.env | env,
                stdout=log,
                stderr=log,
                text=True,
            )
        self.started.append(process)
        if wait:
            self.until(lambda: process.poll() is not None or self.serving() == process.pid)
            assert process.poll() is None, self.log()
        return process

    def serving(self) -> int | None:
        """The process that says it serves here."""
        try:
            return int(json.loads((self.folder / ".counterpoint/server.json").read_text())["pid"])
        except (OSError, ValueError):
            return None

    @property
    def address(self) -> str:
        """HOST:PORT of the running server."""
        note = json.loads((self.folder / ".counterpoint/server.json").read_text())
        return str(note["url"]).removeprefix("http://")

    def send(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """One request with exactly these headers (`_` is `-`); the status and body of the answer."""
        connection = HTTPConnection(self.address, timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def end(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> float:
        """Send a signal and wait for the end; how many seconds it took."""
        began = time.monotonic()
        process.send_signal(number)
        process.wait(20)
        return time.monotonic() - began

    def log(self, number: int = -1) -> str:
        """What an `up` printed."""
        number = number % len(self.started)
        return (self.folder / f"up-{number}.log").read_text()

    def until(self, condition: Callable[[], Any], within_s: float = 20) -> Any:
        """What the condition answers, as soon as it holds."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"it did not come to pass within {within_s} s; up said:\n{self.log()}")

    def end_worker_host(self) -> None:
        """End the process under which tasks run; it would do so by itself, a minute later."""
        place = self.folder / ".counterpoint/host"
        if not is_gone(place):
            os.kill(int((place / "lock").read_text().split()[0]), signal.SIGTERM)

    def phase(self, run: str) -> str:
        """How far a run is; "" while there is no such run."""
        done = self.type("show", run, "--json")
        return str(json.loads(done.stdout)["phase"]) if done.returncode == 0 else ""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.wait()
    made.end_worker_host()
