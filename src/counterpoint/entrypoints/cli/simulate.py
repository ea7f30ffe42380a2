"""Simulate: play a score, or a trace, through the kernel in virtual time, and tell how well it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from counterpoint.entrypoints.cli.declare import files_of, read_plan
from counterpoint.entrypoints.cli.history import learned_from
from counterpoint.entrypoints.cli.options import with_folder, with_json
from counterpoint.entrypoints.cli.output import DIM, Output
from counterpoint.errors import Mistake
from counterpoint.model.quantity import parse_duration

if TYPE_CHECKING:
    from counterpoint.model.plan import Plan
    from counterpoint.sim.compare import Line
    from counterpoint.sim.play import PipelinePlayed, Played
    from counterpoint.sim.replay import Replayed
    from counterpoint.sim.traces.trace import Skipped
    from counterpoint.sim.world import WorldSettings

POLICIES = ("fifo", "priority", "promise")
#: So many rows of a trace that are not run are listed on a terminal; --json has them all.
_MOST_SKIPPED = 20
#: So many lines of a table are printed.
_MOST_LINES = 60


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False), metavar="[FILE]...")
@click.option(
    "--for", "length", metavar="DURATION", default="7d", show_default=True, help="How much virtual time."
)
@click.option("--seed", type=int, default=1, show_default=True, help="All chance follows from it.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(POLICIES),
    help="How the queue is ordered; several are put side by side. [default: promise]",
)
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another score to play in the same world and put beside it, such as the one before a change. "
    "What it does not promise itself, the first score promises for it.",
)
@click.option(
    "--history",
    is_flag=False,
    flag_value="",
    metavar="[STORE]",
    help="Take durations from what ran: from the store of this folder, or from the one that the URL names.",
)
@click.option(
    "--faults",
    metavar="LIST",
    default="",
    help="What goes wrong besides what the score says: `fail=1%,lost=12h,late=5%,repeated=1%`.",
)
@click.option("--from", "start", metavar="TIME", help="When it begins, in UTC. [default: a Monday, 2026-01-05]")
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Play the jobs of a log instead of a score: SWF, WfFormat 1.5 or CSV.",
)
@click.option("--slots", metavar="N", help="How many slots the trace's pool has; `gpu=4,cpu=16` for several.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with plots to this file."
)
@with_folder
@with_json
def simulate(
    files: tuple[Path, ...],
    length: str,
    seed: int,
    policies: tuple[str, ...],
    against: tuple[Path, ...],
    history: str | None,
    faults: str,
    start: str | None,
    trace: Path | None,
    slots: str | None,
    html: Path | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Play a score or a trace in virtual time, and tell how well it went.

    What the score says of the world is used: `takes` and `fails` of a task, `arrives` of an event or
    asset. What it does not say is assumed, and listed. The same seed is the same play.

    With --trace no score is needed: the jobs of the file arrive, ask for slots, and run as long as they did.
    """
    out = Output(as_json=as_json)
    policies = tuple(dict.fromkeys(policies))
    if trace is not None:
        if files or against or history is not None or faults:
            raise click.UsageError(
                "--trace plays the jobs of the trace alone; only --slots and --policy go with it"
            )
        _play_trace(trace, policies or ("promise",), _sizes(slots), html, out)
        return
    if slots is not None:
        raise click.UsageError("--slots sizes the pool of a --trace; a score says its pools itself")
    settings = _settings(faults, history, folder)
    plans = _plans(files_of(files, folder), against, policies)
    _play_scores(plans, _duration(length), seed, settings, _moment(start), html, out)


VERBS = (simulate,)


def _sizes(text: str | None) -> dict[str, int]:
    """What `--slots` says: pool -> slots, under "" those of every pool that is not named."""
    sizes: dict[str, int] = {}
    for part in (text or "").split(",") if text is not None else ():
        pool, _, amount = part.strip().rpartition("=")
        if not amount.strip().isdecimal() or int(amount) < 1:
            raise click.UsageError(f"--slots takes a number above 0, or `gpu=4,cpu=16`; {text!r} was given")
        sizes[pool.strip()] = int(amount)
    return sizes


def _duration(text: str) -> timedelta:
    try:
        length = parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"--for: {error}") from error
    if not length:
        raise click.UsageError("--for takes a length above 0, such as 7d")
    return length


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--from takes an ISO time such as 2026-01-05T08:00, {text!r} was given") from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _settings(faults: str, history: str | None, folder: Path) -> WorldSettings:
    from msgspec.structs import replace

    from counterpoint.sim.world import WorldSettings

    settings = WorldSettings()
    for part in filter(None, (each.strip() for each in faults.split(","))):
        name, _, value = part.partition("=")
        try:
            match name.strip():
                case "fail":
                    settings = replace(settings, fails=_share(value))
                case "lost":
                    settings = replace(settings, hosts_lost=parse_duration(value))
                case "late":
                    settings = replace(settings, late=_share(value))
                case "repeated":
                    settings = replace(settings, repeated=_share(value))
                case _:
                    raise ValueError(f"there is no fault {name!r}; there are fail, lost, late and repeated")
        except ValueError as error:
            raise click.UsageError(f"--faults: {error}") from error
    if history is not None:
        settings = replace(settings, bands=learned_from(history, folder))
    return settings


