"""What may stand under a tool's key, as one table per tool: its reader and its JSON Schema come from it.

A *kind* says what one value may be. It reads a node of the score into a setting that JSON can
hold (durations become seconds, sizes bytes) and notes every mistake it finds; and it writes the
same rule as JSON Schema. Records are made of fields, and fields of kinds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Protocol

from counterpoint.model.quantity import parse_duration, parse_size
from counterpoint.ports.tool import SpecMistake

Path = tuple[str | int, ...]


class Later(ValueError):
    """What was found is known, and a later release acts on it."""


class Kind(Protocol):
    """What one value may be."""

    def takes(self, node: Any) -> bool:
        """Whether the node has this kind's outer shape, so that its mistakes are worth telling."""
        ...

    def expected(self) -> str:
        """What it is, as a phrase for a message."""
        ...

    def read(self, node: Any, path: Path, mistakes: list[SpecMistake]) -> Any:
        """The setting; with mistakes, whatever is handy."""
        ...

    def schema(self) -> dict[str, Any]:
        """The rule as JSON Schema."""
        ...


@dataclass(frozen=True)
class Scalar:
    """A plain value: `words` say what it is, `convert` turns it into the setting or raises ValueError."""

    words: str
    types: tuple[type, ...]
    rule: Mapping[str, Any]
    convert: Callable[[Any], Any] = lambda value: value

    def takes(self, node: Any) -> bool:
        """True and false are numbers to Python, and not to a person."""
        return isinstance(node, self.types) and (bool in self.types or not isinstance(node, bool))

    def expected(self) -> str:
        """The words it was made with."""
        return self.words

    def read(self, node: Any, path: Path, mistakes: list[SpecMistake]) -> Any:
        """Convert the value; one of a wrong type or form is a mistake."""
        if not self.takes(node):
            mistakes.append(_unexpected(self, node, path))
            return None
        try:
            return self.convert(node)
        except ValueError as error:
            mistakes.append(
                SpecMistake(path, str(error), "not-yet" if isinstance(error, Later) else "wrong-value")
            )
            return None

    def schema(self) -> dict[str, Any]:
        """The rule it was made with."""
        return dict(self.rule)


def text() -> Scalar:
    """Any text but an empty one."""
    return Scalar("a text", (str,), {"type": "string", "minLength": 1}, _not_empty)


