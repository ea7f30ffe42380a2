"""Simulate: play a score, or a trace, through the kernel in virtual time, and tell how well it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from counterpoint.entrypoints.cli.options import with_json
from counterpoint.entrypoints.cli.output import DIM, Output
from counterpoint.errors import Mistake

if TYPE_CHECKING:
    from counterpoint.sim.replay import Replayed
    from counterpoint.sim.traces.trace import Skipped

POLICIES = ("fifo", "priority", "promise")
#: So many rows of a trace that are not run are listed on a terminal; --json has them all.
_MOST_SKIPPED = 20


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False), metavar="[FILE]...")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(POLICIES),
    help="How the queue is ordered; several are put side by side. [default: promise]",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Play the jobs of a log instead of a score: SWF, WfFormat 1.5 or CSV.",
)
@click.option("--slots", metavar="N", help="How many slots the trace's pool has; `gpu=4,cpu=16` for several.")
@with_json
def simulate(
    files: tuple[Path, ...],
    policies: tuple[str, ...],
    trace: Path | None,
    slots: str | None,
    as_json: bool,
) -> None:
    """Play a score or a trace in virtual time.

    With --trace no score is needed: the jobs of the file arrive, ask for slots, and run as long as they did.
    """
    out = Output(as_json=as_json)
    policies = tuple(dict.fromkeys(policies)) or ("promise",)
    if trace is None:
        raise click.UsageError("give --trace FILE")
    if files:
        raise click.UsageError("--trace plays the jobs of the trace alone; leave the score away")
    _play_trace(trace, policies, _sizes(slots), out)


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


def _play_trace(path: Path, policies: Sequence[str], slots: dict[str, int], out: Output) -> None:
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
    if out.as_json:
        first, *others = (_plain(world) for world in worlds)
        out.json({"trace": trace.name, "format": trace.format} | first | {"against": others})
        return
    _tell_skipped(trace.skipped, out)
    for note in trace.notes:
        out.say(_dim(note))
    out.say(f"{len(trace.jobs)} jobs on {', '.join(f'{pool}: {size}' for pool, size in trace.pools.items())}")
    out.say()
    header = ["policy", "mean wait", "p50", "p95", "longest", "makespan", "use", "evictions"]
    out.table(header, [_row(world) for world in worlds])


def _plain(world: Replayed) -> dict[str, Any]:
    import msgspec

    document = msgspec.to_builtins(world)
    assert isinstance(document, dict)
    return document


def _row(world: Replayed) -> list[str]:
    summary = world.summary
    use = ", ".join(f"{share:.0%}" for share in summary.utilisation.values())
    waits = (summary.mean_wait_s, summary.p50_wait_s, summary.p95_wait_s, summary.max_wait_s, summary.makespan_s)
    return [world.policy, *(_length(each) for each in waits), use, str(summary.evictions or "")]


def _length(seconds: float) -> str:
    from datetime import timedelta

    from counterpoint.model.quantity import format_duration

    return format_duration(timedelta(seconds=seconds)) if seconds else "0"


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
