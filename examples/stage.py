"""What every example that plays a story needs: an engine, its stream of facts, an ending that leaves nothing.

Standard library, `rich` and the command `counterpoint`; the examples import it from here.
"""

from __future__ import annotations

import argparse
import fcntl
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

LONGEST_S = 30.0  # that anything in a story may take, unless it says otherwise

#: Facts worth showing: their sign and colour. The journal has them all.
SHOWN: Mapping[str, tuple[str, str]] = {
    "EventAccepted": ("→", "blue"),
    "AdmitRun": ("▶", "cyan"),
    "StopAttempt": ("‖", "magenta"),
    "RetryTask": ("↻", "yellow"),
    "FailTask": ("✗", "red"),
    "AssetPublished": ("◆", "green"),
    "FinishRun": ("■", "bold"),
    "RestSubscription": ("…", "yellow"),
}

console = Console(highlight=False, soft_wrap=True)


class Trouble(Exception):
    """The story cannot go on; the message says why."""


def play(description: str, here: Path, story: Callable[[Path, float], None]) -> int:
    """Play a story in a copy of its folder; 0 if it went as it should.

    Args:
        here: the example's folder; `work/` in it is where it plays, unless `--folder` says otherwise.
        story: is given the folder, which it finds made anew, and when the story began.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--folder", type=Path, default=here / "work", help="where to work; it is made anew")
    folder = parser.parse_args().folder.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        make_anew(folder, here)
        story(folder, began)
    except Trouble as trouble:
        console.print(f"\n[bold red]The demo failed:[/] {escape(str(trouble))}")
        for line in last_lines(folder / "engine.log"):
            console.print(f"  | {escape(line)}")
        console.print(f"Logs: {folder}/*.log, and those of the tasks below {folder}/.counterpoint/")
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted. Nothing is left running.")
        return 130
    console.print(f"\nDone in {time.monotonic() - began:.0f} s. Nothing is left running.")
    return 0


def make_anew(folder: Path, here: Path) -> None:
    """Copy an example's files, in place of what an earlier demo left."""
    if folder.exists() and not (folder / "score.yaml").exists():
        raise Trouble(f"{folder} is there and is no earlier demo's; name another with --folder")
    if is_served(folder):
        raise Trouble(f"a `counterpoint up` is running in {folder}; end it, or name another folder with --folder")
    end_worker_host(folder)
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns(
        "work", ".*", "__pycache__", "target", "logs", "*.duckdb", "landing", "demo.py"
    )
    shutil.copytree(here, folder, ignore=ignored)


# --- telling -----------------------------------------------------------------------------------------------


def heading(text: str) -> None:
    """A chapter of the story."""
    console.print(f"\n[bold]── {escape(text)}[/]")


def new_table(*columns: str) -> Table:
    """A table without fuss."""
    return Table(*columns, box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2)


def say(text: str) -> None:
    """What the narrator has to add."""
    console.print(f"         [bold]{escape(text)}[/]")


# --- the engine ------------------------------------------------------------------------------------------


@dataclass
class Engine:
    """A running `counterpoint up`, by its API."""

    url: str
    process: subprocess.Popen[bytes]

    def emit(self, type_: str, source: str, id_: str, **data: Any) -> None:
        """Tell it what happened, as a CloudEvent; one with the same source and id is the same event."""
        event = {"specversion": "1.0", "type": type_, "source": source, "id": id_, "data": data}
        ask("POST", f"{self.url}/api/v1/events", event)

    def why(self, name: str) -> str:
        """Why something is as it is, in one line."""
        return " ".join(ask("GET", f"{self.url}/api/v1/why/{name}")["lines"][:2])

    def is_idle(self) -> bool:
        """Whether nothing runs or waits."""
        return all(pipeline["state"] == "idle" for pipeline in self.status()["pipelines"])

    def status(self) -> Any:
        """Everything now."""
        return ask("GET", f"{self.url}/api/v1/status")

    def journal(self) -> list[dict[str, Any]]:
        """Every fact, oldest first."""
        facts: list[dict[str, Any]] = []
        cursor = 0
        while cursor is not None:
            page = ask("GET", f"{self.url}/api/v1/journal?limit=500&cursor={cursor}")
            facts, cursor = facts + page["rows"], page["next"]
        return facts


@contextmanager
def start_engine(folder: Path) -> Iterator[Engine]:
    """Start `counterpoint up` in a folder with a score, and end it with its worker host."""
    with (folder / "engine.log").open("w") as log:
        argv = [str(Path(sys.executable).parent / "counterpoint"), "up", "--listen", "127.0.0.1:0"]
        # A session of its own: an interrupt from the terminal reaches the demo alone, which ends things in order.
        process = subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    note = folder / ".counterpoint" / "server.json"  # where it serves: `up` says so when it is ready
    try:
        wait_for(note.exists, process, "counterpoint up did not become ready")
        yield Engine(json.loads(note.read_text())["url"], process)
    finally:
        end(process)
        end_worker_host(folder)


