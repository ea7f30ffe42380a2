"""The verb that runs a score: engine, worker host and API, until it is told to end."""

from __future__ import annotations

from pathlib import Path

import click

from counterpoint.entrypoints.cli.options import with_folder
from counterpoint.entrypoints.cli.output import Output


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False), metavar="[FILE]...")
@click.option(
    "--listen", default="127.0.0.1:8700", show_default=True, metavar="HOST:PORT", help="Where the API is."
)
@click.option("--store", default="", metavar="URL", envvar="COUNTERPOINT_STORE", help="Where facts are kept.")
@click.option(
    "--token", default="", metavar="TOKEN", envvar="COUNTERPOINT_TOKEN", help="Ask every caller for this token."
)
@click.option(
    "--name", "names", multiple=True, metavar="HOST[:PORT]", help="A host name we are addressed by, too."
)
@click.option("--drain", is_flag=True, help="When told to end, wait for what runs; else it runs on without us.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but what goes wrong.")
@with_folder
@click.option("--json", "as_json", is_flag=True, help="Print the log as JSON, a fact a line.")
def up(
    files: tuple[Path, ...],
    listen: str,
    store: str,
    token: str,
    names: tuple[str, ...],
    drain: bool,
    quiet: bool,
    folder: Path,
    as_json: bool,
) -> None:
    """Run a score: engine, worker host and API.

    The files are the whole plan; without any it is score.yaml. SIGTERM or Ctrl-C ends it within
    5 s; what runs is left running, and found again at the next start.
    """
    import asyncio
    import logging

    from counterpoint.entrypoints.api.server import Listener
    from counterpoint.entrypoints.api.settings import ApiSettings
    from counterpoint.entrypoints.cli.declare import files_of, read_plan
    from counterpoint.entrypoints.cli.serving import Up

    files = files_of(files, folder)
    plan = read_plan(files)
    settings = ApiSettings(token=token, names=names)
    listener = Listener(*_address(listen), settings)

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    async def serve() -> None:
        await Up(plan, files, Output(as_json=as_json), quiet=quiet).run(
            listener, settings, store=store, drain=drain
        )

    asyncio.run(serve())


VERBS = (up,)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise click.UsageError(f"--listen HOST:PORT was expected, {listen!r} was found")
    return host or "127.0.0.1", int(port)
