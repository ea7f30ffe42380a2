"""YAML 1.2 core on PyYAML's event stream, with the line of every value.

PyYAML's own composer reads YAML 1.1, where `on` is true and `12:30` is 750. It is also ten times
slower than its events, and recurses in C: a file of brackets ends the whole process.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from msgspec import Struct

from counterpoint.tables.nodes import DEPTH_MAX, Node
from counterpoint.tables.reading import Reading, Reported

#: What aliases may stand for, in nodes beyond those written: a guard against files that explode.
_ALIASED_MAX = 100_000

_PLAIN = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<bool>true|True|TRUE|false|False|FALSE)"
    r"|(?P<int>[-+]?[0-9]+)|(?P<octal>0o[0-7]+)|(?P<hex>0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)
_STANDARD = "tag:yaml.org,2002:"
_INTEGER_BITS_MAX = 63

#: libyaml in C where PyYAML was built with it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(text: str, file: str, reading: Reading) -> Node:
    """Read the one document of a file.

    Doubled keys are put on the list; the first of them counts.

    Raises:
        Reported: the text cannot be read as YAML.
    """
    document = _Document(file, reading)
    try:
        for event in yaml.parse(text, Loader=_Loader):
            document.take(event)
    except yaml.MarkedYAMLError as error:
        line = _line_of_problem(error)
        said = ", ".join(part for part in (error.problem, error.context) if part)
        message = f"this is not YAML: {said}; {_remedy(text, line)}"
        raise reading.refuse(Node(None, file, line), message, "bad-yaml") from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        message = (
            "a character was found that YAML does not allow; remove it, or write it as \\xNN in double quotes"
        )
        raise reading.refuse(Node(None, file, _line_of_bad_character(text)), message, "bad-yaml") from error
    if document.root is None:
        message = "a score was expected, the file is empty; start with `pipelines:`"
        raise reading.refuse(Node(None, file, 1), message, "bad-yaml")
    return document.root


class _Value(Struct):
    """A value that was read: its size in nodes, aliases counted in full, and how many levels it has."""

    value: Any
    nodes: int
    height: int


class _Open(Struct):
    """A mapping or a list whose end has not come yet."""

    inside: dict[str, Node] | list[Node]
    line: int
    anchor: str | None
    nodes_before: int
    height: int = 1
    key: str | None = None
    key_line: int = 0


class _Document:
    """Puts events together to a tree, without recursion."""

    def __init__(self, file: str, reading: Reading) -> None:
        self.root: Node | None = None
        self._file, self._reading = file, reading
        self._open: list[_Open] = []
        self._anchors: dict[str, _Value] = {}
        self._nodes = 0
        self._aliased = 0

    def take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin(event, {} if isinstance(event, yaml.MappingStartEvent) else [])
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end()
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent() if self.root is not None:
                raise self._refuse(
                    event, "one document was expected, a second begins here; put it into a file of its own"
                )

    def _scalar(self, event: Any) -> None:
        text = event.value
        if "\0" in text:
            raise self._refuse(event, "text without NUL characters was expected, one was found; remove it")
        top = self._open[-1] if self._open else None
        if top is not None and isinstance(top.inside, dict) and top.key is None:
            top.key, top.key_line = text, event.start_mark.line + 1
            if event.anchor:
                self._anchors[event.anchor] = _Value(text, 1, 0)
            if text == "<<" and event.implicit[0]:
                raise self._refuse(event, "merge keys (`<<`) are no part of YAML 1.2; write the keys out")
            return
        self._put(_Value(self._resolve(event), 1, 0), event.start_mark.line + 1, event.anchor)

    def _begin(self, event: Any, inside: dict[str, Node] | list[Node]) -> None:
        if event.tag not in (None, "!", _STANDARD + ("map" if isinstance(inside, dict) else "seq")):
            raise self._refuse(event, f"plain YAML was expected, the tag {event.tag!r} was found; leave it out")
        if self._open and isinstance(self._open[-1].inside, dict) and self._open[-1].key is None:
            raise self._refuse(
                event, "text was expected as a key, a list or mapping was found; write a name before the colon"
            )
        self._check_depth(event, 1)
        self._open.append(_Open(inside, event.start_mark.line + 1, event.anchor, self._nodes))

    def _end(self) -> None:
        done = self._open.pop()
        self._put(_Value(done.inside, self._nodes - done.nodes_before + 1, done.height), done.line, done.anchor)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            message = f"no anchor `&{event.anchor}` is complete before this line; write the value out"
            raise self._refuse(event, message)
        anchored = self._anchors[event.anchor]
        self._aliased += anchored.nodes
        if self._aliased > _ALIASED_MAX:
            message = f"aliases stand for more than {_ALIASED_MAX} values; write out what is meant"
            raise self._refuse(event, message)
        if self._open and isinstance(self._open[-1].inside, dict) and self._open[-1].key is None:
            raise self._refuse(event, "text was expected as a key, an alias was found; write the key out")
        self._check_depth(event, anchored.height)
        self._nodes += anchored.nodes - 1
        self._put(anchored, event.start_mark.line + 1, None)

    def _put(self, read: _Value, line: int, anchor: str | None) -> None:
        self._nodes += 1
        if anchor:
            self._anchors[anchor] = read
        if not self._open:
            self.root = Node(read.value, self._file, line)
            return
        top = self._open[-1]
        top.height = max(top.height, read.height + 1)
        if isinstance(top.inside, list):
            top.inside.append(Node(read.value, self._file, line))
            return
        assert top.key is not None
        node = Node(read.value, self._file, top.key_line, top.key)
        first = top.inside.setdefault(top.key, node)
        if first is not node:
            message = f"the key {top.key!r} stands here again, first in line {first.line}; keep one of them"
            self._reading.add(node, message, "doubled-key")
        top.key = None

    def _resolve(self, event: Any) -> Any:
        """A scalar's value by the core schema; what is quoted is text."""
        text, tag = event.value, event.tag
        wanted = tag.removeprefix(_STANDARD) if tag and tag != "!" else None
        if wanted == "str" or tag == "!" or (wanted is None and not event.implicit[0]):
            return text
        match = _PLAIN.fullmatch(text)
        form = match.lastgroup if match else "str"
        if wanted not in (None, form) and not (wanted == "int" and form in ("octal", "hex")):
            raise self._refuse(event, f"plain YAML was expected, the tag {tag!r} was found; leave it out")
        match form:
            case "null":
                return None
            case "bool":
                return text[0] in "tT"
            case "int" | "octal" | "hex":
                return self._integer(event)
            case "float":
                number = float(text)
                if number in (float("inf"), float("-inf")):
                    raise self._refuse(
                        event, "a smaller number was expected; put it in quotes if it is meant as text"
                    )
                return number
        return text

    def _integer(self, event: Any) -> int:
        digits = event.value
        # The length is looked at first: turning very long digits into a number takes long.
        number = int(digits, {"o": 8, "x": 16}.get(digits[1:2], 10)) if len(digits) < 80 else 1 << 64
        if number.bit_length() > _INTEGER_BITS_MAX:
            raise self._refuse(
                event, "a number of at most 64 bits was expected; put it in quotes if it is meant as text"
            )
        return number

    def _check_depth(self, event: Any, height: int) -> None:
        if len(self._open) + height > DEPTH_MAX:
            message = f"at most {DEPTH_MAX} levels were expected, more were found; check the brackets"
            raise self._refuse(event, message)

    def _refuse(self, event: Any, message: str) -> Reported:
        return self._reading.refuse(Node(None, self._file, event.start_mark.line + 1), message, "bad-yaml")


def _line_of_problem(error: yaml.MarkedYAMLError) -> int:
    """The line to look at: for brackets and quotes left open that is where they open, not the end of the file."""
    left_open = error.context is not None and ("quoted" in error.context or "flow" in error.context)
    mark = (error.context_mark if left_open else None) or error.problem_mark
    return int(mark.line) + 1 if mark else 1


def _remedy(text: str, line: int) -> str:
    """What most often helps with a line that is not YAML."""
    lines = text.splitlines()
    broken = lines[line - 1] if line <= len(lines) else ""
    if "\t" in broken[: len(broken) - len(broken.lstrip())]:
        return "indent with spaces, not tabs"
    if ": " in broken or "{" in broken or "[" in broken or broken.lstrip()[:1] in ("@", "`", "%", "*", "&"):
        return "check brackets and indentation here and above, and put text with special characters in quotes"
    return "check brackets, quotes and indentation here and above"


def _line_of_bad_character(text: str) -> int:
    bad = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    return text.count("\n", 0, bad.start()) + 1 if bad else 1