def is_served(folder: Path) -> bool:
    """Whether an engine runs there: it notes its process, and removes the note when it ends."""
    try:
        os.kill(json.loads((folder / ".counterpoint" / "server.json").read_text())["pid"], 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def end_worker_host(folder: Path) -> None:
    """End the process under which tasks run; without an engine it would do so by itself after a minute."""
    lock = folder / ".counterpoint" / "host" / "lock"
    if not lock.exists():
        return
    with lock.open() as file:
        deadline = time.monotonic() + 8
        while not is_free(file) and time.monotonic() < deadline:  # it holds the lock as long as it lives
            pid = int(file.read().split()[0])
            file.seek(0)
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.1)


def is_free(lock: TextIO) -> bool:
    """Whether nobody holds a lock file."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Watcher:
    """Follows the engine's stream, shows what matters, and waits for what should come."""

    def __init__(self, engine: Engine, began: float, *, shown: Mapping[str, tuple[str, str]] = SHOWN) -> None:
        self.engine = engine
        self.began = began
        self.shown = shown
        self.facts: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self.stopped = False
        self.expected_failures = 0
        threading.Thread(target=self._follow, daemon=True).start()

    def finished(self, pipeline: str, phase: str = "succeeded") -> int:
        """How many runs of a pipeline ended so."""
        ends = [f for f in self.facts if f["kind"] == "FinishRun" and f["pipeline"] == pipeline]
        return sum(fact["fact"]["phase"] == phase for fact in ends)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The facts of a kind that have come, oldest first."""
        return [fact for fact in self.facts if fact["kind"] == kind]

    def until(
        self, condition: Callable[[], bool], what: str, *, ask_why: str = "", longest_s: float = LONGEST_S
    ) -> None:
        """Wait for something; what must not happen ends the story. `ask_why`: whom to ask why, if it is late."""
        deadline = time.monotonic() + longest_s
        with self.changed:
            while not condition():
                if self.engine.process.poll() is not None:
                    raise Trouble(f"counterpoint up ended with code {self.engine.process.returncode}")
                if (failed := self._failures())[self.expected_failures :]:
                    raise Trouble(f"{failed[-1]['text']}. `counterpoint logs {failed[-1]['run']}` would say more")
                if time.monotonic() > deadline:
                    reason = self.engine.why(ask_why) if ask_why else ""
                    raise Trouble(f"not within {longest_s:.0f} s: {what}. {reason}".rstrip())
                self.changed.wait(0.2)

    def _failures(self) -> list[dict[str, Any]]:
        return [f for f in self.facts if f["kind"] == "FinishRun" and f["fact"]["phase"] != "succeeded"]

    def stop(self) -> None:
        """Show nothing any more."""
        self.stopped = True

    def _follow(self) -> None:
        request = urllib.request.Request(f"{self.engine.url}/api/v1/stream?after=0")
        try:
            with urllib.request.urlopen(request, timeout=60) as stream:
                for line in stream:
                    if line.startswith(b"data: ") and not self.stopped:
                        self._take(json.loads(line.removeprefix(b"data: ")))
        except (OSError, http.client.HTTPException):
            return  # the engine has ended; whoever waits notices by its process

    def _take(self, fact: dict[str, Any]) -> None:
        if fact["kind"] in self.shown:
            sign, style = self.shown[fact["kind"]]
            console.print(f"{time.monotonic() - self.began:6.1f} s [{style}]{sign}[/] {escape(fact['text'])}")
        with self.changed:
            self.facts.append(fact)
            self.changed.notify_all()


# --- small things ----------------------------------------------------------------------------------------


def ask(method: str, url: str, body: Any = None) -> Any:
    """Send JSON, get JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Trouble(f"{method} {url} answered {error.code}: {error.read().decode(errors='replace')}") from error
    except OSError as error:
        raise Trouble(f"{method} {url}: {error}") from error


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], otherwise: str) -> None:
    """Wait until a process is ready."""
    deadline = time.monotonic() + 15
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Trouble(otherwise)
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started; by force if it takes too long."""
    process.terminate()
    try:
        process.wait(timeout=8)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_lines(file: Path) -> list[str]:
    """The end of a log; empty if there is none."""
    return file.read_text(errors="replace").splitlines()[-8:] if file.exists() else []


def seconds(moment: str) -> float:
    """A moment as the API writes it, as seconds."""
    return datetime.fromisoformat(moment).timestamp()
