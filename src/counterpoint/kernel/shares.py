"""Shares: what a team is entitled to, whether it borrows, and the half of a pool that old backfills may take.

A team's *dominant share* is the largest share it has of any pool. It is entitled to its weight over
the weights of all declared teams; a team that is not declared weighs 1. A team at or above that
*borrows* whatever else it gets; of those that borrow the one goes first that has least for its
weight. Where no teams are declared, nobody borrows and nothing is counted.
"""

from __future__ import annotations

from counterpoint.kernel.records import Attempt
from counterpoint.kernel.requests import Ground, Request, Sign, Stand
from counterpoint.kernel.state import RANKS, State

#: Backfills that have waited out their class go first on so much of a pool, and on one request at least.
MOST_OF_BACKFILLS = 0.5


def share_of(state: State, team: str) -> float:
    """A team's dominant share: 0.0 has nothing, 1.0 all of some pool."""
    used = state.team_used.get(team, {})
    shares = (amount / state.capacity(resource) for resource, amount in used.items() if state.capacity(resource))
    return max(shares, default=0.0)


def entitlement_of(state: State, team: str) -> float:
    """The share of each pool that is a team's own while others want theirs; 1.0 where no teams are declared."""
    teams = state.plan.teams
    if not teams:
        return 1.0
    return (teams[team].weight if team in teams else 1.0) / sum(each.weight for each in teams.values())


def would_borrow(state: State, team: str) -> bool:
    """Whether a team has its share already, so that what it gets now is borrowed."""
    return bool(state.plan.teams) and share_of(state, team) >= entitlement_of(state, team)


def is_borrowing(state: State, attempt: Attempt) -> bool:
    """Whether an attempt belongs to a team that has more than its share, so that its slots may be reclaimed."""
    if not state.plan.teams:
        return False
    team = state.team_of(state.runs[attempt.run])
    return share_of(state, team) > entitlement_of(state, team)


def stand(state: State, sign: Sign) -> Stand:
    """How requests of a profile stand now: rank, and how much of its share a team has that would borrow."""
    pools, _, rank, team, is_backfill, declared = sign
    if is_backfill and rank == RANKS["top"] and any(has_enough(state, pool, slots) for pool, slots in pools):
        rank = RANKS["backfill"]
    if not state.plan.teams:
        return rank, 0.0
    share, own = share_of(state, team), entitlement_of(state, team)
    if share < own:
        return rank, 0.0
    # Age gives a team no more than its share: after those below theirs, before others that borrow (1 or more).
    return (declared, share / (share + own)) if rank == RANKS["top"] else (rank, share / own)


def is_kept_short(state: State, ground: Ground, request: Request) -> bool:
    """Whether nothing may be kept for a request, because its team has its share and one that has no more waits."""
    team = request.place[0][3]
    return would_borrow(state, team) and state.queue.is_contested(
        request, lambda other: share_of(state, other) <= entitlement_of(state, other), ground
    )


def has_enough(state: State, pool: str, slots: int) -> bool:
    """Whether backfills with so many slots more would have more than their part of a pool."""
    used = state.backfill_used.get(pool, 0)
    return used > 0 and used + slots > MOST_OF_BACKFILLS * state.capacity(pool)
