"""Where the running server is: `.counterpoint/server.json` beside the score, which `up` writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

FOLDER = ".counterpoint"
DEFAULT_URL = "http://127.0.0.1:8700"


class Location(NamedTuple):
    """A server's URL, and the token that it asks for; "" for none."""

    url: str
    token: str = ""


def find_running(folder: Path) -> Location | None:
    """The server that `up` runs for the score in this folder; None if there is none."""
    try:
        written = json.loads((folder / FOLDER / "server.json").read_text())
        os.kill(written["pid"], 0)
        token_file = written.get("token_file")
        return Location(written["url"], Path(token_file).read_text() if token_file else "")
    except PermissionError:
        return None  # the process, or its token, is somebody else's
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_running(folder: Path, location: Location) -> None:
    """Note where this process serves. The token goes into a file that only we can read."""
    place = folder / FOLDER
    place.mkdir(mode=0o700, exist_ok=True)
    token_file = place / "token"
    token_file.unlink(missing_ok=True)
    if location.token:
        with os.fdopen(os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(location.token)
    written = {"url": location.url, "pid": os.getpid()}
    if location.token:
        written["token_file"] = str(token_file.absolute())
    draft = place / f"server.json.{os.getpid()}"
    draft.write_text(json.dumps(written) + "\n")
    draft.replace(place / "server.json")


def forget_running(folder: Path) -> None:
    """Remove the note of this process; one of another is left alone."""
    place = folder / FOLDER
    try:
        if json.loads((place / "server.json").read_text())["pid"] == os.getpid():
            (place / "server.json").unlink()
            (place / "token").unlink(missing_ok=True)
    except (OSError, ValueError, KeyError):
        return
