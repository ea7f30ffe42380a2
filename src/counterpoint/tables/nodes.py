"""What was written: plain values, each with its place.

Whatever front a declaration comes through, YAML or Python, it becomes a tree of nodes; from here on
there is one reader and one set of rules.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

#: Deeper than any declaration that was meant; what is deeper is refused before it exhausts a stack.
DEPTH_MAX = 100


class Node(Struct, gc=False):
    """A value and where it stands.

    It has no cycles, so the collector need not follow it: a large score has a million of these.

    Attributes:
        value: a text, number, truth value or None; or a list of nodes; or a dict of text -> node.
        file: the file as the user named it.
        line: the line of its key; its own line where it has none, as in a list.
        key: its key in the mapping around it; "" where it has none.
    """

    value: Any
    file: str
    line: int
    key: str = ""

    @property
    def where(self) -> str:
        """The place, as mistakes name it."""
        return f"{self.file}:{self.line}"

    @property
    def plain(self) -> Any:
        """The value without places, as JSON would hold it."""
        value = self.value
        if isinstance(value, dict):
            return {key: child.plain for key, child in value.items()}
        if isinstance(value, list):
            return [child.plain for child in value]
        return value

    @property
    def members(self) -> dict[str, Node]:
        """What stands in a mapping; nothing where this is none."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def entries(self) -> list[Node]:
        """What stands in a list; nothing where this is none."""
        return self.value if isinstance(self.value, list) else []

    def at(self, key: str) -> Node:
        """What stands under a key; a node without a value where nothing does."""
        return self.members.get(key) or Node(None, self.file, self.line)


def locate(value: Any, file: str = "", line: int = 1, key: str = "") -> Node:
    """Turn a JSON-like value into nodes that all stand at one place."""
    if isinstance(value, dict):
        value = {name: locate(child, file, line, name) for name, child in value.items()}
    elif isinstance(value, list | tuple):
        value = [locate(child, file, line) for child in value]
    return Node(value, file, line, key)


def described(node: Node) -> str:
    """What stands there, in words short enough for a message."""
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
