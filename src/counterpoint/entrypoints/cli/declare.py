"""Verbs around the score: write a first one, check it, declare it, print its format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from counterpoint.entrypoints.cli.options import client_for, with_folder, with_json, with_server, with_token
from counterpoint.entrypoints.cli.output import DIM, Output
from counterpoint.errors import Conflict, DeclarationError, Mistake

if TYPE_CHECKING:
    from counterpoint.analysis.critical_path import Outlook
    from counterpoint.model.plan import Plan

#: The score that `init` writes. It runs as it stands, on any system with a shell.
FIRST_SCORE = """\
# A first score. `counterpoint check` reads it, `counterpoint up` runs it.
score: first-steps

# What pipelines hand each other. A new version of one starts whoever listens to it.
assets:
  greetings: {description: "A file that grows by a line each time."}
  # What users may count on, kept by whoever writes it with `trigger: auto`:
  # report: {freshness: {within: 5m, target: 99%, over: 7d}}

pipelines:

  # Starts by the clock, and writes something.
  greet:
    trigger: {every: 20s}
    writes: [greetings]
    run: sh -c 'date "+hello at %H:%M:%S" >> greetings.txt'

  # Starts because of what happened upstream: no clock, no polling.
  count:
    trigger: {asset: greetings}
    reads: [greetings]
    run: wc -l greetings.txt
"""

files_argument = click.argument(
    "files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False), metavar="[FILE]..."
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), metavar="[FOLDER]")
@with_json
def init(folder: Path, as_json: bool) -> None:
    """Write a small score that runs as it stands."""
    out = Output(as_json=as_json)
    path = folder / "score.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(FIRST_SCORE)
    except FileExistsError as error:
        raise Conflict(
            "there is a score already; `counterpoint check` reads it", where=str(path), code="exists"
        ) from error
    except OSError as error:
        raise Mistake(
            f"the score cannot be written: {error.strerror}", where=str(path), code="unwritable"
        ) from error
    if out.as_json:
        out.json({"written": str(path)})
        return
    there = f"cd {folder} && " if folder != Path() else ""
    out.say(out.state("succeeded", f"{path} is written"))
    out.say()
    for command, what in (
        (f"{there}counterpoint check", "reads it and shows how its pipelines hang together"),
        ("counterpoint run greet", "runs one pipeline and waits for its end"),
        ("counterpoint up", "runs it all; Ctrl-C ends that"),
        ("counterpoint why count", "in another terminal, says why it is as it is"),
    ):
        out.say(f"  {command:<{len(there) + 24}}", _dim(what))


@click.command()
@files_argument
@with_json
def check(files: tuple[Path, ...], as_json: bool) -> int:
    """Check a score; print every mistake in it at once.

    What is only doubtful, such as a promise that a slow clock may break, is a warning and refuses nothing.
    """
    from counterpoint.adapters.tools import standard_tools
    from counterpoint.analysis.critical_path import outlooks
    from counterpoint.engine.declare import check as check_files

    out = Output(as_json=as_json)
    try:
        checked = check_files(files_of(files, Path()), standard_tools())
    except DeclarationError as error:
        tell_mistakes([plain(each) for each in error.mistakes], as_json=as_json)
        return 2
    plan = checked.plan
    promises = outlooks(plan)
    if out.as_json:
        import msgspec

        document = {"ok": True, "digest": plan.digest, "plan": msgspec.to_builtins(plan)}
        warnings = [plain(each) for each in checked.warnings]
        out.json(document | {"promises": [_promise(each) for each in promises], "warnings": warnings})
    else:
        _summarize(plan, out)
        _tell_promises(plan, promises, out)
        tell_warnings([plain(each) for each in checked.warnings])
    return 0


@click.command()
@files_argument
@click.option("--dry-run", is_flag=True, help="Only show the difference.")
@click.option("--commit", metavar="REVISION", help="The revision of the code; git is asked for it unless given.")
@with_server
@with_token
@with_folder
@with_json
def apply(
    files: tuple[Path, ...],
    dry_run: bool,
    commit: str | None,
    server: str | None,
    token: str,
    folder: Path,
    as_json: bool,
) -> None:
    """Declare a score to the running server.

    The files are the whole plan: what they do not name is removed. The server reads them, and
    the schemas that they name, from the folders they stand in.
    """
    import msgspec

    from counterpoint.engine.declare import read_files

    out, client = Output(as_json=as_json), client_for(server, token, folder)
    files = files_of(files, folder)
    scores = msgspec.to_builtins(read_files(files))
    revision = revision_of(files) if commit is None else commit
    declared = client.post("plan", {"scores": scores}, dry_run=str(dry_run).lower(), commit=revision or None)
    if out.as_json:
        out.json(declared)
        return
    tell_difference(declared, out)
    if not declared["changed"]:
        out.say("nothing changes: the server has this plan already")
    elif dry_run:
        out.say(_dim("nothing is declared yet; the same without --dry-run declares it"))
    else:
        out.say(out.state("succeeded", f"plan {declared['digest'][:8]} is in force"))


@click.command()
@with_json
def schema(as_json: bool) -> None:
    """Print the JSON Schema of a score, for editors."""
    from counterpoint.adapters.tools import standard_tools
    from counterpoint.engine.declare import schema as schema_of

    print(json.dumps(schema_of(standard_tools()), indent=None if as_json else 2, ensure_ascii=False))


VERBS = (init, check, apply, schema)


def files_of(files: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """The files that were named, else the folder's `score.yaml`."""
    if files:
        return tuple(files)
    usual = folder / "score.yaml"
    if not usual.exists():
        where = f"in {folder}" if folder != Path() else "in this folder"
        raise Mistake(
            f"there is no score.yaml {where}; `counterpoint init` writes one, or name a FILE", code="no-score"
        )
    return (usual,)


