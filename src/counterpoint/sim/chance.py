"""Chance: every draw is named, and depends on the seed and its name alone.

So two policies see the same arrivals, and the same duration for the same try of the same run, whatever else
happens in between.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from statistics import NormalDist

#: How many standard deviations nine in ten lie below.
NINE_IN_TEN = NormalDist().inv_cdf(0.9)
_inverse = NormalDist().inv_cdf


def stream(seed: int, name: str) -> Random:
    """A stream of draws of its own."""
    return Random(f"{seed}/{name}")  # noqa: S311 - a simulation, no secret


def share(seed: int, name: str) -> float:
    """One draw, evenly between 0 and 1, neither of them."""
    digest = blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> 11) + 0.5) * 2.0**-53


def normal(seed: int, name: str) -> float:
    """One draw from the normal distribution."""
    return _inverse(share(seed, name))
