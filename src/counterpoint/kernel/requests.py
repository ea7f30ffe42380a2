"""What waits for slots: requests, groups of those alike, and profiles of groups that need the same pools.

Resources are strings: `pool:NAME`, `asset:NAME` (a reader holds 1, a writer all), `fresh:NAME`,
which is there while the asset is not suspect and is never used up, and `later:NAME`: slots of a
pool for later tasks of a run, which it lacks only while the pool is kept for another.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from msgspec import Struct

#: Place in the queue, the smallest first: rank of the class, due, arrival, number of the run, number of the task.
Key: TypeAlias = tuple[int, datetime, datetime, int, int]
#: What a request needs, sorted by resource, and whether its run is admitted already.
Shape: TypeAlias = tuple[tuple[tuple[str, int], ...], bool]
#: What all of a group have in common: its profile's sign, other needs, and whose duration they are to have.
Place: TypeAlias = tuple["Sign", tuple[tuple[str, int], ...], tuple[str, str]]
#: What all of a profile have in common: slots of pools, admitted already, rank, team, backfill, and the rank of
#: their class, which age does not change.
Sign: TypeAlias = tuple[tuple[tuple[str, int], ...], bool, int, str, bool, int]
#: How a profile stands now: rank, and how much of its share its team has where it would borrow, else 0.
Stand: TypeAlias = tuple[int, float]

#: A heap is tidied when it has so many entries, and twice as many as counted the last time.
MOST_STALE = 64

T = TypeVar("T")


class Room(Struct, frozen=True):
    """What a reservation leaves to others.

    Attributes:
        seconds: whatever ends within so many seconds delays it not; None where nobody knows.
        spare: resource -> how much of it will not be needed even when the reservation is used.
    """

    seconds: float | None
    spare: dict[str, int]


class Ground(Protocol):
    """What the queue must know of the world to choose; it is asked anew each time."""

    def free(self, resource: str) -> int:
        """How much of a resource is free now."""

    def capacity(self, resource: str) -> int:
        """How much of a resource there is."""

    def stand(self, sign: Sign) -> Stand:
        """How requests of a profile stand now."""

    def margin(self, resource: str) -> int:
        """How much of a resource is to stay free while who asks has slack."""

    def is_slack(self, request: Request) -> bool:
        """Whether a request may still wait without harm to a promise."""

    def room(self, request: Request) -> Room:
        """What the reservation for a request leaves to others."""


class Request(Struct, eq=False, gc=False):
    """A run that waits for admission (`task` is ""), or a task of an admitted run that waits for slots.

    `takes` is how long it is expected to take in seconds, where that is its own and not its group's.
    """

    key: Key
    run: str
    task: str
    shape: Shape
    place: Place
    takes: float | None = None
    gone: bool = False

    @property
    def needs(self) -> tuple[tuple[str, int], ...]:
        """(resource, amount), sorted by resource."""
        return self.shape[0]

    @property
    def admitted(self) -> bool:
        """Whether its run is admitted already, so that no reservation holds it back."""
        return self.shape[1]

    @property
    def name(self) -> tuple[str, str]:
        """Run and task."""
        return (self.run, self.task)


class Claim(Struct, eq=False, gc=False):
    """What is kept for a request for which attempts were asked to make room, all that it needs, until `until`."""

    resources: dict[str, int]
    until: datetime


class Lazy(Generic[T]):
    """A heap of what may not hold any more: that is dropped when it comes to the top, or when it is too much."""

    __slots__ = ("_entries", "_holds", "_limit", "_number")

    def __init__(self, holds: Callable[[Any, T], bool]) -> None:
        self._entries: list[tuple[Any, int, T]] = []
        self._holds, self._limit, self._number = holds, MOST_STALE, 0

    def push(self, order: Any, item: T) -> None:
        """Add an item; the number keeps two entries of one order from comparing items."""
        self._number += 1
        heappush(self._entries, (order, self._number, item))
        if len(self._entries) > self._limit:
            self._entries = [entry for entry in self._entries if self._holds(entry[0], entry[2])]
            heapify(self._entries)
            self._limit = max(MOST_STALE, 2 * len(self._entries))

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()

    def top(self) -> tuple[Any, T] | None:
        """The first that holds, and its order."""
        entries = self._entries
        while entries:
            order, _, item = entries[0]
            if self._holds(order, item):
                return order, item
            heappop(entries)
        return None


class Group:
    """Requests of one need, and of one expected duration unless each has its own.

    Attributes:
        count: how many they are.
        first: key of its first request; `shortest` (seconds, key) of the one that is expected to end first.
        watching: what else than a pool its head lacks; None while it is ready as far as that goes.
        usual: seconds that its requests are expected to take, where they have no time of their own.
    """

    def __init__(self, place: Place, profile: Profile, usual: float | None) -> None:
        self.place, self.profile, self.usual = place, profile, usual
        self.watching: str | None = None
        self.count = 0
        self.first: Key | None = None
        self.shortest: tuple[float, Key] | None = None
        self._by_key: Lazy[Request] = Lazy(_waits)
        self._by_takes: Lazy[Request] = Lazy(_waits)
        # Whether any of its requests has had a time of its own.
        self._has_own = False

    def push(self, request: Request) -> None:
        """Let a request stand in it."""
        self.count += 1
        self._by_key.push(request.key, request)
        if request.takes is not None:
            self._has_own = True
            self._by_takes.push((request.takes, request.key), request)

    def head(self) -> Request | None:
        """The first request by key."""
        top = self._by_key.top()
        return top[1] if top else None

    def brief(self) -> Request | None:
        """The one that is expected to end first; unknown durations come last, by key."""
        if not self._has_own:
            return self.head()
        top = self._by_takes.top()
        return top[1] if top else self.head()

    def settle(self) -> bool:
        """Note its head and its shortest request anew; whether anything of that changed."""
        head = self.head()
        brief = self.brief() if self._has_own else head
        first = head.key if head else None
        shortest = (self.takes(brief), brief.key) if brief else None
        if first == self.first and shortest == self.shortest:
            return False
        self.first, self.shortest = first, shortest
        return True

    def takes(self, request: Request) -> float:
        """Seconds that a request is expected to take; infinite where nobody knows."""
        usual = self.usual if request.takes is None else request.takes
        return inf if usual is None else usual


class Profile:
    """Groups that need the same of the pools, with the same class and team; `watching` is the pool they lack."""

    def __init__(self, sign: Sign) -> None:
        self.sign = sign
        self.groups: dict[Group, None] = {}
        self.watching: str | None = None
        self.heads: Lazy[Group] = Lazy(lambda key, group: group.first == key)
        self.ready: Lazy[Group] = Lazy(lambda key, group: group.watching is None and group.first == key)
        self.brief: Lazy[Group] = Lazy(lambda order, group: group.watching is None and group.shortest == order)

    @property
    def pools(self) -> tuple[tuple[str, int], ...]:
        """(pool, slots), sorted."""
        return self.sign[0]

    @property
    def admitted(self) -> bool:
        """Whether its runs are admitted already."""
        return self.sign[1]

    @property
    def rank(self) -> int:
        """Its rank: of its class, or the top."""
        return self.sign[2]

    @property
    def class_rank(self) -> int:
        """The rank of its class, whatever its age."""
        return self.sign[5]

    def first(self) -> Key | None:
        """The key of its first request, whatever that waits for."""
        top = self.heads.top()
        return top[0] if top else None

    def note(self, group: Group) -> None:
        """A group has another head, another shortest request, or is ready again."""
        if group.first is None or group.shortest is None:
            return
        self.heads.push(group.first, group)
        if group.watching is None:
            self.ready.push(group.first, group)
            self.brief.push(group.shortest, group)


def kept_as(resource: str) -> str:
    """The resource that is kept where one is lacking: a pool for what later tasks need of it."""
    kind, _, name = resource.partition(":")
    return f"pool:{name}" if kind == "later" else resource


def _waits(order: Any, request: Request) -> bool:
    return not request.gone
