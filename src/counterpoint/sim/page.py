"""One page that shows what was simulated: no script, no font, nothing fetched, readable in light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from counterpoint.sim.compare import Line, Named, compare, compare_traces, written
from counterpoint.sim.measure import BINS, MOST_BARS, Bar, PoolUse
from counterpoint.sim.play import Played
from counterpoint.sim.plots import COLOURS, length, lines, ranges, slots
from counterpoint.sim.replay import Replayed
from counterpoint.sim.traces.trace import Trace

#: So many assets, pools and pipelines have plots and rows of their own; the worst, fullest and busiest go first.
MOST_ASSETS, MOST_POOLS, MOST_PIPELINES, MOST_CHARTS = 24, 12, 60, 4

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #5c6570; --paper: #ffffff; --card: #f6f7f9;
  --rule: #d9dde3; --good: #17703f; --bad: #b3261e; --limit: #b3261e;
  --c0: #2563c9; --c1: #c2570c; --c2: #16795a; --c3: #8a3fb8; --c4: #a6791a; --c5: #b8326e; --c6: #0f7f9a;
  --c7: #646c78; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --dim: #9aa4b0; --paper: #14171b; --card: #1d2126;
  --rule: #343a42; --good: #5fd396; --bad: #ff8a80; --limit: #ff8a80;
  --c0: #74a8ff; --c1: #ffa25c; --c2: #5fcba5; --c3: #cb96f0; --c4: #e0bd62; --c5: #f589b5; --c6: #66cbe4;
  --c7: #a9b1bc; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 2px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 40px 0 10px; border-bottom: 1px solid var(--rule); padding-bottom: 5px; }
figure + figure, .plots + .wide, .plots + p { margin-top: 14px; } .plots figure { margin-top: 0; }
h3 { font-size: 14px; margin: 0 0 4px; font-weight: 600; }
p { margin: 4px 0 10px; } .dim { color: var(--dim); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 10px;
  margin: 8px 0 18px; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 9px 13px; }
.tile b { display: block; font-size: 22px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--dim); font-size: 13px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 16px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 11px 13px 7px; min-width: 0; }
figcaption { display: flex; justify-content: space-between; gap: 10px; flex-wrap: wrap; margin-bottom: 3px; }
figcaption .dim { font-size: 13px; }
svg { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; width: 100%; }
th, td { text-align: right; padding: 4px 10px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--dim); font-weight: 500; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
th.text, td.text { text-align: left; } table.narrow { width: auto; min-width: 50%; }
tr.begins td { border-top: 2px solid var(--rule); }
td.best { color: var(--good); font-weight: 600; }
.key { display: inline-flex; align-items: center; gap: 6px; margin-right: 16px; font-size: 14px; }
.key i { width: 14px; height: 4px; border-radius: 2px; background: currentColor; }
.grid { stroke: var(--rule); stroke-width: 1; } .tick { fill: var(--dim); font-size: 11px; }
.end { text-anchor: end; } .mid { text-anchor: middle; }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round; } .whisker { stroke: var(--rule); stroke-width: 2; }
.limit { stroke: var(--limit); stroke-width: 1.3; stroke-dasharray: 5 4; }
.limit-name { fill: var(--limit); font-size: 11px; text-anchor: end; }
.held { opacity: .85; }
.held.preempted, .held.failed, .held.lost, .held.stopped { stroke: var(--bad); stroke-width: 1.4;
  stroke-dasharray: 3 2; }
"""
_COLOUR_RULES = "".join(
    f".line.c{n} {{ stroke: var(--c{n}); }} .bar.c{n}, .dot.c{n}, .held.c{n} {{ fill: var(--c{n}); }} "
    f".key.c{n} i {{ color: var(--c{n}); }} "
    for n in range(COLOURS)
)


