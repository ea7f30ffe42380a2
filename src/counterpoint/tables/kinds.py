"""Kinds of value that may be declared: texts, numbers, names, choices, lists and mappings.

A kind reads a node, describes itself as JSON Schema, and has a phrase for messages and for the
reference page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import NoneType
from typing import Any, TypeAlias

from counterpoint.model.quantity import parse_duration, parse_duration_range, parse_size
from counterpoint.tables.nodes import Node, described
from counterpoint.tables.reading import Reading, Reported, Use

Schema: TypeAlias = dict[str, Any]
#: Name of a record -> its schema; a record is written once and referred to.
Definitions: TypeAlias = dict[str, Schema]

#: The types that a node's value can have, as JSON Schema calls them.
_JSON_TYPES = {
    str: "string", int: "integer", float: "number", bool: "boolean",
    list: "array", dict: "object", NoneType: "null",
}  # fmt: skip


_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?) ?%")


class Kind:
    """A kind of value.

    Attributes:
        phrase: what is expected, with its article.
        brief: the same for the reference page, where the phrase is long.
        example: one as it would be written.
        types: the Python types that its values have as they are written; bool is no int here.
    """

    phrase: str
    brief = ""
    example: str
    types: tuple[type, ...] = (str,)

    def read(self, node: Node, reading: Reading) -> Any:
        """The value.

        Raises:
            Reported: there is none; its mistakes are on the list.
        """
        if type(node.value) not in self.types:
            raise self.refuse(node, reading, code="wrong-type")
        return self.convert(node, reading)

    def convert(self, node: Node, reading: Reading) -> Any:
        """What a value of one of the types stands for.

        Raises:
            Reported: as for `read`.
        """
        return node.value

    def schema(self, definitions: Definitions) -> Schema:
        """JSON Schema of the value; records add themselves to `definitions`."""
        names = [_JSON_TYPES[each] for each in self.types]
        return {"type": names[0] if len(names) == 1 else names}

    def takes_quoted(self, node: Node) -> bool:
        """Whether the value would do if only it stood in quotes."""
        return False

    def refuse(
        self, node: Node, reading: Reading, why: str = "", *, advice: str = "", code: str = "wrong-value"
    ) -> Reported:
        """Put on the list what was expected, what was found and what to do; raise what it returns."""
        label = f"`{node.key}`: " if node.key else ""
        why = why or f"{self.phrase} was expected, {described(node)} was found"
        if not advice and self.takes_quoted(node):
            advice = "put it in quotes"
        example = f"{node.key}: {self.example}" if node.key else self.example
        return reading.refuse(node, f"{label}{why}; {advice or f'write it like `{example}`'}", code)


class Text(Kind):
    """A text.

    Args:
        pattern: what it must look like, said by the phrase.
        made_of: the signs that it may have, for messages.
    """

    def __init__(
        self, phrase: str = "text", example: str = "some words", *, pattern: str = "", made_of: str = ""
    ) -> None:
        self.phrase, self.brief, self.example = phrase, phrase, example
        if made_of:
            self.phrase = f"{phrase}, of {made_of},"
        self._pattern = re.compile(pattern, re.DOTALL) if pattern else None

    def convert(self, node: Node, reading: Reading) -> str:
        """The text as it stands."""
        if self._pattern and not self._pattern.fullmatch(node.value):
            raise self.refuse(node, reading)
        return str(node.value)

    def takes_quoted(self, node: Node) -> bool:
        """True of a number or truth value that looks as the text must."""
        scalar = isinstance(node.value, bool | int | float)
        return scalar and (self._pattern is None or bool(self._pattern.fullmatch(described(node))))

    def schema(self, definitions: Definitions) -> Schema:
        """Text of that pattern."""
        pattern = {"pattern": f"^(?:{self._pattern.pattern})$"} if self._pattern else {}
        return {"type": "string", **pattern}


class Name(Text):
    """The name of something that must be declared."""

    def __init__(self, of: str) -> None:
        super().__init__(f"the name of {article(of)}", f"some-{of}")
        self.of = of

    def convert(self, node: Node, reading: Reading) -> str:
        """The name; whether it is declared is looked at when all are known."""
        reading.uses.append(Use(self.of, node.value, node))
        return str(node.value)


class Flag(Kind):
    """True or false."""

    phrase, example, types = "true or false", "true", (bool,)


class Number(Kind):
    """Any number."""

    phrase, example, types = "a number", "0.5", (int, float)


class Integer(Kind):
    """A whole number within bounds."""

    types = (int,)

    def __init__(self, at_least: int | None = 1, at_most: int | None = None) -> None:
        self._bounds = {"minimum": at_least, "maximum": at_most}
        upper = f" to {at_most}" if at_most is not None else ""
        lower = "" if at_least is None else f" from {at_least}" if upper else f" of at least {at_least}"
        self.phrase, self.example = f"a whole number{lower}{upper}", str(max(at_least or 1, 1))

    def convert(self, node: Node, reading: Reading) -> int:
        """The number, if it is within bounds."""
        number = int(node.value)
        low, high = self._bounds.values()
        if (low is not None and number < low) or (high is not None and number > high):
            raise self.refuse(node, reading)
        return number

    def schema(self, definitions: Definitions) -> Schema:
        """A number within these bounds."""
        return {"type": "integer", **{name: bound for name, bound in self._bounds.items() if bound is not None}}


class Parsed(Kind):
    """A value in a notation of its own.

    Args:
        parse: value -> what it stands for; a `ValueError` says what was expected and what was found.
        code: of the mistake when `parse` refuses.
    """

    def __init__(
        self,
        phrase: str,
        example: str,
        parse: Callable[[Any], Any],
        *,
        types: tuple[type, ...] = (str,),
        code: str = "wrong-value",
    ) -> None:
        self.phrase, self.example, self.types = phrase, example, types
        self._parse, self._code = parse, code

    def convert(self, node: Node, reading: Reading) -> Any:
        """What the value stands for."""
        try:
            return self._parse(node.value)
        except OverflowError as error:
            raise self.refuse(node, reading, code=self._code) from error
        except ValueError as error:
            raise self.refuse(node, reading, str(error), code=self._code) from error

    def schema(self, definitions: Definitions) -> Schema:
        """The outer type; the notation is known to the reader only."""
        return {**super().schema(definitions), "examples": [self.example.strip('"')]}


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

    def convert(self, node: Node, reading: Reading) -> str:
        """The word, if it is one of them."""
        word = str(node.value)
        if word in self.words:
            return word
        if word in self.later:
            raise refuse_for_now(node, reading, f"{node.key}: {word}")
        hint = reading.hint(word, self.words, "")
        if self.of:
            why = f"no {self.of} is called {word!r}, only {self.phrase}"
            raise self.refuse(node, reading, why, advice=hint, code="unknown-name")
        raise self.refuse(node, reading, advice=hint)

    def schema(self, definitions: Definitions) -> Schema:
        """One of the words."""
        return {"enum": list(self.words)}


class Anything(Kind):
    """Any value that JSON can hold."""

    phrase, example, types = "any value", "1", tuple(_JSON_TYPES)

    def convert(self, node: Node, reading: Reading) -> Any:
        """The value without places."""
        return node.plain

    def schema(self, definitions: Definitions) -> Schema:
        """The schema that everything satisfies."""
        return {}


class Either(Kind):
    """One kind or another, told apart by the type of what is found; the first that has it reads it."""

    def __init__(self, *kinds: Kind) -> None:
        self.kinds = kinds
        self.phrase = " or ".join(kind.phrase for kind in kinds)
        self.example = kinds[0].example
        self.types = tuple(dict.fromkeys(each for kind in kinds for each in kind.types))

    def convert(self, node: Node, reading: Reading) -> Any:
        """What the kind for this type makes of it."""
        return next(kind for kind in self.kinds if type(node.value) in kind.types).read(node, reading)

    def takes_quoted(self, node: Node) -> bool:
        """Whether one of the kinds does."""
        return any(kind.takes_quoted(node) for kind in self.kinds)

    def schema(self, definitions: Definitions) -> Schema:
        """Any of the kinds."""
        return {"anyOf": [kind.schema(definitions) for kind in self.kinds]}


class ListOf(Kind):
    """A list. What can be read of it is returned.

    Args:
        filled: it must have an entry.
        single: one entry may stand there without a list.
    """

    def __init__(self, item: Kind, *, filled: bool = False, single: bool = False) -> None:
        self.item, self.filled, self.single = item, filled, single
        self.phrase, self.example = f"a list, each entry {item.phrase.rstrip(',')},", f"[{item.example}]"
        self.types = (list,)
        if single:
            self.phrase, self.example = f"{item.phrase.rstrip(',')}, or a list of such,", item.example
            self.types = (list, *item.types)

    def read(self, node: Node, reading: Reading) -> Any:
        """The list; where one entry stands alone, the advice is to put it into a list."""
        if not self.single and isinstance(node.value, str) and str in self.item.types:
            advice = f"put it in brackets, `{node.key}: [{node.value}]`"
            raise self.refuse(node, reading, advice=advice, code="wrong-type")
        return super().read(node, reading)

    def convert(self, node: Node, reading: Reading) -> Any:
        """The entries that could be read."""
        return [value for _, value in self._entries(node, reading)]

    def _entries(self, node: Node, reading: Reading) -> Iterator[tuple[Node, Any]]:
        if self.single and not isinstance(node.value, list):
            yield node, self.item.read(node, reading)
            return
        if self.filled and not node.value:
            raise self.refuse(node, reading)
        for child in node.value:
            try:
                value = self.item.read(child, reading)
            except Reported:
                continue
            yield child, value

    def schema(self, definitions: Definitions) -> Schema:
        """An array of the entries."""
        item = self.item.schema(definitions)
        whole = {"type": "array", "items": item, **({"minItems": 1} if self.filled else {})}
        return {"anyOf": [item, whole]} if self.single else whole


class SetOf(ListOf):
    """A list without repeats, as a tuple."""

    def convert(self, node: Node, reading: Reading) -> tuple[Any, ...]:
        """The entries that could be read."""
        values: list[Any] = []
        for child, value in self._entries(node, reading):
            if value in values:
                reading.add(child, f"`{node.key}`: {described(child)} stands here twice; keep one", "doubled-name")
            else:
                values.append(value)
        return tuple(values)

    def schema(self, definitions: Definitions) -> Schema:
        """An array without repeats."""
        return {**super().schema(definitions), "uniqueItems": True}


class MapOf(Kind):
    """A mapping from names to values of one kind. What can be read of it is returned.

    Args:
        bare: its key may stand alone, without a value, for an empty mapping.
        filled: it must have an entry.
    """

    def __init__(self, names: Kind, values: Kind, *, bare: bool = False, filled: bool = False) -> None:
        self.names, self.values, self.filled = names, values, filled
        self.phrase = f"a mapping from {names.brief or names.phrase} to {values.phrase}"
        self.example = f"{{{names.example}: {values.example}}}"
        self.types = (dict, NoneType) if bare else (dict,)

    def convert(self, node: Node, reading: Reading) -> dict[str, Any]:
        """Name -> value, of those that could be read."""
        if self.filled and not node.value:
            raise self.refuse(node, reading)
        values: dict[str, Any] = {}
        for name, child in node.members.items():
            try:
                self.names.read(Node(name, child.file, child.line), reading)
                values[name] = self.values.read(child, reading)
            except Reported:
                continue
        return values

    def schema(self, definitions: Definitions) -> Schema:
        """An object with such names and values."""
        return {
            **super().schema(definitions),
            "minProperties": int(self.filled),
            "propertyNames": self.names.schema(definitions),
            "additionalProperties": self.values.schema(definitions),
        }


def refuse_for_now(node: Node, reading: Reading, what: str) -> Reported:
    """Put on the list that only a later release acts on this; raise what it returns."""
    message = f"a key that this release acts on was expected, `{what}` was found; leave it out until it does"
    return reading.refuse(node, message, "not-yet")


def duration(
    at_least: timedelta = timedelta(0), example: str = "10m", *, at_most: timedelta = timedelta.max
) -> Parsed:
    """A length of time."""

    def parse(text: str) -> timedelta:
        length = parse_duration(text)
        if length < at_least:
            raise ValueError(
                f"a duration of at least {at_least.total_seconds():g}s was expected, {text!r} was found"
            )
        if length > at_most:
            raise ValueError(f"a duration of at most {at_most.days}d was expected, {text!r} was found")
        return length

    return Parsed("a duration such as 30s, 5m or 1h30m", example, parse)


def duration_range(example: str) -> Parsed:
    """A length of time and the longest that it may grow to."""
    return Parsed("a range of durations such as 10s..5m", example, parse_duration_range)


def percentage(*, with_zero: bool = False) -> Parsed:
    """A share of the whole, as a number from 0 to 1: `99.9%`, or the number itself."""
    bounds = "from 0% to 100%" if with_zero else "above 0%, up to 100%"

    def parse(value: str | float) -> float:
        if isinstance(value, str):
            match = _PERCENTAGE.fullmatch(value)
            share = float(match[1]) / 100 if match else -1.0
        else:
            # 1 could be a whole or a hundredth; 0 is the same in both.
            share = float(value) if type(value) is float or value == 0 else -1.0
        if not 0 <= share <= 1 or (share == 0 and not with_zero):
            raise ValueError(f"a percentage {bounds}, such as 99.5%, was expected, {value!r} was found")
        return round(share, 12)

    return Parsed("a percentage such as 99%", "99%", parse, types=(str, float, int))


def size() -> Parsed:
    """A number of bytes, at least one."""

    def parse(text: str) -> int:
        size_bytes = parse_size(text)
        if size_bytes < 1:
            raise ValueError(f"a size of at least 1B was expected, {text!r} was found")
        return size_bytes

    return Parsed("a size such as 512MB or 2GiB", "512MB", parse)


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
