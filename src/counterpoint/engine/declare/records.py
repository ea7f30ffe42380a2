"""Records: mappings with known keys.

The keys of a record are a table, so that each is described once, in `format/`, and the reader, the
JSON Schema and the reference page cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from counterpoint.engine.declare.document import Node, described
from counterpoint.engine.declare.kinds import Definitions, Kind, Later, Schema, article, refuse_for_now
from counterpoint.engine.declare.reading import Reading, Reported
from counterpoint.model.quantity import format_duration


class Key(Struct, frozen=True):
    """A line of a record's table.

    Attributes:
        doc: what it means, for people.
        field: what the value is called where the record is built, if not like the key.
        default: what holds without it, in words, where that is not the model's own default.
    """

    name: str
    kind: Kind
    doc: str
    field: str = ""
    required: bool = False
    default: str = ""

    @property
    def later(self) -> bool:
        """Whether this release refuses it."""
        return isinstance(self.kind, Later)

    @property
    def into(self) -> str:
        """What the value is called where the record is built."""
        return self.field or self.name


#: Makes a record's value of what its keys gave: those that were written and could be read.
Build: TypeAlias = Callable[[dict[str, Any], Node, Reading], Any]


class Record(Kind):
    """A mapping with known keys.

    Args:
        name: what it is called in messages and on the reference page.
        model: what is built of it, and where defaults come from.
        build: how it is built where that takes more than the model's fields.
        short: the key whose value may stand for the whole record.
        bare: it may be left empty, as in `raw.orders:`.
    """

    def __init__(
        self,
        name: str,
        doc: str,
        *keys: Key,
        model: type[Struct] | None = None,
        build: Build | None = None,
        short: str = "",
        bare: bool = False,
    ) -> None:
        self.name, self.doc, self.keys, self.model, self.short, self.bare = name, doc, keys, model, short, bare
        self.by_name = {key.name: key for key in keys}
        self._build = build
        self.phrase = article(name)
        shown = [key for key in keys if key.required] or keys[:1]
        whole = ", ".join(f"{key.name}: {key.kind.example}" for key in shown)
        self.example = self.by_name[short].kind.example if short else f"{{{whole}}}"

    def read(self, node: Node, reading: Reading) -> Any:
        """What is built of the keys."""
        values = self.read_keys(node, reading)
        if any(key.required and key.into not in values for key in self.keys):
            raise Reported
        return self.build(values, node, reading)

    def read_keys(self, node: Node, reading: Reading) -> dict[str, Any]:
        """What the keys gave, by the names that `build` knows."""
        values: dict[str, Any] = {}
        written = self._written(node, reading)
        for name, child in written.items():
            key = self.by_name.get(name)
            try:
                if key is None:
                    raise self._refuse_key(name, child, reading)
                values[key.into] = key.kind.read(child, reading)
            except Reported:
                continue
        unknown = written.keys() - self.by_name.keys()
        for key in self.keys:
            # A key that was only misspelt has been told already.
            if key.required and key.name not in written and not get_close_matches(key.name, unknown):
                message = (
                    f"{self.phrase} needs `{key.name}`, it was not found; write `{key.name}: {key.kind.example}`"
                )
                reading.add(node, message, "missing-key")
        return values

    def build(self, values: dict[str, Any], node: Node, reading: Reading) -> Any:
        """The record's value."""
        if self._build is not None:
            return self._build(values, node, reading)
        return self.model(**values) if self.model else values

    def _written(self, node: Node, reading: Reading) -> dict[str, Node]:
        if isinstance(node.value, dict):
            return node.value
        if self.short:
            return {self.short: node}
        if self.bare and node.value is None:
            return {}
        raise self.refuse(node, reading, f"{self.phrase}, a mapping, was expected, {described(node)} was found")

    def _refuse_key(self, name: str, node: Node, reading: Reading) -> Reported:
        known = [key.name for key in self.keys if not key.later]
        hint = reading.hint(name, known, f"it takes {', '.join(known)}")
        return reading.refuse(node, f"{self.phrase} has no key {name!r}; {hint}", "unknown-key")

    def default(self, key: Key) -> str:
        """What holds without the key, for people; "" where nothing does."""
        if key.default or key.required or self.model is None:
            return key.default
        defaults = {field.name: field.default for field in msgspec.structs.fields(self.model)}
        return _as_written(defaults.get(key.into))

    def schema(self, definitions: Definitions) -> Schema:
        """An object with these keys, or a shorter form."""
        whole = _object_schema(self.doc, self.keys, definitions)
        whole["required"] = [key.name for key in self.keys if key.required]
        forms = [whole]
        if self.short:
            forms.append(self.by_name[self.short].kind.schema(definitions))
        if self.bare:
            forms.append({"type": "null"})
        return _define(self.name, whole if len(forms) == 1 else {"anyOf": forms}, definitions)


