"""How things are told: tables and colours on a terminal, plain aligned text in a pipe, JSON with --json.

Times of day are UTC, as they are in the sentences of the engine; lengths of time are as long everywhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from counterpoint.model.quantity import format_duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

#: What a state or phase looks like: its symbol and its style.
LOOKS: dict[str, tuple[str, str]] = {
    "running": ("●", "cyan"),
    "confirming": ("●", "cyan"),
    "deferred": ("◔", "cyan"),
    "waiting": ("◔", "yellow"),
    "pending": ("◔", "yellow"),
    "resting": ("◑", "yellow"),
    "paused": ("Ⅱ", "magenta"),
    "idle": ("·", "bright_black"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "timed_out": ("✗", "red"),
    "lost": ("✗", "red"),
    "cancelled": ("⊘", "bright_black"),
    "preempted": ("⊘", "yellow"),
    "skipped": ("⊘", "bright_black"),
    "dead": ("✗", "red"),
}

#: Phases in which a run stays as it is.
ENDED = ("succeeded", "failed", "cancelled")

DIM = "bright_black"

#: A column narrower than this is no place for a sentence.
_SLIVER = 32

#: A line in pieces, each with its style; "" is plain.
Segments = list[tuple[str, str]]


class Output:
    """Where a verb's result goes. `as_json` means one JSON document and nothing else."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    @cached_property
    def console(self) -> Console:
        """The terminal, or the pipe as one very wide terminal without colours."""
        from rich.console import Console

        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, soft_wrap=True, no_color=True, width=10_000)
        return console

    @property
    def on_terminal(self) -> bool:
        """Whether a person looks at it."""
        return not self.as_json and self.console.is_terminal

    def line(self, segments: Segments) -> None:
        """Print one line in pieces; without rich where there are no colours, for it is heavy and slow."""
        if sys.stdout.isatty() and not self.as_json:
            self.console.print(self.hung(segments), soft_wrap=True)
        else:
            sys.stdout.write("".join(text for text, _ in segments).rstrip() + "\n")
            sys.stdout.flush()

    def hung(self, segments: Segments) -> Text:
        """A line in pieces, the last of which is wrapped below itself where the terminal ends."""
        from textwrap import wrap

        from rich.text import Text

        *lead, (last, style) = segments
        indent = Text.assemble(*lead).cell_len
        room = self.console.width - indent
        # In a sliver of a column it would be harder to read than from the left.
        if room >= _SLIVER:
            lines = wrap(last, room, break_long_words=False, break_on_hyphens=False)
            last = ("\n" + " " * indent).join(lines)
        return Text.assemble(*lead, (last, style))

    def json(self, value: Any) -> None:
        """Print a value as JSON: indented for a person, in one line for a program."""
        print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))

    def say(self, *parts: str | Text) -> None:
        """Print one line. Strings are plain text, not markup."""
        from rich.text import Text

        line = Text()
        for part in parts:
            line.append(part) if isinstance(part, str) else line.append_text(part)
        self.console.print(line, soft_wrap=True)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
        """Print aligned columns, the last of which may wrap."""
        self.console.print(self.grid(header, rows))

    def grid(self, header: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> RenderableType:
        """The table as something that can be printed, alone or with others."""
        from rich.table import Table
        from rich.text import Text

        cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
        # A column without a single entry tells nothing.
        used = [place for place in range(len(header)) if any(row[place].plain for row in cells)]
        if not self.console.is_terminal:
            return _aligned([header[place] for place in used], [[row[place] for place in used] for row in cells])
        table = Table(box=None, pad_edge=False, header_style=DIM, padding=(0, 2, 0, 0))
        for place in used:
            table.add_column(
                header[place], no_wrap=place != used[-1], overflow="fold" if place == used[-1] else "ellipsis"
            )
        for row in cells:
            table.add_row(*(row[place] for place in used))
        return table

    def fits(self, what: RenderableType) -> bool:
        """Whether it can be printed without cutting or wrapping anything."""
        from rich.measure import Measurement

        unbounded = self.console.options.update(width=10_000)
        return Measurement.get(self.console, unbounded, what).maximum <= self.console.width

    def state(self, state: str, text: str | None = None) -> Text:
        """A state in its colour, with its symbol on a terminal."""
        from rich.text import Text

        symbol, style = LOOKS.get(state, ("·", ""))
        shown = state if text is None else text
        return Text(f"{symbol} {shown}" if self.console.is_terminal else shown, style)


def _aligned(header: Sequence[str], rows: Sequence[Sequence[Text]]) -> Text:
    from rich.text import Text

    lines = [list(header), *([cell.plain for cell in row] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    return Text(
        "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )
    )


def parse_time(text: str | None) -> datetime | None:
    """A time as the API writes it."""
    return datetime.fromisoformat(text) if text else None


def ago(text: str | None, now: datetime | None = None) -> str:
    """A time as people tell it: `3m ago`, `in 5m`, `now`; "" for none."""
    then = parse_time(text)
    if then is None:
        return ""
    length = (now or datetime.now(UTC)) - then
    if abs(length.total_seconds()) < 1:
        return "now"
    return f"{_whole(length)} ago" if length.total_seconds() > 0 else f"in {_whole(-length)}"


def took(start: str | None, end: str | None) -> str:
    """How long something took, or takes until now; "" if it has not begun."""
    first = parse_time(start)
    if first is None:
        return ""
    return format_duration((parse_time(end) or datetime.now(UTC)) - first)


def clock(text: str) -> str:
    """A time of day in UTC; with its date if that is not today's."""
    then, now = datetime.fromisoformat(text).astimezone(UTC), datetime.now(UTC)
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def _whole(length: Any) -> str:
    """A length of time in whole seconds: tenths of what is long ago tell nothing."""
    from datetime import timedelta

    return format_duration(timedelta(seconds=round(length.total_seconds())))
