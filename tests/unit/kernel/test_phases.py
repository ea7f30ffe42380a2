from __future__ import annotations

import pytest

from counterpoint.kernel import phases
from counterpoint.kernel.phases import ENDED_RUN, ENDED_TASK, RUN, TASK, check


@pytest.mark.parametrize(("life", "first"), [(RUN, "waiting"), (TASK, "blocked")])
def test_every_phase_is_reachable(life: dict[str, frozenset[str]], first: str) -> None:
    reached = {first}
    while more := {after for phase in reached for after in life[phase]} - reached:
        reached |= more

    assert reached == set(life)


@pytest.mark.parametrize(("life", "ended"), [(RUN, ENDED_RUN), (TASK, ENDED_TASK)])
def test_only_what_has_ended_may_stay_and_only_a_retry_leads_out_of_it(
    life: dict[str, frozenset[str]], ended: frozenset[str]
) -> None:
    again = {"waiting", "blocked"}

    assert all(life[phase] for phase in set(life) - ended)
    assert all(life[phase] <= again for phase in ended)


def test_a_step_that_the_table_does_not_have_is_a_bug() -> None:
    check(RUN, "waiting", "running")
    with pytest.raises(AssertionError, match="'succeeded' cannot follow 'waiting'"):
        check(RUN, "waiting", "succeeded")


def test_what_succeeded_stays_so() -> None:
    assert not phases.RUN["succeeded"]
    assert not phases.TASK["done"]
