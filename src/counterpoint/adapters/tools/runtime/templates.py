"""Filling in `{partition}`, `{params.day}` and the like in settings, and putting secrets in their place."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from counterpoint.adapters.tools.runtime.output import Failed

_PLACE = re.compile(
    r"\{(id|attempt|run_id|pipeline|task|partition|due|callback_url|callback_secret|params\.[A-Za-z_]\w*)\}"
)


class Values:
    """What may be filled in. Braces around any other name are left as they are: JSON has many."""

    def __init__(self, arguments: Mapping[str, Any], **more: str) -> None:
        self.params: dict[str, Any] = json.loads(os.environ.get("COUNTERPOINT_PARAMS") or "{}")
        names = ("run_id", "pipeline", "task", "partition", "due", "callback_secret")
        self._values = {name: os.environ.get(f"COUNTERPOINT_{name.upper()}", "") for name in names}
        self._values |= {"attempt": arguments["attempt"], "callback_url": arguments["callback_url"], **more}

    def fill(self, node: Any) -> Any:
        """The settings with all names filled in and all secrets in their place."""
        if isinstance(node, str):
            return _PLACE.sub(lambda place: self._value(place[1]), node)
        if isinstance(node, list):
            return [self.fill(value) for value in node]
        if isinstance(node, dict):
            if node.keys() == {"variable", "prefix"}:
                return node["prefix"] + os.environ[node["variable"]]
            return {key: self.fill(value) for key, value in node.items()}
        return node

    def fill_url(self, node: Any) -> str:
        """The same for an address: values are quoted, so that none can add a path or a query."""
        if isinstance(node, dict):
            return str(self.fill(node))
        return _PLACE.sub(lambda place: quote(self._value(place[1]), safe=""), node)

    def _value(self, name: str) -> str:
        if name.startswith("params."):
            key = name.removeprefix("params.")
            if key not in self.params:
                raise Failed(f"the parameter {key!r} was expected; the run has {', '.join(self.params) or 'none'}")
            value = self.params[key]
            return value if isinstance(value, str) else json.dumps(value)
        if name not in self._values:
            raise Failed(f"{{{name}}} has no value here")
        return self._values[name]
