"""Tables for people and editors: sections of a reference page, and a JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import msgspec

from counterpoint.model.quantity import format_duration
from counterpoint.tables.kinds import Definitions, Either, Kind, ListOf, MapOf, Parsed, Schema
from counterpoint.tables.records import Key, Record, Variants

_HEAD = ("| key | value | default | meaning |", "|---|---|---|---|")


def schema(kind: Kind, title: str) -> Schema:
    """A kind as JSON Schema (Draft 2020-12). It knows nothing of links between names."""
    definitions: Definitions = {}
    root = kind.schema(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def sections(kind: Kind, explained: set[str]) -> Iterator[str]:
    """Lines of Markdown: a section for each record below a kind, itself first, as they are met.

    Args:
        explained: names of the records that have a section already; those met here are added.
    """
    for each in _met(kind, explained):
        sample = f"\n```yaml\n{each.sample}\n```\n" if each.sample else ""
        yield f"## {_titled(each.name)}\n\n{each.doc}{_short(each)}\n{sample}"
        yield from _table(each.keys, each) if isinstance(each, Record) else _variants_lines(each, explained)


def _met(kind: Kind, met: set[str]) -> Iterator[Record | Variants]:
    if isinstance(kind, Record | Variants):
        if kind.name in met:
            return
        met.add(kind.name)
        yield kind
    for inner in _inside(kind):
        yield from _met(inner, met)


def _inside(kind: Kind) -> list[Kind]:
    match kind:
        case Record():
            return [key.kind for key in kind.keys]
        case Variants():
            return [key.kind for record in kind.variants for key in record.keys] + [k.kind for k in kind.common]
        case ListOf():
            return [kind.item]
        case MapOf():
            return [kind.values]
        case Either():
            return list(kind.kinds)
    return []


def records(kind: Kind) -> list[Record | Variants]:
    """Every record below a kind, itself first."""
    return list(_met(kind, set()))


def _short(kind: Record | Variants) -> str:
    variants = [kind] if isinstance(kind, Record) else kind.variants
    shorts = [f"`{record.short}`" for record in variants if record.short]
    return f" Short form: the value of {shorts[0]} alone." if shorts else ""


def _variants_lines(variants: Variants, explained: set[str]) -> Iterator[str]:
    """A table for each sort; sorts that have one already are only named."""
    known = [record.name for record in variants.variants if record.name in explained]
    new = [record for record in variants.variants if record.name not in explained]
    explained.update(record.name for record in new)
    if known:
        yield f"As above: {', '.join(known)}.\n"
    if new and all(len(record.keys) == 1 for record in new):
        yield "One of:\n"
        yield from _table([record.keys[0] for record in new], *new)
    else:
        for record in new:
            yield f"**{_titled(record.name)}**: {record.doc[0].lower()}{record.doc[1:]}\n"
            yield from _table(record.keys, record)
    if variants.common:
        yield "Each of these also takes:\n"
        yield from _table(variants.common, *variants.variants)


def _table(keys: Iterable[Key], *records: Record) -> Iterator[str]:
    """A table of keys that each of the records takes."""
    yield from _HEAD
    for key in keys:
        default = "**required**" if key.required else _default(key, records)
        yield f"| `{key.name}` | {_value(key.kind)} | {default} | {key.doc} |"
    yield ""


def _value(kind: Kind) -> str:
    """What the value is, with links to the sections of records."""
    match kind:
        case Record() | Variants():
            return f"[{kind.name}](#{kind.name.replace(' ', '-')})"
        case ListOf(single=True):
            return f"{_value(kind.item)}, or a list of such"
        case ListOf():
            return f"list of: {_value(kind.item)}"
        case MapOf():
            return f"mapping: {_value(kind.names)} → {_value(kind.values)}"
        case Either():
            return " or ".join(_value(inner) for inner in kind.kinds)
        case Parsed() if "such as" not in kind.phrase:
            example = kind.example.strip('"')
            return f"{kind.phrase}, such as `{example}`"
    return kind.brief or kind.phrase


def _default(key: Key, records: Iterable[Record]) -> str:
    """What holds without a key: as code where it is a value, as it is where it is said in words."""
    models = [record.model for record in records if record.model is not None]
    defaults = {field.name: field.default for model in models for field in msgspec.structs.fields(model)}
    default = key.otherwise or _as_written(key.default) or _as_written(defaults.get(key.into))
    return f"`{default}`" if re.fullmatch(r"[\w.:+/%-]+|> 0", default) else default


def _as_written(value: Any) -> str:
    """A default as it would be written in a score; "" where it is nothing."""
    match value:
        case bool():
            return str(value).lower()
        case timedelta():
            return format_duration(value).replace(" ", "")
        case (timedelta() as low, timedelta() as high):
            return f"{_as_written(low)}..{_as_written(high)}"
        case float() if 0 <= value <= 1:
            return f"{value * 100:.6g}%"
        case str() | int():
            return str(value)
    return ""


def _titled(name: str) -> str:
    return name[0].upper() + name[1:]
