"""Finding the running server, and its token, beside the score."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from counterpoint.entrypoints.cli.location import Location, find_running, forget_running, write_running
from counterpoint.entrypoints.cli.options import client_for


def test_what_runs_is_found_and_forgotten(tmp_path: Path) -> None:
    write_running(tmp_path, Location("http://127.0.0.1:1234", "secret"))
    found = find_running(tmp_path)
    forget_running(tmp_path)

    assert found == Location("http://127.0.0.1:1234", "secret")
    assert find_running(tmp_path) is None
    assert not (tmp_path / ".counterpoint/token").exists()


def test_the_token_is_for_our_eyes_only(tmp_path: Path) -> None:
    (tmp_path / ".counterpoint").mkdir()
    (tmp_path / ".counterpoint/token").write_text("an older one")
    (tmp_path / ".counterpoint/token").chmod(0o644)

    write_running(tmp_path, Location("http://127.0.0.1:1234", "secret"))

    assert (tmp_path / ".counterpoint/token").stat().st_mode & 0o777 == 0o600
    assert "secret" not in (tmp_path / ".counterpoint/server.json").read_text()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"url": "x"}', '{"url": "x", "pid": 999999999}'])
def test_a_note_that_is_broken_or_of_a_dead_process_is_no_server(tmp_path: Path, content: str) -> None:
    (tmp_path / ".counterpoint").mkdir()
    (tmp_path / ".counterpoint/server.json").write_text(content)

    assert find_running(tmp_path) is None


def test_the_note_of_another_process_is_left_alone(tmp_path: Path) -> None:
    note = tmp_path / ".counterpoint/server.json"
    note.parent.mkdir()
    note.write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": os.getppid()}))

    forget_running(tmp_path)

    assert note.exists()


def test_a_named_server_comes_before_the_running_one_and_that_before_the_usual(tmp_path: Path) -> None:
    assert client_for(None, "", tmp_path).url == "http://127.0.0.1:8700"

    write_running(tmp_path, Location("http://127.0.0.1:1234", "secret"))

    running = client_for(None, "", tmp_path)
    named = client_for("http://other:1/", "", tmp_path)
    assert (running.url, running.token) == ("http://127.0.0.1:1234", "secret")
    assert (named.url, named.token) == ("http://other:1", "")


def test_verbs_use_the_server_of_the_folder(
    typed: Any, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COUNTERPOINT_URL")
    folder = tmp_path / "project"
    folder.mkdir()
    write_running(folder, Location(server.url))

    assert typed("status", "--folder", str(folder)).code == 0
