"""Every scenario of this folder. `pytest tests/scenarios --update` writes what is decided now below each story."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from counterpoint.testing import scenario as scenarios
from counterpoint.testing.scenario import Scenario, play, read

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.txt"))

DIGEST = """
import hashlib, pathlib, sys
from counterpoint.testing.scenario import play, read
digest = hashlib.sha256()
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.txt")):
    kernel, decided = play(read(path.read_text(), path.stem))
    digest.update(kernel.journal() + kernel.document())
print(digest.hexdigest())
"""


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def scenario(path: Path) -> Scenario:
    return read(path.read_text(), path.stem)


def test_what_is_decided_is_what_the_scenario_says(
    scenario: Scenario, path: Path, request: pytest.FixtureRequest
) -> None:
    kernel, decided = play(scenario)

    if request.config.getoption("--update"):
        path.write_text(scenario.updated(decided))
    else:
        assert decided.splitlines() == scenario.expected.splitlines()
    kernel.check_journal()


def test_a_restart_after_any_line_changes_no_decision(scenario: Scenario) -> None:
    lines = [f"{line.text}\n+0s reload" for line in scenario.lines]

    _, decided = play(msgspec.structs.replace(scenario, story="\n".join(lines)))

    assert decided.splitlines() == play(scenario)[1].splitlines()


def test_a_scenario_says_in_its_first_line_what_it_protects(scenario: Scenario) -> None:
    assert scenario.about.endswith(".")


def test_hash_seeds_reach_no_decision() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST, str(FOLDER)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(digests) == 1


def test_every_verb_is_explained() -> None:
    assert all(verb.__doc__ for verb in scenarios.VERBS.values())
