"""Who makes room: attempts of a lower class stop for urgent work, and go on later.

A *taker* is a waiting run or task that lacks slots. A *victim* is a running attempt that holds some of
what the taker lacks, of a pipeline with `preempt`, and of a strictly lower class. Classes are those that
the pipelines declare: that a run is moved to the top because it waited long changes nothing here, so that
no two runs can ever push each other out. Where teams are declared, slots that a team has beyond its share are
*reclaimed* too: by a run of the same class whose team has no more than its share even when it has started.
Whoever reclaims borrows nothing, so nobody reclaims from it in turn.
A victim is left alone before its least time of running (`minimum`), for its `cooldown` after it last made
room or started since, and when the evictions of its run are used up. Pipelines with `hold: run` keep their
slots beyond an attempt, and are no victims.

The smallest set of victims is chosen that lets the taker start: the fewest attempts, then the least work
lost. There is none if anything else that the taker needs is missing. It stops only if that is worth it:

    saved x worth > lost

* saved = what the taker would wait otherwise - the grace of the victims. Otherwise it would wait until
  enough of the slots are free by themselves: the holders end when nine of ten do (p90, as `kernel/outlook.py`
  has it); one of which that is not known, or which has gone on longer, is taken to last for ever.
* worth = `WORTH` for each class between the two: a second of waiting counts more than a second of work.
  `WORTH_OF_A_PROMISE` times more where the taker has a latest start and would miss it.
* lost = for each victim the time since it started, or since its newest checkpoint, + `RESTART_S`.

A taker with a latest start is patient until that time less the grace: until then the slots may get free
by themselves, and nothing is lost for it. One without is not.

All that the taker needs is kept for it (`KeepRoom`) until it starts, or until `PATIENCE` after the last
victim's grace. So nobody else takes what the victims leave, and nothing stops for a taker twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import combinations
from math import comb, inf
from typing import Any

from msgspec import Struct

from counterpoint.kernel.decisions import AnyDecision, KeepRoom, Reason
from counterpoint.kernel.events import AnyEvent
from counterpoint.kernel.outlook import Outlook, stay_of
from counterpoint.kernel.records import Attempt, Run
from counterpoint.kernel.requests import Request
from counterpoint.kernel.rules.stopping import stop
from counterpoint.kernel.shares import entitlement_of
from counterpoint.kernel.state import RANKS, State

#: How many seconds of a victim's work a second of the taker's waiting is worth, for each class between them.
WORTH = 4.0
#: And how much more where the taker would miss its latest start otherwise.
WORTH_OF_A_PROMISE = 10.0
#: What it costs to begin again, beside the work since the last checkpoint.
RESTART_S = 60.0
#: How long after the grace of the victims what they leave is kept for the taker at most.
PATIENCE = timedelta(minutes=1)
#: So many sets of victims of one size are compared at most; beyond that they are chosen one after the other.
MOST_SETS = 1000


class Victim(Struct, frozen=True):
    """An attempt that may be asked to make room.

    Attributes:
        budget: how many more of its run's attempts may be asked.
        team: whose borrowed slots are reclaimed with it; "" where it is of a lower class.
    """

    attempt: Attempt
    rank: int
    budget: int
    lost_s: float
    grace: timedelta
    slots: Mapping[str, int]
    team: str = ""


def make_room(state: State, event: AnyEvent) -> Iterator[AnyDecision]:
    """Stop what has to make room for the first requests that lack its slots."""
    if not state.touched.preemption:
        return
    state.touched.preemption = False
    if not state.preemptible or state.plan.policy != "promise" or not state.host():
        return
    for request in _takers(state):
        yield from _make_room_for(state, request)


def _takers(state: State) -> list[Request]:
    """The heads that need a pool of which an attempt of a lower class may be stopped, in queue order."""
    heads = {
        (request.run, request.task): request
        for resource, names in state.preemptible.items()
        for request in state.queue.heads_needing(resource, _highest(state, names))
    }
    return sorted((head for name, head in heads.items() if name not in state.queue.claims), key=lambda r: r.key)


def _highest(state: State, names: Iterable[str]) -> int:
    """What takers must be below: the rank of the lowest class of these attempts, or one more if some reclaim."""
    lowest = 0
    for name in names:
        lowest = max(lowest, rank_of(state, state.runs[state.attempts[name].run]))
        if lowest == RANKS["bulk"]:
            break
    return lowest + 1 if state.plan.teams else lowest


def _make_room_for(state: State, request: Request) -> Iterator[AnyDecision]:
    taker = state.runs[request.run]
    lacking = {} if taker.lane == "backfill" else _lacking(state, request)
    chosen = smallest(_victims(state, taker, lacking), lacking) if lacking else ()
    if not chosen:
        return
    grace = max(victim.grace for victim in chosen)
    # A task has a due time in any case, as part of its place in the queue; it is owed only where its run is.
    latest = taker.tasks[request.task].due if request.task and taker.latest is not None else taker.latest
    if latest is not None and state.at < latest - grace:
        state.look_for_room(latest - grace)
        return
    ends = {resource: _ends(state, resource) for resource in lacking}
    wait_s = max(_wait_s(ends[resource], amount) for resource, amount in lacking.items())
    rank = rank_of(state, taker)
    steps = min(victim.rank for victim in chosen) - rank
    worth = WORTH**steps * (WORTH_OF_A_PROMISE if latest is not None else 1.0)
    saved_s = wait_s - grace.total_seconds()
    lost_s = sum(victim.lost_s for victim in chosen)
    if saved_s * worth <= lost_s + RESTART_S * len(chosen):
        # What was expected to end by then may go on: then it is another question.
        first_s = min((end for times in ends.values() for end, _ in times), default=inf)
        if first_s < inf:
            state.look_for_room(state.at + timedelta(seconds=first_s))
        return
    name = f"{request.run}/{request.task}" if request.task else request.run
    figures = {
        "taker": name,
        "class": state.pipeline_of(taker).priority_class,
        "victims": len(chosen),
        "saved_s": None if saved_s == inf else round(saved_s, 3),
    }
    yield KeepRoom(
        at=state.at,
        reason=Reason("others-stop", {"attempts": [victim.attempt.attempt for victim in chosen]}),
        run=request.run,
        task=request.task,
        resources={name: amount for name, amount in request.needs if not name.startswith(("fresh:", "later:"))},
        until=state.at + grace + PATIENCE,
    )
    for victim in chosen:
        lost: dict[str, Any] = {"team": victim.team} if victim.team else {}
        lost |= {"lost_s": round(victim.lost_s, 3), "of": state.pipeline_of(_run(state, victim)).priority_class}
        yield stop(state, victim.attempt, "preempt", Reason("makes-room", figures | lost))


def rank_of(state: State, run: Run) -> int:
    """The rank of the class that a run's pipeline declares, however long it has waited."""
    return RANKS[state.pipeline_of(run).priority_class]


