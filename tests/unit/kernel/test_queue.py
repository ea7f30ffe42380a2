from __future__ import annotations

import math
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

import pytest

from counterpoint.kernel.queue import Queue
from counterpoint.kernel.requests import Key, Request, Room, Shape, Sign, Stand

T = datetime(2026, 1, 1, tzinfo=UTC)


def key(number: int, rank: int = 2) -> Key:
    return (rank, T, T, number, 0)


def shape(admitted: bool = False, **pools: int) -> Shape:
    return tuple(sorted((f"pool:{name}", slots) for name, slots in pools.items())), admitted


class Slots:
    """Pools that grant what the queue offers, as the admission rule does.

    Attributes:
        rooms: what the reservation for a request leaves to others; nothing unless a test says so.
        stands: how teams stand; margins: slots of pools that are to stay free while there is slack.
    """

    def __init__(self, queue: Queue, **slots: int) -> None:
        self.queue = queue
        self.left = {f"pool:{name}": number for name, number in slots.items()}
        self.most = dict.fromkeys(self.left, 99)
        self.rooms: dict[str, Room] = {}
        self.borrowing: tuple[str, ...] = ()
        self.margins: dict[str, int] = {}
        self.now = T

    def free(self, resource: str) -> int:
        return self.left[resource]

    def capacity(self, resource: str) -> int:
        return self.most[resource]

    def stand(self, sign: Sign) -> Stand:
        return sign[2], 1.0 if sign[3] in self.borrowing else 0.0

    def margin(self, resource: str) -> int:
        return self.margins.get(resource, 0)

    def is_slack(self, request: Request) -> bool:
        return request.key[1] > self.now

    def room(self, request: Request) -> Room:
        return self.rooms.get(request.run, Room(None, {}))

    def grant(self) -> list[str]:
        """Who is granted now, in order."""
        granted = []
        self.queue.begin()
        while (request := self.queue.next(self)) is not None:
            for resource, amount in request.needs:
                self.left[resource] -= amount
            self.queue.remove(request.run, request.task)
            granted.append(request.run)
        return granted

    def give_back(self, **slots: int) -> list[str]:
        for name, number in slots.items():
            self.left[f"pool:{name}"] += number
            self.queue.freed(f"pool:{name}")
        return self.grant()


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_the_first_by_key_is_granted_first_whatever_the_order_they_came_in(queue: Queue) -> None:
    for number in (3, 1, 2):
        queue.add(key(number), f"r{number}", "", shape(db=1))

    assert Slots(queue, db=2).grant() == ["r1", "r2"]
    assert len(queue) == 1


def test_what_fits_goes_around_what_does_not(queue: Queue) -> None:
    queue.add(key(1), "large", "", shape(db=3))
    queue.add(key(2), "small", "", shape(db=1))
    slots = Slots(queue, db=2)

    assert slots.grant() == ["small"]
    assert slots.give_back(db=1) == []
    assert slots.give_back(db=1) == ["large"]


def test_a_request_of_several_pools_is_granted_when_the_last_is_free(queue: Queue) -> None:
    queue.add(key(1), "both", "", shape(db=1, gpu=1))
    slots = Slots(queue, db=0, gpu=0)

    assert slots.grant() == []
    assert slots.give_back(db=1) == []
    assert slots.give_back(gpu=1) == ["both"]


def test_a_new_head_of_a_shape_that_waits_is_not_looked_at(queue: Queue) -> None:
    queue.add(key(2), "second", "", shape(db=1))
    slots = Slots(queue, db=0)
    slots.grant()

    queue.add(key(1), "first", "", shape(db=1))

    assert queue.next(slots) is None
    assert slots.give_back(db=2) == ["first", "second"]


def test_a_request_that_is_taken_out_leaves_its_place_to_the_next(queue: Queue) -> None:
    for number in (1, 2):
        queue.add(key(number), f"r{number}", "", shape(db=1))
    slots = Slots(queue, db=0)
    slots.grant()

    queue.remove("r1", "")

    assert slots.give_back(db=1) == ["r2"]


def test_what_is_reserved_is_kept_from_those_behind_but_not_from_admitted_runs(queue: Queue) -> None:
    queue.add(key(1), "large", "", shape(db=2))
    slots = Slots(queue, db=1)
    slots.grant()
    queue.reserve("large", "", ("pool:db",), None)
    queue.add(key(2), "small", "", shape(db=1))
    queue.add(key(3), "going-on", "task", shape(admitted=True, db=1))

    assert slots.grant() == ["going-on"]
    assert slots.give_back(db=1) == []
    assert slots.give_back(db=1) == ["large"]
    assert slots.give_back(db=1) == ["small"]


