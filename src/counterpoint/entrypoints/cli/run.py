"""The verb that runs a pipeline and waits for its end."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from counterpoint.entrypoints.cli.client import Client, Refused, name_path, run_path
from counterpoint.entrypoints.cli.location import find_running
from counterpoint.entrypoints.cli.options import (
    client_for,
    with_folder,
    with_json,
    with_reason,
    with_server,
    with_token,
)
from counterpoint.entrypoints.cli.output import DIM, ENDED, Output
from counterpoint.entrypoints.cli.story import tell
from counterpoint.model.quantity import format_duration, parse_duration

if TYPE_CHECKING:
    from rich.text import Text

#: Lines of a failed task's log that are shown with the failure.
_LOG_LINES = 12


@click.command()
@click.argument("pipeline")
@click.option("--param", "-p", "params", multiple=True, metavar="KEY=VALUE", help="A parameter; may be repeated.")
@click.option("--partition", default="", help="The slice of data to cover.")
@click.option("--key", default="", help="The batch key to run for.")
@click.option(
    "--lane",
    type=click.Choice(["live", "backfill"]),
    default="live",
    help="A backfill makes up for the past: it comes after all live work.",
)
@click.option("--takes", metavar="DURATION", help="How long it is expected to take, where you know better.")
@click.option("--deadline", metavar="TIME", help="When it should have ended: an ISO time (UTC), or `2h` from now.")
@click.option("--request", default="", metavar="ID", help="The same ID again is the same run.")
@click.option("--no-wait", is_flag=True, help="Return when the run is accepted.")
@with_reason
@with_server
@with_token
@with_folder
@with_json
def run(
    pipeline: str,
    params: tuple[str, ...],
    partition: str,
    key: str,
    lane: str,
    takes: str | None,
    deadline: str | None,
    request: str,
    no_wait: bool,
    reason: str,
    server: str | None,
    token: str,
    folder: Path,
    as_json: bool,
) -> int:
    """Run a pipeline and wait for its end; exit 1 if it failed.

    With a score in this folder and no server running, it is run right here.
    """
    out = Output(as_json=as_json)
    body: dict[str, Any] = {
        "params": _params(params),
        "partition": partition,
        "key": key,
        "reason": reason,
        "lane": lane,
    }
    body |= {"takes_s": _length(takes).total_seconds()} if takes else {}
    body |= {"deadline": _moment(deadline).isoformat()} if deadline else {}
    headers = {"Idempotency-Key": request} if request else {}
    with ExitStack() as stack:
        if server is None and find_running(folder) is None and (folder / "score.yaml").is_file():
            if no_wait:
                raise click.UsageError("--no-wait needs a server that goes on: start one with `counterpoint up`")
            from counterpoint.entrypoints.cli.hosting import hosted_in_thread

            client = stack.enter_context(hosted_in_thread(folder))
        else:
            client = client_for(server, token, folder)

        seen = client.get("status")["facts"]
        started = client.post(f"{name_path('pipelines', pipeline)}/run", body, headers=headers)["run"]
        if no_wait:
            if out.as_json:
                out.json({"run": started})
            else:
                out.say(f"{started} is accepted; `counterpoint show {started}` says how it goes")
            return 0
        phase = _follow(client, started, seen, out)
        report = client.get(run_path(started))
        if out.as_json:
            out.json(report)
        elif phase == "failed":
            _tell_failure(client, report, out)
        return 0 if phase == "succeeded" else 1


VERBS = (run,)


def _length(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"--takes: {error}") from error


def _moment(text: str) -> datetime:
    """An ISO time, in UTC where it names no zone; or a length of time from now."""
    with suppress(ValueError):
        return datetime.now(UTC) + parse_duration(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"--deadline takes a time such as 2026-01-31T06:00 or a duration such as 2h, {text!r} was given"
        raise click.UsageError(message) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _follow(client: Client, run: str, seen: int, out: Output) -> str:
    """Tell what happens to the run until it has ended; how it ended."""
    began = time.monotonic()
    with ExitStack() as stack:
        if out.on_terminal:
            stack.enter_context(out.console.status(_Elapsed(run, began), spinner="dots", spinner_style="cyan"))
        for sent in client.watch("stream", run=run, after=seen):
            if sent.data is None or not sent.data:
                # Nothing was said for a while. The end may have been said in a gap of the stream.
                phase = client.get(run_path(run))["phase"]
                if phase in ENDED:
                    return str(phase)
                continue
            line = None if out.as_json else tell(sent.data, about=run)
            if line is not None:
                out.line(line)
            if sent.data["kind"] == "FinishRun":
                return str(sent.data["fact"]["phase"])
    raise AssertionError("unreachable: `watch` ends only by an error")


class _Elapsed:
    """`load#4 has been going on for 12s`, reckoned whenever it is drawn."""

    def __init__(self, run: str, began: float) -> None:
        self.run, self.began = run, began

    def __rich__(self) -> Text:
        from datetime import timedelta

        from rich.text import Text

        length = format_duration(timedelta(seconds=int(time.monotonic() - self.began)))
        return Text(f"{self.run}  {length}", DIM)


def _tell_failure(client: Client, report: dict[str, Any], out: Output) -> None:
    """The last words of what failed, and where to read on."""
    from rich.text import Text

    attempts = client.get("attempts", run=report["run"], limit=100)["rows"]
    failed = next((attempt for attempt in attempts if attempt["phase"] not in ("succeeded", "running")), None)
    if failed is not None:
        lines = _last_lines(client, failed)
        if lines:
            out.say()
            out.say(Text(f"the last lines of {failed['attempt']}:", DIM))
            for line in lines:
                out.say(Text("│ ", "red"), line)
        out.say()
        if lines:
            out.say(f"`counterpoint logs {report['run']}` shows all of it,")
    out.say(f"`counterpoint retry {report['run']}` goes on from what failed")


def _last_lines(client: Client, attempt: dict[str, Any]) -> list[str]:
    """The end of an attempt's log; nothing where it has none, because it could not even be started."""
    path = f"{run_path(attempt['run'])}/logs"
    try:
        pieces = b"".join(client.text(path, task=attempt["task"], attempt=attempt["number"]))
    except Refused as refusal:
        if refusal.code == "gone":
            return []
        raise
    return pieces.decode(errors="replace").splitlines()[-_LOG_LINES:]


def _params(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Parameters as typed: values are JSON where they are some, else text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--param KEY=VALUE was expected, {pair!r} was found")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found
