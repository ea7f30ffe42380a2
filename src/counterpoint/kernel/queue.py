"""The queue: who waits for slots, in which order, and who must be looked at when something frees.

The order is: those that something is kept for, then the class, then teams below their share, then
the key. A request that does not fit lets others go around it; of those the shortest goes first.

Nothing of this walks what waits. Requests of one need stand in a *group*, and groups that need the
same of the pools, with the same class and team, in a *profile*. All of a profile lack the same
pool, so it *watches* that pool, and is looked at again when there is enough of it. A group whose
head lacks anything else (an asset, a good version of one) watches that. So an event costs what it
frees: 100,000 waiting requests of 200 profiles are 200 heads, of which a freed slot meets only
those that watch its pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from math import inf
from typing import Any, TypeAlias

from counterpoint.kernel.requests import (
    Claim,
    Ground,
    Group,
    Key,
    Lazy,
    Place,
    Profile,
    Request,
    Room,
    Shape,
    Sign,
    Stand,
    kept_as,
)

#: How a request that may start compares: stand, whether it goes around another, then duration, then key.
Offer: TypeAlias = tuple[Stand, bool, float, Key, Request]


class Queue:
    """All waiting requests. Holds no facts of its own: State can always build it again.

    Args:
        strict: nothing passes the first request by key that lacks slots; nothing is kept for anybody.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._requests: dict[tuple[str, str], Request] = {}
        self._groups: dict[Place, Group] = {}
        self._profiles: dict[Sign, Profile] = {}
        #: Whose duration -> seconds, and groups that are expected to take as long.
        self._usual: dict[tuple[str, str], float | None] = {}
        self._sources: dict[tuple[str, str], dict[Group, None]] = {}
        #: Pool -> profiles that need some of it, and how much.
        self._wanting: dict[str, dict[Profile, int]] = {}
        #: Pool -> the profile that was last found to be gone around there.
        self._passed: dict[str, Profile] = {}
        # Profiles to look at; those that watch a pool, by how much they need; and those that are held
        # back by something that passes with time, so that they are looked at in each pass.
        self._candidates: dict[Profile, None] = {}
        self._watchers: dict[str, dict[int, dict[Profile, None]]] = {}
        self._held: dict[Profile, None] = {}
        # The same for groups and what else than pools they lack.
        self._group_watchers: dict[str, dict[int, dict[Group, None]]] = {}
        self._held_groups: dict[Group, None] = {}
        self._freed: dict[str, None] = {}
        #: All groups by the key of their head, where the order is strict.
        self._line: Lazy[Group] = Lazy(lambda key, group: group.watching is None and group.first == key)
        #: Resource -> (run, task) of the request for which whatever gets free of it is kept.
        self.reserved: dict[str, tuple[str, str]] = {}
        #: (run, task) of such a request -> when it was expected to start when that began; None where nobody knew.
        self.promised: dict[tuple[str, str], datetime | None] = {}
        #: (run, task) -> what is kept for that request, in the order in which room was made for them.
        self.claims: dict[tuple[str, str], Claim] = {}
        self._claimed: dict[str, int] = {}
        self._rooms: dict[tuple[str, str], Room] = {}
        #: Team -> its requests in line for a reservation.
        self._late: dict[str, Lazy[tuple[str, str]]] = {}
        #: (run, task) of those in line -> the key with which they stand there.
        self._in_line: dict[tuple[str, str], Key] = {}
        #: Resource -> requests taken out of that line until some of it becomes free.
        self._aside: dict[str, list[tuple[Key, tuple[str, str]]]] = {}
        self._is_aside: dict[tuple[str, str], Key] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests.values())

    def get(self, run: str, task: str) -> Request | None:
        """The request of that run and task, if it waits."""
        return self._requests.get((run, task))

    def usual(self, source: tuple[str, str], reckon: Callable[[], float | None]) -> float | None:
        """Seconds that requests of a source take; reckoned only with the first, since `learn` tells of changes."""
        return self._usual[source] if source in self._usual else reckon()

    # Requests come and go.

    def add(
        self,
        key: Key,
        run: str,
        task: str,
        shape: Shape,
        *,
        team: str = "",
        backfill: bool = False,
        class_rank: int | None = None,
        source: tuple[str, str] = ("", ""),
        takes: float | None = None,
    ) -> None:
        """Let a request wait.

        Args:
            class_rank: the rank of its class, where it stands at the top because of its age.
            source: pipeline and task whose duration is its own; ("", "") where `takes` is for it alone.
            takes: how long it is expected to take in seconds, None where nobody knows.
        """
        needs, admitted = shape
        pools, others = _apart(needs)
        declared = key[0] if class_rank is None else class_rank
        place = ((pools, admitted, key[0], team, backfill, declared), others, source)
        own = takes if source == ("", "") else None
        if source != ("", ""):
            self._usual[source] = takes
        self._join(Request(key, run, task, shape, place, own))

    def _join(self, request: Request) -> None:
        """Put a request into its group."""
        group = self._groups.get(request.place) or self._open(request.place)
        # The group's own place, so that 100,000 requests share the tuples of 200 groups.
        request.place = group.place
        self._requests[request.name] = request
        group.push(request)
        self._settle(group)
        profile = group.profile
        if profile.watching is None or profile in self._held:
            self._look_at(profile)

    def _open(self, place: Place) -> Group:
        sign = place[0]
        profile = self._profiles.get(sign)
        if profile is None:
            profile = self._profiles[sign] = Profile(sign)
            for pool, amount in profile.pools:
                self._wanting.setdefault(pool, {})[profile] = amount
        group = self._groups[place] = Group(place, profile, self._usual.get(place[2]))
        profile.groups[group] = None
        if place[2] != ("", ""):
            self._sources.setdefault(place[2], {})[group] = None
        return group

    def remove(self, run: str, task: str) -> None:
        """Take a request out, because it was granted or is not wanted any more."""
        name = (run, task)
        request = self._requests.pop(name, None)
        if request is None:
            return
        is_claimed = name in self.claims
        self._is_aside.pop(name, None)
        self._in_line.pop(name, None)
        self._rooms.clear()
        self.release(request)
        if not is_claimed:
            self._leave(request)

    def _leave(self, request: Request) -> None:
        """Take a request out of its group."""
        request.gone = True
        group = self._groups[request.place]
        group.count -= 1
        if group.count:
            self._settle(group)
        else:
            self._close(group)

    def _close(self, group: Group) -> None:
        place, profile = group.place, group.profile
        group.first = group.shortest = None
        del self._groups[place], profile.groups[group]
        self._held_groups.pop(group, None)
        if group.watching is not None:
            for groups in self._group_watchers.get(group.watching, {}).values():
                groups.pop(group, None)
        if place[2] in self._sources:
            _drop(self._sources, place[2], group)
        if profile.groups:
            return
        self._forget(profile)
        for heap in (profile.heads, profile.ready, profile.brief):
            # They hold groups, which hold the profile: memory would be freed by the garbage collector only.
            heap.clear()
        del self._profiles[profile.sign]
        for pool, _ in profile.pools:
            _drop(self._wanting, pool, profile)
            if self._passed.get(pool) is profile:
                del self._passed[pool]

    def _settle(self, group: Group) -> None:
        if group.settle():
            group.profile.note(group)
            if self._strict and group.first is not None and group.watching is None:
                self._line.push(group.first, group)

    def learn(self, source: tuple[str, str], takes: float | None) -> None:
        """What a pipeline's run, or a task of it, is expected to take has changed."""
        if source in self._usual:
            self._usual[source] = takes
        for group in self._sources.get(source, ()):
            group.usual = takes
            self._settle(group)
            if group in self._held_groups:
                self._wake_group(group)
            if group.profile in self._held:
                self._look_at(group.profile)

    def freed(self, resource: str) -> None:
        """Some of a resource became free, so its watchers are to be looked at."""
        self._freed[resource] = None
        self._rooms.clear()
        for key, name in self._aside.pop(resource, ()):
            # It may have had another place when it was taken out before, and be out again.
            if self._is_aside.get(name) == key:
                del self._is_aside[name]
                self._stand_in_line(key, name)

    # Choosing.

    def begin(self) -> None:
        """Time has gone on: look again at whom only time holds back."""
        self._rooms.clear()
        for profile in list(self._held):
            self._look_at(profile)
        for group in list(self._held_groups):
            self._wake_group(group)

    def next(self, ground: Ground) -> Request | None:
        """The request that may start first, if any may. The caller must take it out before asking again."""
        if self._freed:
            self._wake(ground)
        if self._strict:
            return self._next_in_line(ground)
        best: Offer | None = None
        for profile in list(self._candidates):
            offer = self._offer(profile, ground)
            if offer is None:
                del self._candidates[profile]
            elif best is None or offer < best:
                best = offer
        return best[-1] if best else None

    def _wake(self, ground: Ground) -> None:
        for resource in self._freed:
            profiles, groups = self._watchers.get(resource, {}), self._group_watchers.get(resource, {})
            if not profiles and not groups:
                continue
            left = ground.free(resource)
            for amount in [amount for amount in profiles if amount <= left]:
                for profile in list(profiles[amount]):
                    self._look_at(profile)
            for amount in [amount for amount in groups if amount <= left]:
                for group in list(groups.pop(amount)):
                    self._wake_group(group)
            if not groups:
                self._group_watchers.pop(resource, None)
        self._freed.clear()

    def _look_at(self, profile: Profile) -> None:
        self._forget(profile)
        if not self._strict:
            self._candidates[profile] = None

    def _forget(self, profile: Profile) -> None:
        """Take a profile out of wherever it stands."""
        self._candidates.pop(profile, None)
        self._held.pop(profile, None)
        if profile.watching is not None:
            amount = next(amount for pool, amount in profile.pools if pool == profile.watching)
            by_amount = self._watchers.get(profile.watching, {})
            if amount in by_amount:
                by_amount[amount].pop(profile, None)
                if not by_amount[amount]:
                    del by_amount[amount]
            profile.watching = None

    def _wake_group(self, group: Group) -> None:
        self._held_groups.pop(group, None)
        group.watching = None
        if group.first is None:
            return
        group.profile.note(group)
        if self._strict:
            self._line.push(group.first, group)
        elif group.profile.watching is None or group.profile in self._held:
            self._look_at(group.profile)

    def _offer(self, profile: Profile, ground: Ground) -> Offer | None:
        """What a profile has that may start now; None after it was put where it waits to be looked at again."""
        for pool, amount in profile.pools:
            if ground.free(pool) < amount:
                profile.watching = pool
                self._watchers.setdefault(pool, {}).setdefault(amount, {})[profile] = None
                return None
        stand = ground.stand(profile.sign)
        before, seconds = self._leeway(profile, ground)
        tight = None if profile.admitted or not profile.rank else _tight(profile, ground)
        while (top := profile.ready.top()) is not None:
            key, group = top
            request = group.head()
            assert request is not None, "a group without requests is closed"
            around = self._is_around(profile, (stand, key), ground)
            if tight is not None:
                if ground.is_slack(request):
                    self._hold(profile, tight)
                    return None
            elif around or (before is not None and key > before):
                group, request = _shortest(profile, seconds if before is not None else inf, request, group)
            if before is not None and request.key > before:
                if not group.takes(request) <= seconds:
                    self._hold(profile, profile.pools[0][0])
                    return None
                around = True
            lacking = self._lacks(group, request, ground)
            if lacking is None:
                if not around:
                    return (stand, around, 0.0, request.key, request)
                # Age brings a request to the front of the line; around others it goes by its class like all.
                return ((profile.class_rank, stand[1]), around, group.takes(request), request.key, request)
            self._set_watching(group, *lacking)
        return None

    def _hold(self, profile: Profile, pool: str) -> None:
        profile.watching = pool
        self._held[profile] = None

    def _leeway(self, profile: Profile, ground: Ground) -> tuple[Key | None, float]:
        """Whom a reservation keeps slots from: requests after that key, unless they end within so many seconds."""
        before, seconds = None, inf
        if profile.admitted or not self.reserved:
            return None, inf
        for pool, amount in profile.pools:
            holder = self._requests.get(self.reserved.get(pool, ("", "")))
            if holder is None:
                continue
            room = self._room(holder, ground)
            if amount <= room.spare.get(pool, 0):
                continue
            turn = _turn_of(holder, profile.sign[3])
            before = turn if before is None else min(before, turn)
            seconds = min(seconds, -1.0 if room.seconds is None else room.seconds)
        return before, seconds

    def _room(self, holder: Request, ground: Ground) -> Room:
        room = self._rooms.get(holder.name)
        if room is None:
            room = self._rooms[holder.name] = ground.room(holder)
        return room

    def _is_around(self, profile: Profile, order: tuple[Stand, Key], ground: Ground) -> bool:
        """Whether a request that comes before it lacks a pool that it needs as well."""
        for pool, _ in profile.pools:
            left, most = ground.free(pool), ground.capacity(pool)
            wanting = self._wanting[pool]
            hint = self._passed.get(pool)
            if hint is not None and _is_passed(hint, wanting[hint], left, most, order, ground):
                return True
            for other, amount in wanting.items():
                if other is not profile and _is_passed(other, amount, left, most, order, ground):
                    self._passed[pool] = other
                    return True
        return False

    def _lacks(self, group: Group, request: Request, ground: Ground) -> tuple[str, int, bool] | None:
        """What else than a pool a request lacks: resource, amount, whether it is there but kept for another."""
        for resource, amount in group.place[1]:
            if ground.free(resource) < amount:
                return resource, amount, False
            if self.reserved and self.is_kept_from(resource, request, ground):
                return resource, amount, True
        return None

    def _set_watching(self, group: Group, resource: str, amount: int, is_kept: bool) -> None:
        group.watching = resource
        if is_kept:
            self._held_groups[group] = None
        else:
            self._group_watchers.setdefault(resource, {}).setdefault(amount, {})[group] = None

    def _next_in_line(self, ground: Ground) -> Request | None:
        while (top := self._line.top()) is not None:
            group = top[1]
            request = group.head()
            assert request is not None, "a group without requests is closed"
            lacking = self._lacks(group, request, ground)
            never = next((need for need in group.profile.pools if need[1] > ground.capacity(need[0])), None)
            if never is not None:
                # Whatever gets free it does not start, so it holds nobody up.
                lacking = (*never, False)
            if lacking is not None:
                self._set_watching(group, *lacking)
            elif any(ground.free(pool) < amount for pool, amount in group.profile.pools):
                return None
            else:
                return request
        return None

    # Reservations.

    def may_reserve(self, key: Key, run: str, task: str) -> None:
        """Let a waiting request stand in line for a reservation."""
        self._is_aside.pop((run, task), None)
        self._stand_in_line(key, (run, task))

    def _stand_in_line(self, key: Key, name: tuple[str, str]) -> None:
        request = self._requests.get(name)
        if request is not None:
            self._in_line[name] = key
            self._late.setdefault(request.place[0][3], Lazy(self._is_late)).push(key, name)

    def _is_late(self, key: Key, name: tuple[str, str]) -> bool:
        request = self._requests.get(name)
        return (
            request is not None
            and self._in_line.get(name) == key
            and self._is_aside.get(name) != key
            and not self.has_reserved(request)
        )

    def next_late(self, is_out: Callable[[Request], bool] | None = None) -> Request | None:
        """The first request in line for a reservation; the caller must reserve for it or set it aside to go on.

        Args:
            is_out: whether a team gets none now; asked with the first of each.
        """
        first: Key | None = None
        found: Request | None = None
        for line in self._late.values():
            top = line.top()
            if top is None or (first is not None and first < top[0]):
                continue
            request = self._requests[top[1]]
            if is_out is None or not is_out(request):
                first, found = top[0], request
        return found

    def set_aside(self, request: Request, until: str | None) -> None:
        """Take a request out of the line for reservations, until some of a resource is free."""
        self._is_aside[request.name] = request.key
        if until is not None:
            self._aside.setdefault(until, []).append((request.key, request.name))

    def reserve(self, run: str, task: str, resources: tuple[str, ...], start: datetime | None) -> None:
        """Keep what gets free of these resources for one request, which is expected to start then.

        Who has some of them kept, and comes later, stands in line again.
        """
        for name in dict.fromkeys(self.reserved[resource] for resource in resources if resource in self.reserved):
            self._let_go(name)
            self._stand_in_line(self._requests[name].key, name)
        self.promised[run, task] = start
        self._rooms.pop((run, task), None)
        for resource in resources:
            self.reserved[resource] = (run, task)

    def release(self, request: Request) -> None:
        """Keep nothing for a request any more."""
        self._drop_claim(request)
        self._let_go(request.name)

    def _let_go(self, name: tuple[str, str]) -> None:
        """Drop the reservation of a request."""
        self.promised.pop(name, None)
        kept = [resource for resource, holder in self.reserved.items() if holder == name]
        for resource in kept:
            del self.reserved[resource]
            self.freed(resource)
        if kept:
            # Whom it held back may go now.
            self.begin()

    def claim(self, run: str, task: str, resources: dict[str, int], until: datetime) -> None:
        """Keep so much of these resources for a request for which room is made; it waits outside its group."""
        request = self._requests.get((run, task))
        if request is not None:
            # The one in the group counts as gone.
            self._requests[run, task] = copy(request)
            self._leave(request)
        self.claims[run, task] = Claim(resources, until)
        for resource, amount in resources.items():
            self._claimed[resource] = self._claimed.get(resource, 0) + amount

    def claimed(self, resource: str, before: Request | None = None) -> int:
        """How much of a resource is claimed, or by those for which room was made before a request."""
        if before is None:
            return self._claimed.get(resource, 0)
        names = takewhile(lambda name: name != before.name, self.claims)
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

    def _drop_claim(self, request: Request) -> None:
        claim = self.claims.pop(request.name, None)
        if claim is not None:
            for resource, amount in claim.resources.items():
                self._claimed[resource] -= amount
                self.freed(resource)
            if request.name in self._requests:
                self._join(request)

    def is_taken(self, resources: Iterable[str], request: Request) -> bool:
        """Whether some of these resources is kept for another request, which does not make way for this one.

        For one that waited too long it stays kept, whoever comes; others make way for those before them.
        """
        holders = (self._requests.get(self.reserved.get(resource, ("", ""))) for resource in resources)
        return any(
            holder is not None and (_waited_too_long(holder) or holder.key < request.key) for holder in holders
        )

    def has_reserved(self, request: Request) -> bool:
        """Whether something is kept for the request."""
        return request.name in self.reserved.values()

    def holder_before(self, resource: str, request: Request) -> Request | None:
        """The request before this one for which a resource is kept, if there is one; another team's always is."""
        if request.admitted:
            return None
        holder = self._requests.get(self.reserved.get(kept_as(resource), ("", "")))
        return holder if holder is not None and _turn_of(holder, request.place[0][3]) < request.key else None

    def is_kept_from(self, resource: str, request: Request, ground: Ground) -> bool:
        """Whether a resource is kept for another request, and this one would be in its way."""
        holder = self.holder_before(resource, request)
        if holder is None:
            return False
        room = self._room(holder, ground)
        if dict(request.needs)[resource] <= room.spare.get(kept_as(resource), 0):
            return False
        return room.seconds is None or not self.takes(request) <= room.seconds

    # Questions.

    def takes(self, request: Request) -> float:
        """Seconds that a request is expected to take; infinite where nobody knows."""
        usual = self._usual.get(request.place[2]) if request.takes is None else request.takes
        return inf if usual is None else usual

    def passed_by(self, request: Request, ground: Ground) -> Request | None:
        """The first that comes before this one and lacks a pool it needs as well: it would go around that."""
        if self._strict:
            top = self._line.top()
            head = top[1].head() if top else None
            return head if head is not None and head.key < request.key else None
        order, found = (ground.stand(request.place[0]), request.key), None
        for pool, _ in request.place[0][0]:
            left, most = ground.free(pool), ground.capacity(pool)
            for other, amount in self._wanting.get(pool, {}).items():
                top = other.heads.top()
                if top is None or not _is_passed(other, amount, left, most, order, ground):
                    continue
                head = top[1].head()
                if head is not None and (found is None or head.key < found.key):
                    found = head
        return found

    def is_contested(self, request: Request, is_entitled: Callable[[str], bool], ground: Ground) -> bool:
        """Whether another team, that is entitled to it, has somebody of at most its class for a pool it needs.

        Left out are those who lack something else than slots.
        """
        if self._freed:
            self._wake(ground)
        pools, _, _, team, _, rank = request.place[0]
        return any(
            other.sign[3] != team
            and other.sign[5] <= rank
            and is_entitled(other.sign[3])
            and self._is_ready(other, ground)
            for pool, _ in pools
            for other in self._wanting.get(pool, ())
        )

    def _is_ready(self, profile: Profile, ground: Ground) -> bool:
        """Whether a request of a profile lacks nothing but slots now, whenever that was last looked at."""
        while (top := profile.ready.top()) is not None:
            group = top[1]
            request = group.head()
            assert request is not None, "a group without requests is closed"
            lacking = self._lacks(group, request, ground)
            if lacking is None:
                return True
            self._set_watching(group, *lacking)
        return False

    def heads_needing(self, pool: str, below: int) -> list[Request]:
        """The first request of each group that needs some of a pool and was declared to be of a lower rank."""
        groups = [
            group for profile in self._wanting.get(pool, ()) if profile.sign[5] < below for group in profile.groups
        ]
        heads = (group.head() for group in groups)
        return [head for head in heads if head is not None]

    def is_wanted(self, resource: str) -> bool:
        """Whether anybody waits who needs some of a resource."""
        return any(name == resource for place in self._groups for name, _ in (*place[0][0], *place[1]))

    def watched(self, resource: str) -> list[Request]:
        """The heads that wait for some of this resource, in queue order."""
        groups: list[Group] = []
        for profile in self._wanting.get(resource, ()):
            groups += profile.groups
        groups += [group for group in self._groups.values() if group.watching == resource]
        heads = [head for group in groups if (head := group.head()) is not None]
        return sorted(heads, key=lambda request: request.key)


