"""Scores written in Python: what the file declares, as nodes.

The file is run in a process of its own, because no user code runs in the engine: what it imports
would stay there, and what it does could end it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from counterpoint.tables.nodes import DEPTH_MAX, Node, locate
from counterpoint.tables.reading import Reading

_TIME_MAX_S = 60
_PROGRAM = "from counterpoint.front import export; export()"


class _Entry(Struct):
    """A thing that a score declares, and the call that did."""

    section: str
    name: str
    value: Any
    file: str
    line: int


class _Exported(Struct):
    """One `Score` of a file."""

    file: str
    line: int
    head: dict[str, Any]
    entries: list[_Entry]


class _Run(Struct):
    """What became of running a file, as `front.export` writes it: its scores, or what went wrong."""

    documents: list[_Exported] = field(default_factory=list)
    message: str = ""
    line: int = 1


def run_python(path: Path) -> str:
    """Run a score file; what it declares, or what went wrong, as JSON for `read_python`."""
    path = path.absolute()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "documents.json"
        # -P: a file of the folder must not stand in for a module of the library before ours are loaded.
        command = [sys.executable, "-P", "-B", "-c", _PROGRAM, str(path), str(output)]
        try:
            done = subprocess.run(
                command,
                cwd=path.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_TIME_MAX_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _failure(f"the file did not end within {_TIME_MAX_S} s; let it only declare")
        if done.returncode != 0 or not output.exists():
            said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
            advice = f"see what `python {path.name}` says"
            return _failure(f"its process ended with {done.returncode} ({said}); {advice}")
        return output.read_text(encoding="utf-8")


def read_python(text: str, name: str, folder: Path, reading: Reading) -> list[Node]:
    """Read what the `Score` objects of a file declare, one document each.

    Args:
        text: from `run_python`.
        name: the file as the user named it.
        folder: where it stands.

    Raises:
        Reported: running it failed, or it declares nothing.
    """
    try:
        run = msgspec.json.decode(text, type=_Run)
        unfit = next((why for document in run.documents if (why := _unfit(document))), "")
    except (msgspec.DecodeError, RecursionError) as error:
        unfit = str(error)
    if unfit:
        message = f"what a Python score declares was expected as JSON, this is not it ({unfit})"
        raise reading.refuse(Node(None, name, 1), f"{message}; send what `apply` sends", "unreadable")
    if run.message:
        message = f"a Python score was expected, {run.message}"
        raise reading.refuse(Node(None, name, run.line), message, "unreadable")
    if not run.documents:
        message = (
            "a `Score` at the top level of the module was expected, none was found; write `score = Score(...)`"
        )
        raise reading.refuse(Node(None, name, 1), message, "unreadable")
    return [_document(document, name, folder, reading) for document in run.documents]


def _failure(message: str) -> str:
    return msgspec.json.encode(_Run(message=message)).decode()


def _unfit(value: Any, depth: int = 0) -> str:
    """What in it no plan can hold; "" for nothing. `front` refuses the same, but others may have written it."""
    match value:
        case str() if "\0" in value:
            return "it has NUL characters"
        case int() if value.bit_length() > 63:
            return "it has numbers of more than 64 bits"
        case _Exported() | _Entry():
            return _unfit(msgspec.structs.astuple(value), depth)
        case dict():
            return _unfit([*value, *value.values()], depth)
        case list() | tuple() if depth < DEPTH_MAX:
            return next((why for inner in value if (why := _unfit(inner, depth + 1))), "")
        case list() | tuple():
            return f"it has more than {DEPTH_MAX} levels"
    return ""


def _document(exported: _Exported, name: str, folder: Path, reading: Reading) -> Node:
    """The same tree that the YAML reader would build, each entry at the line that declared it."""
    root = locate(exported.head, _shown(exported.file, name, folder), exported.line)
    sections: dict[str, Node] = {}
    for entry in exported.entries:
        node = locate(entry.value, _shown(entry.file, name, folder), entry.line, entry.name)
        entries = sections.setdefault(entry.section, Node({}, root.file, root.line, entry.section)).value
        first = entries.setdefault(entry.name, node)
        if first is not node:
            message = f"{entry.name!r} is declared again under `{entry.section}`, first at {first.where}"
            reading.add(node, f"{message}; keep one of them", "doubled-name")
    root.value.update(sections)
    return root


def _shown(file: str, name: str, folder: Path) -> str:
    """A file as the user would name it: relative to where the score was given."""
    return str(Path(name).parent / Path(file).relative_to(folder)) if Path(file).is_relative_to(folder) else file
