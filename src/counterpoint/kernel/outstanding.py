"""Items that a subscriber has yet to deal with, asked for the one thing that counts: their lowest floors.

An item that is pending, taken by a run or a dead letter is outstanding. So long as it is, what its subscriber
writes has nothing of a source beyond the item's floor. Holds no facts of its own: State can always build it again.

As a rule what comes later has a higher floor, so that the first item has the lowest of all. Only where one came
that has not (a dead letter that is replayed) is there a heap for each source.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Mapping
from heapq import heapify, heappop, heappush
from operator import le

#: Entries of ended items that a heap keeps at most, beside as many as there are others.
MOST_STALE = 64


class Outstanding:
    """The outstanding items of one subject in one subscription."""

    def __init__(self) -> None:
        # In the order in which they came; ordered, because the first is taken out again and again.
        self._floors: OrderedDict[int, Mapping[str, int]] = OrderedDict()
        # Source -> (floor, number of the item); an entry counts while the item is outstanding. None while each
        # floor is as high as those before it.
        self._heaps: dict[str, list[tuple[int, int]]] | None = None

    def __bool__(self) -> bool:
        return bool(self._floors)

    def add(self, number: int, floor: Mapping[str, int]) -> None:
        """Let an item be outstanding."""
        floors = self._floors
        if self._heaps is None and floors and not _is_as_high(floor, floors[next(reversed(floors))]):
            self._heaps = {}
            for each, its in floors.items():
                self._push(self._heaps, each, its)
        floors[number] = floor
        if self._heaps is not None:
            self._push(self._heaps, number, floor)

    def _push(self, heaps: dict[str, list[tuple[int, int]]], number: int, floor: Mapping[str, int]) -> None:
        for source, mark in floor.items():
            heap = heaps.setdefault(source, [])
            heappush(heap, (mark, number))
            if len(heap) > 2 * len(self._floors) + MOST_STALE:
                heap[:] = [entry for entry in heap if entry[1] in self._floors]
                heapify(heap)

    def remove(self, number: int) -> None:
        """An item is done, or was given up."""
        self._floors.pop(number, None)

    def lowest(self, without: Container[int] = ()) -> Mapping[str, int]:
        """Source -> the lowest floor, some items left out; without a source of which nothing is outstanding.

        Costs what is left out, not what there is.
        """
        if self._heaps is None:
            for number, floor in self._floors.items():
                if number not in without:
                    return floor
            return {}
        lowest = ((source, self._lowest(heap, without)) for source, heap in self._heaps.items())
        return {source: mark for source, mark in lowest if mark is not None}

    def _lowest(self, heap: list[tuple[int, int]], without: Container[int]) -> int | None:
        own: list[tuple[int, int]] = []
        while heap and (heap[0][1] not in self._floors or heap[0][1] in without):
            entry = heappop(heap)
            if entry[1] in self._floors:
                own.append(entry)
        found = heap[0][0] if heap else None
        for entry in own:
            heappush(heap, entry)
        return found


def _is_as_high(floor: Mapping[str, int], before: Mapping[str, int]) -> bool:
    """Whether a floor is of the same sources as another, and nowhere below it."""
    return list(floor) == list(before) and all(map(le, before.values(), floor.values()))
