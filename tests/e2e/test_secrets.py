"""A secret's value is in the environment of the task that asked for it, and nowhere else."""

from __future__ import annotations

import secrets
import sqlite3
import urllib.request
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

SCORE = """\
score: s
assets: {out: {}}
pipelines:
  leaky:
    writes: [out]
    retry: {attempts: 2, backoff: 10ms}
    tasks:
      run: {command: python leaky.py, env: {PASSWORD: {secret: CANARY}}}
"""
#: A task that tells its secret in every way that it has. Its second try waits, and then succeeds.
LEAKY = """\
import base64, json, os, sys, time
from pathlib import Path

secret = os.environ["PASSWORD"]
encoded = base64.b64encode(secret.encode()).decode()
print(secret, encoded, repr(secret), json.dumps({"password": secret}), flush=True)
for part in (secret[:5], secret[5:12], secret[12:], encoded[:9], encoded[9:]):
    os.write(1, part.encode())
    time.sleep(0.1)
os.write(1, b"x" * 65_530 + secret.encode() + b"\\n")
with open(os.environ["COUNTERPOINT_OUTPUT"], "a") as output:
    for line in (
        {"kind": "progress", "note": secret},
        {"kind": "metric", "name": secret, "value": 1},
        {"kind": "checkpoint", "name": "half", "data": {"password": secret, encoded: [secret]}},
        {"kind": "asset", "asset": "out", "label": secret, "metadata": {"password": encoded}},
    ):
        print(json.dumps(line), file=output)
    print("no JSON, but " + secret, file=output)
if os.environ["COUNTERPOINT_ATTEMPT"].endswith("1"):
    sys.exit(f"it cannot log in with {secret} or {encoded}")
Path("pid").write_text(str(os.getpid()))
while not Path("go").exists():
    time.sleep(0.05)
"""


def test_a_secret_is_told_to_nobody_but_its_task(project: Any, tmp_path_factory: Any) -> None:
    core = secrets.token_hex(12)
    value = f'canary "{core}"/ü'
    vault = tmp_path_factory.mktemp("vault")
    (vault / "CANARY").write_text(value)
    project.score(SCORE)
    (project.folder / "leaky.py").write_text(LEAKY)
    forms = [core.encode(), b64encode(value.encode()).rstrip(b"="), quote(value).encode()]

    server = project.up(COUNTERPOINT_SECRETS=str(vault))
    project.ask("run", "leaky", "--no-wait")
    pid = project.folder / "pid"
    project.until(lambda: pid.exists() and pid.read_text())
    knowing = {process.name for process, told in _processes() if any(form in told for form in forms)}
    (project.folder / "go").touch()
    project.until(lambda: project.phase("leaky#1") == "succeeded")

    assert knowing == {pid.read_text()}
    told = dict(_answers(project))
    project.end(server)
    told |= dict(_files(project.folder)) | dict(_rows(project.folder / ".counterpoint/counterpoint.sqlite"))
    assert [place for place, content in told.items() if any(form in content for form in forms)] == []
    # What hides it shows that it was there.
    assert told["logs"].count(b"***") >= 8
    assert b"it cannot log in with *** or ***" in told["show"]
    assert b'"label": "***"' in told["show"]


def _processes() -> Iterator[tuple[Path, bytes]]:
    """Each process with its command line and its environment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield process, (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended since, or is somebody else's


def _answers(project: Any) -> Iterator[tuple[str, bytes]]:
    """Everything that the API and the command line say."""
    for words in (
        ("status",),
        ("runs",),
        ("show", "leaky#1"),
        ("why", "leaky#1"),
        ("why", "out"),
        ("dead-letters",),
    ):
        yield words[0] if words[-1] != "out" else "why out", project.type(*words, "--json").stdout.encode()
        yield f"{' '.join(words)} as text", project.type(*words).stdout.encode()
    yield "logs", project.type("logs", "leaky#1").stdout.encode()
    for path in ("journal?limit=500", "plan", "events", "items", "versions", "attempts", "pipelines", "assets"):
        yield path, project.send("GET", f"/api/v1/{path}")[1]
    yield "metrics", project.send("GET", "/metrics")[1]
    with urllib.request.urlopen(f"http://{project.address}/api/v1/stream?after=0", timeout=10) as stream:
        lines = []
        while b'"FinishRun"' not in (line := stream.readline()):
            lines.append(line)
    yield "stream", b"".join(lines)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Journal, logs, spool and whatever else there is, as it lies on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def _rows(file: Path) -> Iterator[tuple[str, bytes]]:
    """Each row of each table, with what is compressed in it."""
    with closing(sqlite3.connect(file)) as store:
        for (table,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for number, row in enumerate(store.execute(f'SELECT * FROM "{table}"')):
                content = b" ".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)
                if table == "snapshots":
                    content += b"".join(zlib.decompress(cell) for cell in row if isinstance(cell, bytes))
                yield f"{table} row {number}", content
