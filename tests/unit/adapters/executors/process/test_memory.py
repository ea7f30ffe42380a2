from __future__ import annotations

import subprocess
import sys

from counterpoint.adapters.executors.process.memory import Limits, LookingOnly, under_limit

EAT = [sys.executable, "-c", "eaten = bytearray(200_000_000); import time; time.sleep(5)"]


def test_a_limit_is_enforced_by_the_kernel_or_left_to_the_host() -> None:
    limit = Limits("counterpoint-test").limit("eat", 60_000_000)
    if not limit.join:
        assert type(limit) is type(LookingOnly("x").limit("x", 1))
        return  # this machine allows no cgroup: the integration tests cover the looking

    code = subprocess.run(under_limit(EAT, limit), check=False).returncode

    assert code == -9
    assert limit.exceeded()
    limit.release()


def test_who_stays_below_the_limit_is_left_alone() -> None:
    limit = Limits("counterpoint-test").limit("modest", 60_000_000)

    assert subprocess.run(under_limit(["true"], limit), check=False).returncode == 0
    assert not limit.exceeded()
    limit.release()


def test_looking_leaves_the_command_as_it_is() -> None:
    limit = LookingOnly("x").limit("y", 1)

    assert under_limit(["true"], limit) == ["true"]
