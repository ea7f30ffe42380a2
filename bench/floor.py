"""The least a hand-off can cost on this machine: reap a process, commit the same bytes, start a process.

Run as a program of its own, small as a worker host is: `python -m bench.floor KIND STORE BYTES`. For
each line on its input it does the three things once and writes the seconds from the first process's
last line to the second one's first line.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

SCRIPT = "echo $EPOCHREALTIME > "


def run_command(path: str) -> None:
    pid = os.posix_spawn("/bin/bash", ["bash", "-c", SCRIPT + path], os.environ)
    os.waitpid(pid, 0)


def run_function(path: str) -> None:
    pid = os.fork()
    if pid == 0:
        now = time.time()
        Path(path).write_text(str(now))
        os._exit(0)
    os.waitpid(pid, 0)


async def committer(store: str, size: int) -> Callable[[], Awaitable[object]]:
    """What commits that many bytes, durably, to a store of that kind."""
    content = b"x" * size
    if store:
        import asyncpg

        connection = await asyncpg.connect(store)
        await connection.execute("CREATE TABLE IF NOT EXISTS floor (content bytea)")
        return lambda: connection.execute("INSERT INTO floor VALUES ($1)", content)
    database = sqlite3.connect("floor.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE floor (content BLOB)")

    async def commit() -> None:
        database.execute("INSERT INTO floor VALUES (?)", (content,))

    return commit


async def serve(kind: str, store: str, size: int) -> None:
    run = run_command if kind == "command" else run_function
    commit = await committer(store, size)
    for _ in sys.stdin:
        run("first")
        await commit()
        run("second")
        taken = float(Path("second").read_text()) - float(Path("first").read_text())
        sys.stdout.write(f"{taken}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[4]) as folder:
        os.chdir(folder)
        asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