def test_what_is_reserved_is_not_kept_from_those_in_front(queue: Queue) -> None:
    queue.add(key(5), "large", "", shape(db=2))
    slots = Slots(queue, db=1)
    slots.grant()
    queue.reserve("large", "", ("pool:db",), None)

    queue.add(key(1), "older", "", shape(db=1))

    assert slots.grant() == ["older"]


def test_an_older_request_of_a_shape_that_was_held_back_is_looked_at(queue: Queue) -> None:
    queue.add(key(5), "large", "", shape(db=2))
    queue.add(key(6), "small", "", shape(db=1))
    slots = Slots(queue, db=0)
    slots.grant()
    queue.reserve("large", "", ("pool:db",), None)
    assert slots.give_back(db=1) == []

    queue.add(key(1), "older", "", shape(db=1))

    assert slots.grant() == ["older"]


def test_a_reservation_ends_with_its_request(queue: Queue) -> None:
    queue.add(key(1), "large", "", shape(db=2))
    queue.add(key(2), "small", "", shape(db=1))
    slots = Slots(queue, db=0)
    slots.grant()
    queue.reserve("large", "", ("pool:db",), None)
    assert slots.give_back(db=1) == []

    queue.remove("large", "")

    assert not queue.reserved
    assert slots.grant() == ["small"]


def test_the_line_for_reservations_goes_by_key_and_forgets_who_is_gone(queue: Queue) -> None:
    for number in (2, 1, 3):
        queue.add(key(number), f"r{number}", "", shape(db=1))
        queue.may_reserve(key(number), f"r{number}", "")
    queue.remove("r1", "")
    first = queue.next_late()
    assert first is not None and first.run == "r2"

    queue.set_aside(first, "fresh:raw")
    second = queue.next_late()
    queue.freed("fresh:raw")
    again = queue.next_late()

    assert second is not None and second.run == "r3"
    assert again is not None and again.run == "r2"


def test_watched_lists_the_heads_that_wait_for_a_resource_in_order(queue: Queue) -> None:
    queue.add(key(2), "a", "", shape(db=1))
    queue.add(key(1), "b", "", shape(db=2))
    queue.add(key(3), "c", "", shape(gpu=1))
    Slots(queue, db=0, gpu=0).grant()

    assert [request.run for request in queue.watched("pool:db")] == ["b", "a"]


# Going around.


def test_of_those_that_go_around_a_head_the_shortest_goes_first_and_unknown_ones_last(queue: Queue) -> None:
    queue.add(key(1), "large", "", shape(db=3))
    for number, (name, takes) in enumerate({"unknown": None, "long": 90.0, "short": 10.0, "middle": 20.0}.items()):
        queue.add(key(2 + number), name, "", shape(db=1), takes=takes)
    slots = Slots(queue, db=2)

    assert slots.grant() == ["short", "middle"]
    assert slots.give_back(db=1) == ["long"]
    assert slots.give_back(db=1) == ["unknown"]


def test_a_higher_class_goes_around_before_a_shorter_request(queue: Queue) -> None:
    queue.add(key(1, rank=1), "large", "", shape(db=3))
    queue.add(key(2, rank=3), "short", "", shape(db=1), takes=1.0)
    queue.add(key(3, rank=2), "normal", "", shape(db=1), takes=100.0)

    assert Slots(queue, db=1).grant() == ["normal"]


def test_while_the_head_fits_the_order_is_by_key_however_long_each_takes(queue: Queue) -> None:
    for number, takes in enumerate((90.0, 10.0, 20.0)):
        queue.add(key(number), f"r{number}", "", shape(db=1), takes=takes)

    assert Slots(queue, db=2).grant() == ["r0", "r1"]


def test_who_needs_another_pool_goes_around_nobody(queue: Queue) -> None:
    queue.add(key(1), "large", "", shape(db=3))
    queue.add(key(2), "first", "", shape(gpu=1), takes=90.0)
    queue.add(key(3), "second", "", shape(gpu=1), takes=1.0)

    assert Slots(queue, db=1, gpu=1).grant() == ["first"]


