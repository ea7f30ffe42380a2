"""Putting an engine together, and taking it apart again when it does not come to that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from counterpoint import bootstrap
from counterpoint.adapters.stores import open_store
from counterpoint.testing.rig import plan


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