def choice(*values: str) -> Scalar:
    """One of some words."""

    def one_of(value: str) -> str:
        if value in values:
            return value
        near = get_close_matches(value, values, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise ValueError(f"{_listed(values, 'or')} was expected, `{value}` was found{hint}")

    return Scalar(_listed(values, "or"), (str,), {"enum": list(values)}, one_of)


def matching(pattern: str, words: str) -> Scalar:
    """A text of a given form."""

    def match(value: str) -> str:
        if re.fullmatch(pattern, value):
            return value
        raise ValueError(f"{words} was expected, {value!r} was found")

    return Scalar(words, (str,), {"type": "string", "pattern": f"^({pattern})$"}, match)


def converted(convert: Callable[[str], Any], words: str) -> Scalar:
    """A text that another reader understands."""
    return Scalar(words, (str,), {"type": "string", "description": words}, convert)


def integer(minimum: int, maximum: int) -> Scalar:
    """A whole number within bounds."""

    def within(value: int) -> int:
        if minimum <= value <= maximum:
            return value
        raise ValueError(f"a number from {minimum} to {maximum} was expected, {value} was found")

    return Scalar("a whole number", (int,), {"type": "integer", "minimum": minimum, "maximum": maximum}, within)


FLAG = Scalar("true or false", (bool,), {"type": "boolean"})
NUMBER = Scalar("a number", (int, float), {"type": "number"})
DURATION = converted(lambda value: parse_duration(value).total_seconds(), "a duration such as 30s, 5m or 1h30m")
SIZE = converted(parse_size, "a size such as 512MB or 2GiB")


@dataclass(frozen=True)
class Anything:
    """Any JSON value."""

    def takes(self, node: Any) -> bool:
        """Everything."""
        return True

    def expected(self) -> str:
        """Said in no message, as nothing is refused."""
        return "any value"

    def read(self, node: Any, path: Path, mistakes: list[SpecMistake]) -> Any:
        """The node, without the reader's own types."""
        if isinstance(node, Mapping):
            return {str(name): self.read(value, (*path, str(name)), mistakes) for name, value in node.items()}
        if _is_list(node):
            return [self.read(value, (*path, number), mistakes) for number, value in enumerate(node)]
        return node

    def schema(self) -> dict[str, Any]:
        """The schema that everything satisfies."""
        return {}


@dataclass(frozen=True)
class Either:
    """One of several kinds of different shape; the first whose shape the node has reads it."""

    kinds: tuple[Kind, ...]

    def takes(self, node: Any) -> bool:
        """Whether one of them does."""
        return any(kind.takes(node) for kind in self.kinds)

    def expected(self) -> str:
        """All of them."""
        return _listed([kind.expected() for kind in self.kinds], "or", quoted=False)

    def read(self, node: Any, path: Path, mistakes: list[SpecMistake]) -> Any:
        """What the kind of that shape reads."""
        for kind in self.kinds:
            if kind.takes(node):
                return kind.read(node, path, mistakes)
        mistakes.append(_unexpected(self, node, path))
        return None

    def schema(self) -> dict[str, Any]:
        """Any of them."""
        return {"anyOf": [kind.schema() for kind in self.kinds]}


@dataclass(frozen=True)
class Many:
    """A list of one kind; with `single`, one value may stand there without a list."""

    item: Kind
    single: bool = False

    def takes(self, node: Any) -> bool:
        """A list, or a single value where that may stand for one."""
        return _is_list(node) or (self.single and self.item.takes(node))

    def expected(self) -> str:
        """The item's words, and that it may be a list of them."""
        return f"{self.item.expected()} or a list" if self.single else "a list"

    def read(self, node: Any, path: Path, mistakes: list[SpecMistake]) -> Any:
        """The list of settings, which must not be empty."""
        if not _is_list(node):
            if self.single and self.item.takes(node):
                return [self.item.read(node, path, mistakes)]
            mistakes.append(_unexpected(self, node, path))
            return []
        if not node:
            mistakes.append(SpecMistake(path, "a list of at least one was expected, an empty one was found"))
        return [self.item.read(value, (*path, number), mistakes) for number, value in enumerate(node)]

    def schema(self) -> dict[str, Any]:
        """A list, or one item where that may stand for it."""
        rule: dict[str, Any] = {"type": "array", "items": self.item.schema(), "minItems": 1}
        return {"anyOf": [self.item.schema(), rule]} if self.single else rule


@dataclass(frozen=True)
class MapOf:
    """A mapping from any name to one kind."""

    value: Kind

    def takes(self, node: Any) -> bool:
        """Any mapping."""
        return isinstance(node, Mapping)

    def expected(self) -> str:
        """Its shape."""
        return "a mapping"

    def read(self, node: Any, path: Path, mistakes: list[SpecMistake]) -> Any:
        """Name -> setting."""
        if not isinstance(node, Mapping):
            mistakes.append(_unexpected(self, node, path))
            return {}
        return {str(name): self.value.read(value, (*path, str(name)), mistakes) for name, value in node.items()}

    def schema(self) -> dict[str, Any]:
        """An object whose values all follow one rule."""
        return {"type": "object", "additionalProperties": self.value.schema()}


@dataclass(frozen=True)
class Field:
    """One key of a record. Without a default, a key that is not given is not in the settings either."""

    kind: Kind
    help: str
    required: bool = False
    default: Any = None


@dataclass(frozen=True)
class Record:
    """A mapping with known keys.

    Attributes:
        short: a node that is no mapping is read as this key alone.
        one_of: exactly one of these keys must be there.
        together: key -> keys it cannot do without.
        belongs: key -> keys of which one must be there for it to make sense.
    """

    fields: Mapping[str, Field]
    short: str = ""
    one_of: tuple[str, ...] = ()
    together: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    belongs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def takes(self, node: Any) -> bool:
        """A mapping, or what its short form takes."""
        return isinstance(node, Mapping) or (self.short != "" and self.fields[self.short].kind.takes(node))

    def expected(self) -> str:
        """Its short form, then its shape."""
        short = f"{self.fields[self.short].kind.expected()} or " if self.short else ""
        keys = f" with {_listed(list(self.fields), 'and')}" if len(self.fields) < 5 else ""
        return f"{short}a mapping{keys}"

    def read(self, node: Any, path: Path, mistakes: list[SpecMistake]) -> Any:
        """Key -> setting, defaults filled in."""
        if not self.takes(node):
            mistakes.append(_unexpected(self, node, path))
            return {}
        if isinstance(node, Mapping):
            values = self._read_fields(node, path, mistakes)
            self._check_keys(node, path, mistakes)
        else:
            values = {self.short: self.fields[self.short].kind.read(node, path, mistakes)}
        return {key: f.default for key, f in self.fields.items() if f.default is not None} | values

    def _read_fields(self, node: Mapping[Any, Any], path: Path, mistakes: list[SpecMistake]) -> dict[str, Any]:
        values = {}
        for key, value in node.items():
            if key in self.fields:
                values[key] = self.fields[key].kind.read(value, (*path, key), mistakes)
            else:
                near = get_close_matches(str(key), self.fields, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known are {_listed(list(self.fields), 'and')}"
                message = f"unknown key `{key}`; {hint}"
                mistakes.append(SpecMistake((*path, str(key)), message, "unknown-key"))
        return values

    def _check_keys(self, node: Mapping[Any, Any], path: Path, mistakes: list[SpecMistake]) -> None:
        def found(message: str, *below: str) -> None:
            mistakes.append(SpecMistake((*path, *below), message, "wrong-value" if below else "missing-key"))

        for key, f in self.fields.items():
            if f.required and key not in node:
                found(f"the key `{key}` was expected, and is not there")
        given = [key for key in self.one_of if key in node]
        if self.one_of and len(given) != 1:
            found(f"one of {_listed(self.one_of, 'or')} was expected, {_listed(given, 'and') or 'none'} was found")
        for key, others in self.together.items():
            missing = [other for other in others if other not in node]
            if key in node and missing:
                found(f"`{key}` needs {_listed(missing, 'and')} beside it", key)
        for key, others in self.belongs.items():
            if key in node and not any(other in node for other in others):
                found(f"`{key}` has a meaning only beside {_listed(others, 'or')}", key)

    def schema(self) -> dict[str, Any]:
        """An object with these keys and no others, or the short form."""
        rule: dict[str, Any] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {key: f.kind.schema() | {"description": f.help} for key, f in self.fields.items()},
        }
        if required := [key for key, f in self.fields.items() if f.required]:
            rule["required"] = required
        if self.one_of:
            rule["oneOf"] = [{"required": [key]} for key in self.one_of]
        if self.together:
            rule["dependentRequired"] = {key: list(others) for key, others in self.together.items()}
        if self.belongs:
            rule["dependentSchemas"] = {
                key: {"anyOf": [{"required": [other]} for other in others]} for key, others in self.belongs.items()
            }
        return {"anyOf": [self.fields[self.short].kind.schema(), rule]} if self.short else rule


def _not_empty(value: str) -> str:
    if value.strip():
        return value
    raise ValueError("a text was expected, an empty one was found")


def _unexpected(kind: Kind, node: Any, path: Path) -> SpecMistake:
    return SpecMistake(path, f"{kind.expected()} was expected, {_described(node)} was found", "wrong-type")


def _described(node: Any) -> str:
    if node is None:
        return "nothing"
    if isinstance(node, Mapping):
        return "a mapping"
    if _is_list(node):
        return "a list"
    if isinstance(node, bool):
        return str(node).lower()
    return repr(node) if isinstance(node, str) else f"{node} (quote it to make it a text)"


def _is_list(node: Any) -> bool:
    return isinstance(node, Sequence) and not isinstance(node, str | bytes)


def _listed(names: Sequence[str], word: str, *, quoted: bool = True) -> str:
    shown = [f"`{name}`" if quoted else name for name in names]
    return f" {word} ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


#: A reference to a secret.
SECRET = Record(
    {
        "secret": Field(text(), "Name of the secret; its value is looked up where the task runs.", required=True),
        "prefix": Field(Scalar("a text", (str,), {"type": "string"}), "Text before the value, such as `Bearer `."),
    }
)

#: A text, or a reference to a secret.
TEXT_OR_SECRET = Either((text(), SECRET))
