"""Three days at TrendCart, played in under a minute: `python examples/trendcart/demo.py`.

It works on a copy of this folder (`work/`), starts the services that stand in for others, then
`counterpoint up`, and tells it what happens in the world. It never tells a pipeline to run.
What you see are the engine's own decisions, as they are committed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
from rich.markup import escape

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "world"), str(HERE.parent)]
from clicks import drop_clicks  # noqa: E402, a script's own folder comes first
from stage import (  # noqa: E402
    Engine,
    Watcher,
    ask,
    console,
    end,
    heading,
    new_table,
    play,
    say,
    seconds,
    start_engine,
    wait_for,
)

SEED = 2801  # with it the service is busy at first, and slow on the second day


def main(folder: Path, began: float) -> None:
    """Start the world and the engine, tell the story."""
    with start_world(folder) as world:
        tell_score(folder, world)
        with start_engine(folder) as engine:
            tell(began, world, engine)


# --- the story -------------------------------------------------------------------------------------------


def tell(began: float, world: World, engine: Engine) -> None:
    """The three days, and what came of them."""
    watcher = Watcher(engine, began)

    heading("Monday, a usual day: the shop closes, clicks land, finance is late with its rates")
    day_passes(world, engine, date(2026, 3, 2), fx_late_s=3)
    until_refreshed(watcher, 1)

    heading("Tuesday, a campaign: ten times the clicks do not fit into memory")
    day_passes(world, engine, date(2026, 3, 3), clicks_times=10)
    until_refreshed(watcher, 2)

    heading("Wednesday, a bad batch: a new release of the shop writes prices in cents")
    day_passes(world, engine, date(2026, 3, 4), in_cents=True)
    watcher.expected_failures = 1
    watcher.until(lambda: watcher.finished("ingest-orders", "failed") == 1, "a gate stops the bad batch")
    watcher.until(lambda: watcher.finished("fx-rates") == watcher.finished("web-events") == 3, "the others go on")
    say(f"Why are there no new marts? {engine.why('build-marts')}")
    say(f"The dashboard still ends with {world.dashboard()['gmv'][-1]['day']}.")
    say("The shop puts the prices right and sends the day again.")
    world.shop("corrections", day="2026-03-04")
    engine.emit("shop.day.corrected", "shop", "2026-03-04/2", day="2026-03-04")
    until_refreshed(watcher, 3)

    watcher.until(engine.is_idle, "everything settles")
    watcher.stop()
    conclude(world, engine)


def until_refreshed(watcher: Watcher, times: int) -> None:
    """Wait until the dashboard was refreshed so many times."""
    watcher.until(
        lambda: watcher.finished("refresh-dashboard") == times,
        f"refresh {times} of the dashboard",
        ask_why="build-marts",
    )


def day_passes(
    world: World, engine: Engine, day: date, *, clicks_times: int = 1, in_cents: bool = False, fx_late_s: float = 0
) -> None:
    """What happens in the world on one day. Three teams say so, in no agreed order."""
    name = day.isoformat()
    world.shop("days", day=name, in_cents=in_cents)
    engine.emit("shop.day.closed", "shop", name, day=name)
    clicks, count = drop_clicks(world.folder / "landing", day, times=clicks_times)
    engine.emit("web.clicks.landed", "web-tier", name, file=str(clicks), clicks=count)
    if fx_late_s:
        time.sleep(fx_late_s)
        say(f"Why does fx-rates not go on? {engine.why('fx-rates')}")
    say("Finance drops fx_rates.csv.")
    world.drop_rates(day)


# --- the world around ------------------------------------------------------------------------------------


@dataclass
class World:
    """The teams and services around us: the shop, finance, the ingestion service, the BI tool."""

    folder: Path
    saas: str
    bi: str

    def shop(self, what: str, **body: Any) -> None:
        """Something happens in the shop."""
        ask("POST", f"{self.saas}/shop/{what}", body)

    def drop_rates(self, day: date) -> None:
        """Finance writes the day's exchange rates, whole at once."""
        partial = self.folder / "landing" / "fx_rates.partial"
        partial.write_text(f"day,currency,eur\n{day},GBP,{1.14 + day.day / 1000:.3f}\n{day},USD,0.921\n")
        partial.rename(partial.with_suffix(".csv"))

    def rows(self, table: str) -> int:
        """How many rows a table of the warehouse has."""
        with duckdb.connect(str(self.folder / "warehouse.duckdb"), read_only=True) as warehouse:
            return int(warehouse.execute(f"select count(*) from {table}").fetchone()[0])

    def dashboard(self) -> Any:
        """What the dashboard shows now."""
        return ask("GET", f"{self.bi}/dashboard")


def tell_score(folder: Path, world: World) -> None:
    """Write into the copied score where the stand-ins listen."""
    score = folder / "score.yaml"
    text = score.read_text()
    score.write_text(text.replace("http://127.0.0.1:8781", world.saas).replace("http://127.0.0.1:8782", world.bi))


