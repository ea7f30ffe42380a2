"""The policy: the rules in the order in which they apply. Read this list to know what the system does.

A rule is a generator of decisions; each is folded into State before the rule goes on, so a rule
sees what it and the rules above it have decided. What one decision makes possible is marked in
`state.touched`. A rule of the second list stands beside the mark that it looks at, and has nothing
to do while that is not there; the list is gone through again until nothing is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from counterpoint.kernel.decisions import AnyDecision
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.rules.admission import admit
from counterpoint.kernel.rules.answering import answer, look_or_stop
from counterpoint.kernel.rules.batching import form_runs
from counterpoint.kernel.rules.confirming import confirm
from counterpoint.kernel.rules.delivering import deliver
from counterpoint.kernel.rules.finishing import finish
from counterpoint.kernel.rules.preemption import make_room
from counterpoint.kernel.rules.promising import cut_off, oblige
from counterpoint.kernel.rules.reflecting import inherit
from counterpoint.kernel.rules.retrying import retry
from counterpoint.kernel.rules.sampling import sample
from counterpoint.kernel.rules.ticking import tick
from counterpoint.kernel.state import State

Rule: TypeAlias = Callable[[State, AnyEvent], Iterator[AnyDecision]]

#: What an event asks for itself: gone through once.
FIRST: tuple[Rule, ...] = (answer, look_or_stop, tick, cut_off)

#: What follows from it: gone through until nothing more follows.
THEN: tuple[tuple[str, Rule], ...] = (
    ("runs", retry),
    ("runs", finish),
    ("changes", deliver),
    ("confirms", confirm),
    ("readers", inherit),
    ("sources", oblige),
    ("samplers", sample),
    ("lanes", form_runs),
    ("admission", admit),
    ("preemption", make_room),
)
