"""Records: mappings with known keys, as tables of these keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import NoneType
from typing import Any, TypeAlias

from msgspec import Struct

from counterpoint.tables.kinds import Definitions, Kind, Schema, article
from counterpoint.tables.nodes import Node, described, locate
from counterpoint.tables.reading import Reading, Reported


class Key(Struct, frozen=True):
    """A line of a record's table.

    Attributes:
        doc: what it means, for people.
        field: what the value is called where the record is built, if not like the key.
        default: what is read where the key is not written. A model has defaults of its own.
        otherwise: what holds without the key, in words, where no default can say it.
    """

    name: str
    kind: Kind
    doc: str
    field: str = ""
    required: bool = False
    default: Any = None
    otherwise: str = ""

    @property
    def into(self) -> str:
        """What the value is called where the record is built."""
        return self.field or self.name


#: Makes a record's value of what its keys gave: those that were written and could be read, and defaults.
Build: TypeAlias = Callable[[dict[str, Any], Node, Reading], Any]


class Record(Kind):
    """A mapping with known keys.

    Args:
        name: what it is called in messages and on the reference page.
        model: what is built of it, and where defaults come from; without one it becomes a dict.
        build: how it is built where that takes more than the model's fields.
        short: the key whose value may stand for the whole record.
        bare: it may be left empty, as in `raw.orders:`.
        phrase: what messages call it, if not by its name.
        misplaced: key that people look for here -> what to do instead.
        sample: one as it is written, key included, for the reference page.
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
        phrase: str = "",
        misplaced: Mapping[str, str] | None = None,
        sample: str = "",
    ) -> None:
        self.name, self.doc, self.keys, self.model, self.short, self.sample = name, doc, keys, model, short, sample
        self.by_name = {key.name: key for key in keys}
        self._misplaced = misplaced or {}
        self.build = build or _builder(model)
        self.phrase = phrase or article(name)
        short_types = self.by_name[short].kind.types if short else ()
        self.types = tuple(dict.fromkeys((dict, *short_types, *((NoneType,) if bare else ()))))
        shown = [key for key in keys if key.required] or keys[:1]
        whole = ", ".join(f"{key.name}: {key.kind.example}" for key in shown)
        self.example = self.by_name[short].kind.example if short else f"{{{whole}}}"

    def with_keys(self, *keys: Key, misplaced: Mapping[str, str]) -> Record:
        """The same with more keys."""
        return Record(
            self.name,
            self.doc,
            *self.keys,
            *keys,
            model=self.model,
            build=self.build,
            short=self.short,
            phrase=self.phrase,
            misplaced=misplaced,
        )

    def read(self, node: Node, reading: Reading) -> Any:
        """What is built of the keys."""
        values = self.read_keys(node, reading)
        if any(key.required and key.into not in values for key in self.keys):
            raise Reported
        return self.build(values, node, reading)

    def read_keys(self, node: Node, reading: Reading) -> dict[str, Any]:
        """What the keys gave, by the names that `build` knows."""
        written = self._written(node, reading)
        unset = [key for key in self.keys if key.default is not None and key.name not in written]
        values: dict[str, Any] = {key.into: key.kind.read(locate(key.default), reading) for key in unset}
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

    def _written(self, node: Node, reading: Reading) -> dict[str, Node]:
        if isinstance(node.value, dict):
            return node.value
        if self.short:
            return {self.short: node}
        if type(node.value) in self.types:
            return {}
        raise refuse_shape(self, node, reading)

    def _refuse_key(self, name: str, node: Node, reading: Reading) -> Reported:
        known = [key.name for key in self.keys]
        hint = self._misplaced.get(name) or reading.hint(name, known, f"it takes {', '.join(known)}")
        return reading.refuse(node, f"{self.phrase} has no key {name!r}; {hint}", "unknown-key")

    def short_forms(self, definitions: Definitions) -> list[Schema]:
        """Schemas of what may stand for the whole."""
        forms = [self.by_name[self.short].kind.schema(definitions)] if self.short else []
        return [*forms, {"type": "null"}] if NoneType in self.types else forms

    def schema(self, definitions: Definitions) -> Schema:
        """An object with these keys, or a shorter form."""
        whole = _object_schema(self.doc, self.keys, definitions)
        whole["required"] = [key.name for key in self.keys if key.required]
        return _define(self.name, [whole, *self.short_forms(definitions)], definitions)


