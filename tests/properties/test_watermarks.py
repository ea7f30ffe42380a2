"""Whatever happens, no asset claims a change whose data it cannot have, and every obligation ends once."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from counterpoint.kernel import decisions as d
from counterpoint.testing.reckoning import (
    counts_agree,
    everything_has_arrived,
    no_version_claims_what_it_lacks,
    obligations_end_once,
)
from counterpoint.testing.worlds import HAPPENINGS, TROUBLE, World, random_plan

SEEDS = st.integers(0, 2**32)
LENGTHS = st.integers(20, 120)
AMONG = tuple(each for each in HAPPENINGS if each not in (World.declare, World.retry))


def promising(random: Random) -> World:
    """A world in which something is promised."""
    declared = random_plan(random)
    while not declared.lineage:
        declared = random_plan(random)
    return World(random, declared)


@given(SEEDS, LENGTHS)
def test_no_asset_claims_a_change_that_it_cannot_have(seed: int, length: int) -> None:
    world = promising(Random(seed))
    for _ in range(length):
        world.anything(AMONG)

    claims = no_version_claims_what_it_lacks(world.kernel.facts)

    parts = {
        (name, mark.asset): part for mark in world.kernel.state.marks.values() for name, part in mark.parts.items()
    }
    assert {place: claim for place, claim in claims.items() if claim} == {
        place: part for place, part in parts.items() if part
    }


@given(SEEDS, LENGTHS)
def test_every_obligation_is_kept_or_missed_once_and_is_counted(seed: int, length: int) -> None:
    world = promising(Random(seed))
    for _ in range(length):
        world.anything(AMONG)

    counts_agree(obligations_end_once(world.kernel.facts), world.kernel.state)


def test_what_was_noticed_at_the_source_arrives() -> None:
    compared = 0
    for seed in range(60):
        world = promising(Random(seed))
        for _ in range(60):
            world.anything(TROUBLE)
        if world.settle():
            facts = world.kernel.facts
            compared += everything_has_arrived(facts, obligations_end_once(facts))
    assert compared > 20


def test_a_claim_too_many_is_noticed() -> None:
    facts = world_with(d.PublishAsset).kernel.facts
    place, claim = next(
        (place, fact) for place, fact in enumerate(facts) if isinstance(fact, d.PublishAsset) and fact.reflects
    )
    assert isinstance(claim, d.PublishAsset)
    facts[place] = replace(claim, reflects={source: mark + 1 for source, mark in claim.reflects.items()})

    with pytest.raises(AssertionError, match="claims"):
        no_version_claims_what_it_lacks(facts)


def test_an_obligation_that_is_missed_twice_is_noticed() -> None:
    facts = world_with(d.MissObligations).kernel.facts
    place, missed = next((place, fact) for place, fact in enumerate(facts) if isinstance(fact, d.MissObligations))
    assert isinstance(missed, d.MissObligations)
    facts.insert(place, missed)

    with pytest.raises(AssertionError, match="are said to be missed"):
        obligations_end_once(facts)


def world_with(kind: type[d.PublishAsset] | type[d.MissObligations]) -> World:
    """A world in which such a decision was made about something that is promised."""
    for seed in range(100):
        world = promising(Random(seed))
        for _ in range(60):
            world.anything(TROUBLE)
        for fact in world.kernel.facts:
            if isinstance(fact, kind) and (not isinstance(fact, d.PublishAsset) or fact.reflects):
                return world
    raise AssertionError("no world promises anything")
