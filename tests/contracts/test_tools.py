"""Each tool passes the contract, and reads its own settings as its reference says."""

from __future__ import annotations

import msgspec
import pytest

from counterpoint.adapters.tools import standard_tools
from counterpoint.ports.executor import Invocation
from counterpoint.ports.tool import Tool
from counterpoint.tables.nodes import Node, locate
from counterpoint.testing.contracts.tool import ToolContract, example_context, example_task, read_settings

TOOLS = standard_tools()


class _Standard(ToolContract):
    name = ""

    @pytest.fixture
    def tool(self) -> Tool:
        return TOOLS[self.name]


class TestCommand(_Standard):
    name = "command"
    good = ("python3 ingest.py --day '2026-01-01'", ["echo", "a b"], {"run": "ls | wc -l", "shell": True})
    bad = ("", "echo 'open", [], [1], {"shell": True}, {"run": "ls", "shell": "yes"})

    def test_a_text_is_split_as_a_shell_would_but_without_one(self, tool: Tool) -> None:
        assert _argv(tool, "echo 'a b' $HOME") == ("echo", "a b", "$HOME")
        assert _argv(tool, ["echo", "a b"]) == ("echo", "a b")
        assert _argv(tool, {"run": "a | b", "shell": True}) == ("/bin/sh", "-ec", "a | b")


class TestPython(_Standard):
    name = "python"
    good = (
        "ingest:run",
        {"function": "a.b:C.run", "arguments": {"x": [1]}, "python": ".venv/bin/python", "path": "lib"},
    )
    bad = ("ingest.run", "ingest:", {"function": "a:b", "arguments": [1]}, {"arguments": {}})

    def test_the_function_is_called_with_the_scores_folder_first_on_the_path(self, tool: Tool) -> None:
        invocation = _prepared(tool, self.good[1])

        assert (invocation.function, invocation.arguments) == ("a.b:C.run", {"x": [1]})
        assert (invocation.python, invocation.paths) == (".venv/bin/python", ("/scores/daily", "lib"))


class TestHttp(_Standard):
    name = "http"
    good = (
        "http://127.0.0.1/x",
        {"url": "https://h/x", "method": "PUT", "json": {"a": [1]}, "expect": [200, 409], "timeout": "5s"},
        {"url": {"secret": "URL"}, "headers": {"authorization": {"secret": "KEY", "prefix": "Bearer "}}},
        {"start": "http://h/jobs", "callback": True},
        {"start": "http://h/jobs", "callback": {"status": "data.status", "done": "ok", "failed": ["no"]}},
        {
            "headers": {"x-key": {"secret": "KEY"}},
            "start": {"url": "http://h/jobs", "json": {"k": {"secret": "INNER"}}, "id": "job.id"},
            "poll": {
                "url": "http://h/jobs/{id}",
                "every": "2s",
                "status": "job.state",
                "done": ["ok"],
                "failed": "no",
            },
            "logs": {"url": "http://h/jobs/{id}/logs", "text": "lines"},
            "cancel": {"method": "DELETE", "url": "http://h/jobs/{id}"},
        },
    )
    bad = (
        {},
        {"url": "http://h", "start": "http://h"},
        {"start": "http://h"},
        {"poll": {"url": "http://h", "status": "s", "done": "d"}},
        {"url": "http://h", "method": "FETCH"},
        {"url": "http://h", "expect": 99},
        {"start": "http://h", "poll": {"url": "http://h/{id}"}},
        {"start": "http://h", "callback": True, "method": "GET"},
    )

    def test_ending_a_job_is_prepared_only_where_it_can_be_ended(self, tool: Tool) -> None:
        assert _prepared(tool, self.good[5], stopping=True).arguments["stopping"] is True
        assert _prepared(tool, self.good[3], stopping=True) == Invocation()


class TestDbt(_Standard):
    name = "dbt"
    good = (
        "warehouse",
        {
            "project": "warehouse",
            "command": "run",
            "select": "+gmv",
            "exclude": ["a", "b"],
            "vars": {"day": "{partition}"},
            "target": "dev",
            "profiles_dir": ".",
            "threads": 2,
            "full_refresh": True,
        },
    )
    bad = ({}, {"project": "x", "command": "bulid"}, {"project": "x", "threads": 0}, {"project": "x", "vars": "a"})

    def test_the_assets_that_the_task_writes_are_handed_on(self, tool: Tool) -> None:
        assert _prepared(tool, "warehouse").arguments["writes"] == ["raw.orders"]


