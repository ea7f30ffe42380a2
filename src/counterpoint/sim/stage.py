"""The stage: the kernel in virtual time, woken when it asks to be, told what the world does.

The kernel is the one that runs in production. Facts are not encoded and not kept, and what a step notes for
history is dropped, so that memory does not grow with what was played.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

from counterpoint.kernel import events as e
from counterpoint.kernel.decisions import AnyDecision
from counterpoint.kernel.derived import Written
from counterpoint.kernel.state import State
from counterpoint.kernel.step import step
from counterpoint.kernel.wakeup import next_moments
from counterpoint.model.plan import Plan
from counterpoint.sim.agenda import Agenda

#: When plays begin unless told otherwise: a Monday, so that weekly calendars begin with their week.
START = datetime(2026, 1, 5, tzinfo=UTC)
#: The one worker host that there is at the start.
HOST = "host-1"
#: More wake-ups than this at one instant mean that the kernel asks for a moment that never passes.
MOST_WAKES = 10_000

#: What is done about a kind of decision.
Handler: TypeAlias = Callable[[Any], None]


class Stage:
    """A kernel in virtual time.

    Attributes:
        state: the kernel's; nobody else changes it.
        now: engine time and wall time, which are one here.
        handlers: kind of decision -> what the world and the measurements do about it, in their order.
        steps: events that the kernel was told, wake-ups included.
    """

    def __init__(self, plan: Plan, start: datetime = START) -> None:
        self.state, self.agenda, self.now, self.plan = State(), Agenda(), start, plan
        self.handlers: dict[type, list[Handler]] = {}
        self.steps = 0

    def on(self, kind: type, handler: Handler) -> None:
        """Let a handler see each decision of a kind."""
        self.handlers.setdefault(kind, []).append(handler)

    def raise_curtain(self) -> None:
        """Declare the plan and let the worker host appear; handlers must be known by then."""
        self.take(e.PlanDeclared(at=self.now, wall=self.now, digest=self.plan.digest, content=self.plan, by="sim"))
        self.take(e.HostAppeared(at=self.now, wall=self.now, host=HOST))

    def take(self, event: e.AnyEvent) -> list[AnyDecision]:
        """Tell the kernel of an event, and let what it decides be carried out."""
        decisions = step(self.state, event)
        self.state.written = Written()
        self.steps += 1
        handlers = self.handlers
        for decision in decisions:
            for handler in handlers.get(type(decision), ()):
                handler(decision)
        return decisions

    def play(self, until: datetime | None = None, *, rest: Callable[[], bool] | None = None) -> None:
        """Let time go on.

        Args:
            until: what comes then or later stays on the agenda; None is until nothing is to come.
            rest: asked when the world has nothing more on its agenda; True ends the play, whatever the kernel
                still wants to be woken for.
        """
        agenda, state, wakes = self.agenda, self.state, 0
        while True:
            first = agenda.first
            if first is None and rest is not None and rest():
                return
            by_engine, by_wall = next_moments(state)
            moment = by_wall if by_engine is None or (by_wall is not None and by_wall < by_engine) else by_engine
            if moment is not None and (first is None or moment < first):
                if until is not None and moment >= until:
                    break
                wakes = wakes + 1 if moment <= self.now else 0
                assert wakes < MOST_WAKES, f"the kernel asks to be woken at {self.now} again and again"
                self.now = max(self.now, moment)
                self.take(e.Woke(at=self.now, wall=self.now))
            elif first is not None:
                if until is not None and first >= until:
                    break
                at, action, about = agenda.take()
                self.now = max(self.now, at)
                action(*about)
            else:
                return
        assert until is not None
        self.now = until


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Leave what is there out of garbage collection, and let it come seldom, while something is played."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
