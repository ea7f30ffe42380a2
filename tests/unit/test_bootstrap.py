"""Putting an engine together, and taking it apart again when it does not come to that."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from counterpoint import bootstrap
from counterpoint.adapters.stores import open_store
from counterpoint.adapters.stores.memory import MemoryJournal
from counterpoint.errors import StoreUnavailable
from counterpoint.testing.faults import ScriptedExecutor
from counterpoint.testing.rig import Running, plan


async def test_who_stands_by_no_longer_has_let_go_of_everything(tmp_path: Path) -> None:
    place = tmp_path / bootstrap.FOLDER
    place.mkdir()
    leader = open_store(f"sqlite:///{place}/counterpoint.sqlite")
    await leader.lead()
    stands_by = asyncio.Event()

    starting = asyncio.create_task(bootstrap.start(plan(), folder=tmp_path, on_standby=stands_by.set))
    await asyncio.wait_for(stands_by.wait(), 5)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert asyncio.all_tasks() == {asyncio.current_task()}
    await leader.release()
    await asyncio.wait_for(leader.lead(), 5)  # nobody has taken over
    await leader.close()


def test_the_key_is_made_once_whole_and_for_us_alone(tmp_path: Path) -> None:
    key = bootstrap._secret(tmp_path / "secret")

    assert len(key) == 32
    assert bootstrap._secret(tmp_path / "secret") == key
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_crash_while_the_key_is_written_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing:
        crashing.setattr(os, "fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            bootstrap._secret(tmp_path / "secret")

    assert len(bootstrap._secret(tmp_path / "secret")) == 32


async def test_draining_waits_beyond_a_failure_of_the_store() -> None:
    running = await Running(MemoryJournal(), ScriptedExecutor(), plan()).ready()
    await running.service.run("manual", by="test")
    await running.until(lambda: running.executor.placed)
    draining = asyncio.create_task(bootstrap.RunningEngine(running.service, "", running.task).drain())
    await asyncio.sleep(0)

    running.store.fails = "before"
    with pytest.raises(StoreUnavailable):
        await running.service.run("manual", by="test")
    await running.until(lambda: running.engine.ready)
    assert not draining.done()
    running.executor.end("manual#1/run/1")

    await asyncio.wait_for(draining, 5)
    await running.stop()
