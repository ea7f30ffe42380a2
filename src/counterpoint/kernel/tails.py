"""How long a way takes with which chance: bands of its steps, added up.

A tail is the sum of the p90s of its steps and of their waits in the queue. For a long one that is more than
enough, because not everything lasts long at once; for one or two steps it is too little: who always starts as
late as p90 allows is late one time in ten, whatever the promise says. So a tail is never shorter than the
quantile of the whole way that the promise's target asks for (`chance`): the sum of the medians, and above it
the root of the squared spreads (p90 - p50), as for independent steps, scaled from 90 % to that chance.

Where many changes are due one after the other and run as one, only the oldest of them are at risk, so the way
may fail more often: a batch of n may fail with n times what the target leaves. A third of that is used: the
next oldest may fail with it, and a share that is aimed at exactly is missed half of the time. Waits have no
spread of their own: the p90 of a queue is a reserve already, and where there is much of it, to start earlier
would only make more runs that wait. For the same reason a promise expects
no more of them than half of the time that it leaves beside work: when everything waits long, runs that start
at once with one change each are what everything waits for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from math import inf, sqrt
from statistics import NormalDist

from msgspec import Struct

#: What a p90 gives; and the most that is asked for, because nobody knows the far end of a distribution.
NINE_IN_TEN, MOST_CERTAIN = 0.9, 0.999
#: Of the share that a promise leaves for failure, how much a run may use up.
MAY_FAIL = 1 / 3
#: The share of the time that a promise leaves beside work, of which waits in the queue may be expected at most.
MOST_WAITS = 0.5


class Tail(Struct, frozen=True, gc=False):
    """What a change has to go through, in seconds.

    Attributes:
        p50, p90: sums of those of all steps and waits.
        spread: the sum of the squared spreads of steps, (p90 - p50)^2.
        waits: how much of p90 are waits in the queue.
        usual: how much of p50 are not.
        least: how much of p50 are steps alone.
    """

    p50: float = 0.0
    p90: float = 0.0
    spread: float = 0.0
    waits: float = 0.0
    usual: float = 0.0
    least: float = 0.0

    def then(self, other: Tail) -> Tail:
        """Both, one after the other."""
        return Tail(
            self.p50 + other.p50,
            self.p90 + other.p90,
            self.spread + other.spread,
            self.waits + other.waits,
            self.usual + other.usual,
            self.least + other.least,
        )

    def within(self, chance: float, most: float = inf) -> float:
        """Seconds that suffice with a chance, and that nine in ten of each step suffice for.

        Args:
            most: seconds that are there in all: of what work leaves of them, waits get `MOST_WAITS` at most.
        """
        seconds = max(self.p90, self.p50 + _spreads(chance) * sqrt(self.spread))
        work = seconds - self.waits
        return min(seconds, work + MOST_WAITS * max(0.0, most - work))

    def unhindered(self, chance: float) -> float:
        """Seconds that suffice with a chance where nothing of it has to wait in a queue."""
        return self.usual + _spreads(chance) * sqrt(self.spread)


class Lengths(Struct, frozen=True, gc=False):
    """From a pipeline's start until the promised asset has what it made, with the chance that is asked for.

    Attributes:
        tail: by the p90s of all steps and waits at least.
        lead_s: the same, and before it the pipeline's own wait; in seconds.
        alone_s: if nothing has to wait for slots; in seconds.
    """

    tail: timedelta
    lead_s: float
    alone_s: float


class Distance:
    """How far it is from a pipeline's start to a promise below it, for as many obligations as are served at once.

    Attributes:
        most: seconds from a change until it is due.
        least: by medians, if nothing waits for anything.
        usual: by medians, if nothing has to wait for slots.
        longest: the longest tail, however few are served.
        by_hour: it is another at other hours of the week.
        users: pool -> the pipelines on the way that use it.
        widest: pool -> the most slots of it that one of them needs at once.
        leads: how long before the first of so many is due a run is made, while `of_work` is what pools have to do;
            under 0 the longest, however many. `kernel/lengths.py` keeps it.
        others: for how long others may need the pools then, each of which lasts so many seconds at most.
    """

    __slots__ = ("_known", "_lead", "_tail", "by_hour", "leads", "least", "longest", "most", "of_work", "others",
                 "target", "users", "usual", "widest")  # fmt: skip

    def __init__(
        self,
        *,
        tail: Tail,
        wait: Tail,
        target: float,
        most: float,
        users: Mapping[str, Sequence[str]],
        widest: Mapping[str, int],
        by_hour: bool = False,
    ) -> None:
        self.target, self.most, self.by_hour = target, most, by_hour
        self.users, self.widest = users, widest
        self._tail, self._lead = tail, wait.then(tail)
        self._known: dict[float, Lengths] = {}
        self.least, self.usual = timedelta(seconds=tail.least), timedelta(seconds=tail.usual)
        self.longest = self.lengths(MOST_CERTAIN).tail
        self.leads: dict[int, timedelta] = {}
        self.others: tuple[float, Tail] | None = None
        self.of_work = -1

    def lengths(self, certain: float) -> Lengths:
        """With a chance between `NINE_IN_TEN` and `MOST_CERTAIN`; the higher, the longer."""
        found = self._known.get(certain)
        if found is None:
            tail_s = self._tail.within(certain, self.most)
            found = self._known[certain] = Lengths(
                timedelta(seconds=tail_s), self._lead.within(certain, self.most), self._tail.unhindered(certain)
            )
        return found

    def seconds_for(self, others: Tail, certain: float) -> float:
        """How many seconds longer it takes with a chance, if it has to wait for these others."""
        own = self._tail.spread
        return others.usual + _spreads(certain) * (sqrt(own + others.spread) - sqrt(own))


class Way(Struct, frozen=True, gc=False):
    """From a pipeline down to a promised asset: the pipelines, itself too.

    Attributes:
        users, widest: as `Distance` has them.
    """

    pipelines: tuple[str, ...]
    users: dict[str, list[str]]
    widest: dict[str, int]


class Work(Struct, frozen=True, gc=False):
    """One run of each pipeline that uses a pool.

    Attributes:
        shares: pipeline -> how long it lasts (p90), and for how long others must reckon with it: the median, and
            the squared spread; in seconds.
        lasts: how long they last, ascending; `usual` the medians of the first none, one, two, ... of them, and
            `spreads` their squared spreads.
    """

    shares: dict[str, tuple[float, float, float]]
    lasts: tuple[float, ...]
    usual: tuple[float, ...]
    spreads: tuple[float, ...]


def span(p50: float, p90: float) -> Tail:
    """One step; its p90 is never below its median."""
    p90 = max(p50, p90)
    return Tail(p50, p90, (p90 - p50) ** 2, usual=p50, least=p50)


@lru_cache(maxsize=4096)
def _spreads(chance: float) -> float:
    """How many times the way from median to p90 the way to another quantile is, normally."""
    return NormalDist().inv_cdf(chance) / NormalDist().inv_cdf(NINE_IN_TEN)


def chance(target: float, count: int) -> float:
    """With which chance a run must be in time for a share of obligations, if it serves so many of them."""
    return min(MOST_CERTAIN, max(NINE_IN_TEN, 1 - (1 - target) * count * MAY_FAIL))
