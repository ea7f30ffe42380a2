"""Landscapes: what is drawn is sound and comes again, and what is kept is counted right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.scheduling.landscapes import DAY, WAYS, Landscape, Obligation, Step, kept, landscape, plan, small, tiny

CHAIN = Landscape(
    seed=1,
    steps=(Step("a", ("s",), "pool", 1, 10, 10), Step("b", ("a", "t"), "pool", 1, 10, 10)),
    pools={"pool": 1},
    within={"b": 50},
    by={},
    changes={"s": (0, 30), "t": (5,)},
    ends=100,
    load=1,
)


def owed(number: int, source: str = "s") -> Obligation:
    return next(o for o in CHAIN.obligations if o.changes == ((source, number),))


def test_a_change_is_owed_by_each_promise_behind_its_source() -> None:
    assert [(o.asset, o.changes, o.due) for o in CHAIN.obligations] == [
        ("b", (("s", 1),), 50),
        ("b", (("s", 2),), 80),
        ("b", (("t", 1),), 55),
    ]


def test_a_run_has_what_its_inputs_had_when_it_started() -> None:
    # b starts when a ends, so it has the first change of s; the second came after a had started.
    found = kept(CHAIN, [("a", 0, 10), ("b", 10, 20)])

    assert found == {owed(1): True, owed(2): False, owed(1, "t"): True}


def test_a_run_that_started_before_its_input_was_there_has_nothing_of_it() -> None:
    found = kept(CHAIN, [("a", 0, 10), ("b", 9, 19)])

    assert found == {owed(1): False, owed(2): False, owed(1, "t"): True}


def test_what_comes_too_late_is_not_kept() -> None:
    assert kept(CHAIN, [("a", 0, 10), ("b", 40, 50)])[owed(1)]
    assert not kept(CHAIN, [("a", 0, 10), ("b", 41, 51)])[owed(1)]


def test_a_day_is_kept_when_all_of_it_is_there() -> None:
    world = Landscape(1, CHAIN.steps[:1], {"pool": 1}, {}, {"a": 3600}, {"s": (100, DAY + 50)}, DAY + 100, 1)

    assert [(o.changes, o.due) for o in world.obligations] == [((("s", 1),), DAY + 3600)]
    assert list(kept(world, [("a", DAY, DAY + 3600)]).values()) == [True]
    assert list(kept(world, [("a", 99, 200)]).values()) == [False]


@pytest.mark.parametrize("seed", [3, 1001, 1050])
def test_a_landscape_is_one_that_can_be_declared(seed: int) -> None:
    world = landscape(seed, days=0.2)

    assert 10 <= len(world.steps) <= 1000
    assert len({step.name for step in world.steps}) == len(world.steps)
    known = set(world.changes)
    for step in world.steps:
        assert known.issuperset(step.reads)
        assert step.slots <= world.pools[step.pool]
        known.add(step.name)
    # Somebody is promised something at the end of every path, so that auto knows when to run.
    assert set(world.tightest) == {step.name for step in world.steps}
    for way in WAYS:
        assert set(plan(world, way).pipelines) == {step.name for step in world.steps}


@pytest.mark.parametrize("seed", range(1, 20))
@pytest.mark.parametrize(("draw", "least", "most"), [(small, 10, 20), (tiny, 3, 6)])
def test_a_small_landscape_is_small(draw: Callable[[int], Landscape], least: int, most: int, seed: int) -> None:
    world = draw(seed)

    assert least <= len(world.steps) <= most
    assert 1 <= len(world.pools) <= 2
    assert 10 <= sum(map(len, world.changes.values())) <= 25
    assert 0.49 < world.load < 1.11
    moments = [at for times in world.changes.values() for at in times]
    assert all(at == int(at) for at in moments)


def test_a_landscape_comes_again_under_any_hash_seed() -> None:
    make = "from bench.scheduling.landscapes import *; w = landscape(5, pipelines=20, days=0.1)"
    show = f"{make}; print(w, w.duration('p3', 7))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", show],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(seen) == 1
