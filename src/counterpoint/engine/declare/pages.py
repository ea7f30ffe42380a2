"""The format of a score for people and editors: a reference page and a JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoint.engine.declare.format import score_format
from counterpoint.ports.tool import Tool
from counterpoint.tables import pages

_INTRODUCTION = """# The score

What may stand in a score. This page is written by `make docs` from the tables that the reader itself follows.

A score is YAML 1.2: only `true`, `false`, `null` and plain numbers are special, so `on` and `07:00` are text.
Durations are written `30s`, `5m`, `1h30m` or `7d`, sizes `512MB` (10^6) or `2GiB` (2^30).
Names of pipelines and tasks have letters, digits and `_ . -`; those of pools, assets and events also `: / @ +`.
Expressions are CEL over `event`, the change as a CloudEvent; quote them inside `{}`.
Where a short form is named, the value of that one key may stand for the whole: `gpu: 1` is `gpu: {slots: 1}`.
Where no default is named, there is nothing unless the key is written.

```yaml
score: shop
pools: {warehouse: 4}
assets: {raw.orders: {}, mart.sales: {}}
pipelines:
  load-orders:
    trigger: {cron: "*/15 * * * *"}
    writes: [raw.orders]
    run: python3 load_orders.py
  build-sales:
    trigger: {asset: raw.orders}
    reads: [raw.orders]
    writes: [mart.sales]
    pools: {warehouse: 1}
    tasks:
      build: {sql: {file: sales.sql, database: shop.duckdb}}
      check: {check: {table: sales, database: shop.duckdb, rows: "> 0"}, after: [build]}
```
"""


def schema(tools: Mapping[str, Tool]) -> dict[str, Any]:
    """The format as JSON Schema, for editors."""
    return pages.schema(score_format(tools), "Counterpoint score")


def reference(tools: Mapping[str, Tool]) -> str:
    """The format as a page of Markdown: the score from its top down, then what each tool takes."""
    explained = {record.name for tool in tools.values() for record in pages.records(tool.settings)}
    lines = [_INTRODUCTION, *pages.sections(score_format(tools), explained)]
    explained.clear()
    for tool in tools.values():
        lines += pages.sections(tool.settings, explained)
    return "\n".join(lines)
