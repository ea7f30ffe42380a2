"""`python -m bench.scheduling [--quick] [PART...]`: all parts, or those that are named."""

from __future__ import annotations

import argparse
from importlib import import_module

from bench.measuring import say

PARTS = ("workflows", "gpu", "swf", "promises", "million", "agreement")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scheduling", description="Measure in virtual time how well Counterpoint schedules."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--quick", action="store_true", help="little of each: shows that it works, not how well")
    parser.add_argument("--data", metavar="FOLDER", help="where `wfinstances` and `traces` are")
    chosen = parser.parse_args()
    for part in chosen.parts:
        if part not in PARTS:
            parser.error(f"one of {', '.join(PARTS)} was expected, {part!r} was found")
    for part in chosen.parts or PARTS:
        import_module(f"bench.scheduling.{part}").run(quick=chosen.quick, data=chosen.data)
        say()


if __name__ == "__main__":
    main()
