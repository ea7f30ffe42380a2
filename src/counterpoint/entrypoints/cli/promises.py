"""Promises, incidents and where time went, as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from counterpoint.entrypoints.cli.client import Client, name_path
from counterpoint.entrypoints.cli.options import asks_server
from counterpoint.entrypoints.cli.output import DIM, Output, Segments, ago, clock, took
from counterpoint.model.quantity import format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

#: Stretches of an account that are shown; the shortest of more than that are added up.
_MOST_STRETCHES = 15
#: Columns that a forecast beside a table needs, to be read with ease.
_FORECAST_MIN = 44
#: Outlook of a forecast, or level of an alert -> its style.
_STYLES = {
    "breaks": "red",
    "late": "red",
    "page": "bold red",
    "ticket": "yellow",
    "kept": "green",
    "unknown": "yellow",
}


@click.command()
@click.argument("name", required=False)
@click.option("--asset", help="Only those of this asset.")
@click.option("--limit", "-n", type=click.IntRange(1, 500), default=20, show_default=True, help="So many at most.")
@asks_server
def incidents(client: Client, out: Output, name: str | None, asset: str | None, limit: int) -> None:
    """List times in which a promise was broken; with a NAME, review one: what happened, where the time went."""
    if name is not None:
        found = client.get(name_path("incidents", name))
        if out.as_json:
            out.json(found)
        else:
            for segments in _review(found):
                out.line(segments)
        return
    page = client.get("incidents", asset=asset, limit=limit)
    if out.as_json:
        out.json(page)
    elif not page["rows"]:
        out.say("no promise was broken, as far as is on record")
    else:
        header = ("INCIDENT", "STATE", "BEGAN", "LASTED", "MISSED")
        out.table(header, [_incident(row, out) for row in page["rows"]])
        if page["next"] is not None:
            out.say(f"there are more; --limit {min(limit * 5, 500)} shows them")


VERBS = (incidents,)


def _incident(row: dict[str, Any], out: Output) -> tuple[str | Text, ...]:
    from rich.text import Text

    state = Text("ended", DIM) if row["ended_at"] else Text("going on", "red")
    return row["incident"], state, ago(row["begun_at"]), took(row["begun_at"], row["ended_at"]), str(row["missed"])


def _review(found: dict[str, Any]) -> Iterator[Segments]:
    missed = "1 obligation" if found["missed"] == 1 else f"{found['missed']} obligations"
    lasted = took(found["begun_at"], found["ended_at"])
    state = f"ended after {lasted}" if found["ended_at"] else f"has been going on for {lasted}"
    yield [(found["incident"], "bold"), (f"  {state}, {missed} missed", "")]
    yield [("", "")]
    for moment in found["timeline"]:
        yield [(f"  {clock(moment['at'])}  ", DIM), (moment["text"], "")]
    yield [("", "")]
    yield from account(found["causes"])
    for place, each in enumerate(found["downstream"]):
        owner = f", owned by {each['owner']}" if each["owner"] else ", without an owner"
        yield [("  downstream  " if place == 0 else "              ", DIM), (each["pipeline"] + owner, "")]


def account(blame: Sequence[dict[str, Any]]) -> Iterator[Segments]:
    """Where the time went, oldest first; what is left out of many is added up."""
    if not blame:
        return
    shown = sorted(blame, key=lambda each: each["seconds"], reverse=True)[:_MOST_STRETCHES]
    least = shown[-1]["seconds"]
    left_out = [each for each in blame if each["seconds"] < least]
    whole = format_duration(timedelta(seconds=sum(each["seconds"] for each in blame)))
    first, last = clock(blame[0]["start"]), clock(blame[-1]["end"])
    yield [("  took        ", DIM), (f"{whole} from {first} to {last} UTC", "")]
    for each in blame:
        if each["seconds"] >= least:
            yield [("              ", DIM), (each["text"], "")]
    if left_out:
        rest = format_duration(timedelta(seconds=sum(each["seconds"] for each in left_out)))
        yield [("              ", DIM), (f"and {rest} in {len(left_out)} shorter stretches", "")]


# Tables.


def table(promises: Sequence[dict[str, Any]], now: datetime | None, out: Output) -> list[RenderableType]:
    """Every promise with its share, its budget and its forecast: beside it, or below where there is no room."""
    from rich.text import Text

    header = ("PROMISE", "HELD", "LEFT", "BURN", "AGE", "OPEN")
    rows, told = [_promise(row, now) for row in promises], [_outlook(row, now) for row in promises]
    grid = out.grid(header, rows)
    if out.console.width - out.console.measure(grid).maximum >= _FORECAST_MIN and out.fits(grid):
        return [out.grid((*header, "FORECAST"), [(*row, said) for row, said in zip(rows, told, strict=True)])]
    grid = out.grid(header, [_promise(row, now, brief=True) for row in promises])
    above: list[RenderableType] = [grid, Text()] if out.fits(grid) else []
    return [*above, *(_below(row, said, out) for row, said in zip(promises, told, strict=True))]


def _below(row: dict[str, Any], said: Text, out: Output) -> Text:
    """A promise and its forecast on lines of their own."""
    return out.hung(
        [("  ", ""), (f"{row['asset']} {row['promise']}", "bold"), ("  ", ""), (said.plain, str(said.style))]
    )


def _promise(row: dict[str, Any], now: datetime | None, *, brief: bool = False) -> tuple[str | Text, ...]:
    """A row of the table; a brief one counts what the long one names."""
    from rich.text import Text

    budget = row["budget"]
    held = Text(_percent(budget["share"], "no data"))
    held.append(f" of {_percent(row['target'], '')}", DIM)
    left = budget["left"]
    burn = Text(f"{budget['burn']:.3g}x" if budget["burn"] is not None else "")
    if budget["alert"]:
        burn.append(f" {budget['alert']}", _STYLES[budget["alert"]])
    open_ = Text(str(row["open"]) if row["open"] else "")
    if row["next_due"] and not brief:
        open_.append(f", due {ago(row['next_due'], now)}", DIM)
    style = "red" if left is not None and left < 0 else ""
    name = f"{row['asset']} {row['promise']}"
    return name, held, Text(_percent(left, ""), style), burn, _age(row["freshness"], brief=brief), open_


def _outlook(row: dict[str, Any], now: datetime | None) -> Text:
    """What is to come of a promise, and the incident that is going on."""
    from rich.text import Text

    forecast, text = row["forecast"], row["forecast"]["text"]
    style = _STYLES.get(forecast["outlook"], DIM)
    if row["incident"]:
        text, style = f"{text}; {row['incident']} began {ago(row['breached_at'], now)}", "red"
    return Text(text, style)


def _age(sources: Sequence[dict[str, Any]], *, brief: bool = False) -> str:
    """How old the oldest change is that is missing; a source never heard of is unknown, not fresh."""
    unknown = [each["source"] for each in sources if each["age_s"] is None]
    ages = [each["age_s"] for each in sources if each["age_s"] is not None]
    told = [format_duration(timedelta(seconds=max(ages)))] if ages else []
    if unknown:
        told.append(f"{len(unknown)} unknown" if brief else f"unknown {', '.join(unknown)}")
    return ", ".join(told)


def _percent(share: float | None, otherwise: str) -> str:
    """A share; not rounded up to all of it, because that would say that nothing was missed."""
    if share is None:
        return otherwise
    text = f"{share * 100:.4g} %"
    return "99.99 %" if share < 1 and text == "100 %" else text


# One thing.


def asset_page(client: Client, name: str) -> dict[str, Any]:
    """All that is known of an asset: its versions, what they reflect, its promises, and why it is as it is."""
    status = client.get("status")
    return {
        "asset": name,
        "current": [row for row in status["assets"] if row["asset"] == name],
        "promises": [row for row in status["promises"] if row["asset"] == name],
        "versions": client.get(f"{name_path('assets', name)}/versions", limit=10)["rows"],
        "incidents": client.get("incidents", asset=name, limit=5)["rows"],
        "why": client.get(name_path("why", name)),
    }


def render_asset(page: dict[str, Any], out: Output) -> RenderableType:
    """An asset on a page."""
    from rich.console import Group
    from rich.text import Text

    why = page["why"]
    parts: list[RenderableType] = [Text.assemble((page["asset"], "bold"), "  ", out.state(why["state"]))]
    parts += [out.hung([("  ", ""), (line, "")]) for line in why["lines"]]
    freshness: list[dict[str, Any]] = next((row["freshness"] for row in page["promises"]), [])
    if freshness:
        sources = [
            (
                each["source"],
                _age([each]).removesuffix(f" {each['source']}"),
                _mark(each),
                _mark_of(each, "newest"),
            )
            for each in freshness
        ]
        parts += [Text(), out.grid(("SOURCE", "AGE", "REFLECTS", "NEWEST"), sources)]
    if page["promises"]:
        parts += [Text(), *table(page["promises"], None, out)]
    if page["versions"]:
        versions = [
            (row["partition"], str(row["seq"]), row["by"], ago(row["at"]), _reflected(row["document"]))
            for row in page["versions"]
        ]
        parts += [Text(), out.grid(("PARTITION", "VERSION", "BY", "PUBLISHED", "REFLECTS"), versions)]
    if page["incidents"]:
        header = ("INCIDENT", "STATE", "BEGAN", "LASTED", "MISSED")
        parts += [Text(), out.grid(header, [_incident(row, out) for row in page["incidents"]])]
    return Group(*parts)


def _mark(source: dict[str, Any]) -> str:
    return _mark_of(source, "reflects")


def _mark_of(source: dict[str, Any], name: str) -> str:
    """A mark: the number of a change, or, of the world, when it was sampled."""
    if source["source"].startswith("world:") and source[name]:
        return f"{datetime.fromtimestamp(source[name] / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return str(source[name])


def _reflected(document: dict[str, Any]) -> str:
    return ", ".join(f"{source} {mark}" for source, mark in (document.get("reflects") or {}).items())


def pipeline_page(client: Client, name: str) -> dict[str, Any]:
    """A pipeline: its state, its declaration, how long it takes, its newest runs, and why it is as it is."""
    return {
        **client.get(name_path("pipelines", name)),
        "runs": client.get("runs", pipeline=name, limit=10)["rows"],
        "why": client.get(name_path("why", name)),
    }


def render_pipeline(page: dict[str, Any], out: Output) -> RenderableType:
    """A pipeline on a page."""
    from rich.console import Group
    from rich.text import Text

    status, declared = page["status"], page["declared"]
    parts: list[RenderableType] = [Text.assemble((status["name"], "bold"), "  ", out.state(status["state"]))]
    parts += [out.hung([("  ", ""), (line, "")]) for line in page["why"]["lines"]]
    parts.append(Text())
    for name in ("owner", "reads", "writes"):
        value = declared.get(name)
        if value:
            parts.append(
                Text.assemble((f"  {name:<10}", DIM), value if isinstance(value, str) else ", ".join(value))
            )
    if page["durations"]:
        bands = [
            (
                band.get("task") or "(whole run)",
                _seconds(band["p50"]),
                _seconds(band["p90"]),
                _seconds(band.get("wait_p90", 0.0)),
                str(band.get("samples", 0)),
                f"{len(band['hours'])} hours differ" if band.get("hours") else "",
            )
            for band in page["durations"]
        ]
        parts += [Text(), out.grid(("TASK", "P50", "P90", "WAIT P90", "SAMPLES", "BY HOUR"), bands)]
    else:
        parts.append(Text.assemble(("  takes     ", DIM), "not learned yet"))
    if page["runs"]:
        rows = [
            (row["run"], out.state(row["phase"]), ago(row["created_at"]), took(row["started_at"], row["ended_at"]))
            for row in page["runs"]
        ]
        parts += [Text(), out.grid(("RUN", "PHASE", "CREATED", "TOOK"), rows)]
    return Group(*parts)


def _seconds(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds)) if seconds else ""
