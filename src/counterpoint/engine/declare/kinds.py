"""Kinds of value that may stand in a score: texts, numbers, names, choices, lists and mappings.

A kind reads a node, describes itself as JSON Schema, and has a phrase for messages and for the
reference page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from counterpoint.engine.declare.document import Node, described
from counterpoint.engine.declare.reading import Reading, Reported, Request, Use

Schema: TypeAlias = dict[str, Any]
#: Name of a record -> its schema; a record is written once and referred to.
Definitions: TypeAlias = dict[str, Schema]


class Kind:
    """A kind of value.

    Attributes:
        phrase: what is expected, with its article.
        example: one as it would stand in a score.
    """

    phrase: str
    example: str

    def read(self, node: Node, reading: Reading) -> Any:
        """The value.

        Raises:
            Reported: there is none; its mistakes are on the list.
        """
        raise NotImplementedError

    def schema(self, definitions: Definitions) -> Schema:
        """JSON Schema of the value; records add themselves to `definitions`."""
        raise NotImplementedError

    def refuse(
        self, node: Node, reading: Reading, why: str = "", *, advice: str = "", code: str = "wrong-type"
    ) -> Reported:
        """Put on the list what was expected, what was found and what to do; raise what it returns."""
        label = f"`{node.key}`: " if node.key else ""
        why = why or f"{self.phrase} was expected, {described(node)} was found"
        example = f"{node.key}: {self.example}" if node.key else self.example
        advice = advice or f"write it like `{example}`"
        return reading.refuse(node, f"{label}{why}; {advice}", code)


class Text(Kind):
    """Any text."""

    def __init__(self, phrase: str = "text", example: str = "some words") -> None:
        self.phrase, self.example = phrase, example

    def read(self, node: Node, reading: Reading) -> str:
        """The text as it stands."""
        if isinstance(node.value, str):
            return node.value
        quotable = isinstance(node.value, bool | int | float)
        raise self.refuse(node, reading, advice="put it in quotes" if quotable else "")

    def schema(self, definitions: Definitions) -> Schema:
        """Text."""
        return {"type": "string"}


class Name(Text):
    """The name of something that the plan must declare."""

    def __init__(self, of: str) -> None:
        super().__init__(f"the name of {article(of)}", f"some-{of}")
        self.of = of

    def read(self, node: Node, reading: Reading) -> str:
        """The name; whether it is declared is looked at when all are known."""
        name = super().read(node, reading)
        reading.uses.append(Use(self.of, name, node))
        return name


class NewName(Text):
    """A name that is given here.

    Args:
        pattern: what it may look like, said by `phrase`.
    """

    def __init__(self, phrase: str, example: str, pattern: str) -> None:
        super().__init__(phrase, example)
        self.pattern = re.compile(pattern)

    def read(self, node: Node, reading: Reading) -> str:
        """The name, if it looks as it may."""
        name = super().read(node, reading)
        if self.pattern.fullmatch(name) is None:
            raise self.refuse(node, reading, advice=f"call it for example {self.example!r}", code="wrong-value")
        return name

    def schema(self, definitions: Definitions) -> Schema:
        """Text of that pattern."""
        return {"type": "string", "pattern": f"^(?:{self.pattern.pattern})$"}


class Integer(Kind):
    """A whole number within bounds."""

    def __init__(self, at_least: int = 1, at_most: int | None = None) -> None:
        self.at_least, self.at_most = at_least, at_most
        bounds = f"of at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
        self.phrase, self.example = f"a whole number {bounds}", str(max(at_least, 1))

    def read(self, node: Node, reading: Reading) -> int:
        """The number, if it is within bounds; true and false are none."""
        value = node.value
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refuse(node, reading)
        if not self.at_least <= value <= (value if self.at_most is None else self.at_most):
            raise self.refuse(node, reading, code="wrong-value")
        return int(value)

    def schema(self, definitions: Definitions) -> Schema:
        """A number within these bounds."""
        highest = {} if self.at_most is None else {"maximum": self.at_most}
        return {"type": "integer", "minimum": self.at_least, **highest}


class Parsed(Kind):
    """Text in a notation of its own.

    Args:
        parse: text -> value; a `ValueError` says what was expected and what was found.
        code: of the mistake when `parse` refuses.
    """

    def __init__(
        self, phrase: str, example: str, parse: Callable[[str], Any], *, code: str = "wrong-value"
    ) -> None:
        self.phrase, self.example = phrase, example
        self._parse, self._code = parse, code

    def read(self, node: Node, reading: Reading) -> Any:
        """What the text stands for."""
        if not isinstance(node.value, str):
            raise self.refuse(node, reading)
        try:
            return self._parse(node.value)
        except OverflowError as error:
            raise self.refuse(node, reading, code=self._code) from error
        except ValueError as error:
            raise self.refuse(node, reading, str(error), code=self._code) from error

    def schema(self, definitions: Definitions) -> Schema:
        """Text; its notation is known to the reader only."""
        return {"type": "string", "examples": [self.example]}


class Choice(Kind):
    """One of a few words.

    Args:
        later: words that later releases act on.
        of: what the words name, where they are names.
    """

    def __init__(self, *words: str, later: tuple[str, ...] = (), of: str = "") -> None:
        self.words, self.later, self.of = words, later, of
        listed = [f"`{word}`" for word in words]
        self.phrase = " or ".join(listed) if len(words) < 3 else f"one of {', '.join(listed)}"
        self.example = words[0]

    def read(self, node: Node, reading: Reading) -> str:
        """The word, if it is one of them."""
        value = node.value
        if not isinstance(value, str):
            raise self.refuse(node, reading)
        if value in self.words:
            return value
        if value in self.later:
            raise refuse_for_now(node, reading, f"{node.key}: {value}")
        hint = reading.hint(value, self.words, "")
        if self.of:
            why = f"no {self.of} is called {value!r}, only {self.phrase}"
            raise self.refuse(node, reading, why, advice=hint, code="unknown-name")
        raise self.refuse(node, reading, advice=hint, code="wrong-value")

    def schema(self, definitions: Definitions) -> Schema:
        """One of the words."""
        return {"enum": list(self.words)}


class ByType(Kind):
    """One kind or another, told apart by the Python type of what is found; the first refuses the rest."""

    def __init__(self, kinds: Mapping[type, Kind]) -> None:
        self.kinds = kinds
        self.phrase = " or ".join(kind.phrase for kind in kinds.values())
        self.example = next(iter(kinds.values())).example

    def read(self, node: Node, reading: Reading) -> Any:
        """What the kind for this type makes of it."""
        kind = self.kinds.get(type(node.value)) or next(iter(self.kinds.values()))
        return kind.read(node, reading)

    def schema(self, definitions: Definitions) -> Schema:
        """Any of the kinds."""
        return {"anyOf": [kind.schema(definitions) for kind in self.kinds.values()]}


class ListOf(Kind):
    """A list without repeats. What can be read of it is returned.

    Args:
        filled: it must have an entry.
    """

    def __init__(self, item: Kind, *, filled: bool = False) -> None:
        self.item, self.filled = item, filled
        self.phrase, self.example = f"a list, each entry {item.phrase},", f"[{item.example}]"

    def read(self, node: Node, reading: Reading) -> tuple[Any, ...]:
        """The entries that could be read."""
        if not isinstance(node.value, list):
            raise self.refuse(node, reading)
        if self.filled and not node.value:
            raise self.refuse(node, reading, code="wrong-value")
        values: list[Any] = []
        for child in node.value:
            try:
                value = self.item.read(child, reading)
            except Reported:
                continue
            if value in values:
                reading.add(child, f"`{node.key}`: {described(child)} stands here twice; keep one", "doubled-name")
            else:
                values.append(value)
        return tuple(values)

    def schema(self, definitions: Definitions) -> Schema:
        """An array of the entries."""
        least = {"minItems": 1} if self.filled else {}
        return {"type": "array", "items": self.item.schema(definitions), "uniqueItems": True, **least}


class MapOf(Kind):
    """A mapping from names to values of one kind. What can be read of it is returned.

    Args:
        bare: its key may stand alone, without a value, for an empty mapping.
        filled: it must have an entry.
    """

    def __init__(self, names: Kind, values: Kind, *, bare: bool = False, filled: bool = False) -> None:
        self.names, self.values, self.bare, self.filled = names, values, bare, filled
        self.phrase = f"a mapping from {names.phrase} to {values.phrase}"
        self.example = f"{{{names.example}: {values.example}}}"

    def read(self, node: Node, reading: Reading) -> dict[str, Any]:
        """Name -> value, of those that could be read."""
        if self.bare and node.value is None:
            return {}
        if not isinstance(node.value, dict):
            raise self.refuse(node, reading)
        if self.filled and not node.value:
            raise self.refuse(node, reading, code="wrong-value")
        values: dict[str, Any] = {}
        for name, child in node.value.items():
            try:
                self.names.read(Node(name, child.file, child.line), reading)
                values[name] = self.values.read(child, reading)
            except Reported:
                continue
        return values

    def schema(self, definitions: Definitions) -> Schema:
        """An object with such names and values."""
        return {
            "type": ["object", "null"] if self.bare else "object",
            "minProperties": int(self.filled),
            "propertyNames": self.names.schema(definitions),
            "additionalProperties": self.values.schema(definitions),
        }


class Slots(MapOf):
    """Slots of pools, asked for together."""

    def __init__(self) -> None:
        super().__init__(Name("pool"), Integer())

    def read(self, node: Node, reading: Reading) -> dict[str, Any]:
        """Pool -> slots; the request is kept for comparison with the pools."""
        request = super().read(node, reading)
        reading.requests.extend(Request(pool, slots, node.value[pool]) for pool, slots in request.items())
        return request


class Later(Kind):
    """What a later release acts on. It is refused, never accepted silently."""

    phrase = "nothing yet"
    example = ""

    def read(self, node: Node, reading: Reading) -> Reported:
        """Always refused."""
        raise refuse_for_now(node, reading, node.key)


def refuse_for_now(node: Node, reading: Reading, what: str) -> Reported:
    """Put on the list that only a later release acts on this; raise what it returns."""
    message = f"a key that this release acts on was expected, `{what}` was found; leave it out until it does"
    return reading.refuse(node, message, "not-yet")


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
