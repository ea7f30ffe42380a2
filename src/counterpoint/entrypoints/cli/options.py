"""What verbs have in common: which server they ask, and how they tell the answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from counterpoint.entrypoints.cli.client import Client
from counterpoint.entrypoints.cli.location import DEFAULT_URL, find_running
from counterpoint.entrypoints.cli.output import Output

Verb = TypeVar("Verb", bound=Callable[..., Any])

with_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
with_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The folder of the score, if it is not this one.",
)
with_server = click.option("--server", metavar="URL", envvar="COUNTERPOINT_URL", help="The server to ask.")
with_token = click.option(
    "--token", metavar="TOKEN", envvar="COUNTERPOINT_TOKEN", default="", help="The token it asks for."
)
with_reason = click.option("--reason", "-m", metavar="TEXT", default="", help="Why; it is recorded.")


def client_for(server: str | None, token: str, folder: Path) -> Client:
    """A client of the server named, else of the one that runs for this folder, else of the usual one."""
    if server:
        return Client(server, token)
    running = find_running(folder)
    if running is not None:
        return Client(running.url, token or running.token)
    return Client(DEFAULT_URL, token)


def asks_server(verb: Verb) -> Callable[..., Any]:
    """Give a verb a `client` and an `out`, and the options that they are made from."""

    @with_server
    @with_token
    @with_folder
    @with_json
    @wraps(verb)
    def asking(*args: Any, server: str | None, token: str, folder: Path, as_json: bool, **more: Any) -> Any:
        return verb(*args, client=client_for(server, token, folder), out=Output(as_json=as_json), **more)

    return asking
