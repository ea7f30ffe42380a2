from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from counterpoint.adapters.stores.file_lock import FileLock


async def test_only_one_holds_the_lock_and_the_next_gets_it_at_once(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_acquire()
    assert first.try_acquire()
    assert not second.try_acquire()

    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(0)
    first.release()
    await asyncio.wait_for(waiting, 1)

    assert second.is_held
    assert not first.try_acquire()
    second.release()


async def test_a_wait_that_was_given_up_is_taken_up_again(tmp_path: Path) -> None:
    holder, lock = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    holder.try_acquire()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lock.acquire(), 0.01)

    waiting = asyncio.create_task(lock.acquire())
    await asyncio.sleep(0)
    holder.release()
    await asyncio.wait_for(waiting, 1)

    assert lock.is_held
    lock.release()


async def test_a_wait_that_was_given_up_gives_the_lock_back_when_it_comes(tmp_path: Path) -> None:
    holder, gave_up, patient = (FileLock(tmp_path / "lock") for _ in range(3))
    holder.try_acquire()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gave_up.acquire(), 0.01)

    holder.release()
    await asyncio.wait_for(patient.acquire(), 1)

    assert not gave_up.is_held
    patient.release()


def test_the_lock_is_for_its_owner_only(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.try_acquire()
    lock.release()

    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