def page(worlds: Sequence[Named]) -> str:
    """The page of one or more plays of a score; the first is the one that is asked about."""
    first = worlds[0].played
    about = (
        f"{length(first.length_s)} from {first.start:%A, %d %B %Y, %H:%M} UTC in virtual time, "
        f"seed {first.seed}; the scheduler is the one that runs in production."
    )
    parts = [f"<h1>{escape(first.name or 'A score')}, simulated</h1>", f'<p class="dim">{about}</p>']
    parts.append(_keys([world.name for world in worlds]))
    for world in worlds:
        parts.append(_tiles(world, alone=len(worlds) == 1))
    if len(worlds) > 1:
        parts += ["<h2>Side by side</h2>", _side_by_side([world.name for world in worlds], compare(worlds))]
    parts += _freshness(worlds)
    parts += _pools([(world.name, world.played) for world in worlds])
    parts += _waits(worlds)
    for world in worlds:
        parts += _charts(world.name if len(worlds) > 1 else "", world.played)
    for world in worlds:
        parts += _pipelines(world.name if len(worlds) > 1 else "", world.played)
    parts += _assumed(first.assumed)
    return _document(f"{first.name}, simulated", parts)


def trace_page(trace: Trace, worlds: Sequence[Replayed]) -> str:
    """The page of a trace under one or more policies."""
    about = f"{len(trace.jobs):,} jobs, {len(trace.skipped):,} not run; times count from the trace's start."
    names = [world.policy for world in worlds]
    parts = [f"<h1>{escape(trace.name)}, simulated</h1>", f'<p class="dim">{escape(about)}</p>', _keys(names)]
    parts += ["<h2>Figures</h2>", _side_by_side(names, compare_traces(worlds))]
    end_s = max((run.end_s for world in worlds for run in world.runs), default=1.0) or 1.0
    figures = []
    for pool, size in trace.pools.items():
        series = [(world.policy, _use(world, pool, size, end_s)) for world in worlds]
        plot = lines(
            f"slots of {pool}", series, length_s=end_s, limit=size, limit_name=f"{size} slots", as_length=False,
            steps=True,
        )  # fmt: skip
        figures.append(_figure(f"pool {pool}", "slots held", plot))
    parts += ["<h2>Pools</h2>", f'<div class="plots">{"".join(figures)}</div>']
    rows = [
        (world.policy, n, world.summary.p50_wait_s, world.summary.p95_wait_s, world.summary.max_wait_s)
        for n, world in enumerate(worlds)
    ]
    parts += ["<h2>Waits</h2>", _figure("from arrival to start", _RANGE, ranges("waits", rows))]
    for world in worlds:
        bars = [
            Bar(run.id, run.id, run.start_s, run.end_s, run.slots, "succeeded")
            for run in sorted(world.runs, key=lambda run: run.start_s)[:MOST_BARS]
        ]
        colours = {bar.pipeline: place for place, bar in enumerate(bars)}
        charts = [
            _figure(f"pool {pool}, {world.policy}", "", slots(pool, bars, pool, size, colours))
            for pool, size in list(trace.pools.items())[:MOST_CHARTS]
        ]
        parts += [f"<h2>Slots, {escape(world.policy)}</h2>", _bounded(len(bars)), *charts]
    if trace.skipped:
        skipped = [[str(each.line or ""), each.id, each.reason] for each in trace.skipped[:200]]
        parts += [
            f"<h2>{len(trace.skipped):,} not run</h2>",
            _table(["line", "id", "reason"], skipped, texts={1, 2}),
        ]
    parts += _assumed(trace.notes)
    return _document(f"{trace.name}, simulated", parts)


_RANGE = "bar: p50 to p95; dot: longest"


def _document(title: str, parts: Sequence[str]) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{_COLOUR_RULES}</style></head>\n"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _keys(names: Sequence[str]) -> str:
    if len(names) == 1:
        return ""
    keys = (f'<span class="key c{n % COLOURS}"><i></i>{escape(name)}</span>' for n, name in enumerate(names))
    return f"<p>{''.join(keys)}</p>"


def _tiles(world: Named, *, alone: bool) -> str:
    played = world.played
    tiles = [
        (written(played.share, "share"), "of obligations kept"),
        (f"{played.missed:,}", "obligations missed"),
        (f"{played.runs:,}", "runs"),
        (written(played.slot_hours, "hours"), "slot-hours"),
        (f"{played.overlaps:,}", "overlaps"),
        (f"{played.preemptions:,}", "preemptions"),
    ]
    heading = "" if alone else f"<h3>{escape(world.name)}</h3>"
    cells = "".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for value, name in tiles)
    return f'{heading}<div class="tiles">{cells}</div>'