class TestSql(_Standard):
    name = "sql"
    good = (
        {"sql": "select 1", "database": "x.duckdb"},
        {"file": "load.sql", "database": "sqlite:x.db", "params": {"a": 1}, "fetch": True, "asset": "raw.orders"},
        {"sql": "select 1", "database": "postgresql://h/d", "transaction": False},
        {"sql": "select 1", "database": {"secret": "WAREHOUSE"}},
    )
    bad = (
        {"sql": "select 1"},
        {"database": "x.duckdb"},
        {"sql": "a", "file": "b", "database": "x.duckdb"},
        {"sql": "a", "database": "x.db"},
        {"sql": "a", "database": {"secrt": "x"}},
    )


class TestCheck(_Standard):
    name = "check"
    good = (
        {"sql": "select count(*) from gmv", "database": "w.duckdb", "expect": "> 0"},
        {"sql": "select 1", "database": "w.duckdb", "expect": 1, "on_fail": "warn", "name": "one"},
        {
            "table": "marts.orders",
            "database": {"secret": "DB"},
            "where": "day = $partition",
            "params": {"x": 1},
            "rows": ">= 100",
            "columns": ["order_id", "amount"],
            "not_null": "order_id",
            "unique": ["order_id", ["order_id", "line"]],
            "ranges": {"amount": "0..10000"},
        },
        {"file": "landing/*.csv", "newer_than": "1h", "min_size": "1KB"},
        [{"file": "a"}, {"file": "b", "on_fail": "warn"}],
    )
    bad = (
        [],
        {"sql": "select 1", "database": "w.duckdb"},
        {"sql": "select 1", "database": "w.duckdb", "expect": "about 3"},
        {"table": "orders; drop table orders", "database": "w.duckdb"},
        {"table": "orders", "database": "w.duckdb", "not_null": ["a b"]},
        {"file": "a", "rows": "> 1"},
        {"file": "a", "table": "b"},
    )

    @pytest.mark.parametrize("later", ["retry", "branch", "quarantine", "ask"])
    def test_a_gate_of_a_later_release_is_refused_as_such(self, tool: Tool, later: str) -> None:
        (mistake,) = read_settings(tool, {"file": "a", "on_fail": later})[1]

        assert f"`on_fail: {later}` was found" in mistake.message
        assert mistake.code == "not-yet"

    def test_a_mistake_in_a_list_of_checks_names_its_place(self, tool: Tool) -> None:
        first, second = (
            locate({"file": "a"}, "score.yaml", 1),
            locate({"file": "b", "min_siez": 1}, "score.yaml", 2),
        )

        (mistake,) = read_settings(tool, Node([first, second], "score.yaml", 1))[1]

        assert mistake.where == "score.yaml:2"
        assert mistake.message == "a check of a file has no key 'min_siez'; did you mean 'min_size'?"


class TestWait(_Standard):
    name = "wait"
    good = (
        {"file": "in/*.csv", "newer_than": "1d", "min_size": "1B", "every": "2s"},
        {"sql": "select count(*) from t", "database": "x.sqlite", "expect": ">= 3"},
        {"http": "http://h/ready"},
        {"http": {"url": "http://h/ready", "method": "HEAD", "expect": 204, "headers": {"k": {"secret": "K"}}}},
        {"duration": "5m"},
    )
    bad = (
        {},
        {"file": "a", "duration": "5m"},
        {"sql": "select 1"},
        {"duration": "soon"},
        {"file": "a", "expect": "> 1"},
    )

    def test_stopping_a_wait_needs_nothing_done(self, tool: Tool) -> None:
        assert _prepared(tool, {"duration": "5m"}, stopping=True) == Invocation()


def _prepared(tool: Tool, node: object, *, stopping: bool = False) -> Invocation:
    spec, mistakes = read_settings(tool, node)
    assert not mistakes
    return tool.prepare(example_task(tool, spec), msgspec.structs.replace(example_context(), stopping=stopping))


def _argv(tool: Tool, node: object) -> tuple[str, ...]:
    return _prepared(tool, node).argv
