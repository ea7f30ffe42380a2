"""A search index by the six-hourly clock and by a promise, side by side: `python examples/catalog/demo.py`.

First both scores are played for a week in virtual time. Then both run for real, at the same time, on
two engines that hear of the same product changes: real processes, with time scaled so that an hour
takes 24 seconds. What is in the index is read from the index itself, not from what an engine says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from stage import (  # noqa: E402, a script's own folder comes first
    Engine,
    Trouble,
    ask,
    console,
    heading,
    make_anew,
    new_table,
    play,
    seconds,
    start_engine,
)

SCALE = 150  # an hour in 24 seconds
WITHIN_MIN = 30
FIRST_TICK = timedelta(hours=1)
EVERY_S = 180  # mean distance of two product changes, in the shop's time
WORLDS = {"before": "before.yaml", "after": "score.yaml"}
#: Keys of a score that hold lengths of time.
LENGTHS = ("every", "within", "takes", "arrives", "over")
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass
class Measured:
    """One world's outcome: when each change happened and when it was in the index, in seconds since 1970."""

    changes: list[float]
    published: list[tuple[float, int]]
    runs: list[dict[str, Any]] = field(default_factory=list)

    def ages_min(self) -> list[float]:
        """For every change, how long it took until it could be found: minutes of the shop's time."""
        found = []
        for number, happened in enumerate(self.changes, 1):
            at = next((at for at, through in self.published if through >= number), None)
            if at is not None:
                found.append((at - happened) * SCALE / 60)
        return found

    def late(self, until: float) -> int:
        """Changes that were not in the index within the promised time, of those that were due by then."""
        limit = WITHIN_MIN * 60 / SCALE
        reached = {n: at for at, through in reversed(self.published) for n in range(1, through + 1)}
        return sum(
            reached.get(number, until + 1) > happened + limit
            for number, happened in enumerate(self.changes, 1)
            if happened + limit <= until
        )


def main(folder: Path, began: float) -> None:
    """Both worlds in virtual time, then for real."""
    heading("A week in virtual time")
    simulate(folder)
    heading(f"{OPTIONS.hours:g} hours for real, {SCALE} times as fast, both worlds at once")
    with ExitStack() as stack:
        engines = {name: stack.enter_context(start_world(folder, name, file)) for name, file in WORLDS.items()}
        changes, ended = live(folder, engines, hours=OPTIONS.hours)
        worlds = {name: measure(engine, changes) for name, engine in engines.items()}
        check_claims(engines["after"], worlds["after"])
    conclude(worlds, ended)
    record(folder, worlds, ended)


def simulate(folder: Path) -> None:
    """Let `counterpoint simulate` put both scores side by side."""
    command = [str(Path(sys.executable).parent / "counterpoint"), "simulate", "score.yaml"]
    argv = [*command, "--against", "before.yaml", "--for", "7d", "--seed", "1", "--html", "report.html"]
    done = subprocess.run(argv, cwd=folder, check=False)
    if done.returncode:
        raise Trouble(f"`{' '.join(argv[1:])}` ended with code {done.returncode}")
    console.print(f"The same with plots: {folder / 'report.html'}")


# --- both worlds for real ----------------------------------------------------------------------------------


def start_world(folder: Path, name: str, file: str) -> Any:
    """An engine in a folder of its own, with a score whose hours are short."""
    own = folder / name
    make_anew(own, HERE)
    document = yaml.safe_load((own / file).read_text())
    for other in WORLDS.values():
        (own / other).unlink()
    (own / "score.yaml").write_text(yaml.safe_dump(scaled(document, datetime.now(UTC)), sort_keys=False))
    (own / "shop.json").write_text(json.dumps({"through": 0, "products": {}}))
    os.environ["CATALOG_SCALE"] = str(SCALE)
    return start_engine(own)


def scaled(node: Any, start: datetime) -> Any:
    """A score with every length of time divided, and its clocks counted from a start."""
    if isinstance(node, list):
        return [scaled(each, start) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: scaled(value, start) for key, value in node.items()}
    for key in LENGTHS:
        if isinstance(made.get(key), str):
            made[key] = "..".join(f"{length(part) / SCALE * 1000:.0f}ms" for part in made[key].split(".."))
    if "every" in made:
        offset = datetime.fromisoformat(node["from"]) - datetime(2026, 1, 1, tzinfo=UTC)
        made["every"] = f"{length(node['every']) / SCALE:.0f}s"
        # The story begins an hour before the clock strikes.
        made["from"] = (start + (FIRST_TICK + offset) / SCALE).isoformat(timespec="seconds")
    return made