def _side_by_side(names: Sequence[str], compared: Sequence[Line]) -> str:
    rows, before = [], ""
    for line in compared:
        cells = "".join(
            f'<td class="{"best" if line.best == place else ""}">{written(value, line.unit)}</td>'
            for place, value in enumerate(line.values)
        )
        is_new, before = line.about != before, line.about
        about = escape(line.about) if is_new else ""
        row = f'<td>{about}</td><td class="text">{escape(line.measure)}</td>{cells}'
        rows.append(f'<tr class="{"begins" if is_new else ""}">{row}</tr>')
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    table = f'<table class="narrow"><tr><th></th><th></th>{head}</tr>{"".join(rows)}</table>'
    return f'<div class="wide">{table}</div>'


def _freshness(worlds: Sequence[Named]) -> Iterator[str]:
    first = worlds[0].played
    if not first.freshness:
        return
    yield "<h2>Freshness</h2>"
    yield (
        '<p class="dim">How old the oldest change is that is not in the asset yet. The broken line is the '
        "promise; a completion has none, for it counts by the time of day.</p>"
    )
    worst = {each.asset: 2.0 if each.share is None else each.share for each in reversed(first.promises)}
    chosen = sorted(first.freshness, key=lambda each: worst.get(each.asset, 2.0))[:MOST_ASSETS]
    within = {each.asset: each.within_s for each in first.promises if each.within_s is not None}
    figures = []
    for each in chosen:
        series = [
            (world.name, found.line)
            for world in worlds
            for found in world.played.freshness
            if found.asset == each.asset
        ]
        limit = within.get(each.asset)
        plot = lines(
            each.asset, series, length_s=first.length_s, limit=limit,
            limit_name=f"within {length(limit)}" if limit is not None else "", as_length=True,
        )  # fmt: skip
        kept = "; ".join(
            f"{one.promise} {written(one.share, 'share')} kept, {one.target:.0%} promised"
            for one in first.promises
            if one.asset == each.asset
        )
        figures.append(_figure(each.asset, kept, plot))
    yield f'<div class="plots">{"".join(figures)}</div>'
    if len(first.freshness) > len(chosen):
        yield f'<p class="dim">The {len(chosen)} worst of {len(first.freshness)}.</p>'
    rows = [
        [
            each.asset, each.promise, f"{each.target:.0%}", written(each.share, "share"), f"{each.kept:,}",
            f"{each.missed:,}", *_ages(first, each.asset),
        ]
        for each in first.promises[:MOST_PIPELINES]
    ]  # fmt: skip
    head = [
        "asset",
        "promise",
        "target",
        "kept",
        "obligations kept",
        "missed",
        "age p50",
        "p95",
        "delay p50",
        "p95",
    ]
    yield _table(head, rows, texts={1})


def _ages(played: Played, asset: str) -> list[str]:
    found = next(each for each in played.freshness if each.asset == asset)
    spreads = ((found.age, found.age.p50_s), (found.age, found.age.p95_s))
    delays = ((found.delay, found.delay.p50_s), (found.delay, found.delay.p95_s))
    return [written(value if spread.count else None, "seconds") for spread, value in (*spreads, *delays)]


def _pools(worlds: Sequence[tuple[str, Played]]) -> Iterator[str]:
    first = worlds[0][1]
    if not first.pools:
        return
    yield "<h2>Pools</h2>"
    figures = []
    for pool in sorted(first.pools, key=lambda pool: -pool.mean)[:MOST_POOLS]:
        series = [
            (name, found.line) for name, played in worlds for found in played.pools if found.pool == pool.pool
        ]
        plot = lines(
            f"slots of {pool.pool}", series, length_s=first.length_s, limit=pool.slots,
            limit_name=f"{pool.slots} slots", as_length=False, steps=True,
        )  # fmt: skip
        figures.append(_figure(f"pool {pool.pool}", f"{pool.mean:.0%} used, peak {pool.peak}", plot))
    yield f'<div class="plots">{"".join(figures)}</div>'


