"""Plots as SVG, written by hand: lines over time, ranges, and a chart of who held which slot when.

Colours are classes of the page's style sheet, so that a plot is readable in light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from html import escape
from itertools import pairwise

from counterpoint.model.quantity import format_duration
from counterpoint.sim.measure import Bar

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 560, 58, 12, 10, 24
#: Charts of slots are as wide as the page.
WIDE = 1120
#: So many colours there are for worlds and pipelines; then they come again.
COLOURS = 8
#: A chart of slots has so many rows at most.
MOST_ROWS = 32

Series = Sequence[float | None]


def length(seconds: float) -> str:
    """A length of time as the plots write it."""
    return format_duration(timedelta(seconds=seconds)) if seconds >= 0.001 else "0"


def lines(
    title: str,
    series: Sequence[tuple[str, Series]],
    *,
    length_s: float,
    limit: float | None = None,
    limit_name: str = "",
    as_length: bool,
    steps: bool = False,
) -> str:
    """Values over time, a line for each series, and a broken one for what was promised or what there is.

    Args:
        as_length: the values are seconds; else they are slots.
        steps: a value holds for its whole span.
    """
    height = 150
    values = [value for _, line in series for value in line if value is not None]
    top = _top(max([*values, limit or 0.0, 1e-9]), as_length=as_length)
    inner_w, inner_h = WIDTH - LEFT - RIGHT, height - TOP - BOTTOM

    def y(value: float) -> float:
        return TOP + inner_h * (1 - min(value, top) / top)

    parts = [_frame(height, top, length_s, as_length=as_length)]
    for number, (name, line) in enumerate(series):
        path = _path(line, inner_w, y, steps=steps)
        label = escape(f"{name}: {title}")
        parts.append(f'<path class="line c{number % COLOURS}" d="{path}"><title>{label}</title></path>')
    if limit is not None:
        at = y(limit)
        beside = at + (12 if at < TOP + 12 else -4)
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(
            f'<text class="limit-name" x="{WIDTH - RIGHT - 2}" y="{beside:.1f}">{escape(limit_name)}</text>'
        )
    return _svg(height, title, parts)


def _path(line: Series, inner_w: float, y: object, *, steps: bool) -> str:
    assert callable(y)
    width, pieces, drawing = inner_w / max(1, len(line)), list[str](), False
    for place, value in enumerate(line):
        if value is None:
            drawing = False
            continue
        x, at = LEFT + place * width, y(value)
        if steps:
            pieces.append(f"{'L' if drawing else 'M'}{x:.1f} {at:.1f}H{x + width:.1f}")
        else:
            pieces.append(f"{'L' if drawing else 'M'}{x + width / 2:.1f} {at:.1f}")
        drawing = True
    return "".join(pieces)


def _top(largest: float, *, as_length: bool) -> float:
    """A round number at or above the largest value."""
    if as_length:
        rounds = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 28800, 43200, 86400]
        found = next((float(each) for each in rounds if each >= largest), None)
        return found if found is not None else 86400.0 * -(-largest // 86400)
    scale = 1.0
    while scale * 10 < largest:
        scale *= 10
    return next(scale * each for each in (1, 2, 4, 5, 8, 10) if scale * each >= largest)


def _frame(height: int, top: float, length_s: float, *, as_length: bool) -> str:
    inner_h = height - TOP - BOTTOM
    parts = []
    for share in (0.0, 0.5, 1.0):
        at = TOP + inner_h * (1 - share)
        text = length(top * share) if as_length else f"{top * share:g}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{at + 3.5:.1f}">{text}</text>')
    return "".join(parts) + _time_axis(height, length_s)


def _time_axis(height: int, length_s: float) -> str:
    step = next(
        (each for each in (1, 10, 60, 300, 900, 3600, 10800, 21600, 43200, 86400) if length_s / each <= 7),
        86400 * max(1, -(-int(length_s / 7) // 86400)),
    )
    parts, inner_w = [], WIDTH - LEFT - RIGHT
    at = 0.0
    while at <= length_s * 1.0001:
        x = LEFT + inner_w * at / length_s if length_s else LEFT
        parts.append(f'<text class="tick mid" x="{x:.1f}" y="{height - 6}">{length(at)}</text>')
        at += step
    return "".join(parts)


def ranges(title: str, rows: Sequence[tuple[str, int, float, float, float]]) -> str:
    """From the median to the 95th percentile as a bar, the longest as a dot.

    Args:
        rows: (name, colour, p50, p95, longest), in seconds.
    """
    row_h = 20
    height = TOP + row_h * len(rows) + BOTTOM
    top = _top(max([longest for *_, longest in rows] + [1e-9]), as_length=True)
    left = 170
    inner_w = WIDTH - left - RIGHT - 40

    def x(value: float) -> float:
        return left + inner_w * min(1.0, value / top)

    parts = []
    for share in (0.0, 0.5, 1.0):
        at = x(top * share)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        parts.append(f'<text class="tick mid" x="{at:.1f}" y="{height - 6}">{length(top * share)}</text>')
    for place, (name, colour, p50, p95, longest) in enumerate(rows):
        at = TOP + row_h * place + row_h / 2
        label = escape(f"{name}: p50 {length(p50)}, p95 {length(p95)}, longest {length(longest)}")
        parts.append(
            f"<g><title>{label}</title>"
            f'<text class="tick end" x="{left - 8}" y="{at + 3.5:.1f}">{escape(_short(name))}</text>'
            f'<line class="whisker" x1="{x(0):.1f}" x2="{x(longest):.1f}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<rect class="bar c{colour % COLOURS}" x="{x(p50):.1f}" y="{at - 5:.1f}" '
            f'width="{max(2.0, x(p95) - x(p50)):.1f}" height="10" rx="2"/>'
            f'<circle class="dot c{colour % COLOURS}" cx="{x(longest):.1f}" cy="{at:.1f}" r="3"/></g>'
        )
    return _svg(height, title, parts)


def slots(title: str, bars: Sequence[Bar], pool: str, size: int, colours: Mapping[str, int]) -> str:
    """Who held which slot of a pool when: a row a slot."""
    held = sorted((bar for bar in bars if bar.slots.get(pool)), key=lambda bar: (bar.start_s, bar.end_s))
    if not held:
        return ""
    rows = min(size, MOST_ROWS)
    row_h = 26 if rows <= 4 else 16 if rows <= 12 else 10
    begin, end = held[0].start_s, max(bar.end_s for bar in held)
    span = max(end - begin, 1e-6)
    height, inner_w = TOP + row_h * rows + BOTTOM, WIDE - LEFT - RIGHT
    free = [begin] * rows
    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{TOP + row_h * row}" y2="{TOP + row_h * row}"/>'
        for row in range(rows + 1)
    ]
    for bar in held:
        x = LEFT + inner_w * (bar.start_s - begin) / span
        width = max(0.8, inner_w * (bar.end_s - bar.start_s) / span - 0.4)
        took = length(bar.end_s - bar.start_s)
        label = escape(f"{bar.attempt}: {bar.how} after {took}, at {length(bar.start_s)}")
        mine = [row for row in range(rows) if free[row] <= bar.start_s + 1e-9][: bar.slots[pool]]
        for row in mine:
            free[row] = bar.end_s
        for first, count in _together(mine):
            parts.append(
                f'<rect class="held c{colours.get(bar.pipeline, 0) % COLOURS} {bar.how}" x="{x:.1f}" '
                f'y="{TOP + row_h * first + 1}" width="{width:.1f}" height="{row_h * count - 2}" rx="1.5">'
                f"<title>{label}</title></rect>"
            )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = LEFT + inner_w * share
        parts.append(f'<text class="tick mid" x="{x:.1f}" y="{height - 6}">{length(begin + span * share)}</text>')
    return _svg(height, title, parts, width=WIDE)


def _together(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Rows that lie side by side, as (first, how many)."""
    found: list[tuple[int, int]] = []
    breaks = [0, *(place for place, (low, high) in enumerate(pairwise(rows), 1) if high != low + 1), len(rows)]
    for low, high in pairwise(breaks):
        if high > low:
            found.append((rows[low], high - low))
    return found


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _svg(height: int, title: str, parts: Sequence[str], *, width: int = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title, quote=True)}">'
        + "".join(parts)
        + "</svg>"
    )