def _run(state: State, victim: Victim) -> Run:
    return state.runs[victim.attempt.run]


def _lacking(state: State, request: Request) -> dict[str, int]:
    """Pool -> slots that are missing beyond those that get free anyway; empty where it cannot be helped so."""
    lacking: dict[str, int] = {}
    for resource, amount in request.needs:
        is_pool = resource.startswith("pool:")
        there = state.free(resource) + (state.coming.get(resource, 0) if is_pool else 0)
        if amount > state.capacity(resource) or state.queue.is_kept_from(resource, request, Outlook(state)):
            return {}
        if amount > there:
            if not is_pool:
                return {}
            lacking[resource] = amount - there
    return lacking


def _victims(state: State, taker: Run, lacking: Mapping[str, int]) -> list[Victim]:
    """Who may be stopped now for a taker; a moment is noted at which the next one may."""
    may_reclaim = _may_reclaim(state, taker, lacking)
    own_team, own_rank = state.team_of(taker), rank_of(state, taker)
    names = dict.fromkeys(name for pool in lacking for name in state.preemptible.get(pool, ()))
    found = []
    for attempt in (state.attempts[name] for name in names):
        run = state.runs[attempt.run]
        pipeline = state.pipeline_of(run)
        preempt, rank = pipeline.preempt, RANKS[pipeline.priority_class]
        if preempt is None or attempt.stopping or attempt.deferred or run.ending:
            continue
        budget = preempt.evictions - run.evictions
        is_reclaimed = may_reclaim and rank == own_rank and state.team_of(run) != own_team
        if budget <= 0 or not (rank > own_rank or is_reclaimed):
            continue
        spared = attempt.started + preempt.minimum
        if run.evicted is not None:
            spared = max(spared, max(attempt.started, run.evicted) + preempt.cooldown)
        if spared > state.at:
            state.look_for_room(spared)
            continue
        slots = {f"pool:{pool}": amount for pool, amount in attempt.slots.items() if f"pool:{pool}" in lacking}
        grace = pipeline.tasks[attempt.task].grace
        kept = max(attempt.started, attempt.checkpointed or attempt.started)
        team = state.team_of(run) if is_reclaimed else ""
        found.append(Victim(attempt, rank, budget, (state.at - kept).total_seconds(), grace, slots, team))
    found.sort(key=lambda each: (each.lost_s, -each.rank, each.attempt.started, each.attempt.attempt))
    return _borrowed(state, found)


