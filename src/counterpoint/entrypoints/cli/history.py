"""How long things took, from the history of a store: for simulations that go by what really ran."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.errors import Mistake

if TYPE_CHECKING:
    from counterpoint.kernel.events import Band
    from counterpoint.ports.store import AttemptRow

#: So many attempts are looked at, the newest.
MOST_ATTEMPTS = 20_000
_PAGE = 1_000


def learned_from(store: str, folder: Path) -> tuple[Band, ...]:
    """Bands of durations from the attempts that a store remembers.

    Args:
        store: its URL; "" is the one of the score's folder.

    Raises:
        Mistake: there is no such store, or it remembers no attempt that succeeded.
        StoreError: it does not answer.
    """
    import asyncio

    from counterpoint.analysis.durations import Learner
    from counterpoint.bootstrap import FOLDER

    own = folder / FOLDER / "counterpoint.sqlite"
    if not store and not own.exists():
        raise Mistake(
            f"there is no history in {folder / FOLDER}; nothing has run here, or name the STORE", code="no-history"
        )
    url = store or f"sqlite:///{own.absolute()}"
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise Mistake(f"there is no store at {url}", code="no-history")
    learner = Learner()
    for row in reversed(asyncio.run(_attempts(url))):
        assert row.ended_at is not None
        took_s = (row.ended_at - row.started_at).total_seconds()
        learner.add(row.run.rpartition("#")[0], row.task, took_s=took_s, at=row.started_at)
    bands = learner.changed()
    if not bands:
        raise Mistake("the store remembers no attempt that succeeded", code="no-history")
    return bands


async def _attempts(url: str) -> list[AttemptRow]:
    """The newest attempts that succeeded, newest first."""
    from counterpoint.adapters.stores import open_store
    from counterpoint.ports.store import AttemptRow

    store, found, before = open_store(url), list[AttemptRow](), None
    try:
        while len(found) < MOST_ATTEMPTS:
            page = await store.page("attempts", where={"phase": "succeeded"}, before=before, limit=_PAGE)
            found += [row for _, row in page if isinstance(row, AttemptRow) and row.ended_at is not None]
            if len(page) < _PAGE:
                break
            before = page[-1][0]
    finally:
        await store.close()
    return found
