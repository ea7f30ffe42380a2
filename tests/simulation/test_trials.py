"""Random scores and faults against every invariant: `make sim SEEDS=n` plays more of the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.testing import trials

SEEDS = trials.kept_seeds(Path(__file__).parent / "seeds.txt")


@pytest.mark.parametrize("seed", SEEDS)
def test_what_failed_once_holds(seed: int) -> None:
    trials.play(seed)


@pytest.mark.timeout(600)
def test_three_hundred_seeds_hold() -> None:
    failed = trials.play_all(range(300), workers=2)

    assert not failed, "\n".join(f"seed {seed}: {message}" for seed, message in failed)


def test_a_broken_invariant_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trials would be worth nothing if they could not fail: without rates in the queue they do."""
    from counterpoint.kernel.state import State

    monkeypatch.setattr(State, "capacity", lambda self, resource: 99)

    assert any(trials.failure_of(seed) is not None for seed in range(20))