def _share(text: str) -> float:
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"a share such as 1% was expected, {text!r} was found")
    return share


def _plans(files: Sequence[Path], against: Sequence[Path], policies: Sequence[str]) -> list[tuple[str, Plan]]:
    """Every world's name and plan: each score under each policy, the one that is asked about first."""
    from msgspec.structs import replace

    found: list[tuple[str, Plan]] = []
    asked = read_plan(files)
    scores = [(" ".join(str(file) for file in files), asked)]
    scores += [(str(file), measured_by(asked, read_plan([file]))) for file in against]
    for name, plan in scores:
        for policy in policies or (plan.policy,):
            parts = [name] if len(scores) > 1 else []
            parts += [policy] if len(policies) > 1 or not parts else []
            found.append((", ".join(parts), replace(plan, policy=policy)))
    return found


def measured_by(asked: Plan, other: Plan) -> Plan:
    """Another score, held to the promises of the one that is asked about where its own assets promise nothing."""
    from msgspec.structs import replace

    assets = dict(other.assets)
    for name, asset in other.assets.items():
        same = asked.assets.get(name)
        if same is not None and asset.freshness is None and asset.completion is None and name in other.writers:
            assets[name] = replace(asset, freshness=same.freshness, completion=same.completion)
    return replace(other, assets=assets, calendars=asked.calendars | other.calendars)


def _play_scores(
    plans: Sequence[tuple[str, Plan]],
    length: timedelta,
    seed: int,
    settings: WorldSettings,
    start: datetime | None,
    html: Path | None,
    out: Output,
) -> None:
    from counterpoint.sim.compare import Named, compare
    from counterpoint.sim.page import page
    from counterpoint.sim.play import play
    from counterpoint.sim.stage import START

    worlds: list[Named] = []
    for name, plan in plans:
        with _progress(name, length.total_seconds()) as tell:
            played = play(plan, length=length, seed=seed, world=settings, start=start or START, watch=tell)
        worlds.append(Named(name, played))
    if html is not None:
        _write(html, page(worlds))
    if out.as_json:
        out.json(
            {"seed": seed, "for_s": length.total_seconds()}
            | {"worlds": [{"name": world.name} | _plain(world.played) for world in worlds]}
        )
        return
    for note in worlds[0].played.assumed:
        out.say(_dim(note))
    if worlds[0].played.assumed:
        out.say()
    if len(worlds) > 1:
        _tell_compared([world.name for world in worlds], compare(worlds), out)
    else:
        _tell_played(worlds[0].played, out)
    if html is not None:
        out.say()
        out.say(out.state("succeeded", f"{html} is written"))


def _tell_compared(names: Sequence[str], compared: Sequence[Line], out: Output) -> None:
    from rich.text import Text

    from counterpoint.sim.compare import written

    rows: list[list[str | Text]] = []
    for line in compared[:_MOST_LINES]:
        values = [written(value, line.unit) for value in line.values]
        styled: list[str | Text] = [
            Text(value, "green") if line.best == place else value for place, value in enumerate(values)
        ]
        rows.append([line.about, line.measure, *styled])
    out.table(["", "", *names], rows)
    if len(compared) > _MOST_LINES:
        out.say(_dim(f"and {len(compared) - _MOST_LINES} lines more; --json and --html have all"))


def _tell_played(played: Played, out: Output) -> None:
    """One world in tables: promises, waits and cost, pools."""
    from counterpoint.sim.compare import written

    share = written(played.share, "share")
    kept = f", {share} of {played.kept + played.missed:,} obligations kept" if played.share is not None else ""
    out.say(f"{played.runs:,} runs in {_length(played.length_s)}, seed {played.seed}, {played.policy}{kept}")
    if played.promises:
        out.say()
        fresh = {each.asset: each for each in played.freshness}
        rows = [
            [
                each.asset,
                each.promise,
                f"{each.target:.1%}",
                out.state("succeeded" if each.share is None or each.share >= each.target else "failed", "")
                + _plain_text(written(each.share, "share")),
                f"{each.kept + each.missed:,}",
                *(
                    written(value, "seconds")
                    for value in (fresh[each.asset].age.p50_s, fresh[each.asset].age.p95_s)
                ),
                written(fresh[each.asset].delay.p95_s, "seconds"),
            ]
            for each in played.promises[:_MOST_LINES]
        ]
        out.table(["asset", "promise", "target", "kept", "of", "age p50", "p95", "delay p95"], rows)
        _say_more(len(played.promises), out)
    if played.pipelines:
        out.say()
        out.table(
            [
                "pipeline",
                "class",
                "runs",
                "failed",
                "preempted",
                "overlaps",
                "slot-hours",
                "wait p50",
                "p95",
                "longest",
            ],
            [_pipeline_row(each) for each in played.pipelines[:_MOST_LINES]],
        )
        _say_more(len(played.pipelines), out)
    if played.pools:
        out.say()
        out.table(
            ["pool", "slots", "mean use", "peak", "slot-hours"],
            [
                [
                    each.pool,
                    str(each.slots),
                    written(each.mean, "share"),
                    str(each.peak),
                    written(each.slot_hours, "hours"),
                ]
                for each in played.pools
            ],
        )