class Variants(Kind):
    """A mapping of one of several sorts, told apart by its leading key: the first of each record's keys.

    Args:
        common: keys that each sort takes as well.
        both: what to do when two leading keys stand together.
        words: names of leading keys that may stand alone, as `auto` for `{auto: }`.
        phrase, misplaced, sample: as for `Record`.
    """

    def __init__(
        self,
        name: str,
        doc: str,
        *variants: Record,
        both: str,
        common: tuple[Key, ...] = (),
        words: tuple[str, ...] = (),
        phrase: str = "",
        misplaced: Mapping[str, str] | None = None,
        sample: str = "",
    ) -> None:
        self.name, self.doc, self.variants, self.common, self.sample = name, doc, variants, common, sample
        self._both, self._words, misplaced = both, words, misplaced or {}
        self._records = {
            variant.keys[0].name: variant.with_keys(*common, misplaced=misplaced) for variant in variants
        }
        records = tuple(self._records.values())
        self.phrase, self.example = phrase or article(name), records[0].example if records else ""
        self.types = tuple(dict.fromkeys((dict, *(each for record in records for each in record.types))))
        leading = [record.keys[0] for record in records]
        keys = {key.name: key for key in (*leading, *(key for record in records for key in record.keys))}
        optional = (Key(key.name, key.kind, key.doc, default=key.default) for key in keys.values())
        self._every_key = Record(name, doc, *optional, phrase=self.phrase, misplaced=misplaced)

    def read(self, node: Node, reading: Reading) -> Any:
        """What the sort with that leading key makes of it."""
        if isinstance(node.value, str) and node.value in self._words:
            node = Node({node.value: Node(None, node.file, node.line, node.value)}, node.file, node.line, node.key)
        if not isinstance(node.value, dict):
            if type(node.value) not in self.types:
                raise refuse_shape(self, node, reading)
            return next(r for r in self._records.values() if type(node.value) in r.types).read(node, reading)
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
        """An object with exactly one leading key and what belongs to it, or a shorter form."""
        whole = _object_schema(self.doc, self._every_key.keys, definitions)
        whole["oneOf"] = [
            {
                "required": [key.name for key in record.keys if key.required or key is record.keys[0]],
                "propertyNames": {"enum": [key.name for key in record.keys]},
            }
            for record in self._records.values()
        ]
        short = [form for record in self._records.values() for form in record.short_forms(definitions)]
        if self._words:
            short.append({"enum": list(self._words)})
        return _define(self.name, [whole, *short], definitions)


def refuse_shape(kind: Record | Variants, node: Node, reading: Reading) -> Reported:
    """Put on the list that no mapping was found; raise what it returns."""
    what = "a mapping" if kind.phrase == f"`{node.key}`" else f"{kind.phrase}, a mapping,"
    why = f"{what} was expected, {described(node)} was found"
    return kind.refuse(node, reading, why, code="wrong-type")


def _builder(model: type[Struct] | None) -> Build:
    return lambda values, node, reading: model(**values) if model else values


def _object_schema(doc: str, keys: tuple[Key, ...], definitions: Definitions) -> Schema:
    """A closed object with these properties."""
    properties = {}
    for key in keys:
        default = {} if key.default is None else {"default": key.default}
        properties[key.name] = {"description": key.doc, **default, **key.kind.schema(definitions)}
    return {"type": "object", "description": doc, "properties": properties, "additionalProperties": False}


def _define(name: str, forms: list[Schema], definitions: Definitions) -> Schema:
    """Keep a schema under a name, and refer to it."""
    entry = name.replace(" ", "-")
    definitions[entry] = forms[0] if len(forms) == 1 else {"anyOf": forms}
    return {"$ref": f"#/$defs/{entry}"}
