"""The process executor, by the contract of its port."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from counterpoint.adapters.executors.process.client import ProcessExecutor
from counterpoint.testing.contracts.executor import SECRET_NAME, SECRET_VALUE, ExecutorContract


class HostFolder:
    """A host folder and a folder for tasks."""

    def __init__(self, path: Path) -> None:
        self.folder = path / "work"
        self.folder.mkdir()
        self._host = path / "host"

    def executor(self) -> ProcessExecutor:
        secrets = ["counterpoint.adapters.secrets.environment:EnvironmentSecrets"]
        return ProcessExecutor(self._host, idle_s=0.5, secrets=secrets)

    def pid(self) -> int:
        return int((self._host / "lock").read_text().split()[0])

    def kill_host(self) -> None:
        os.kill(self.pid(), signal.SIGKILL)

    def log(self, name: str) -> str:
        return (self._host / "logs" / name).read_text()


class TestProcessExecutor(ExecutorContract):
    @pytest.fixture
    def workplace(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostFolder]:
        monkeypatch.setenv(f"COUNTERPOINT_SECRET_{SECRET_NAME}", SECRET_VALUE)
        place = HostFolder(tmp_path.resolve())
        yield place
        os.kill(place.pid(), signal.SIGTERM)
