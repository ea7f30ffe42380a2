"""The Python front: a score written as Python, which becomes the same document that YAML does.

Standard library only, because the file that declares a pipeline is also the file that its worker
imports. Nothing is checked here; the reader of scores does that, for both fronts alike.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

_DEPTH_MAX = 50


class Asset(str):
    """The name of an asset, which can also be listened to."""

    @property
    def updated(self) -> dict[str, Any]:
        """Trigger: new versions of the asset."""
        return {"asset": self}

    def updated_when(self, condition: str) -> dict[str, Any]:
        """Trigger: new versions for which a CEL condition over `event` holds."""
        return {"asset": self, "when": condition}


class Event(str):
    """A type of event, which can also be listened to."""

    @property
    def received(self) -> dict[str, Any]:
        """Trigger: events of the type."""
        return {"event": self}

    def received_when(self, condition: str) -> dict[str, Any]:
        """Trigger: events for which a CEL condition over `event` holds."""
        return {"event": self, "when": condition}


class Score:
    """A declaration: what pipelines read, write and need, and why they start.

    Args:
        timezone: default time zone of schedules.
        classes: longest waits by class, as in the YAML form.

    Every method takes the keys of the YAML form as keyword arguments; one that is a word of Python
    is written with an underscore behind it: `class_="urgent"`. Lengths of time may be `timedelta`.
    """

    def __init__(self, name: str, *, timezone: str = "", classes: Mapping[str, Any] | None = None) -> None:
        file, line = _caller()
        head = _without_empty({"score": name, "timezone": timezone, "classes": classes})
        self._document: dict[str, Any] = {"file": file, "line": line, "head": _plain(head), "entries": []}

    def asset(self, name: str, **keys: Any) -> Asset:
        """Declare something that pipelines read and write."""
        self._add("assets", name, keys)
        return Asset(name)

    def event(self, name: str, **keys: Any) -> Event:
        """Declare a type of event; `schema` is a path beside the score, or the JSON Schema itself."""
        self._add("events", name, keys)
        return Event(name)

    def pool(self, name: str, slots: int, **keys: Any) -> str:
        """Declare a limited resource."""
        self._add("pools", name, {"slots": slots, **keys})
        return name

    def calendar(self, name: str, **keys: Any) -> str:
        """Declare days on which promises count, and windows of maintenance; `except_` is the key `except`."""
        self._add("calendars", name, keys)
        return name

    def team(self, name: str, weight: float) -> str:
        """Declare how large a team's share of the resources is, beside the weights of the other teams."""
        self._add("teams", name, {"weight": weight})
        return name

    def pipeline(self, *, name: str = "", **keys: Any) -> Callable[[Function], Function]:
        """Declare a pipeline whose one task calls the decorated function.

        The function is returned as it is. The first line of its docstring becomes the description.

        Args:
            name: of the pipeline; the function's name unless given.
        """
        place = _caller()

        def declare(function: Function) -> Function:
            if "<" in function.__qualname__:
                raise ValueError(f"{function.__qualname__} cannot be imported: define it at the top of the module")
            documentation = (function.__doc__ or "").strip().split("\n")[0]
            task = {"python": f"{function.__module__}:{function.__qualname__}"}
            described = {"description": documentation, "tasks": {"run": task}, **keys}
            self._add("pipelines", name or function.__name__, described, place)
            return function

        return declare

    def add_pipeline(self, name: str, **keys: Any) -> None:
        """Declare a pipeline of commands or other tasks: with `run=...` or `tasks={...}`, as in YAML."""
        self._add("pipelines", name, keys)

    def _add(self, section: str, name: str, keys: Mapping[str, Any], place: tuple[str, int] | None = None) -> None:
        file, line = place or _caller(2)
        value = _plain({key.rstrip("_"): value for key, value in _without_empty(keys).items()})
        entry = {"section": section, "name": str(name), "value": value, "file": file, "line": line}
        self._document["entries"].append(entry)


def export() -> None:
    """Import the score file named first on the command line, and write what it declares to the second.

    This runs in a process of its own, so that what the file does, prints or imports stays there.
    """
    path, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.write_text(json.dumps(_exported(path), ensure_ascii=False), encoding="utf-8")


def _exported(path: Path) -> dict[str, Any]:
    """The documents of a file's scores; or what went wrong, and where."""
    sys.path.insert(0, str(path.parent))
    try:
        # By its name, as the worker imports it: else its functions would belong to a module of another name.
        module = importlib.import_module(path.stem)
    except BaseException as error:  # whatever a score file raises is a mistake in it
        return _failure(error, path)
    if Path(module.__file__ or "").resolve() != path.resolve():
        return {"message": f"{path.stem!r} is the name of another module; give the file another name", "line": 1}
    scores = {id(value): value for value in vars(module).values() if isinstance(value, Score)}
    return {"documents": [score._document for score in scores.values()]}


def _failure(error: BaseException, path: Path) -> dict[str, Any]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    line = frames[-1].lineno if frames else 1
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno
    said = "".join(traceback.format_exception_only(error)).strip().split("\n")[-1]
    return {"message": f"the file raised {said}; see what `python {path.name}` says", "line": line or 1}


def _caller(above: int = 1) -> tuple[str, int]:
    """File and line of the code outside this module that called."""
    frame = sys._getframe(above + 1)
    return frame.f_code.co_filename, frame.f_lineno


def _without_empty(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that say something; None, "" and an empty tuple are what a parameter holds if not given."""
    return {key: value for key, value in keys.items() if value is not None and value != "" and value != ()}


def _plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON can hold it.

    Raises:
        TypeError, ValueError: it has no place in a score.
    """
    if depth > _DEPTH_MAX:
        raise ValueError(f"a score has at most {_DEPTH_MAX} levels")
    match value:
        case None | bool():
            return value
        case str():
            if "\0" in value or (not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value)):
                raise ValueError(f"{value!r} has characters that cannot be recorded")
            return str(value)
        case int() if value.bit_length() < 64:
            return int(value)
        case float() if math.isfinite(value):
            return value
        case timedelta():
            return f"{value // timedelta(milliseconds=1)}ms"
        case date():
            return value.isoformat()
        case time():
            return value.strftime("%H:%M")
        case Path():
            return str(value)
        case Mapping():
            return {str(key): _plain(inner, depth + 1) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner, depth + 1) for inner in value]
    raise TypeError(f"{value!r} cannot stand in a score; use text, numbers, lists, mappings or timedelta")
