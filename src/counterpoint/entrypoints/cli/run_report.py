"""All that is known of one run, gathered from the API and told on a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counterpoint.entrypoints.cli.client import Client, Refused, name_path, run_path
from counterpoint.entrypoints.cli.output import DIM, Output, ago, clock, took

if TYPE_CHECKING:
    from rich.console import RenderableType

#: What a run took is shown in full up to so many; the rest is counted.
_ITEMS_SHOWN = 10


def report_on(client: Client, run: str) -> dict[str, Any]:
    """The run, its attempts (oldest first), its items with their events, and why it is as it is."""
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
        "attempts": attempts,
        "items": items,
        "why": client.get(name_path("why", found["run"])),
    }


def render(report: dict[str, Any], out: Output) -> RenderableType:
    """The report as a page."""
    from rich.console import Group
    from rich.text import Text

    document, why = report["document"], report["why"]
    head = Text.assemble((report["run"], "bold"), "  ", out.state(report["phase"]))
    if report["started_at"]:
        length = took(report["started_at"], report["ended_at"])
        when = f"in {length}, {ago(report['ended_at'])}" if report["ended_at"] else f"for {length}"
        head.append(f"  {when}", DIM)
    parts: list[RenderableType] = [head]
    for name in ("partition", "key", "lane"):
        if report[name] and report[name] != "live":
            parts.append(_fact(name, report[name]))
    if document.get("by"):
        parts.append(_fact("asked by", document["by"]))
    if document.get("params"):
        parts.append(_fact("params", ", ".join(f"{key}={value}" for key, value in document["params"].items())))
    parts += [Text(f"  {line}") for line in why["lines"]]

    if report["attempts"]:
        parts += [Text(), _attempts(report["attempts"], out)]
    blocked = [name for name, task in document.get("tasks", {}).items() if not task.get("number")]
    if blocked:
        parts.append(_fact("not started", ", ".join(blocked)))

    if report["items"]:
        parts += [Text(), *_items(report["items"])]
    for pin in document.get("pins", ()):
        parts.append(_fact("read", _version(pin)))
    for published in document.get("published", ()):
        parts.append(_fact("published", published if isinstance(published, str) else _version(published)))
    for depth, cause in enumerate(why["causes"]):
        what = cause.get("run") or (f"change {cause['change']}" if "change" in cause else "")
        parts.append(
            _fact("because" if depth == 0 else "", "  " * depth + f"{what}  {cause.get('what', '')}".strip())
        )
    return Group(*parts)


def _attempts(attempts: list[dict[str, Any]], out: Output) -> RenderableType:
    rows = []
    for attempt in attempts:
        told = attempt["document"] | attempt["document"].get("end", {})
        rows.append(
            (
                attempt["task"],
                str(attempt["number"]),
                out.state(attempt["phase"]),
                clock(attempt["started_at"]),
                took(attempt["started_at"], attempt["ended_at"]),
                told.get("detail") or told.get("failure") or told.get("note") or "",
            )
        )
    return out.grid(("TASK", "TRY", "PHASE", "STARTED", "TOOK", "DETAIL"), rows)


def _items(items: list[dict[str, Any]]) -> list[Any]:
    shown = [
        _fact(
            "took" if place == 0 else "",
            f"{item['event'].get('type', 'change')} {item['event'].get('subject', '')}".strip(),
            f"change {item['change']}, {item['state']}",
        )
        for place, item in enumerate(items[:_ITEMS_SHOWN])
    ]
    if len(items) > _ITEMS_SHOWN:
        shown.append(_fact("", f"and {len(items) - _ITEMS_SHOWN} more"))
    return shown


def _version(pin: dict[str, Any]) -> str:
    partition = f" [{pin['partition']}]" if pin.get("partition") else ""
    label = f" ({pin['label']})" if pin.get("label") else ""
    version = f"version {pin['seq']}" if pin.get("seq") else "no version yet"
    return f"{pin.get('asset', '')}{partition}  {version}{label}{'  suspect' if pin.get('suspect') else ''}"


def _fact(name: str, value: str, more: str = "") -> Any:
    from rich.text import Text

    return Text.assemble((f"  {name:<12}", DIM), value, (f"  {more}" if more else "", DIM))
