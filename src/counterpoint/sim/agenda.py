"""Virtual time: a heap of things to come, in an order that never depends on chance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from heapq import heappop, heappush
from typing import Any, TypeAlias

#: What is to come: called with the arguments that stand beside it.
Action: TypeAlias = Callable[..., None]

#: At one instant what ends comes first, so that what begins finds the slots free; then what arrives.
ENDS, ARRIVES = 0, 1


class Agenda:
    """Things to come. At one instant ends come before arrivals, and else what was noted first."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, int, Action, tuple[Any, ...]]] = []
        self._noted = 0

    def __len__(self) -> int:
        return len(self._heap)

    def note(self, at: datetime, order: int, action: Action, *about: Any) -> None:
        """Let something happen at a moment.

        Args:
            order: `ENDS` or `ARRIVES`: its place among what happens at the same instant.
        """
        self._noted += 1
        heappush(self._heap, (at, order, self._noted, action, about))

    @property
    def first(self) -> datetime | None:
        """When the next thing happens; None if nothing is to come."""
        return self._heap[0][0] if self._heap else None

    def take(self) -> tuple[datetime, Action, tuple[Any, ...]]:
        """Take out the next thing: when, what, and about what."""
        at, _, _, action, about = heappop(self._heap)
        return at, action, about