def read_plan(files: Sequence[Path], folder: Path = Path()) -> Plan:
    """The plan that these files declare; the folder's `score.yaml` unless any is named.

    Raises:
        DeclarationError: with every mistake.
    """
    from counterpoint.adapters.tools import standard_tools
    from counterpoint.engine.declare import declare

    return declare(files_of(files, folder), standard_tools())


def plain(mistake: Mistake) -> dict[str, str]:
    """A mistake as the API writes it."""
    return {"code": mistake.code, "message": mistake.message, "where": mistake.where}


def tell_mistakes(mistakes: Sequence[dict[str, str]], *, as_json: bool) -> None:
    """Print every mistake of a refused declaration, each with its place."""
    if as_json:
        print(json.dumps({"ok": False, "mistakes": list(mistakes)}))
        return
    for mistake in mistakes:
        place = click.style(f"{mistake['where']}: ", fg="cyan") if mistake.get("where") else ""
        click.echo(f"{place}{mistake['message']} {click.style('[' + mistake['code'] + ']', dim=True)}", err=True)
    count = f"{len(mistakes)} mistake{'s' if len(mistakes) != 1 else ''}"
    click.echo(
        f"\n{click.style(count, fg='red', bold=True)}; nothing is changed by a score with mistakes", err=True
    )


def tell_warnings(warnings: Sequence[dict[str, str]]) -> None:
    """Print what may not be meant in a score, each with its place."""
    for warning in warnings:
        place = click.style(f"{warning['where']}: ", fg="cyan") if warning.get("where") else ""
        sign = click.style("warning: ", fg="yellow")
        click.echo(
            f"{place}{sign}{warning['message']} {click.style('[' + warning['code'] + ']', dim=True)}", err=True
        )


def tell_difference(declared: dict[str, Any], out: Output) -> None:
    """Print what a declaration adds, removes and alters."""
    from rich.text import Text

    for field, sign, style in (("added", "+", "green"), ("removed", "-", "red"), ("altered", "~", "yellow")):
        for kind, names in declared[field].items():
            for name in names:
                out.say(Text(f"{sign} ", style), Text(f"{kind.removesuffix('s')} ", DIM), name)


def revision_of(files: Sequence[Path]) -> str:
    """The commit of the score's folder, marked `+` if there is more than it; "" where git knows none."""
    import subprocess

    folder = files[0].absolute().parent if files else Path.cwd()
    try:
        asked = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _summarize(plan: Plan, out: Output) -> None:
    from counterpoint.entrypoints.cli.links import lines

    counts = [
        f"{len(found)} {kind if len(found) != 1 else kind.removesuffix('s')}"
        for kind, found in (
            ("pipelines", plan.pipelines),
            ("assets", plan.assets),
            ("events", plan.events),
            ("pools", plan.pools),
        )
        if found
    ]
    out.say(out.state("succeeded", f"{plan.name} is right: "), ", ".join(counts) or "nothing in it yet")
    if plan.pipelines:
        out.say()
    _say_all(lines(plan), out)


#: What can be said of a promise on an empty system -> the state whose colour it has.
_VERDICTS = {"holds": "succeeded", "unknown": "idle", "doubtful": "pending", "impossible": "failed"}


def _tell_promises(plan: Plan, promises: Sequence[Outlook], out: Output) -> None:
    """What is promised, of which sources, and whether it can hold on an empty system."""
    if not promises:
        return
    rows = [
        (
            each.asset,
            _worded(plan, each),
            ", ".join(_source(source) for source in each.sources),
            out.state(_VERDICTS[each.verdict], each.verdict),
            str(each.way or ""),
        )
        for each in promises
    ]
    out.say()
    out.table(("asset", "promise", "sources", "verdict", "longest way"), rows)


def _worded(plan: Plan, outlook: Outlook) -> str:
    from counterpoint.model.promise import Freshness
    from counterpoint.model.quantity import format_duration

    asset = plan.assets[outlook.asset]
    promise = asset.freshness if outlook.kind == "freshness" else asset.completion
    assert promise is not None, "an outlook is of a promise"
    aim = f"within {format_duration(promise.within)}" if isinstance(promise, Freshness) else f"by {promise.by}"
    return f"{aim}, {promise.target * 100:.6g}% over {format_duration(promise.over)}"


def _source(source: str) -> str:
    """A source in short: an asset by its name, others with their kind."""
    kind, _, name = source.partition(":")
    return name if kind == "asset" else f"{kind} {name}"


def _promise(outlook: Outlook) -> dict[str, Any]:
    """What can be said of a promise, as JSON."""
    way = outlook.way
    return {
        "asset": outlook.asset,
        "kind": outlook.kind,
        "sources": outlook.sources,
        "path": [step.pipeline for step in way.steps] if way else [],
        "path_s": way.takes.total_seconds() if way else None,
        "unknown": outlook.unknown,
        "verdict": outlook.verdict,
    }


def _say_all(found: Iterable[Any], out: Output) -> None:
    for line in found:
        out.say(line)


def _dim(text: str) -> Any:
    from rich.text import Text

    return Text(text, DIM)