def test_a_head_that_can_never_fit_is_nobody_to_go_around(queue: Queue) -> None:
    queue.add(key(1), "never", "", shape(db=100))
    queue.add(key(2), "first", "", shape(db=1), takes=90.0)
    queue.add(key(3), "second", "", shape(db=1), takes=1.0)

    assert Slots(queue, db=1).grant() == ["first"]


def test_what_is_learned_counts_for_those_that_wait(queue: Queue) -> None:
    queue.add(key(1), "large", "", shape(db=3))
    queue.add(key(2), "a", "", shape(db=1), source=("a", ""), takes=10.0)
    queue.add(key(3), "b", "", shape(db=1), source=("b", ""), takes=20.0)
    slots = Slots(queue, db=0)
    assert slots.grant() == []

    queue.learn(("b", ""), 5.0)

    assert slots.give_back(db=1) == ["b"]


# Reservations with backfilling.


@pytest.fixture
def reserved(queue: Queue) -> Slots:
    """Two slots are free; `large` needs three, which are there in 60 s, and then one is left over."""
    queue.add(key(1), "large", "", shape(db=3))
    slots = Slots(queue, db=2)
    slots.grant()
    queue.reserve("large", "", ("pool:db",), None)
    slots.rooms["large"] = Room(60.0, {"pool:db": 1})
    return slots


def test_only_who_ends_before_goes_around_a_reservation(reserved: Slots) -> None:
    reserved.queue.add(key(2), "long", "", shape(db=2), takes=61.0)
    reserved.queue.add(key(3), "unknown", "", shape(db=2))
    reserved.queue.add(key(4), "in-time", "", shape(db=2), takes=60.0)

    assert reserved.grant() == ["in-time"]


def test_who_takes_what_will_be_left_over_goes_around_a_reservation_however_long(reserved: Slots) -> None:
    reserved.queue.add(key(2), "long", "", shape(db=1), takes=1000.0)

    assert reserved.grant() == ["long"]


def test_nobody_goes_around_a_reservation_whose_start_nobody_knows(reserved: Slots) -> None:
    reserved.rooms["large"] = Room(None, {})
    reserved.queue.add(key(2), "short", "", shape(db=1), takes=1.0)

    assert reserved.grant() == []


def test_a_start_that_moved_is_seen_without_a_slot_that_got_free(reserved: Slots) -> None:
    reserved.queue.add(key(2), "long", "", shape(db=2), takes=90.0)
    assert reserved.grant() == []

    reserved.rooms["large"] = Room(120.0, {})

    assert reserved.grant() == ["long"]


# Teams and targets.


def test_a_team_that_would_borrow_comes_after_those_below_their_share_of_its_class(queue: Queue) -> None:
    queue.add(key(1), "borrows", "", shape(db=1), team="a")
    queue.add(key(2), "own", "", shape(db=1), team="b")
    queue.add(key(3, rank=1), "urgent", "", shape(db=1), team="a")
    slots = Slots(queue, db=2)
    slots.borrowing = ("a",)

    assert slots.grant() == ["urgent", "own"]
    assert slots.give_back(db=1) == ["borrows"]


def test_a_target_holds_back_who_has_slack_and_nobody_else(queue: Queue) -> None:
    late, top = (2, T, T, 1, 0), (0, T.replace(year=2027), T, 2, 0)
    queue.add((2, T.replace(hour=1), T, 0, 0), "slack", "", shape(db=1))
    slots = Slots(queue, db=2)
    slots.margins["pool:db"] = 2
    assert slots.grant() == []

    queue.add(late, "late", "", shape(db=1))
    queue.add(top, "top", "", shape(db=1))
    assert slots.grant() == ["top", "late"]

    assert slots.give_back(db=1) == []
    slots.now = T.replace(hour=1)
    assert slots.grant() == ["slack"]


# Strict order, for comparison.


def test_nothing_passes_a_head_that_does_not_fit_where_the_order_is_strict() -> None:
    queue = Queue(strict=True)
    queue.add(key(1), "first", "", shape(db=1))
    queue.add(key(2), "large", "", shape(db=2))
    queue.add(key(3), "small", "", shape(db=1), takes=1.0)
    queue.add(key(4), "elsewhere", "", shape(gpu=1))
    slots = Slots(queue, db=2, gpu=1)

    assert slots.grant() == ["first"]
    assert slots.give_back(db=1) == ["large"]
    assert slots.give_back(db=1) == ["small", "elsewhere"]


