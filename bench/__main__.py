"""`python -m bench [--quick] [NAME...]`: measure all, or what is named; see README.md beside this."""

from __future__ import annotations

import argparse
from importlib import import_module

from bench.measuring import machine, say

NAMES = ("scale", "alone", "handoff", "burst", "idle")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Counterpoint on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; all unless given")
    parser.add_argument("--quick", action="store_true", help="few rounds: shows that it works, not how fast it is")
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in NAMES:
            parser.error(f"one of {', '.join(NAMES)} was expected, {name!r} was found")
    facts = machine()
    say(f"{facts['cores']} cores, load {facts['load'][0]}, Python {facts['python']}, Linux {facts['kernel']}")
    for name in chosen.names or NAMES:
        say()
        import_module(f"bench.{name}").run(quick=chosen.quick)


if __name__ == "__main__":
    main()
