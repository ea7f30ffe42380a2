"""Verbs that look: what goes on, what happened, and why."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from counterpoint.entrypoints.cli import causes, promises
from counterpoint.entrypoints.cli.client import Client, Unreachable, name_path, run_path
from counterpoint.entrypoints.cli.options import asks_server, with_reason
from counterpoint.entrypoints.cli.output import DIM, ENDED, Output, Segments, ago, clock, parse_time, took

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


#: How the name of a run ends.
_RUN = re.compile(r"[#/][0-9]+$")
#: Columns that a sentence beside a table needs, to be read with ease.
_REASON_MIN = 44


@click.command()
@click.option("--watch", is_flag=True, help="Keep it on the screen, as it changes.")
@asks_server
def status(client: Client, out: Output, watch: bool) -> None:
    """Show every pipeline with its state and the reason for it."""
    if watch:
        if not out.on_terminal:
            raise click.UsageError("--watch needs a terminal; without it, `status` prints what is now")
        _watch(client, out)
        return
    found = client.get("status")
    if out.as_json:
        out.json(found)
    else:
        out.console.print(_status(found, out))


@click.command()
@click.argument("pipeline", required=False)
@click.option("--phase", help="Only runs in this phase, such as failed.")
@click.option("--limit", "-n", type=click.IntRange(1, 500), default=20, show_default=True, help="So many at most.")
@asks_server
def runs(client: Client, out: Output, pipeline: str | None, phase: str | None, limit: int) -> None:
    """List runs, newest first."""
    page = client.get("runs", pipeline=pipeline, phase=phase, limit=limit)
    if out.as_json:
        out.json(page)
        return
    if not page["rows"]:
        out.say("there is no such run yet")
        return
    out.table(
        ("RUN", "PHASE", "CREATED", "TOOK", "PARTITION", "KEY"),
        [
            (
                row["run"],
                out.state(row["phase"]),
                ago(row["created_at"]),
                took(row["started_at"], row["ended_at"]),
                row["partition"],
                row["key"],
            )
            for row in page["rows"]
        ],
    )
    if page["next"] is not None:
        out.say(_dim(f"there are more; --limit {min(limit * 5, 500)} shows them"))


@click.command()
@click.argument("name")
@asks_server
def show(client: Client, out: Output, name: str) -> None:
    """Show one run, asset or pipeline.

    A run: its tasks, what it took, read and published, and what caused it. An asset: its versions, what they
    reflect, its promises and incidents. A pipeline: how long it takes, and its newest runs.
    """
    from counterpoint.entrypoints.cli.run_report import render, report_on

    plan = {} if _RUN.search(name) else client.get("plan")
    drawn: Callable[[dict[str, Any], Output], RenderableType] = render
    if name in plan.get("pipelines", ()):
        report, drawn = promises.pipeline_page(client, name), promises.render_pipeline
    elif name in plan.get("assets", ()):
        report, drawn = promises.asset_page(client, name), promises.render_asset
    else:
        report = report_on(client, name)
    if out.as_json:
        out.json(report)
    else:
        out.console.print(drawn(report, out))


@click.command()
@click.argument("run")
@click.option("--task", help="Only this task.")
@click.option("--attempt", type=click.IntRange(1), help="Only this try.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run has ended; exit 1 if it failed.")
@asks_server
def logs(client: Client, out: Output, run: str, task: str | None, attempt: int | None, follow: bool) -> int:
    """Print what a run's tasks wrote."""
    path = f"{run_path(run)}/logs"
    if not follow:
        pieces = list(client.text(path, task=task, attempt=attempt))
        if out.as_json:
            out.json({"run": run, "text": b"".join(pieces).decode(errors="replace")})
        for piece in () if out.as_json else pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.flush()
        return 0
    current = ""
    for sent in client.events(path, task=task, attempt=attempt, follow="true"):
        if sent.event == "end":
            if out.as_json:
                out.json(sent.data)
            return 0 if sent.data["phase"] == "succeeded" else 1
        if sent.data is None:
            continue
        if out.as_json:
            out.json(sent.data)
            continue
        if sent.data["attempt"] != current:
            current = sent.data["attempt"]
            out.say(_dim(f"==> {current} <=="))
        sys.stdout.write(sent.data["text"])
        sys.stdout.flush()
    raise Unreachable(f"the server at {client.url} closed before {run} had ended")


