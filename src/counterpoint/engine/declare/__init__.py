"""Declare: from the files of a score to a plan, with every mistake at once.

The way of a score: text -> nodes with their places (`yaml.py`, `python.py`) -> values by the tables
of the format (`format/`, made of `counterpoint.tables`) -> a plan, checked as a whole (`links.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from counterpoint.engine.declare.format import score_format
from counterpoint.engine.declare.links import check_links
from counterpoint.engine.declare.notations import is_timezone
from counterpoint.engine.declare.pages import reference, schema
from counterpoint.engine.declare.promises import check_limits, check_promises
from counterpoint.engine.declare.python import read_python, run_python
from counterpoint.engine.declare.yaml import read_yaml
from counterpoint.errors import DeclarationError, Mistake
from counterpoint.model.plan import DEFAULT_WAITS, Asset, Plan
from counterpoint.model.promise import Calendar
from counterpoint.ports.tool import Tool
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading, Reported

__all__ = [
    "Checked",
    "ScoreText",
    "check",
    "declare",
    "declare_scores",
    "declare_text",
    "read_files",
    "reference",
    "schema",
]

#: Sections whose names are unique over all files of a plan.
_SECTIONS = ("pools", "events", "assets", "pipelines", "classes", "calendars", "teams")


class ScoreText(Struct, frozen=True, forbid_unknown_fields=True):
    """A score apart from its file, so that another process can read it.

    Attributes:
        name: the file as the user named it, for the places of mistakes.
        folder: the folder it stands in, as an absolute path on the machine of the engine. Tasks run
            there, and schemas that are named by a path are read from there.
        text: what the file holds; for a name that ends with `.py`, what the file declared when it was
            run, as JSON (`python.run_python`).
    """

    name: str
    folder: str
    text: str


class Checked(Struct, frozen=True):
    """A plan, and what may not be meant in its score, in the order of the files."""

    plan: Plan
    warnings: tuple[Mistake, ...]


class _Document(Struct):
    """A score as it was written, with the folder its tasks run in."""

    root: Node
    folder: Path


def declare(paths: Sequence[Path], tools: Mapping[str, Tool]) -> Plan:
    """Read score files, YAML or Python, as one plan.

    Args:
        tools: key of a task -> the tool that carries it out.

    Raises:
        DeclarationError: something is wrong; it carries every mistake, in the order of the files.
    """
    return check(paths, tools).plan


def check(paths: Sequence[Path], tools: Mapping[str, Tool]) -> Checked:
    """Read score files as `declare` does; the plan with what is doubtful about it.

    Raises:
        DeclarationError: as for `declare`.
    """
    reading = Reading()
    documents: list[_Document] = []
    for path in paths:
        reading.files.append(str(path))
        with suppress(Reported):
            documents += _documents(_load(path, reading), reading)
    plan = _plan(documents, tools, reading)
    return Checked(plan, tuple(reading.warnings))


def read_files(paths: Sequence[Path]) -> list[ScoreText]:
    """The scores in these files, for `declare_scores` elsewhere. Python files are run, nothing is checked.

    Raises:
        DeclarationError: a file cannot be read.
    """
    reading = Reading()
    scores = []
    for path in paths:
        with suppress(Reported):
            scores.append(_load(path, reading))
    if reading.mistakes:
        raise DeclarationError(reading.mistakes)
    return scores


def declare_scores(scores: Sequence[ScoreText], tools: Mapping[str, Tool]) -> Plan:
    """Read scores as one plan, as `declare` reads their files.

    Raises:
        DeclarationError: as for `declare`.
    """
    reading = Reading()
    documents: list[_Document] = []
    for score in scores:
        reading.files.append(score.name)
        with suppress(Reported):
            _check_place(score, reading)
            documents += _documents(score, reading)
    return _plan(documents, tools, reading)


def declare_text(text: str, *, name: str = "score.yaml", folder: Path, tools: Mapping[str, Tool]) -> Plan:
    """Read one score from text, as if it stood in a file of that name in that folder.

    Raises:
        DeclarationError: as for `declare`.
    """
    reading = Reading()
    documents: list[_Document] = []
    with suppress(Reported):
        documents = _documents(ScoreText(name, str(folder.absolute()), text), reading)
    return _plan(documents, tools, reading)


def _load(path: Path, reading: Reading) -> ScoreText:
    place = Node(None, str(path), 1)
    try:
        raw = path.read_bytes()
    except OSError as error:
        message = f"a score was expected, the file cannot be read ({error.strerror}); check path and permissions"
        raise reading.refuse(place, message, "unreadable") from error
    folder = str(path.absolute().parent)
    if path.suffix == ".py":
        return ScoreText(str(path), folder, run_python(path))
    try:
        return ScoreText(str(path), folder, raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        place.line = raw.count(b"\n", 0, error.start) + 1
        message = "text in UTF-8 was expected, other bytes were found; save the file as UTF-8"
        raise reading.refuse(place, message, "unreadable") from error


def _check_place(score: ScoreText, reading: Reading) -> None:
    """Refuse a score whose folder is not here, as when it comes from another machine."""
    if "\0" in score.name + score.folder:
        raise reading.refuse(Node(None, "", 1), "names without NUL characters were expected", "unreadable")
    if not Path(score.folder).is_absolute() or not Path(score.folder).is_dir():
        message = (
            f"an absolute path of a folder on the engine's machine was expected, {score.folder!r} was found; "
            "declare the score where its engine runs"
        )
        raise reading.refuse(Node(None, score.name, 1), message, "unreadable")


def _documents(score: ScoreText, reading: Reading) -> list[_Document]:
    folder = Path(score.folder)
    if score.name.endswith(".py"):
        return [_Document(root, folder) for root in read_python(score.text, score.name, folder, reading)]
    return [_Document(read_yaml(score.text, score.name, reading), folder)]


def _plan(documents: Sequence[_Document], tools: Mapping[str, Tool], reading: Reading) -> Plan:
    form = score_format(tools)
    declared = _declared(documents, reading)
    scores: list[dict[str, Any]] = []
    for document in documents:
        reading.folder, reading.timezone = document.folder, _timezone(document.root)
        try:
            scores.append(form.read(document.root, reading))
        except Reported:
            continue
    sections = {name: _merged(name, scores) for name in _SECTIONS}
    plan = Plan(
        name=_name(documents, scores),
        timezone=_timezone(documents[0].root) if documents else "UTC",
        pools=sections["pools"],
        events=sections["events"],
        assets={name: _in_zone(asset, sections["calendars"]) for name, asset in sections["assets"].items()},
        pipelines=sections["pipelines"],
        waits=DEFAULT_WAITS | sections["classes"],
        calendars=sections["calendars"],
        teams=sections["teams"],
    )
    # Of a part of a score, a promise would be told what is not so.
    is_read = not reading.mistakes
    check_links(plan, declared, reading)
    if is_read:
        check_limits(plan, declared, reading)
    if is_read and not any(mistake.code in ("unknown-name", "cycle") for mistake in reading.mistakes):
        check_promises(plan, declared, reading)
    if reading.mistakes:
        raise DeclarationError(reading.mistakes)
    return plan


def _declared(documents: Sequence[_Document], reading: Reading) -> dict[str, dict[str, Node]]:
    """Section -> name -> where it is declared first; a name that is declared again is a mistake."""
    declared: dict[str, dict[str, Node]] = {section: {} for section in _SECTIONS}
    for document in documents:
        for section, names in declared.items():
            for name, node in document.root.at(section).members.items():
                first = names.setdefault(name, node)
                if first is not node:
                    message = f"{name!r} stands under `{section}` again, first at {first.where}; keep one of them"
                    reading.add(node, message, "doubled-name")
    return declared


def _merged(section: str, scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for score in scores:
        for name, value in score.get(section, {}).items():
            merged.setdefault(name, value)
    return merged


def _in_zone(asset: Asset, calendars: Mapping[str, Calendar]) -> Asset:
    """An asset whose times of day are local where its calendar's days are."""
    promise = asset.completion
    calendar = calendars.get(promise.calendar) if promise else None
    if promise is None or calendar is None:
        return asset
    return replace(asset, completion=replace(promise, timezone=calendar.timezone))


def _name(documents: Sequence[_Document], scores: Sequence[dict[str, Any]]) -> str:
    names = [score["score"] for score in scores if score.get("score")]
    if not names:
        names = [Path(document.root.file).stem for document in documents]
    return "+".join(dict.fromkeys(names))


def _timezone(root: Node) -> str:
    """The score's default time zone, known before its schedules are read."""
    name = root.at("timezone").value
    return name if isinstance(name, str) and is_timezone(name) else "UTC"
