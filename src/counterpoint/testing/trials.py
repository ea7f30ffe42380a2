"""Trials of the kernel: one seed is one random score, one history of work and faults, and every invariant.

`make sim SEEDS=1000` plays many. A seed that fails is printed with the commit, and kept in
`tests/simulation/seeds.txt`, where each has failed once. The same seed at the same commit is the same trial.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import TypeAlias

import msgspec

from counterpoint.analysis.forecast import forecast
from counterpoint.kernel.explain import why_pipeline
from counterpoint.kernel.snapshots import document_of
from counterpoint.kernel.state import State
from counterpoint.model.plan import Plan
from counterpoint.testing import audit, reckoning
from counterpoint.testing.builders import Fact
from counterpoint.testing.worlds import TROUBLE, World, random_plan

#: How many things happen in a trial, at most.
LONGEST = 150
#: What must hold for every history: see docs/invariants.md.
INVARIANTS: tuple[Callable[[Sequence[Fact]], object], ...] = (
    audit.no_pool_is_oversold,
    audit.attempts_start_once,
    audit.done_is_not_done_again,
    audit.preemption_keeps_its_budget,
    audit.rates_are_kept,
    reckoning.no_version_claims_what_it_lacks,
    audit.decisions_are_the_same_again,
)

Failed: TypeAlias = tuple[int, str]


def play(seed: int) -> None:
    """Play one trial.

    Raises:
        AssertionError: an invariant does not hold; the message names it and the fact.
    """
    random = Random(seed)  # noqa: S311 - a trial must be repeatable, not secret
    world = World(random, random_plan(random))
    # Of their own, so that a seed was the same trial before there were any.
    questions = Random(f"questions/{seed}")  # noqa: S311
    # Where only machines do harm, all must come to rest and be up to date in the end.
    may_settle = random.random() < 0.5
    for _ in range(random.randint(10, LONGEST)):
        world.anything(TROUBLE if may_settle else ())
        if random.random() < 0.05:
            _restart(world)
        if questions.random() < 0.05:
            _ask(world.kernel.state)
    rests = may_settle and _comes_to_rest(world.kernel.state.plan)
    if rests:
        assert world.settle(), "the world does not come to rest within a day"
    facts = world.kernel.facts
    for holds in INVARIANTS:
        holds(facts)
    audit.items_are_delivered_once_and_end_once(facts, settled=False)
    accounts = reckoning.obligations_end_once(facts)
    if may_settle:
        # Nobody declared anything else, so that the accounts are of the whole history.
        reckoning.counts_agree(accounts, world.kernel.state)
    if rests:
        reckoning.everything_has_arrived(facts, accounts)
    assert msgspec.json.encode(document_of(world.kernel.folded())) == world.kernel.document(), (
        "folding the journal gives another State"
    )


def _comes_to_rest(plan: Plan) -> bool:
    """Whether nothing asks for work for ever: a producer whose sync subscriber never gets there, a sampler."""
    triggers = [each.trigger for each in plan.pipelines.values() if each.trigger is not None]
    return all(trigger.groups and trigger.delivery.pattern == "async" for trigger in triggers)


def _restart(world: World) -> None:
    """The engine starts again from a snapshot, in the middle of everything."""
    written = world.kernel.state.written
    world.kernel.reload()
    world.kernel.state.written = written


def _ask(state: State) -> None:
    """Somebody asks why everything is as it is, and what will come of it: that changes no decision."""
    for pipeline in state.plan.pipelines.values():
        why_pipeline(state, pipeline, state.at)
    for promise in state.promises.values():
        forecast(state, promise, state.at)


def failure_of(seed: int) -> Failed | None:
    """How the trial of a seed fails; None if it holds."""
    try:
        play(seed)
    except Exception as error:
        return seed, f"{type(error).__name__}: {str(error)[:2000]}"
    return None


def play_all(
    seeds: Iterable[int], *, workers: int = 1, tell: Callable[[int], None] = lambda _: None
) -> list[Failed]:
    """Play many trials; those that fail. `tell` is called with how many are done."""
    failed: list[Failed] = []
    with ProcessPoolExecutor(workers) as pool:
        for done, failure in enumerate(pool.map(failure_of, seeds, chunksize=8), start=1):
            if failure is not None:
                failed.append(failure)
            tell(done)
    return failed


def kept_seeds(path: Path) -> list[int]:
    """Seeds that failed once: the first word of each line that is no comment."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(line.split()[0]) for line in lines if line.strip() and not line.startswith("#")]


def main() -> int:
    """Play `--seeds` trials from `--first` on; 1 if some failed."""
    parser = argparse.ArgumentParser(description="Random scores and faults against every invariant.")
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    began = time.monotonic()

    def tell(done: int) -> None:
        if sys.stderr.isatty() or done % 1000 == 0:
            sys.stderr.write(f"\r{done} of {options.seeds} seeds")
            sys.stderr.flush()

    failed = play_all(range(options.first, options.first + options.seeds), workers=options.workers, tell=tell)
    sys.stderr.write("\n")
    commit = _commit()
    for seed, message in failed:
        sys.stdout.write(f"seed {seed} at commit {commit} fails: {message}\n")
    took = time.monotonic() - began
    sys.stdout.write(f"{options.seeds} seeds, {len(failed)} failed, {took:.0f} s, commit {commit}\n")
    return 1 if failed else 0


def _commit() -> str:
    """The commit that is tried; `+` where files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
