"""Items that a subscriber has yet to deal with, asked for the one thing that counts: their lowest floor.

An item that is pending, taken by a run or a dead letter is outstanding. So long as it is, what its subscriber
writes has nothing of a source beyond the item's floor. Holds no facts of its own: State can always build it again.
"""

from __future__ import annotations

from collections.abc import Container
from heapq import heapify, heappop, heappush

#: Entries of ended items that a heap keeps at most, beside as many as there are others.
MOST_STALE = 64


class Outstanding:
    """The outstanding items of one subject in one subscription."""

    def __init__(self) -> None:
        self._floors: dict[int, dict[str, int]] = {}
        # Source -> (floor, number of the item); an entry counts while the item is outstanding.
        self._heaps: dict[str, list[tuple[int, int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._floors)

    def add(self, number: int, floor: dict[str, int]) -> None:
        """Let an item be outstanding."""
        self._floors[number] = floor
        for source, mark in floor.items():
            heap = self._heaps.setdefault(source, [])
            heappush(heap, (mark, number))
            if len(heap) > 2 * len(self._floors) + MOST_STALE:
                heap[:] = [entry for entry in heap if entry[1] in self._floors]
                heapify(heap)

    def remove(self, number: int) -> None:
        """An item is done, or was given up."""
        self._floors.pop(number, None)

    def lowest(self, source: str, without: Container[int] = ()) -> int | None:
        """The lowest floor of a source, some items left out; None where nothing is outstanding.

        Costs what is left out, not what there is.
        """
        heap, own = self._heaps.get(source, []), list[tuple[int, int]]()
        while heap and (heap[0][1] not in self._floors or heap[0][1] in without):
            entry = heappop(heap)
            if entry[1] in self._floors:
                own.append(entry)
        found = heap[0][0] if heap else None
        for entry in own:
            heappush(heap, entry)
        return found
