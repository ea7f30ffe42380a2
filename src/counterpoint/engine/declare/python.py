"""Scores written in Python: what the file declares, as nodes.

The file is run in a process of its own, because no user code runs in the engine: what it imports
would stay there, and what it does could end it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from counterpoint.engine.declare.document import Node, locate
from counterpoint.engine.declare.reading import Reading

_TIME_MAX_S = 60
_PROGRAM = "from counterpoint.front import export; export()"


def read_python(path: Path, reading: Reading) -> list[Node]:
    """Run a score file and read what its `Score` objects declare, one document each.

    Raises:
        Reported: it raised something, or declares nothing.
    """
    exported = _run(path.absolute())
    if "message" in exported:
        place = Node(None, str(path), exported["line"])
        message = f"a Python score was expected, {exported['message']}"
        raise reading.refuse(place, message, "unreadable")
    if not exported["documents"]:
        message = (
            "a `Score` at the top level of the module was expected, none was found; write `score = Score(...)`"
        )
        raise reading.refuse(Node(None, str(path), 1), message, "unreadable")
    return [_document(document, path, reading) for document in exported["documents"]]


def _run(path: Path) -> Any:
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
            return {"message": f"the file did not end within {_TIME_MAX_S} s; let it only declare", "line": 1}
        if done.returncode != 0 or not output.exists():
            said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
            advice = f"see what `python {path.name}` says"
            return {"message": f"its process ended with {done.returncode} ({said}); {advice}", "line": 1}
        return json.loads(output.read_bytes())


def _document(exported: dict[str, Any], path: Path, reading: Reading) -> Node:
    """The same tree that the YAML reader would build, each entry at the line that declared it."""
    root = locate(exported["head"], _shown(exported["file"], path), exported["line"])
    for entry in exported["entries"]:
        name, section = entry["name"], entry["section"]
        node = locate(entry["value"], _shown(entry["file"], path), entry["line"], name)
        entries = root.value.setdefault(section, Node({}, root.file, root.line, section)).value
        first = entries.setdefault(name, node)
        if first is not node:
            message = f"{name!r} is declared again under `{section}`, first at {first.where}; keep one of them"
            reading.add(node, message, "doubled-name")
    return root


def _shown(file: str, path: Path) -> str:
    """A file as the user would name it: relative to where the score was given."""
    folder = path.absolute().parent
    return str(path.parent / Path(file).relative_to(folder)) if Path(file).is_relative_to(folder) else file
