"""TrendCart's web tier: drops a file with the clicks of a day, one JSON object a line."""

from __future__ import annotations

import json
import random
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path

CLICKS_PER_DAY = 20_000
GOES_ON = {"view": 0.28, "cart": 0.55, "checkout": 0.62}  # the chance that a visitor goes on to the next step
STEPS = (*GOES_ON, "purchase")
DEVICES = ("phone", "phone", "phone", "desktop", "desktop", "tablet")
SOURCES = ("search", "search", "direct", "newsletter", "social")


def drop_clicks(folder: Path, day: date, *, times: int = 1) -> tuple[Path, int]:
    """Write the clicks of a day.

    Args:
        times: how much busier than usual the day was; a campaign brings many who only look.

    Returns:
        The file and how many clicks it holds.
    """
    chance = random.Random(f"clicks/{day}")
    lines: list[str] = []
    while len(lines) < CLICKS_PER_DAY * times:
        lines += _visit(
            chance, day, session=f"{chance.getrandbits(64):016x}", campaign=chance.random() < 1 - 1 / times
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"clicks-{day}.jsonl"
    partial = path.with_suffix(".partial")
    partial.write_text("".join(lines))
    partial.rename(path)
    return path, len(lines)


def _visit(chance: random.Random, day: date, *, session: str, campaign: bool) -> list[str]:
    at = datetime.combine(day, time()) + timedelta(seconds=int(chance.triangular(0, 86_000, 70_000)))
    device, source = chance.choice(DEVICES), "campaign" if campaign else chance.choice(SOURCES)
    actions = ["view"] * (1 + int(chance.expovariate(0.35)))
    for step, following in pairwise(STEPS):
        if chance.random() > GOES_ON[step] / (8 if campaign else 1):
            break
        actions.append(following)
    visit = {"session": session, "device": device, "source": source}
    return [
        json.dumps(visit | {"action": action, "at": (at + timedelta(seconds=20 * number)).isoformat()}) + "\n"
        for number, action in enumerate(actions)
    ]
