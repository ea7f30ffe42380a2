"""Whatever is given to the reader, it answers with a plan or with mistakes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from counterpoint.engine.declare import declare_text, schema
from counterpoint.errors import DeclarationError
from counterpoint.model.plan import Plan

#: Words that mean something somewhere in a score, so that documents get past the first door.
WORDS = """
    score timezone classes pools events assets pipelines calendars teams urgent normal bulk wait slots target
    description schema writers many freshness run tasks owner team trigger reads writes concurrency overlap
    coalesce queue class hold partition day write in_place suspect use retry attempts backoff only never
    out_of_memory memory up_to timeout grace env secret preempt cron every from event asset pipeline state
    checkpoint all any within at_latest batch quiet max by delivery pattern sync reconcile until rearm give_up
    freshness completion within target over share obligations time by cutoff calendar days except maintenance
    weight rate storm elastic takes fails arrives minimum evictions cooldown eager idle 99% 60/1m mon-fri
    when catchup gap repeat command python check after task on failure auto a b c x2 5m 10s..5m 512MB 07:00 UTC
    event.data.x @daily 2026-01-31
"""

words = st.sampled_from(WORDS.split())
scalars = (
    words
    | st.text(max_size=8)
    | st.integers()
    | st.integers(-1, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=5), inner),
    max_leaves=40,
)
sources = st.fixed_dictionaries(
    {},
    optional={
        "asset": st.sampled_from("ab"),
        "event": st.just("c"),
        "pipeline": st.sampled_from("ab"),
        "state": st.sampled_from(["completed", "failed", "lost"]),
        "when": st.sampled_from(["event.data.x", "1 +"]),
        "every": st.sampled_from(["5m", "now"]),
        "give_up": st.integers(0, 2),
        "delivery": st.sampled_from(["sync", "async"]) | documents,
        "batch": st.fixed_dictionaries({}, optional={"max": st.integers(0, 3), "quiet": st.just("5s")}),
    },
)
triggers = sources | st.fixed_dictionaries({"any": st.lists(sources, max_size=3)}) | documents
tasks = st.fixed_dictionaries(
    {"command": st.text(max_size=3) | st.integers()},
    optional={
        "after": st.lists(
            st.sampled_from("abc") | st.fixed_dictionaries({"task": st.sampled_from("abc")}), max_size=2
        ),
        "writes": st.lists(st.sampled_from("abc"), max_size=2),
        "pools": st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=2),
        "retry": st.integers(0, 3) | documents,
    },
)
pipelines = st.fixed_dictionaries(
    {},
    optional={
        "run": st.text(max_size=3),
        "tasks": st.dictionaries(st.sampled_from("abc"), tasks, max_size=3),
        "trigger": triggers,
        "reads": st.lists(st.sampled_from("abc"), max_size=2),
        "writes": st.lists(st.sampled_from("abc"), max_size=2),
        "env": documents,
    },
)
scores = st.fixed_dictionaries(
    {"pipelines": st.dictionaries(st.sampled_from("abc"), pipelines | documents, max_size=3)},
    optional={
        "score": st.text(max_size=3),
        "pools": st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)),
        "assets": st.dictionaries(st.sampled_from("abc"), st.just({}) | documents),
        "events": st.dictionaries(st.just("c"), st.just({}) | documents),
        "timezone": st.sampled_from(["UTC", "Mars"]),
    },
)

FREELY = settings(deadline=None, suppress_health_check=list(HealthCheck))


def plan_or_mistakes(text: str, tools: Mapping[str, Any]) -> Plan | None:
    try:
        plan = declare_text(text, folder=Path("/nowhere"), tools=tools)
    except DeclarationError as error:
        assert error.mistakes
        assert all(mistake.where.startswith("score.yaml:") for mistake in error.mistakes)
        return None
    assert plan.digest
    return plan


@FREELY
@given(document=documents)
def test_any_document_gives_a_plan_or_mistakes(tools: Mapping[str, Any], document: Any) -> None:
    plan_or_mistakes(json.dumps(document), tools)


@FREELY
@given(document=scores)
def test_anything_like_a_score_gives_a_plan_or_mistakes(tools: Mapping[str, Any], document: Any) -> None:
    plan = plan_or_mistakes(json.dumps(document), tools)

    if plan is not None:
        jsonschema_rs.Draft202012Validator(schema(tools)).validate(document)


@FREELY
@given(text=st.text() | st.text(alphabet="abc:-[]{}&*!|>'\"#%@`, \n\t<?0123456789"))
@example("a: &x\n*x")
@example("%YAML 1.1\n---\na")
def test_any_text_gives_a_plan_or_mistakes(tools: Mapping[str, Any], text: str) -> None:
    plan_or_mistakes(text, tools)
