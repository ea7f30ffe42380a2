"""Payloads of simulated events, made so that they fit the schema that the score declares.

Only what conditions and keys commonly look at is made: constants, choices, numbers within their limits, truth
values, short words, objects and lists of these. Where there is no schema the payload is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

#: So many different words stand for a text that the schema leaves open.
_WORDS = 10
#: Schemas are followed this deep.
_DEEPEST = 8


def payload(schema: Mapping[str, Any] | None, random: Random) -> Any:
    """A payload that fits a JSON Schema, as far as it is understood."""
    return {} if schema is None else _value(schema, "value", random, 0)


def _value(schema: Any, name: str, random: Random, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return random.choice(schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    match kind:
        case "integer":
            low = int(schema.get("minimum", 0))
            return random.randint(low, max(low, int(schema.get("maximum", low + 100))))
        case "number":
            least = float(schema.get("minimum", 0))
            return random.uniform(least, max(least, float(schema.get("maximum", least + 100))))
        case "boolean":
            return random.random() < 0.5
        case "string":
            return f"{name}-{random.randint(1, _WORDS)}"
        case "array":
            length = max(1, int(schema.get("minItems", 1)))
            return [_value(schema.get("items", {}), name, random, depth + 1) for _ in range(length)]
        case "object" | None if isinstance(schema.get("properties"), Mapping):
            properties = schema["properties"]
            return {key: _value(inner, key, random, depth + 1) for key, inner in properties.items()}
        case "object":
            return {}
        case _:
            return None
