"""The JSON Schema and the reference page, which follow from the same table as the reader."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from counterpoint.adapters.tools import standard_tools
from counterpoint.engine.declare import declare_text, reference, schema
from counterpoint.engine.declare.format import score_format
from counterpoint.engine.declare.yaml import read_yaml
from counterpoint.tables import pages
from counterpoint.tables.kinds import Kind
from counterpoint.tables.reading import Reading
from counterpoint.tables.records import Key, Record, Variants

SCORE = """
score: shop
pools: {warehouse: 4, gpu: {slots: 1, target: 70%, rate: 60/1m}}
events: {order.placed: {schema: {type: object}}, order.paid: {arrives: 30s}}
assets:
  raw:
  mart: {writers: many, freshness: 1h, completion: "07:00"}
  shop: {freshness: {within: 1h, target: 0.99}}
calendars: {work: {days: [mon-thu, sat], except: ["2026-12-25"], maintenance: 01:00-02:00}, all: }
teams: {a: 2, b: {weight: 0.5}}
pipelines:
  all:
    trigger: auto
    reads: [raw]
    writes: [shop]
    pools: {gpu: 1}
    concurrency: {max: 2, by: event.data.shop}
    preempt: {minimum: 1m}
    takes: 5m..20m
    fails: 1%
    run: x
  mart: {trigger: {auto: {eager: idle}}, reads: [raw], writes: [mart], pools: {gpu: 1}, preempt: true, run: x}
  load: {trigger: {every: 5m}, writes: [raw], run: python3 load.py, retry: 3}
  build:
    trigger: {all: [{asset: raw}, {any: [{event: order.placed}]}], within: 1h, batch: {quiet: 5s}}
    env: {TOKEN: {secret: TOKEN}, MODE: fast}
    tasks:
      a: {command: build, pools: {gpu: 1}}
      b: {command: [x, y], after: [a, {task: a, "on": end}]}
"""


def test_the_schema_takes_what_the_reader_takes(tools: Mapping[str, Any], tmp_path: Path) -> None:
    declare_text(SCORE, folder=tmp_path, tools=tools)

    jsonschema_rs.Draft202012Validator(schema(tools)).validate(yaml.safe_load(SCORE))


@pytest.mark.parametrize(
    "text",
    [
        "polls: {}",
        "pools: {a: {slots: 0}}",
        "calendars: []",
        "teams: {a: {wait: 2}}",
        "assets: {a: {freshness: {target: 99%}}}",
        "assets: {a: {completion: {by: 7}}}",
        "pipelines: {p: {run: x, trigger: automatic}}",
        "pipelines: {p: {run: x, preempt: 3}}",
        "pipelines: {p: {run: x, elastic: {max: 1, by: a}}}",
        "pipelines: {p: {}}",
        "pipelines: {p: {run: x, tasks: {}}}",
        "pipelines: {p: {run: x, trigger: {cron: a, asset: b}}}",
        "pipelines: {p: {run: x, class: fast}}",
        "pipelines: {'a/b': {run: x}}",
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(tools: Mapping[str, Any], text: str) -> None:
    assert not jsonschema_rs.Draft202012Validator(schema(tools)).is_valid(yaml.safe_load(text))


def test_the_schema_is_valid_with_every_tool() -> None:
    jsonschema_rs.meta.validate(schema(standard_tools()))


def test_the_page_tells_keys_defaults_and_meanings() -> None:
    page = reference(standard_tools())

    assert "| `slots` | a whole number of at least 1 | **required** | How many slots there are. |" in page
    assert "| `grace` | a duration such as 30s, 5m or 1h30m | `10s` |" in page
    assert "| `trigger` | [trigger](#trigger) | none: it is started by hand |" in page
    assert "| `target` | a percentage such as 99% | `99%` | The share that is promised. |" in page
    assert "Short form: `auto`." in page
    assert "## Tool dbt" in page


RECORDS = pages.records(score_format(standard_tools()))


def _keys(record: Record | Variants) -> Iterable[Key]:
    return record.keys if isinstance(record, Record) else [key for one in record.variants for key in _keys(one)]


@pytest.mark.parametrize("record", [record for record in RECORDS if record.sample], ids=lambda record: record.name)
def test_each_sample_of_the_page_is_what_the_reader_takes(record: Record | Variants) -> None:
    kinds: dict[str, Kind] = {tool.name: tool.settings for tool in standard_tools().values()}
    for known in RECORDS:
        for key in (*_keys(known), *(known.common if isinstance(known, Variants) else ())):
            kinds.setdefault(key.name, key.kind)

    # A sample may show several of one kind, each from the start of a line.
    for text in re.split(r"\n(?=\S)", record.sample):
        reading = Reading()
        (node,) = read_yaml(text, "sample", reading).members.values()
        kinds.get(node.key, record).read(node, reading)
        assert reading.mistakes == []


def test_each_link_of_the_page_leads_to_a_section() -> None:
    page = reference(standard_tools())

    titles = {line[3:].lower().replace(" ", "-") for line in page.splitlines() if line.startswith("## ")}
    links = {part.split(")")[0] for part in page.split("](#")[1:]}
    assert links <= titles