def test_a_head_that_can_never_fit_holds_nobody_up_where_the_order_is_strict() -> None:
    queue = Queue(strict=True)
    queue.add(key(1), "never", "", shape(db=100))
    queue.add(key(2), "small", "", shape(db=1))

    assert Slots(queue, db=1).grant() == ["small"]


# Against a walk over all that wait.


class Waiting(NamedTuple):
    key: Key
    needs: dict[str, int]
    admitted: bool
    takes: float | None


def walk(slots: Slots, waiting: dict[str, Waiting], holder: str | None, room: Room) -> list[str]:
    """Who is granted when each request that waits is looked at each time."""
    free, waiting, granted = dict(slots.left), dict(waiting), []
    while True:
        offers = []
        for run, asked in waiting.items():
            if any(free[pool] < amount for pool, amount in asked.needs.items()):
                continue
            is_kept = (
                holder in waiting
                and not asked.admitted
                and waiting[str(holder)].key < asked.key
                and any(amount > room.spare.get(pool, 0) for pool, amount in asked.needs.items())
            )
            takes = math.inf if asked.takes is None else asked.takes
            if is_kept and (room.seconds is None or takes > room.seconds):
                continue
            around = is_kept or any(
                other.key < asked.key and free[pool] < other.needs.get(pool, 0) <= 99
                for other in waiting.values()
                for pool in asked.needs
            )
            offers.append((asked.key[0], around, takes if around else 0.0, asked.key, run))
        if not offers:
            return granted
        run = min(offers)[-1]
        for pool, amount in waiting.pop(run).needs.items():
            free[pool] -= amount
        granted.append(run)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_it_grants_what_a_walk_over_all_that_wait_would_grant(seed: int, strict: bool) -> None:
    """The same requests, and a queue that looks at every one each time."""
    random, queue, waiting = Random(seed), Queue(strict=strict), dict[str, Waiting]()
    slots = Slots(queue, db=random.randint(2, 6), gpu=2)
    most = {name.removeprefix("pool:"): number for name, number in slots.left.items()}
    held: list[dict[str, int]] = []
    holder: str | None = None
    room = Room(random.choice([None, 10.0, 30.0]), {"pool:db": random.randint(0, 1)})
    for number in range(200):
        back: dict[str, int] = {}
        if random.random() < 0.6 or not held:
            needs = {pool: random.randint(1, limit) for pool, limit in most.items() if random.random() < 0.7}
            # Nobody comes in front of who has a reservation: it was the first of those at the top.
            highest = waiting[holder].key[0] if holder in waiting else 0
            place, is_admitted = key(number, random.randint(highest, 3)), random.random() < 0.2
            takes = random.choice([None, float(random.randint(1, 50))])
            asked = shape(is_admitted, **needs)
            waiting[f"r{number}"] = Waiting(place, dict(asked[0]), is_admitted, takes)
            queue.add(place, f"r{number}", "", asked, takes=takes)
        else:
            back = held.pop(random.randrange(len(held)))
        if not strict and holder not in waiting and waiting and random.random() < 0.5:
            holder = min(waiting, key=lambda run: waiting[run].key)
            if waiting[holder].needs:
                queue.reserve(holder, "", tuple(waiting[holder].needs), None)
                room = Room(room.seconds, {pool: random.randint(0, 2) for pool in waiting[holder].needs})
                slots.rooms = {holder: room}
        for pool, amount in back.items():
            slots.left[pool] += amount
            queue.freed(pool)
        expected = in_line(slots, waiting) if strict else walk(slots, waiting, holder, kept(room, queue))
        granted = slots.grant()
        assert granted == expected
        held += [waiting.pop(run).needs for run in granted]


def kept(room: Room, queue: Queue) -> Room:
    """The room as it is: of what is not reserved everything is spare."""
    spare = {pool: room.spare.get(pool, 0) if pool in queue.reserved else 99 for pool in ("pool:db", "pool:gpu")}
    return Room(room.seconds, spare)


def in_line(slots: Slots, waiting: dict[str, Waiting]) -> list[str]:
    """Who is granted when nothing passes a head that does not fit."""
    free, granted = dict(slots.left), []
    for run, asked in sorted(waiting.items(), key=lambda item: item[1].key):
        if any(free[pool] < amount for pool, amount in asked.needs.items()):
            break
        for pool, amount in asked.needs.items():
            free[pool] -= amount
        granted.append(run)
    return granted