class Variants(Kind):
    """A mapping of one of several sorts, told apart by its leading key: the first of each record's keys.

    Args:
        common: keys that each sort takes as well.
        both: what to do when two leading keys stand together.
        later: words that a later release takes instead of a mapping.
        misplaced: key that does not belong here -> what to do instead.
    """

    def __init__(
        self,
        name: str,
        doc: str,
        *variants: Record,
        both: str,
        common: tuple[Key, ...] = (),
        later: tuple[str, ...] = (),
        misplaced: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.doc, self.variants, self.common = name, doc, variants, common
        self.phrase, self.example = article(name), variants[0].example if variants else ""
        self._both, self._later, self._misplaced = both, later, misplaced or {}
        self._records = {
            variant.keys[0].name: Record(
                variant.name, variant.doc, *variant.keys, *common, model=variant.model, build=variant.build
            )
            for variant in variants
        }
        every_key = {key.name: key for record in self._records.values() for key in record.keys}
        self._every_key = Record(name, doc, *(Key(key.name, key.kind, key.doc) for key in every_key.values()))

    def read(self, node: Node, reading: Reading) -> Any:
        """What the sort with that leading key makes of it."""
        if isinstance(node.value, str) and node.value in self._later:
            raise refuse_for_now(node, reading, f"{node.key}: {node.value}")
        if not isinstance(node.value, dict):
            raise self.refuse(
                node, reading, f"{self.phrase}, a mapping, was expected, {described(node)} was found"
            )
        for name, advice in self._misplaced.items():
            if name in node.value:
                raise reading.refuse(
                    node.value[name], f"{self.phrase} was expected, `{name}` was found; {advice}", "wrong-value"
                )
        leading = [name for name in self._records if name in node.value]
        if len(leading) == 1:
            return self._records[leading[0]].read(node, reading)
        self._refuse_leading(leading, node, reading)
        # Which sort is meant is unknown; what stands under each key is looked at all the same.
        self._every_key.read_keys(node, reading)
        raise Reported

    def _refuse_leading(self, leading: list[str], node: Node, reading: Reading) -> None:
        words = ", ".join(f"`{name}`" for name in self._records)
        if leading:
            found = " and ".join(f"`{name}`" for name in leading)
            message = f"{self.phrase} has one of {words}, {found} were found; {self._both}"
            reading.add(node.value[leading[1]], message, "wrong-value")
        elif node.value.keys() <= self._every_key.by_name.keys():  # an unknown key is told by itself
            message = f"{self.phrase} needs one of {words}, none was found; write it like `{self.example}`"
            reading.add(node, message, "missing-key")

    def schema(self, definitions: Definitions) -> Schema:
        """An object with exactly one leading key."""
        whole = _object_schema(self.doc, self._every_key.keys, definitions)
        whole["oneOf"] = [{"required": [name]} for name in self._records]
        return _define(self.name, whole, definitions)


def _object_schema(doc: str, keys: tuple[Key, ...], definitions: Definitions) -> Schema:
    """A closed object with these properties; keys of later releases are left out."""
    properties = {
        key.name: {"description": key.doc, **key.kind.schema(definitions)} for key in keys if not key.later
    }
    return {"type": "object", "description": doc, "properties": properties, "additionalProperties": False}


def _define(name: str, schema: Schema, definitions: Definitions) -> Schema:
    """Keep a schema under a name, and refer to it."""
    entry = name.replace(" ", "-")
    definitions[entry] = schema
    return {"$ref": f"#/$defs/{entry}"}


def _as_written(value: Any) -> str:
    """A default as it would be written in a score; "" where it is nothing."""
    match value:
        case timedelta():
            return format_duration(value).replace(" ", "")
        case (timedelta() as low, timedelta() as high):
            return f"{_as_written(low)}..{_as_written(high)}"
        case str() | int():
            return str(value)
    return ""
