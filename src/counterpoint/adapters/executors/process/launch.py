"""Finding the worker host of a folder, and starting one where there is none."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from counterpoint.adapters.executors.process.host import TAKEN
from counterpoint.errors import HostUnreachable

_PROGRAM = "counterpoint.adapters.executors.process.host"


def is_gone(folder: Path) -> bool:
    """Whether the folder's host has certainly ended: the lock that it holds for its life is free."""
    try:
        fd = os.open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


async def start(folder: Path, *, idle_s: float, secrets: Sequence[str]) -> None:
    """Start a host for the folder, in a session of its own and nobody's child; returns when it serves.

    If another one was quicker, that one is as good.

    Raises:
        HostUnreachable: it could not start; the text says why.
    """
    # -P: what lies in the folder where the engine was started must not be taken for a module of ours.
    command = [sys.executable, "-P", "-m", _PROGRAM, "--folder", str(folder), "--idle-s", str(idle_s)]
    command += [part for source in secrets for part in ("--secrets", source)]
    ended = await asyncio.to_thread(_run, command)
    if ended.returncode not in (0, TAKEN):
        words = ended.stderr.decode(errors="replace").strip().splitlines()
        raise HostUnreachable(f"the worker host could not start: {words[-1] if words else 'it said nothing'}")


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    # Without what an attempt is told, in case we run inside one: its host must not take ours for its leftovers.
    told = ("COUNTERPOINT_OUTPUT", "COUNTERPOINT_EVENTS", "COUNTERPOINT_INPUTS", "COUNTERPOINT_CHECKPOINT")
    env = {name: value for name, value in os.environ.items() if name not in told}
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env, check=False
    )
