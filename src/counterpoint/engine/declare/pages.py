"""The format of a score for people and editors: a reference page and a JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from counterpoint.engine.declare.format import ToolSpec, score_format
from counterpoint.engine.declare.kinds import ByType, Definitions, Kind, ListOf, MapOf, Schema
from counterpoint.engine.declare.records import Key, Record, Variants
from counterpoint.ports.tool import Tool

_INTRODUCTION = """# The score

What may stand in a score. This page is written by `make docs` from the table that the reader itself follows.

A score is YAML 1.2: only `true`, `false`, `null` and plain numbers are special, so `on` and `07:00` are text.
Durations are written `30s`, `5m`, `1h30m` or `7d`, sizes `512MB` (10^6) or `2GiB` (2^30).
Where a short form is named, the value of that one key may stand for the whole: `gpu: 1` is `gpu: {slots: 1}`.
"""
_HEAD = ("| key | value | default | meaning |", "|---|---|---|---|")


def schema(tools: Mapping[str, Tool]) -> dict[str, Any]:
    """The format as JSON Schema (Draft 2020-12), for editors. It knows nothing of links between names."""
    definitions: Definitions = {}
    root = score_format(tools).schema(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Counterpoint score",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def reference(tools: Mapping[str, Tool]) -> str:
    """The format as a page of Markdown: a section for each record as it is met, then one for each tool."""
    lines = [_INTRODUCTION]
    explained: set[str] = set()
    for kind in _met(score_format(tools)):
        lines += _record_lines(kind) if isinstance(kind, Record) else _variants_lines(kind, explained)
    for tool in tools.values():
        lines += _tool_lines(tool)
    return "\n".join(lines)


def _met(kind: Kind) -> Iterator[Record | Variants]:
    """Every record below a kind, each name once, breadth first."""
    waiting, names = [kind], set[str]()
    while waiting:
        kind = waiting.pop(0)
        if isinstance(kind, Record | Variants):
            if kind.name in names:
                continue
            names.add(kind.name)
            yield kind
        waiting += _inside(kind)


def _inside(kind: Kind) -> list[Kind]:
    match kind:
        case Record():
            return [key.kind for key in kind.keys]
        case Variants():
            return [key.kind for record in kind.variants for key in (*record.keys, *kind.common)]
        case ListOf():
            return [kind.item]
        case MapOf():
            return [kind.values]
        case ByType():
            return list(kind.kinds.values())
    return []


def _record_lines(record: Record) -> Iterator[str]:
    short = f" Short form: the value of `{record.short}` alone." if record.short else ""
    yield f"## {_titled(record.name)}\n\n{record.doc}{short}\n"
    yield from _table((record, key) for key in record.keys)
    later = ", ".join(f"`{key.name}`" for key in record.keys if key.later)
    if later:
        yield f"Kept for later releases, and refused by this one: {later}.\n"


def _variants_lines(variants: Variants, explained: set[str]) -> Iterator[str]:
    """A section for a mapping of several sorts; sorts that were explained before are only named."""
    yield f"## {_titled(variants.name)}\n\n{variants.doc}\n"
    new = [record for record in variants.variants if record.name not in explained]
    known = [record.name for record in variants.variants if record.name in explained]
    explained.update(record.name for record in new)
    if known:
        yield f"As above: {', '.join(known)}.\n"
    if all(len(record.keys) == 1 for record in new) and new:
        yield "One of:\n"
        yield from _table((record, record.keys[0]) for record in new)
    else:
        for record in new:
            yield f"**{_titled(record.name)}**: {record.doc[0].lower()}{record.doc[1:]}\n"
            yield from _table((record, key) for key in record.keys)
    if variants.common:
        yield "Each of these also takes:\n"
        yield from _table((variants.variants[0], key) for key in variants.common)
        later = ", ".join(f"`{key.name}`" for key in variants.common if key.later)
        if later:
            yield f"Kept for later releases, and refused by this one: {later}.\n"


def _table(keys: Iterable[tuple[Record, Key]]) -> Iterator[str]:
    yield from _HEAD
    for record, key in keys:
        if not key.later:
            default = "**required**" if key.required else _default(record.default(key))
            yield f"| `{key.name}` | {_value(key.kind)} | {default} | {key.doc} |"
    yield ""


def _tool_lines(tool: Tool) -> Iterator[str]:
    """What stands under a tool's key, from the tool's own schema."""
    yield f"## Tool {tool.name}\n\n{ToolSpec(tool).about}\n"
    whole = tool.schema()
    mapping: Schema = next((form for form in whole.get("anyOf", [whole]) if "properties" in form), {})
    yield from ("| key | needed | meaning |", "|---|---|---|")
    for name, schema_of_key in mapping.get("properties", {}).items():
        needed = "yes" if name in mapping.get("required", ()) else ""
        yield f"| `{name}` | {needed} | {schema_of_key.get('description', '')} |"
    yield ""


def _value(kind: Kind) -> str:
    """What the value is, with links to the sections of records and tools."""
    match kind:
        case Record(name=name) | Variants(name=name):
            return f"[{name}](#{name.replace(' ', '-')})"
        case ToolSpec():
            return f"[tool {kind.tool.name}](#tool-{kind.tool.name})"
        case ListOf():
            return f"list of: {_value(kind.item)}"
        case MapOf():
            return f"{kind.names.phrase.removesuffix(',')} → {_value(kind.values)}"
        case ByType():
            return " or ".join(_value(inner) for inner in kind.kinds.values())
    return kind.phrase.removesuffix(",")


def _default(default: str) -> str:
    """A default as code where it is a value, as it is where it is a phrase."""
    return f"`{default}`" if re.fullmatch(r"[\w.:+-]+", default) else default


def _titled(name: str) -> str:
    return name[0].upper() + name[1:]