@contextmanager
def start_world(folder: Path) -> Iterator[World]:
    """Start the stand-ins; they end with the pipe on their standard input, so also if we are killed."""
    with stand_in(folder, "saas.py", "--seed", str(SEED)) as saas, stand_in(folder, "bi.py") as bi:
        yield World(folder, saas, bi)


@contextmanager
def stand_in(folder: Path, script: str, *more: str) -> Iterator[str]:
    """Start one of them on a free port, and give its address."""
    url_file = folder / f"{script}.url"
    with (folder / f"{script}.log").open("w") as log:
        argv = [sys.executable, f"world/{script}", "--port", "0", "--url-file", str(url_file), *more]
        process = subprocess.Popen(argv, cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        wait_for(url_file.exists, process, f"world/{script} did not start")
        yield url_file.read_text()
    finally:
        assert process.stdin is not None
        process.stdin.close()
        end(process)


# --- what came of it -------------------------------------------------------------------------------------


def conclude(world: World, engine: Engine) -> None:
    """Say what was built, how long hand-offs took, what failed, and where to look next."""
    facts = engine.journal()
    dashboard = world.dashboard()

    heading("What was built")
    built = new_table("asset", "version", "published by", "rows in it now")
    for asset in engine.status()["assets"]:
        rows = world.rows(asset["asset"].replace("mart.", "marts."))
        built.add_row(asset["asset"], str(asset["seq"]), asset["by"], f"{rows:,}")
    console.print(built)
    console.print(f"The dashboard, refreshed {dashboard['refreshes']} times:")
    tile = new_table("day", "orders", "GMV, EUR", "returned, EUR", "sessions", "bought")
    for gmv, funnel in zip(dashboard["gmv"], dashboard["funnel"], strict=True):
        money = f"{gmv['gmv_eur']:,.0f}", f"{gmv['returns_eur']:,.0f}"
        tile.add_row(
            gmv["day"], str(gmv["orders"]), *money, f"{funnel['sessions']:,}", f"{funnel['conversion']:.1%}"
        )
    console.print(tile)

    heading("How long each hand-off took")
    console.print("From the last thing a run waited for (committed) to the start of its first task's process:")
    table = new_table("pipeline", "was waiting for", "runs", "median", "longest")
    for pipeline, waits in hand_offs(facts).items():
        spans = sorted(span for span, _ in waits)
        subjects = ", ".join(dict.fromkeys(subject for _, subject in waits))
        median, longest = spans[len(spans) // 2] * 1000, spans[-1] * 1000
        table.add_row(pipeline, subjects, str(len(spans)), f"{median:.0f} ms", f"{longest:.0f} ms")
    console.print(table)
    console.print(
        "The first dbt task also waits until dbt is loaded, once. Tasks that wait for others are left out."
    )

    heading("What failed, and was handled")
    for fact in facts:
        if fact["kind"] in ("RetryTask", "FailTask", "RestSubscription"):
            console.print(f"  {escape(fact['text'])}")

    heading("Where to look next")
    console.print(f"  cd {world.folder}")
    if shutil.which("counterpoint") is None:
        console.print(f"  export PATH={Path(sys.executable).parent}:$PATH")
    for command, about in (
        ("counterpoint up", "go on where the demo ended (in a second terminal: the lines below)"),
        ("counterpoint status", "every pipeline and why it is as it is"),
        ("counterpoint runs", "what ran; `counterpoint show RUN` and `counterpoint logs RUN` tell more"),
        ("counterpoint why build-marts", "what it waits for"),
    ):
        console.print(f"  {command:30}# {about}")
    console.print(f"  {HERE / 'score.yaml'} declares all of it.")


def hand_offs(facts: list[dict[str, Any]]) -> dict[str, list[tuple[float, str]]]:
    """Pipeline -> (seconds from the change that started a run to the run's first process, and what changed)."""
    delivered: dict[int, tuple[float, str]] = {}  # item -> when its change was committed, and of what
    admitted: dict[str, tuple[float, str]] = {}  # run -> the same of its newest item
    found: dict[str, list[tuple[float, str]]] = {}
    for kind, fact in ((each["kind"], each["fact"] | {"at": each["at"]}) for each in facts):
        run = fact.get("run") or fact.get("attempt", "").partition("/")[0]
        if kind == "Deliver":
            for item in fact["items"]:
                delivered[item["number"]] = seconds(fact["at"]), item["subject"].partition(":")[2]
        elif kind == "AdmitRun":
            admitted[run] = max(delivered[number] for number in fact["items"])
        elif kind == "AttemptDeferred":
            admitted.pop(run, None)  # its end tells when it was looked at last, not when it began
        elif kind == "AttemptEnded" and run in admitted:
            at, subject = admitted.pop(run)
            found.setdefault(run.partition("#")[0], []).append((seconds(fact["started"]) - at, subject))
    return found


if __name__ == "__main__":
    sys.exit(play("Three days at TrendCart, on a real engine.", HERE, main))