@click.command()
@click.argument("name")
@asks_server
def why(client: Client, out: Output, name: str) -> None:
    """Say why a run, a pipeline, an asset or a pool is as it is."""
    from rich.text import Text

    found = client.get(name_path("why", name))
    if out.as_json:
        out.json(found)
    else:
        out.say(Text(found["subject"], "bold"), "  ", out.state(found["state"]))
        for segments in _explanation(found):
            out.line(segments)


@click.command("dead-letters")
@click.argument("pipeline", required=False)
@click.option("--replay", "replay_them", is_flag=True, help="Give them to PIPELINE again.")
@click.option("--discard", is_flag=True, help="Drop them for good.")
@with_reason
@asks_server
def dead_letters(
    client: Client, out: Output, pipeline: str | None, replay_them: bool, discard: bool, reason: str
) -> None:
    """List what pipelines gave up on; give it to them again, or drop it."""
    if (replay_them or discard) and not pipeline:
        raise click.UsageError("name the PIPELINE whose dead letters are meant")
    if replay_them and discard:
        raise click.UsageError("--replay and --discard cannot both be done")
    if replay_them:
        answer = client.post(f"{name_path('pipelines', str(pipeline))}/replay", {"dead": True, "reason": reason})
        _count(out, answer, f"{pipeline} gets {answer['count']} again")
        return
    rows = list(_dead(client, pipeline))
    if discard:
        answer = client.post("items/discard", {"items": [row["number"] for row in rows], "reason": reason})
        _count(out, answer, f"{answer['count']} dropped for good")
        return
    if out.as_json:
        out.json({"rows": rows})
        return
    if not rows:
        out.say("there are no dead letters")
        return
    out.table(
        ("ITEM", "PIPELINE", "CHANGE", "TYPE", "SUBJECT", "DIED", "LAST RUN"),
        [
            (
                str(row["number"]),
                row["pipeline"],
                str(row["change"]),
                row["event"].get("type", ""),
                row["event"].get("subject", ""),
                ago(row["at"]),
                row["run"],
            )
            for row in rows
        ],
    )


VERBS = (status, runs, show, logs, why, dead_letters)


def _dead(client: Client, pipeline: str | None) -> Iterator[dict[str, Any]]:
    """Dead letters, each with its event where that is still kept."""
    from counterpoint.entrypoints.cli.client import Refused

    cursor = None
    while True:
        page = client.get("items", state="dead", pipeline=pipeline, cursor=cursor, limit=500)
        for row in page["rows"]:
            try:
                row["event"] = client.get(f"events/{row['change']}")["event"]
            except Refused:
                row["event"] = {}
            yield row
        cursor = page["next"]
        if cursor is None:
            return


def _count(out: Output, answer: Any, sentence: str) -> None:
    if out.as_json:
        out.json(answer)
    else:
        out.say(sentence)


def _watch(client: Client, out: Output) -> None:
    """The status, drawn anew when something happened, but not more than twice a second."""
    from rich.live import Live

    try:
        with Live(
            _status(client.get("status"), out), console=out.console, screen=True, auto_refresh=False
        ) as live:
            drawn = time.monotonic()
            for _ in client.watch("stream"):
                if time.monotonic() - drawn < 0.5:
                    continue
                live.update(_status(client.get("status"), out), refresh=True)
                drawn = time.monotonic()
    except KeyboardInterrupt:
        return


def _status(found: dict[str, Any], out: Output) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    now = parse_time(found["wall"])
    pipelines, pools = found["pipelines"], found["pools"]
    count = f"{len(pipelines)} pipeline{'s' if len(pipelines) != 1 else ''}"
    declared = f"declared {ago(found['declared_at'], now)}" if found["declared_at"] else "nothing is declared"
    parts: list[RenderableType] = [
        Text.assemble((found["score"] or "no score", "bold"), (f"  {count}, {declared}", DIM))
    ]
    parts += [Text.assemble(("! ", "yellow"), notice) for notice in found["notices"]]
    for host, state in found["hosts"].items():
        if state not in ("appeared", "ready", "up"):
            parts.append(Text.assemble(("! ", "yellow"), f"worker host {host} is {state}"))
    parts += [Text(), *_pipelines(pipelines, now, out)]
    if found["promises"]:
        parts += [Text(), *promises.table(found["promises"], now, out)]
    if pools:
        parts.append(Text())
        parts.append(out.grid(("POOL", "USE", "HELD BY", "WAITING"), [_pool(row, out) for row in pools]))
    suspect = [row["asset"] for row in found["assets"] if row["suspect"]]
    if suspect:
        parts.append(Text())
        parts.append(Text.assemble(("! ", "yellow"), f"suspect until written again: {', '.join(suspect)}"))
    return Group(*parts)