@lru_cache(maxsize=4096)
def _apart(needs: tuple[tuple[str, int], ...]) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    """What a request needs of pools, and what else."""
    pools = tuple(need for need in needs if need[0].startswith("pool:"))
    return pools, tuple(need for need in needs if need not in pools)


def _waited_too_long(request: Request) -> bool:
    """Whether it stands at the top because of its age."""
    return request.place[0][2] == 0


def _turn_of(holder: Request, team: str) -> Key:
    """Requests of a team after that key come after one for which something is kept.

    Where it waited too long, those of other teams do in any case: they may have waited longer because their team
    floods the queue.
    """
    is_by_key = holder.place[0][3] == team or not _waited_too_long(holder)
    return holder.key if is_by_key else (-1, *holder.key[1:])


def _tight(profile: Profile, ground: Ground) -> str | None:
    """The first pool of which a request would take what is to stay free while there is slack."""
    for pool, amount in profile.pools:
        margin = ground.margin(pool)
        if margin and ground.free(pool) < amount + margin:
            return pool
    return None


def _shortest(profile: Profile, seconds: float, head: Request, group: Group) -> tuple[Group, Request]:
    """Who of a profile goes around others first, if it ends in time; else its head."""
    top = profile.brief.top()
    request = top[1].brief() if top else None
    if top is None or request is None or top[0][0] > seconds:
        return group, head
    return top[1], request


def _is_passed(
    other: Profile, amount: int, left: int, most: int, order: tuple[Stand, Key], ground: Ground
) -> bool:
    """Whether the head of a profile comes before that order, and does not fit now though it could."""
    if not left < amount <= most:
        return False
    key = other.first()
    return key is not None and (ground.stand(other.sign), key) < order


def _drop(index: dict[Any, dict[Any, Any]], name: Any, entry: Any) -> None:
    entries = index[name]
    del entries[entry]
    if not entries:
        del index[name]
