from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from counterpoint.kernel.queue import Key, Queue, Request, Shape

T = datetime(2026, 1, 1, tzinfo=UTC)


def key(number: int, rank: int = 2) -> Key:
    return (rank, T, T, number, 0)


def shape(admitted: bool = False, **pools: int) -> Shape:
    return tuple(sorted((f"pool:{name}", slots) for name, slots in pools.items())), admitted


class Slots:
    """Pools that grant what the queue offers, as the admission rule does."""

    def __init__(self, queue: Queue, **slots: int) -> None:
        self.queue = queue
        self.free = {f"pool:{name}": number for name, number in slots.items()}

    def grant(self) -> list[str]:
        """Who is granted now, in order."""
        granted = []
        while (request := self.queue.next(self.free.__getitem__)) is not None:
            lacking = self._lacks(request)
            if lacking is not None:
                self.queue.block(request, lacking)
                continue
            for resource, amount in request.needs:
                self.free[resource] -= amount
            self.queue.remove(request.run, request.task)
            granted.append(request.run)
        return granted

    def give_back(self, **slots: int) -> list[str]:
        for name, number in slots.items():
            self.free[f"pool:{name}"] += number
            self.queue.freed(f"pool:{name}")
        return self.grant()

    def _lacks(self, request: Request) -> str | None:
        for resource, amount in request.needs:
            if self.free[resource] < amount or self.queue.is_kept_from(resource, request):
                return resource
        return None


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

    assert queue.next(slots.free.__getitem__) is None
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
    queue.reserve("large", "", ("pool:db",))
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
    queue.reserve("large", "", ("pool:db",))

    queue.add(key(1), "older", "", shape(db=1))

    assert slots.grant() == ["older"]


def test_an_older_request_of_a_shape_that_was_held_back_is_looked_at(queue: Queue) -> None:
    queue.add(key(5), "large", "", shape(db=2))
    queue.add(key(6), "small", "", shape(db=1))
    slots = Slots(queue, db=0)
    slots.grant()
    queue.reserve("large", "", ("pool:db",))
    assert slots.give_back(db=1) == []

    queue.add(key(1), "older", "", shape(db=1))

    assert slots.grant() == ["older"]


def test_a_reservation_ends_with_its_request(queue: Queue) -> None:
    queue.add(key(1), "large", "", shape(db=2))
    queue.add(key(2), "small", "", shape(db=1))
    slots = Slots(queue, db=0)
    slots.grant()
    queue.reserve("large", "", ("pool:db",))
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

    queue.set_aside("fresh:raw")
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


@pytest.mark.parametrize("seed", range(30))
def test_it_grants_what_a_walk_over_all_that_wait_would_grant(seed: int) -> None:
    """The same requests, and a queue that looks at every one each time."""
    random, queue, waiting = Random(seed), Queue(), dict[str, tuple[Key, Shape]]()
    slots = Slots(queue, db=2, gpu=1)
    held: list[dict[str, int]] = []
    for number in range(200):
        if random.random() < 0.6 or not held:
            needs = {
                pool: random.randint(1, most) for pool, most in (("db", 2), ("gpu", 1)) if random.random() < 0.7
            }
            asked = (key(number, random.randint(0, 3)), shape(**needs))
            waiting[f"r{number}"] = asked
            queue.add(asked[0], f"r{number}", "", asked[1])
            expected = _walk(dict(slots.free), waiting)
            granted = slots.grant()
        else:
            back = held.pop(random.randrange(len(held)))
            free = {name: slots.free[name] + back.get(name, 0) for name in slots.free}
            expected = _walk(free, waiting)
            granted = slots.give_back(**{name.removeprefix("pool:"): number for name, number in back.items()})
        assert granted == expected
        held += [dict(waiting.pop(run)[1][0]) for run in granted]


def _walk(free: dict[str, int], waiting: dict[str, Any]) -> list[str]:
    granted = []
    for run, (_, (needs, _)) in sorted(waiting.items(), key=lambda item: item[1][0]):
        if all(free[resource] >= amount for resource, amount in needs):
            for resource, amount in needs:
                free[resource] -= amount
            granted.append(run)
    return granted