def length(text: str) -> float:
    """A length such as `30m`, in seconds."""
    return float(text[:-1]) * _UNITS[text[-1]]


def live(folder: Path, engines: dict[str, Engine], *, hours: float) -> tuple[list[float], float]:
    """Let products change for so many of the shop's hours; when each change happened, and when all ended."""
    random = Random(11)
    products: dict[str, dict[str, Any]] = {}
    changes: list[float] = []
    end = time.time() + hours * 3600 / SCALE
    with console.status("products change") as status:
        while (now := time.time()) < end:
            sku = f"sku-{random.randint(1, 400)}"
            products[sku] = {
                "name": f"Lamp {random.randint(1, 99)}",
                "colour": random.choice(["red", "blue", "oak"]),
            }
            changes.append(now)
            tell(folder, engines, {"through": len(changes), "products": products}, now)
            left = (end - now) * SCALE / 3600
            status.update(f"{len(changes)} products have changed, {left:.1f} of the shop's hours to go")
            time.sleep(min(random.expovariate(SCALE / EVERY_S), max(0.0, end - time.time())))
    return changes, end


def tell(folder: Path, engines: dict[str, Engine], shop: dict[str, Any], now: float) -> None:
    """The shop has changed: its file is written whole at once, then each engine hears of it."""

    def one(name: str, engine: Engine) -> None:
        partial = folder / name / "shop.partial"
        partial.write_text(json.dumps(shop))
        partial.rename(folder / name / "shop.json")
        happened = datetime.fromtimestamp(now, UTC).isoformat()
        ask("POST", f"{engine.url}/api/v1/assets/shop.products/versions", {"data_through": happened})

    threads = [threading.Thread(target=one, args=each) for each in engines.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure(engine: Engine, changes: list[float]) -> Measured:
    """What the index held when, and every run: from the journal, where a version says what is in the file."""
    facts = engine.journal()
    published = [
        (seconds(fact["at"]), fact["fact"]["metadata"]["through"])
        for fact in facts
        if fact["kind"] == "AssetPublished" and fact["fact"]["asset"] == "search.index"
    ]
    ends = [fact["fact"] for fact in facts if fact["kind"] == "AttemptEnded" and fact["fact"].get("started")]
    runs = [
        {
            "run": end["attempt"].partition("/")[0],
            "started": seconds(end["started"]),
            "ended": seconds(end["ended"]),
        }
        for end in ends
    ]
    return Measured(changes, published, runs)


def check_claims(engine: Engine, measured: Measured) -> None:
    """What the engine says is in the index must be in the index, each time it was published."""
    versions = [fact["fact"] for fact in engine.journal() if fact["kind"] == "AssetPublished"]
    for version in versions:
        claimed = version["reflects"].get("asset:shop.products")
        if version["asset"] == "search.index" and claimed is not None and claimed > version["metadata"]["through"]:
            raise Trouble(f"version {version['seq']} claims change {claimed}, but ends at {version['metadata']}")


def conclude(worlds: dict[str, Measured], ended: float) -> None:
    """Before and after, by what customers could find."""
    table = new_table("", "by the clock", "by the promise")
    ages = {name: sorted(world.ages_min()) for name, world in worlds.items()}
    rows = {
        "product changes": lambda name: f"{len(worlds[name].changes)}",
        "in search after, median": lambda name: minutes(ages[name], 0.5),
        "in search after, p95": lambda name: minutes(ages[name], 0.95),
        f"later than {WITHIN_MIN} min": lambda name: f"{worlds[name].late(ended)}",
        "runs": lambda name: f"{len(worlds[name].runs)}",
    }
    for title, cell in rows.items():
        table.add_row(title, cell("before"), cell("after"))
    console.print(table)
    console.print("Minutes are the shop's. A change that never came into the index has no time, but is late.")


def minutes(ages: list[float], share: float) -> str:
    """A quantile of some ages."""
    return f"{ages[min(len(ages) - 1, int(len(ages) * share))]:.0f} min" if ages else "never"


def record(folder: Path, worlds: dict[str, Measured], ended: float) -> None:
    """Keep what was measured, so that a simulation can be held against it."""
    kept = {
        name: {"changes": world.changes, "published": world.published, "runs": world.runs}
        for name, world in worlds.items()
    }
    (folder / "recording.json").write_text(json.dumps({"scale": SCALE, "ended": ended, "worlds": kept}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--hours", type=float, default=8.5)
    OPTIONS, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    sys.exit(play("A search index by the clock and by a promise, simulated and for real.", HERE, main))
