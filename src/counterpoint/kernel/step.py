"""One event in, decisions out: the whole kernel behind one function."""

from __future__ import annotations

from counterpoint.kernel.decisions import AnyDecision
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.evolve import evolve
from counterpoint.kernel.policy import FIRST, THEN
from counterpoint.kernel.state import State

#: More rounds than this for one event means that two rules undo each other: a bug, so it is raised.
MOST_ROUNDS = 100_000


def step(state: State, event: AnyEvent) -> list[AnyDecision]:
    """Take in one event and say what follows from it.

    Changes `state`, which the caller owns, and touches nothing else. The only times are
    `event.at` and `event.wall`, so production, simulation and replay get the same answer.

    Returns:
        What was decided, in order. `state` already counts it as decided; nothing of it may be
        carried out before the event and these decisions are recorded.
    """
    evolve(state, event)
    decided: list[AnyDecision] = []
    for rule in FIRST:
        for decision in rule(state, event):
            evolve(state, decision)
            decided.append(decision)
    for _ in range(MOST_ROUNDS):
        for mark, rule in THEN:
            if getattr(state.touched, mark):
                for decision in rule(state, event):
                    evolve(state, decision)
                    decided.append(decision)
        if not state.touched:
            return decided
    raise AssertionError(f"the rules do not come to rest after {type(event).__name__}")