def _waits(worlds: Sequence[Named]) -> Iterator[str]:
    by_class = [
        (_name(name, world, worlds), n, waits.p50_s, waits.p95_s, waits.max_s)
        for name in ("urgent", "normal", "bulk")
        for n, world in enumerate(worlds)
        if (waits := world.played.waits.get(name)) is not None
    ]
    if not by_class:
        return
    yield "<h2>Waits</h2>"
    figures = [_figure("by class", _RANGE, ranges("waits by class", by_class))]
    longest = sorted(worlds[0].played.pipelines, key=lambda each: -each.waits.p95_s)[:12]
    by_pipeline = [
        (_name(each.pipeline, world, worlds), n, found.p50_s, found.p95_s, found.max_s)
        for each in longest
        for n, world in enumerate(worlds)
        for other in world.played.pipelines
        if other.pipeline == each.pipeline and (found := other.waits).count
    ]
    if by_pipeline:
        figures.append(_figure("by pipeline", "the longest", ranges("waits by pipeline", by_pipeline)))
    yield f'<div class="plots">{"".join(figures)}</div>'


def _name(of: str, world: Named, worlds: Sequence[Named]) -> str:
    return f"{of}, {world.name}" if len(worlds) > 1 else of


def _charts(name: str, played: Played) -> Iterator[str]:
    colours = {each.pipeline: place for place, each in enumerate(played.pipelines)}
    charts = []
    for pool in sorted(played.pools, key=lambda pool: -pool.mean)[:MOST_CHARTS]:
        chart = slots(pool.pool, played.bars, pool.pool, pool.slots, colours)
        if chart:
            charts.append(_figure(f"pool {pool.pool}", "", chart))
    if charts:
        shown = dict.fromkeys(bar.pipeline for bar in played.bars)
        keys = "".join(
            f'<span class="key c{colours[pipeline] % COLOURS}"><i></i>{escape(pipeline)}</span>'
            for pipeline in list(shown)[:24]
        )
        yield f"<h2>Slots{f', {escape(name)}' if name else ''}</h2>"
        yield _bounded(len(played.bars))
        yield f"<p>{keys}</p>"
        yield from charts


def _bounded(count: int) -> str:
    return (
        f'<p class="dim">Who held which slot: the first {count} attempts that did. '
        "A broken red edge is one that failed, was lost or made room.</p>"
    )


def _pipelines(name: str, played: Played) -> Iterator[str]:
    busiest = sorted(played.pipelines, key=lambda each: -each.slot_hours)[:MOST_PIPELINES]
    rows = [
        [
            each.pipeline, each.priority_class, f"{each.runs:,}", f"{each.failed:,}", f"{each.attempts:,}",
            f"{each.preemptions:,}", f"{each.overlaps:,}", f"{each.crowded:,}", written(each.slot_hours, "hours"),
            written(each.waits.p50_s, "seconds"), written(each.waits.p95_s, "seconds"),
            written(each.waits.max_s, "seconds"),
        ]
        for each in busiest
    ]  # fmt: skip
    head = ["pipeline", "class", "runs", "failed", "attempts", "preemptions", "overlaps", "found pools full"]
    head += ["slot-hours", "wait p50", "p95", "longest"]
    yield f"<h2>Runs and their cost{f', {escape(name)}' if name else ''}</h2>"
    yield _table(head, rows, texts={1})
    if len(played.pipelines) > len(busiest):
        yield f'<p class="dim">The {len(busiest)} most expensive of {len(played.pipelines)}.</p>'


def _assumed(notes: Sequence[str]) -> Iterator[str]:
    if notes:
        yield "<h2>What was assumed</h2>"
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"


def _figure(title: str, note: str, plot: str) -> str:
    if not plot:
        return ""
    caption = f'<h3>{escape(title)}</h3><span class="dim">{escape(note)}</span>'
    return f"<figure><figcaption>{caption}</figcaption>{plot}</figure>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: set[int]) -> str:
    cells = "".join(
        f'<th class="{"text" if place in texts else ""}">{escape(each)}</th>' for place, each in enumerate(head)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{"text" if place in texts else ""}">{escape(cell)}</td>' for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{cells}</tr>{body}</table></div>'


def _use(world: Replayed, pool: str, size: int, end_s: float) -> list[float]:
    """The mean number of slots held in each span."""
    use = PoolUse(size, end_s)
    changes = []
    for run in world.runs:
        held = run.slots.get(pool, 0)
        if held:
            changes += [(run.start_s, held), (run.end_s, -held)]
    for at_s, by in sorted(changes):
        use.change(at_s, by)
    found = use.means()
    assert len(found) == BINS
    return found
