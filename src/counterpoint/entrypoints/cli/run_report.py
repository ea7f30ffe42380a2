"""All that is known of one run, gathered from the API and told on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counterpoint.entrypoints.cli import causes
from counterpoint.entrypoints.cli.client import Client, Refused, name_path, run_path
from counterpoint.entrypoints.cli.output import DIM, ENDED, Output, ago, clock, took

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

#: What a run took is shown in full up to so many; the rest is counted.
_ITEMS_SHOWN = 10
#: What names a version.
_KEY = ("asset", "partition", "seq")


def report_on(client: Client, run: str) -> dict[str, Any]:
    """The run, its attempts (oldest first), its items with their events, its versions, and why it is as it is."""
    found = client.get(run_path(run))
    attempts = client.get("attempts", run=found["run"], limit=500)["rows"][::-1]
    items = client.get("items", run=found["run"], limit=500)["rows"][::-1]
    for item in items[:_ITEMS_SHOWN]:
        try:
            item["event"] = client.get(f"events/{item['change']}")["event"]
        except Refused:
            item["event"] = {}  # dropped after its time
    return {
        **found,
        "times": {
            "created": found["created_at"],
            "admitted": found["started_at"],
            "first_started": _first_start(attempts),
            "ended": found["ended_at"],
        },
        "attempts": attempts,
        "items": items,
        "versions": client.get("versions", by=found["run"], limit=500)["rows"][::-1],
        "why": client.get(name_path("why", found["run"])),
    }


def render(report: dict[str, Any], out: Output) -> RenderableType:
    """The report as a page."""
    from rich.console import Group
    from rich.text import Text

    document, why = report["document"], report["why"]
    when = ago(report["ended_at"]) if report["ended_at"] else f"for {took(report['created_at'], None)}"
    head = Text.assemble((report["run"], "bold"), "  ", out.state(report["phase"]), (f"  {when}", DIM))
    parts: list[RenderableType] = [head]
    lines = why["lines"]
    if report["phase"] in ENDED:
        # How long it took and which task failed is told by the rows below.
        lines = [line.removeprefix(f"{report['run']} {report['phase']}: ") for line in lines[:1]]
    parts += [out.hung([("  ", ""), (line, "")]) for line in lines]
    parts.append(Text())

    def fact(name: str, value: str, more: str = "") -> Text:
        return out.hung([(f"  {name:<10}", DIM), (f"{value}  {more}" if more else value, "")])

    for name in ("partition", "key", "lane"):
        if report[name] and report[name] != "live":
            parts.append(fact(name, report[name]))
    if document.get("by"):
        parts.append(fact("asked by", document["by"]))
    if document.get("params"):
        parts.append(fact("params", ", ".join(f"{key}={value}" for key, value in document["params"].items())))
    parts += [fact(name, value) for name, value in _times(report["times"])]
    for name, values in (
        ("took", _items(report["items"])),
        ("read", [_version(pin) for pin in document.get("pins", ())]),
        ("published", _published(report)),
    ):
        parts += [fact(name if place == 0 else "", value) for place, value in enumerate(values)]
    parts += [out.hung(segments) for segments in causes.told(why["causes"])]

    if report["attempts"]:
        parts += [Text(), _attempts(report["attempts"], out)]
    for word, skipped in (("left out", True), ("not begun", False)):
        names = [
            name
            for name, task in document.get("tasks", {}).items()
            if not task.get("number") and (task.get("phase") == "skipped") is skipped
        ]
        if names:
            parts.append(fact(word, ", ".join(names)))
    if why["frees"] and report["phase"] in ENDED:
        parts += [Text(), out.hung([("  ", ""), (why["frees"], DIM)])]
    return Group(*parts)


def _first_start(attempts: list[dict[str, Any]]) -> str | None:
    """When the first process began; of one that has not ended only its decision is known."""
    starts = [attempt["document"].get("end", {}).get("started") or attempt["started_at"] for attempt in attempts]
    return min(starts, default=None)


def _times(times: dict[str, str | None]) -> list[tuple[str, str]]:
    """Where the time went: waiting to be admitted, waiting for the first process, running."""
    created, admitted, first, ended = (times[name] for name in ("created", "admitted", "first_started", "ended"))
    told = [("created", f"{clock(created)} UTC")] if created else []
    if admitted is None:
        waits = "was never admitted" if ended else "is not admitted yet"
        return [*told, ("waited", f"{took(created, ended)}, {waits}")]
    waited = f"{took(created, admitted)} to be admitted"
    if first is not None:
        waited += f", then {took(admitted, first)} for its first process"
        told += [("waited", waited), ("ran", f"{took(first, ended)}{'' if ended else ' so far'}")]
    else:
        told.append(("waited", waited))
    return told


def _attempts(attempts: list[dict[str, Any]], out: Output) -> RenderableType:
    rows = []
    for attempt in attempts:
        told = attempt["document"] | attempt["document"].get("end", {})
        # What it said while it was not yet done tells nothing once it is.
        note = "" if attempt["ended_at"] else told.get("note", "")
        # The signal that ends what was cancelled is no failure.
        failure = "" if attempt["phase"] == "cancelled" else told.get("failure", "")
        rows.append(
            (
                f"  {attempt['task']}",
                str(attempt["number"]),
                out.state(attempt["phase"]),
                clock(attempt["started_at"]),
                took(attempt["started_at"], attempt["ended_at"]),
                told.get("detail") or failure or note,
            )
        )
    return out.grid(("  TASK", "TRY", "PHASE", "STARTED (UTC)", "TOOK", "DETAIL"), rows)


def _items(items: list[dict[str, Any]]) -> list[str]:
    shown = []
    for item in items[:_ITEMS_SHOWN]:
        event = item["event"]
        named = f"{event.get('type', 'change')} {event.get('subject') or ''}".strip()
        shown.append(f"{named}  change {item['change']}, {item['state']}")
    if len(items) > _ITEMS_SHOWN:
        shown.append(f"and {len(items) - _ITEMS_SHOWN} more")
    return shown


def _published(report: dict[str, Any]) -> list[str]:
    """What it published, and what it found to be as it was."""
    versions = [_version(row["document"] | {key: row[key] for key in _KEY}) for row in report["versions"]]
    made = {row["asset"] for row in report["versions"]}
    confirmed = [asset for asset in report["document"].get("published", ()) if asset not in made]
    return [*versions, *(f"{asset}  nothing new, confirmed" for asset in confirmed)]


def _version(version: dict[str, Any]) -> str:
    partition = f"/{version['partition']}" if version.get("partition") else ""
    label = f" ({version['label']})" if version.get("label") else ""
    told = f"version {version['seq']}" if version.get("seq") else "no version yet"
    figures = ", ".join(f"{name} {value}" for name, value in version.get("metadata", {}).items())
    return (
        f"{version['asset']}{partition}  {told}{label}"
        f"{'  ' + figures if figures else ''}{'  suspect' if version.get('suspect') else ''}"
    )
