"""Verbs by which a person acts: on runs, on pipelines, on what is dead."""

from __future__ import annotations

from typing import Any

import click

from counterpoint.entrypoints.cli.client import Client, name_path, run_path
from counterpoint.entrypoints.cli.options import asks_server, with_reason
from counterpoint.entrypoints.cli.output import Output


@click.command()
@click.argument("run")
@click.option("--skip", is_flag=True, help="End what it was about to do, too; else that waits for something new.")
@with_reason
@asks_server
def cancel(client: Client, out: Output, run: str, skip: bool, reason: str) -> None:
    """Ask a run to end."""
    client.post(f"{run_path(run)}/cancel", {"reason": reason, "skip": skip})
    _tell(
        out, {"run": run, "asked": "cancel"}, f"{run} is asked to end; `counterpoint show {run}` says when it has"
    )


@click.command()
@click.argument("run")
@with_reason
@asks_server
def retry(client: Client, out: Output, run: str, reason: str) -> None:
    """Go on with a failed run, from its failed tasks."""
    client.post(f"{run_path(run)}/retry", {"reason": reason})
    _tell(out, {"run": run, "asked": "retry"}, f"{run} goes on; `counterpoint logs -f {run}` follows it")


@click.command()
@click.argument("pipeline")
@with_reason
@asks_server
def pause(client: Client, out: Output, pipeline: str, reason: str) -> None:
    """Stop a pipeline's automatic runs.

    What comes is still collected, running work goes on, and `run` still works.
    """
    client.post(f"{name_path('pipelines', pipeline)}/pause", {"reason": reason})
    _tell(
        out,
        {"pipeline": pipeline, "asked": "pause"},
        f"{pipeline} is paused; `counterpoint resume {pipeline}` ends that",
    )


@click.command()
@click.argument("pipeline")
@with_reason
@asks_server
def resume(client: Client, out: Output, pipeline: str, reason: str) -> None:
    """End a pause, or a rest after failures."""
    client.post(f"{name_path('pipelines', pipeline)}/resume", {"reason": reason})
    _tell(out, {"pipeline": pipeline, "asked": "resume"}, f"{pipeline} goes on")


@click.command()
@click.argument("pipeline")
@click.argument("changes", type=int, nargs=-1, metavar="[CHANGE]...")
@click.option("--dead", is_flag=True, help="All its dead letters.")
@with_reason
@asks_server
def replay(client: Client, out: Output, pipeline: str, changes: tuple[int, ...], dead: bool, reason: str) -> None:
    """Give one pipeline changes again, by their numbers.

    No other subscriber gets them.
    """
    if not changes and not dead:
        raise click.UsageError("name the numbers of the changes, or --dead for all dead letters")
    body = {"changes": list(changes), "dead": dead, "reason": reason}
    count = client.post(f"{name_path('pipelines', pipeline)}/replay", body)["count"]
    _tell(out, {"pipeline": pipeline, "count": count}, f"{pipeline} gets {count} again")


def _tell(out: Output, value: Any, sentence: str) -> None:
    if out.as_json:
        out.json(value)
    else:
        out.say(sentence)


VERBS = (cancel, retry, pause, resume, replay)
