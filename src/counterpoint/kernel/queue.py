"""The queue: who waits for slots, in which order, and who must be looked at when something frees.

Waiting requests are grouped by *shape* (what they need). All of a group wait for the same
things, so only its head is ever looked at. A group that does not fit *watches* one resource it
lacks, and is looked at again when that one has enough. So an event costs what it frees, not
what waits: 100,000 waiting requests of 200 shapes are 200 heads, of which a freed slot meets
only those that watch its pool.

Resources are strings: `pool:NAME`, `asset:NAME` (a reader holds 1, a writer all), and
`fresh:NAME`, which is there while the asset is not suspect and is never used up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from heapq import heappop, heappush
from itertools import count, takewhile
from typing import TypeAlias

from msgspec import Struct

#: Place in the queue, the smallest first: rank of the class, due, arrival, number of the run, number of the task.
Key: TypeAlias = tuple[int, datetime, datetime, int, int]
#: What a request needs, sorted by resource, and whether its run is admitted already.
Shape: TypeAlias = tuple[tuple[tuple[str, int], ...], bool]


class Request(Struct, eq=False, gc=False):
    """A run that waits for admission (`task` is ""), or a task of an admitted run that waits for slots."""

    key: Key
    run: str
    task: str
    shape: Shape
    gone: bool = False

    @property
    def needs(self) -> tuple[tuple[str, int], ...]:
        """(resource, amount), sorted by resource."""
        return self.shape[0]

    @property
    def admitted(self) -> bool:
        """Whether its run is admitted already, so that no reservation holds it back."""
        return self.shape[1]


class Claim(Struct, eq=False, gc=False):
    """What is kept for a request for which attempts were asked to make room, all that it needs, until `until`."""

    resources: dict[str, int]
    until: datetime


class Group(Struct, eq=False, gc=False):
    """Requests of one shape; `watching` is the resource its head lacks, None while it is to be looked at."""

    shape: Shape
    heap: list[tuple[Key, int, Request]]
    watching: str | None = None

    def head(self) -> Request | None:
        """The first request that is still there."""
        while self.heap and self.heap[0][2].gone:
            heappop(self.heap)
        return self.heap[0][2] if self.heap else None


#: A group by the key of its head; the number keeps two entries of one key from comparing groups.
Entry: TypeAlias = tuple[Key, int, Group]


class Queue:
    """All waiting requests. Holds no facts of its own: State can always build it again."""

    def __init__(self) -> None:
        self._groups: dict[Shape, Group] = {}
        #: Resource -> groups that need some of it.
        self._needing: dict[str, dict[Shape, Group]] = {}
        #: (run, task) -> what is kept for that request, in the order in which room was made for them.
        self.claims: dict[tuple[str, str], Claim] = {}
        self._claimed: dict[str, int] = {}
        self._requests: dict[tuple[str, str], Request] = {}
        # Groups to look at, and groups by (resource, amount, admitted) they watch; both as heaps of
        # entries that count only while they say the truth.
        self._fresh: list[Entry] = []
        self._watchers: dict[str, dict[tuple[int, bool], list[Entry]]] = {}
        self._entries = count()
        self._freed: dict[str, None] = {}
        #: Resource -> (run, task) of the request for which whatever gets free of it is kept.
        self.reserved: dict[str, tuple[str, str]] = {}
        #: Requests in line for a reservation; an entry counts while the request waits with that key.
        self._late: list[tuple[Key, str, str]] = []
        #: Resource -> requests taken out of that line until some of it becomes free.
        self._aside: dict[str, list[tuple[Key, str, str]]] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests.values())

    def get(self, run: str, task: str) -> Request | None:
        """The request of that run and task, if it waits."""
        return self._requests.get((run, task))

    def add(self, key: Key, run: str, task: str, shape: Shape) -> None:
        """Let a request wait."""
        group = self._groups.get(shape)
        if group is None:
            group = self._groups[shape] = Group(shape, [])
            for resource, _ in shape[0]:
                self._needing.setdefault(resource, {})[shape] = group
        # The group's own shape, so that 100,000 requests share 200 tuples.
        request = self._requests[run, task] = Request(key, run, task, group.shape)
        before = group.head()
        heappush(group.heap, (key, next(self._entries), request))
        if before is None or key < before.key:
            # A new head of a blocked group lacks what the old one lacked (same shape), unless
            # that was kept for a request which comes after the new one.
            if group.watching in self.reserved:
                group.watching = None
            self._place(group, key)

    def remove(self, run: str, task: str) -> None:
        """Take a request out, because it was granted or is not wanted any more."""
        request = self._requests.pop((run, task), None)
        if request is None:
            return
        is_claimed = (run, task) in self.claims
        self.release(request)
        if not is_claimed:
            self._leave(request)

    def _leave(self, request: Request) -> None:
        """Take a request out of its group."""
        request.gone = True
        group = self._groups[request.shape]
        head = group.head()
        if head is None:
            del self._groups[request.shape]
            for resource, _ in request.needs:
                del self._needing[resource][request.shape]
        elif head.key > request.key:
            self._place(group, head.key)

    def freed(self, resource: str) -> None:
        """Some of a resource became free, so its watchers are to be looked at."""
        self._freed[resource] = None
        for entry in self._aside.pop(resource, ()):
            heappush(self._late, entry)

    def block(self, request: Request, resource: str) -> None:
        """The request's group lacks this resource: look again when there is more of it."""
        group = self._groups[request.shape]
        group.watching = resource
        self._place(group, request.key)

    def next(self, free: Callable[[str], int]) -> Request | None:
        """The first request in queue order that may have come to fit; None when there is none left.

        The caller must grant it (`remove`) or `block` it before asking again.

        Args:
            free: how much of a resource is free now.
        """
        found = self._top(self._fresh, None)
        best, heap = found, self._fresh
        for resource in list(self._freed):
            left, is_watched = free(resource), False
            for (amount, admitted), watchers in self._watchers.get(resource, {}).items():
                if amount > left:
                    continue
                found = self._top(watchers, resource)
                if found is not None and not admitted and self._is_kept_from(resource, found[0]):
                    found = None
                if found is not None:
                    is_watched = True
                    if best is None or found[0] < best[0]:
                        best, heap = found, watchers
            if not is_watched:
                del self._freed[resource]
        if best is None:
            return None
        heappop(heap)
        best[2].watching = None
        return best[2].head()

    def may_reserve(self, key: Key, run: str, task: str) -> None:
        """Let a waiting request stand in line for a reservation."""
        heappush(self._late, (key, run, task))

    def next_late(self) -> Request | None:
        """The first request in line for a reservation; the caller must reserve for it or set it aside to go on."""
        while self._late:
            key, run, task = self._late[0]
            request = self._requests.get((run, task))
            if request is not None and request.key == key and not self.has_reserved(request):
                return request
            heappop(self._late)
        return None

    def set_aside(self, until: str | None) -> None:
        """Take the first request out of the line for reservations, until some of a resource is free."""
        entry = heappop(self._late)
        if until is not None:
            self._aside.setdefault(until, []).append(entry)

    def reserve(self, run: str, task: str, resources: tuple[str, ...]) -> None:
        """Keep what gets free of these resources for one request."""
        for resource in resources:
            self.reserved[resource] = (run, task)

    def release(self, request: Request) -> None:
        """Keep nothing for a request any more."""
        self._drop_claim(request)
        for resource in [r for r, holder in self.reserved.items() if holder == (request.run, request.task)]:
            del self.reserved[resource]
            self.freed(resource)

    def claim(self, run: str, task: str, resources: dict[str, int], until: datetime) -> None:
        """Keep so much of these resources for a request for which room is made; it waits outside its group."""
        request = self._requests.get((run, task))
        if request is not None:
            self._leave(request)
            self._requests[run, task] = Request(request.key, run, task, request.shape)
        self.claims[run, task] = Claim(resources, until)
        for resource, amount in resources.items():
            self._claimed[resource] = self._claimed.get(resource, 0) + amount

    def claimed(self, resource: str, before: Request | None = None) -> int:
        """How much of a resource is claimed, or by those for which room was made before a request."""
        if before is None:
            return self._claimed.get(resource, 0)
        names = takewhile(lambda name: name != (before.run, before.task), self.claims)
        return sum(self.claims[name].resources.get(resource, 0) for name in names)

    def claimants(self) -> list[Request]:
        """The requests for which room is made, in that order."""
        return [self._requests[name] for name in self.claims]

    def lapse(self, now: datetime) -> bool:
        """Drop the claims whose time is over; whether there was one."""
        over = [self._requests[name] for name, claim in self.claims.items() if claim.until <= now]
        for request in over:
            self._drop_claim(request)
        return bool(over)

    def heads_needing(self, resource: str) -> list[Request]:
        """The first request of each shape that needs some of a resource."""
        heads = (group.head() for group in self._needing.get(resource, {}).values())
        return [head for head in heads if head is not None]

    def _drop_claim(self, request: Request) -> None:
        claim = self.claims.pop((request.run, request.task), None)
        if claim is not None:
            for resource, amount in claim.resources.items():
                self._claimed[resource] -= amount
                self.freed(resource)
            if (request.run, request.task) in self._requests:
                self.add(request.key, request.run, request.task, request.shape)

    def has_reserved(self, request: Request) -> bool:
        """Whether something is kept for the request."""
        return (request.run, request.task) in self.reserved.values()

    def is_kept_from(self, resource: str, request: Request) -> bool:
        """Whether a resource is kept for another request, which comes before this one."""
        return not request.admitted and self._is_kept_from(resource, request.key)

    def _is_kept_from(self, resource: str, key: Key) -> bool:
        holder = self._requests.get(self.reserved.get(resource, ("", "")))
        return holder is not None and holder.key < key

    def is_wanted(self, resource: str) -> bool:
        """Whether anybody waits who needs some of a resource."""
        return any(name == resource for shape in self._groups for name, _ in shape[0])

    def watched(self, resource: str) -> list[Request]:
        """The heads that lack this resource, in queue order."""
        groups = [group for group in self._groups.values() if group.watching == resource]
        heads = [head for group in groups if (head := group.head()) is not None]
        return sorted(heads, key=lambda request: request.key)

    def _place(self, group: Group, key: Key) -> None:
        entry = (key, next(self._entries), group)
        if group.watching is None:
            heappush(self._fresh, entry)
            return
        resource = group.watching
        amount = next(amount for name, amount in group.shape[0] if name == resource)
        by_amount = self._watchers.setdefault(resource, {})
        heappush(by_amount.setdefault((amount, group.shape[1]), []), entry)

    def _top(self, heap: list[Entry], watching: str | None) -> Entry | None:
        """The first entry that still says the truth; those before it are dropped."""
        while heap:
            key, _, group = heap[0]
            head = group.head()
            if head is not None and head.key == key and group.watching == watching:
                return heap[0]
            heappop(heap)
        return None
