"""The `dbt` tool with a real dbt-core on DuckDB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from counterpoint.adapters.tools.dbt import DbtTool
from counterpoint.model.pipeline import Task
from counterpoint.ports.executor import Ended
from counterpoint.ports.tool import Answer, Context
from counterpoint.testing.contracts.tool import read_settings

pytestmark = pytest.mark.timeout(300)

_CALL = "import json, sys; from counterpoint.adapters.tools.runtime.dbt import run; run(**json.load(sys.stdin))"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A score's folder with a dbt project of three models and two tests."""
    folder = tmp_path_factory.mktemp("shop")
    files = {
        "dbt_project.yml": "name: shop\nversion: '1.0'\nprofile: shop\nmodels: {+materialized: table}\n",
        "profiles.yml": "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}\n",
        "models/orders.sql": "select {{ var('first', 1) }} as id, 10.0 as amount union all select 2, 5.5",
        "models/gmv.sql": "select sum(amount) as gmv from {{ ref('orders') }}",
        "models/broken.sql": "{{ config(enabled=var('broken', false)) }} select oops from {{ ref('gmv') }}",
        "models/schema.yml": """
models:
  - name: orders
    config: {meta: {counterpoint: {asset: raw.orders}}}
    columns:
      - name: id
        data_tests: [unique, {accepted_values: {arguments: {values: [1]}, config: {severity: warn}}}]
""",
    }
    for name, text in files.items():
        path = folder / "warehouse" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


Built = tuple[Answer, list[dict[str, Any]], str]


@pytest.fixture(scope="module")
def built(shop: Path) -> Built:
    """The first build of the project."""
    return _build(shop, shop.parent / "first-attempt")


def _build(shop: Path, attempt: Path, **settings: Any) -> Built:
    tool = DbtTool()
    spec, mistakes = read_settings(tool, {"project": "warehouse", **settings})
    assert not mistakes
    task = Task(name="build", tool="dbt", spec=spec)
    env = {"COUNTERPOINT_WRITES": '["raw.orders", "mart.gmv", "mart.other"]', "COUNTERPOINT_PARTITION": "7"}
    invocation = tool.prepare(task, Context(folder=str(shop), env=env, attempt="marts#1/build/1"))
    attempt.mkdir(exist_ok=True)
    process = subprocess.run(
        [sys.executable, "-c", _CALL],
        cwd=invocation.folder,
        env=os.environ | env | {"COUNTERPOINT_OUTPUT": str(attempt / "output")},
        input=msgspec.json.encode(invocation.arguments),
        capture_output=True,
        check=False,
    )
    text = process.stdout.decode() + process.stderr.decode()
    assert process.returncode == 0, text
    lines = [json.loads(line) for line in (attempt / "output").read_text().splitlines()]
    return (
        tool.read(task, Ended(attempt="marts#1/build/1", look=0, succeeded=True, lines=tuple(lines))),
        lines,
        text,
    )


def test_models_become_versions_tests_verdicts_and_nodes_results(built: Built) -> None:
    answer, lines, log = built

    assert answer.state == "done", log
    versions = {report.asset: report for report in answer.reports}
    assert versions.keys() == {"raw.orders", "mart.gmv"}
    metadata = versions["mart.gmv"].metadata
    assert (metadata["status"], metadata["node"]) == ("success", "model.shop.gmv")
    assert metadata["relation"] == '"shop"."main"."gmv"'
    assert metadata["dbt_version"].startswith("1.")
    assert versions["mart.gmv"].label == metadata["invocation_id"] == answer.result["invocation_id"]
    verdicts = {verdict["check"]: (verdict["passed"], verdict["on_fail"]) for verdict in answer.verdicts}
    assert verdicts == {
        "test unique_orders_id": (True, "halt"),
        "test accepted_values_orders_id__1": (False, "warn"),
    }
    assert answer.result["counts"] == {"success": 2, "pass": 1, "warn": 1}
    assert {node["node"] for node in answer.result["nodes"]} >= {"model.shop.orders", "model.shop.gmv"}
    progress = [line["fraction"] for line in lines if line["kind"] == "progress"]
    assert len(progress) == 4
    assert max(progress) == 1.0
    assert "Completed" in log


def test_the_project_is_left_as_it_was_but_for_the_parsed_one(shop: Path, built: Built, tmp_path: Path) -> None:
    _, _, log = _build(shop, tmp_path / "2")

    assert [path.name for path in (shop / "warehouse" / "target").iterdir()] == ["partial_parse.msgpack"]
    assert not (shop / "warehouse" / "logs").exists()
    assert not (shop / "logs").exists()
    assert "saved manifest not found" not in log, "the second parse takes up the first"


def test_a_failing_test_fails_the_task_as_a_check_and_publishes_nothing(shop: Path, tmp_path: Path) -> None:
    answer, _, _ = _build(shop, tmp_path / "1", vars={"first": 2})

    assert (answer.state, answer.failure) == ("failed", "check")
    assert "test unique_orders_id fail: Got 1 result" in answer.detail
    assert "skipped" in answer.detail
    assert answer.reports == ()


def test_a_broken_model_fails_the_task_and_is_named(shop: Path, tmp_path: Path) -> None:
    answer, _, _ = _build(shop, tmp_path / "1", command="run", vars={"broken": True, "first": "{partition}"})

    assert (answer.state, answer.failure) == ("failed", "error")
    assert "model broken error" in answer.detail
    assert "oops" in answer.detail
    assert {node["node"]: node["status"] for node in answer.result["nodes"]}["model.shop.gmv"] == "success"


def test_what_dbt_cannot_start_with_is_said(shop: Path, tmp_path: Path) -> None:
    no_project, _, _ = _build(shop, tmp_path / "1", project="nowhere")
    no_target, _, _ = _build(shop, tmp_path / "2", target="production")

    assert (no_project.state, no_project.failure) == ("failed", "error")
    assert "no dbt_project.yml was found" in no_project.detail
    assert (no_target.state, no_target.failure) == ("failed", "error")
    assert "production" in no_target.detail