def _may_reclaim(state: State, taker: Run, lacking: Mapping[str, int]) -> bool:
    """Whether a taker's team has no more than its share even with all that it asks for."""
    if not state.plan.teams:
        return False
    team = state.team_of(taker)
    used = state.team_used.get(team, {})
    task = next((name for name, each in taker.tasks.items() if each.phase == "ready"), "")
    asked = {f"pool:{pool}": slots for pool, slots in state.slots_of(taker, task).items()} if task else lacking
    shares = [
        (used.get(pool, 0) + asked.get(pool, 0)) / state.capacity(pool)
        for pool in dict.fromkeys([*used, *asked])
        if state.capacity(pool) > 0
    ]
    return max(shares, default=0.0) <= entitlement_of(state, team)


def _borrowed(state: State, victims: Sequence[Victim]) -> list[Victim]:
    """Without those whose team would have its share or less when those before them have stopped."""
    left: dict[str, dict[str, int]] = {}
    kept = []
    for victim in victims:
        if victim.team:
            if victim.team not in left:
                left[victim.team] = _lasting(state, victim.team)
            used = left[victim.team]
            share = max((held / state.capacity(pool) for pool, held in used.items()), default=0.0)
            if share <= entitlement_of(state, victim.team):
                continue
            for pool, slots in victim.attempt.slots.items():
                if f"pool:{pool}" in used:
                    used[f"pool:{pool}"] -= slots
        kept.append(victim)
    return kept


def _lasting(state: State, team: str) -> dict[str, int]:
    """What a team holds, without what is about to end."""
    used = {pool: held for pool, held in state.team_used.get(team, {}).items() if state.capacity(pool) > 0}
    for pool in used:
        for name in state.preemptible.get(pool, ()):
            attempt = state.attempts[name]
            if attempt.stopping and state.team_of(state.runs[attempt.run]) == team:
                used[pool] -= attempt.slots[pool.partition(":")[2]]
    return used


def smallest(victims: Sequence[Victim], lacking: Mapping[str, int]) -> tuple[Victim, ...]:
    """The fewest victims that hold all that is lacking, of those the ones that lose least; empty if none do.

    Exact as long as few sets are to be compared. Beyond that whoever gives most is chosen next, and who
    turns out not to be needed is let go: that is exact too where all hold as much of one pool.

    Args:
        victims: by what they lose, the least first.
    """
    if not _is_enough(_within_budget(victims), lacking):
        return ()
    for size in range(1, len(victims) + 1):
        if comb(len(victims), size) > MOST_SETS:
            return _greedy(victims, lacking)
        enough = [
            each
            for each in combinations(victims, size)
            if len(_within_budget(each)) == size and _is_enough(each, lacking)
        ]
        if enough:
            # The first of those with the same loss: `combinations` keeps the order.
            return min(enough, key=lambda each: sum(victim.lost_s for victim in each))
    return ()


def _within_budget(victims: Sequence[Victim]) -> list[Victim]:
    """Without attempts of a run that has no eviction left for them beside those before."""
    taken: dict[str, int] = {}
    kept = []
    for victim in victims:
        run = victim.attempt.run
        taken[run] = taken.get(run, 0) + 1
        if taken[run] <= victim.budget:
            kept.append(victim)
    return kept


def _is_enough(victims: Sequence[Victim], lacking: Mapping[str, int]) -> bool:
    return all(sum(victim.slots.get(pool, 0) for victim in victims) >= amount for pool, amount in lacking.items())


def _greedy(victims: Sequence[Victim], lacking: Mapping[str, int]) -> tuple[Victim, ...]:
    rest, left, chosen = _within_budget(victims), dict(lacking), list[Victim]()
    while any(amount > 0 for amount in left.values()):
        best = max(rest, key=lambda victim: sum(min(victim.slots.get(pool, 0), left[pool]) for pool in left))
        rest.remove(best)
        chosen.append(best)
        left = {pool: max(0, amount - best.slots.get(pool, 0)) for pool, amount in left.items()}
    for victim in sorted(chosen, key=lambda each: -each.lost_s):
        others = [each for each in chosen if each is not victim]
        if _is_enough(others, lacking):
            chosen = others
    return tuple(chosen)


def _ends(state: State, pool: str) -> list[tuple[float, int]]:
    """Those that hold slots of a pool and were not asked to stop: seconds until their expected end, and slots.

    Infinite where that is not known or over: what `kernel/outlook.py` makes of that is a guess which may be
    far too short, and a taker would wait for it again and again.
    """
    found = []
    for name, slots in state.holders.get(pool, {}).items():
        attempt = state.attempts.get(name)
        if attempt is not None and attempt.stopping:
            continue
        lasted, expected = stay_of(state, name)
        # To the microsecond, as time is counted: less than that would be waited for without an end.
        left = round(expected - lasted, 6) if expected is not None else 0.0
        found.append((left if left > 0 else inf, slots))
    return found


def _wait_s(ends: Sequence[tuple[float, int]], amount: int) -> float:
    """Seconds until so many slots are free by themselves; infinite where nobody knows."""
    for end, slots in sorted(ends):
        amount -= slots
        if amount <= 0:
            return end
    return inf