def _pipeline_row(each: PipelinePlayed) -> list[str]:
    from counterpoint.sim.compare import written

    counts = (each.failed, each.preemptions, each.overlaps)
    waits = (each.waits.p50_s, each.waits.p95_s, each.waits.max_s)
    return [
        each.pipeline,
        each.priority_class,
        f"{each.runs:,}",
        *(f"{count:,}" if count else "" for count in counts),
        written(each.slot_hours, "hours") if each.slot_hours else "",
        *(written(wait, "seconds") for wait in waits),
    ]


def _say_more(count: int, out: Output) -> None:
    if count > _MOST_LINES:
        out.say(_dim(f"and {count - _MOST_LINES} more; --json and --html have them"))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Mistake(
            f"the page cannot be written: {error.strerror}", where=str(path), code="unwritable"
        ) from error


def _play_trace(
    path: Path, policies: Sequence[str], slots: dict[str, int], html: Path | None, out: Output
) -> None:
    from counterpoint.sim.compare import compare_traces
    from counterpoint.sim.page import trace_page
    from counterpoint.sim.replay import replay
    from counterpoint.sim.traces.files import read_trace
    from counterpoint.sim.traces.trace import sized

    trace = sized(read_trace(path), slots)
    if not trace.jobs:
        reasons = "; ".join(_place(each) + each.reason for each in trace.skipped[:3])
        raise Mistake(f"the trace has no job that can be run: {reasons}", where=trace.name, code="broken-trace")
    worlds: list[Replayed] = []
    for policy in policies:
        with _progress(f"{path.name}, {policy}", len(trace.jobs)) as tell:
            worlds.append(replay(trace, policy, tell))
    if html is not None:
        _write(html, trace_page(trace, worlds))
    if out.as_json:
        first, *others = (_plain_trace(world) for world in worlds)
        out.json({"trace": trace.name, "format": trace.format} | first | {"against": others})
        return
    _tell_skipped(trace.skipped, out)
    for note in trace.notes:
        out.say(_dim(note))
    out.say(f"{len(trace.jobs)} jobs on {', '.join(f'{pool}: {size}' for pool, size in trace.pools.items())}")
    out.say()
    _tell_compared([world.policy for world in worlds], compare_traces(worlds), out)
    if html is not None:
        out.say()
        out.say(out.state("succeeded", f"{html} is written"))


def _plain(world: Replayed | Played) -> dict[str, Any]:
    import msgspec

    document = msgspec.to_builtins(world)
    assert isinstance(document, dict)
    return document


def _plain_trace(world: Replayed) -> dict[str, Any]:
    """With `slots` as one number for each run, and `pools` beside it: most traces have one pool."""
    document = _plain(world)
    for run in document["runs"]:
        run["pools"], run["slots"] = run["slots"], sum(run["slots"].values())
    return document


def _length(seconds: float) -> str:
    from counterpoint.sim.compare import written

    return written(seconds, "seconds")


def _tell_skipped(skipped: Sequence[Skipped], out: Output) -> None:
    if not skipped:
        return
    out.say(out.state("skipped", f"{len(skipped)} not run:"))
    for each in skipped[:_MOST_SKIPPED]:
        out.say("  ", _dim(_place(each)), each.reason)
    if len(skipped) > _MOST_SKIPPED:
        out.say(_dim(f"  and {len(skipped) - _MOST_SKIPPED} more; --json lists all"))
    out.say()


def _place(each: Skipped) -> str:
    line = f"line {each.line}" if each.line is not None else ""
    name = f"{each.id!r}" if each.id else ""
    return f"{', '.join(part for part in (line, name) if part)}: " if line or name else ""


def _plain_text(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def _dim(text: str) -> Any:
    from rich.text import Text

    return Text(text, DIM)


@contextmanager
def _progress(what: str, total: float) -> Iterator[Callable[[float], None] | None]:
    """A bar on standard error where a person looks at it; what it yields is told how far it is."""
    import sys

    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
