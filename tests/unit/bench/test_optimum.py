"""The optimum with hindsight, against landscapes small enough to work out by hand."""

from __future__ import annotations

from bench.scheduling.landscapes import Landscape, Step, kept, tiny
from bench.scheduling.optimum import optimum


def world(steps: tuple[Step, ...], within: dict[str, float], changes: dict[str, tuple[float, ...]]) -> Landscape:
    # p50 = p90, so that every run takes just that.
    return Landscape(1, steps, {"pool": 1}, within, {}, changes, 1_000, 1.0)


def step(name: str, takes: float, *reads: str) -> Step:
    return Step(name, reads, "pool", 1, takes, takes)


def test_a_chain_is_run_once_for_changes_that_can_wait_for_each_other() -> None:
    # Both changes can be in b by 100 + 60 if a starts at 20 at the earliest and b ends by 100.
    found = optimum(world((step("a", 30, "s"), step("b", 30, "a")), {"b": 100}, {"s": (0, 20)}))

    assert (found.kept, found.most) == (2, 2)
    assert found.is_proven


def test_one_slot_keeps_one_of_two_promises_that_end_together() -> None:
    # a and b both need 60 of the one slot within 100 of the one change.
    found = optimum(world((step("a", 60, "s"), step("b", 60, "s")), {"a": 100, "b": 100}, {"s": (0,)}))

    assert (found.kept, found.is_proven) == (1, True)


def test_hindsight_waits_for_a_change_that_comes_soon() -> None:
    # A run from 0 has the first change only; the second must be there by 70, and a run from 50 ends at 100.
    found = optimum(world((step("a", 50, "s"),), {"a": 60}, {"s": (0, 10)}))

    # Waiting until 10 keeps both: the run ends at 60.
    assert (found.kept, found.runs) == (2, (("a", 10, 60),))


def test_a_join_is_as_old_as_its_oldest_input() -> None:
    # c reads the source itself and a: it has the change only when a had it before.
    chain = (step("a", 30, "s"), step("c", 10, "s", "a"))

    assert optimum(world(chain, {"c": 39}, {"s": (0,)})).kept == 0
    assert optimum(world(chain, {"c": 40}, {"s": (0,)})).kept == 1


def test_hindsight_makes_no_run_of_nothing_to_use_up_a_long_duration() -> None:
    # A first run lasts 168 and a second 53: two changes that come together would be kept by the second.
    drawn = Landscape(
        1, (Step("a", ("s",), "pool", 1, 60, 120),), {"pool": 1}, {"a": 60}, {}, {"s": (500, 501)}, 1_000, 1
    )
    assert [drawn.duration("a", number) for number in (1, 2)] == [168, 53]

    assert optimum(drawn).kept == 0


def test_a_schedule_that_keeps_all_is_the_optimum_without_a_search() -> None:
    found = optimum(world((step("a", 50, "s"),), {"a": 60}, {"s": (0,)}), known=(("a", 0, 50),))

    assert (found.kept, found.is_proven, found.seconds) == (1, True, 0)


def test_what_the_optimum_promises_its_schedule_keeps() -> None:
    drawn = tiny(8)

    found = optimum(drawn, limit_s=10)

    assert sum(kept(drawn, found.runs).values()) == found.kept