def _pipelines(pipelines: list[dict[str, Any]], now: datetime | None, out: Output) -> list[RenderableType]:
    """The table of pipelines, with why each is as it is: beside it, or below where there is no room beside it."""
    from rich.text import Text

    header = ("PIPELINE", "STATE", "PENDING", "LAST RUN", "NEXT")
    rows = [_pipeline(row, now, out) for row in pipelines]
    if not out.fits(out.grid(header, rows)):
        rows = [_pipeline(row, now, out, brief=True) for row in pipelines]
    reasons = [row["because"].removeprefix(f"{row['name']} ").removesuffix(".") for row in pipelines]
    narrow = out.grid(header, rows)
    if out.console.width - out.console.measure(narrow).maximum >= _REASON_MIN:
        told = [(*row, Text(reason, DIM)) for row, reason in zip(rows, reasons, strict=True)]
        return [out.grid((*header, "BECAUSE"), told)]
    below = [
        out.hung([("  ", ""), (row["name"], "bold"), ("  ", ""), (reason, DIM)])
        for row, reason in zip(pipelines, reasons, strict=True)
        if row["state"] != "idle"
    ]
    return [narrow, *([Text()] if below else []), *below]


def _pipeline(
    row: dict[str, Any], now: datetime | None, out: Output, *, brief: bool = False
) -> tuple[str | Text, ...]:
    """A row of the table; a brief one names the last run by its number, for its pipeline stands on the left."""
    from rich.text import Text

    pending = Text()
    if row["pending"]:
        pending.append(str(row["pending"]))
        if row["oldest_pending"]:
            pending.append(f" for {ago(row['oldest_pending'], now).removesuffix(' ago')}", DIM)
    if row["dead"]:
        pending.append(f"{', ' if row['pending'] else ''}{row['dead']} dead", "red")
    last = Text()
    if row["last_run"]:
        last.append_text(out.state(row["last_phase"], row["last_run"].removeprefix(row["name"] if brief else "")))
        if not out.console.is_terminal:
            last.append(f" {row['last_phase']}")
        last.append(f" {ago(row['last_ended_at'], now)}", DIM)
    name = Text(row["name"], "bold" if row["state"] == "running" else "")
    return name, out.state(row["state"]), pending, last, ago(row["next_at"], now)


def _pool(row: dict[str, Any], out: Output) -> tuple[str | Text, ...]:
    from rich.text import Text

    use = Text()
    if out.console.is_terminal:
        used = min(10, round(10 * row["used"] / row["slots"])) if row["slots"] else 0
        use.append("━" * used, "cyan").append("━" * (10 - used), DIM).append(" ")
    use.append(f"{row['used']}/{row['slots']}")
    waiting = ", ".join(row["waiting"][:3]) + (
        f" and {len(row['waiting']) - 3} more" if len(row["waiting"]) > 3 else ""
    )
    if row["reserved_for"]:
        waiting += f"; what gets free is kept for {row['reserved_for']}"
    return row["name"], use, ", ".join(row["holders"]), waiting


def _explanation(found: dict[str, Any]) -> Iterator[Segments]:
    for line in found["lines"]:
        yield [("  ", ""), (line, "")]
    if found["blockers"]:
        yield [("", "")]
    for blocker in found["blockers"]:
        held = f"held by {', '.join(blocker['holders'])}" if blocker.get("holders") else ""
        more = "; ".join(part for part in (blocker.get("detail", ""), held) if part)
        what = f"{blocker.get('what', '')} {blocker.get('name', '')}".strip()
        yield [("  waits for ", DIM), (what + (f"  {more}" if more else ""), "")]
    if found["frees"]:
        # What has ended waits for nothing; what may be done about it is said instead.
        yield [("  " if found["state"] in ENDED else "  until     ", DIM), (found["frees"], "")]
    if found["when"]:
        yield [("  next      ", DIM), (f"{clock(found['when'])} UTC, {ago(found['when'])}", "")]
    if found["blame"]:
        yield [("", "")]
    yield from promises.account(found["blame"])
    if found["causes"]:
        yield [("", "")]
    yield from causes.told(found["causes"])


def _dim(text: str) -> Text:
    from rich.text import Text

    return Text(text, DIM)
