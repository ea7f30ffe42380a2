"""What every tool must do."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from counterpoint.errors import Mistake
from counterpoint.kernel.events import Report
from counterpoint.model.pipeline import FAILURE_KINDS, Secret, Task
from counterpoint.ports.executor import Ended, Invocation
from counterpoint.ports.tool import Answer, Context, Tool
from counterpoint.tables import pages
from counterpoint.tables.nodes import Node, locate
from counterpoint.tables.reading import Reading, Reported


class ToolContract:
    """An adapter's test subclasses this and provides `tool`, and what may and may not stand in a score.

    Attributes:
        good: nodes without a mistake, among them the shortest and the longest form.
        bad: nodes with a mistake.
    """

    good: Sequence[Any] = ()
    bad: Sequence[Any] = ()

    @pytest.fixture
    def tool(self) -> Tool:
        """The tool under test."""
        raise NotImplementedError

    def test_a_right_declaration_is_read_without_a_mistake(self, tool: Tool) -> None:
        assert self.good, "a tool's test gives examples"
        for node in self.good:
            assert read_settings(tool, node)[1] == [], node

    def test_settings_are_plain_json_that_a_journal_can_keep(self, tool: Tool) -> None:
        for spec in self._specs(tool):
            assert json.loads(msgspec.json.encode(spec)) == spec

    def test_a_wrong_declaration_is_refused(self, tool: Tool) -> None:
        for node in (*self.bad, 5, None):
            mistakes = read_settings(tool, node)[1]
            assert mistakes, node
            assert all(mistake.message for mistake in mistakes)

    def test_an_unknown_key_is_refused_at_its_place(self, tool: Tool) -> None:
        for node in self.good:
            if isinstance(node, dict):
                located = locate(node, "score.yaml", 1)
                located.value["unheard_of"] = Node(1, "score.yaml", 2, "unheard_of")
                (mistake,) = read_settings(tool, located)[1]
                assert (mistake.where, mistake.code) == ("score.yaml:2", "unknown-key")

    def test_the_schema_accepts_exactly_what_is_read(self, tool: Tool) -> None:
        jsonschema = pytest.importorskip("jsonschema_rs")
        validator = jsonschema.validator_for(pages.schema(tool.settings, tool.name))
        for node in self.good:
            assert validator.is_valid(node), node
        for node in (5, None):
            assert not validator.is_valid(node)
        for node in self.good:
            if isinstance(node, dict):
                assert not validator.is_valid(node | {"unheard_of": 1})

    def test_an_invocation_is_one_thing_to_do_and_carries_its_surroundings(self, tool: Tool) -> None:
        for spec in self._specs(tool):
            task, context = example_task(tool, spec), example_context()
            before = copy.deepcopy(spec)

            invocation = tool.prepare(task, context)

            assert (invocation.argv == ()) != (invocation.function == "")
            assert invocation.folder == context.folder
            assert invocation.memory == task.memory
            assert (
                invocation.env.items() >= {"COUNTERPOINT_TASK": "load", "EXTRA": "1", "KEY": Secret("KEY")}.items()
            )
            assert invocation == tool.prepare(task, context), "the same is prepared from the same"
            assert spec == before

    def test_a_secret_is_handed_on_by_name_only(self, tool: Tool) -> None:
        for spec in self._specs(tool):
            invocation = tool.prepare(example_task(tool, spec), example_context())
            for name in _secrets_in(spec):
                assert Secret(name) in invocation.env.values()
                assert "'secret'" not in repr(invocation.arguments)

    def test_an_invocation_can_be_handed_to_another_process(self, tool: Tool) -> None:
        for spec in self._specs(tool):
            invocation = tool.prepare(example_task(tool, spec), example_context())
            assert msgspec.json.decode(msgspec.json.encode(invocation), type=Invocation) == invocation

    def test_an_end_without_a_word_is_done(self, tool: Tool) -> None:
        assert self._read(tool, succeeded=True) == Answer(state="done")

    @pytest.mark.parametrize("failure", FAILURE_KINDS)
    def test_a_failed_process_is_a_failed_task_of_that_kind(self, tool: Tool, failure: str) -> None:
        answer = self._read(tool, succeeded=False, failure=failure, detail="why")

        assert (answer.state, answer.failure, answer.detail) == ("failed", failure, "why")

    def test_what_the_task_says_of_assets_is_reported(self, tool: Tool) -> None:
        line = {"kind": "asset", "asset": "raw.orders", "label": "a", "metadata": {"rows": 3}}

        answer = self._read(tool, succeeded=True, lines=(line,))

        assert answer.reports == (Report(asset="raw.orders", label="a", metadata={"rows": 3}),)

    def _specs(self, tool: Tool) -> list[dict[str, Any]]:
        return [read_settings(tool, node)[0] for node in self.good]

    def _read(self, tool: Tool, **ended: Any) -> Answer:
        task = example_task(tool, self._specs(tool)[0])
        return tool.read(task, Ended(attempt="daily#1/load/1", look=0, **ended))


def read_settings(tool: Tool, node: Any) -> tuple[dict[str, Any], Sequence[Mistake]]:
    """What the tool's table makes of a plain value, or of a node, and every mistake in it."""
    reading = Reading()
    try:
        spec = tool.settings.read(node if isinstance(node, Node) else locate(node), reading)
    except Reported:
        spec = {}
    return spec, reading.mistakes


def example_task(tool: Tool, spec: dict[str, Any]) -> Task:
    """A task of that tool with something in every field that a tool must heed."""
    env: dict[str, str | Secret] = {"EXTRA": "1", "KEY": Secret("KEY")}
    return Task(name="load", tool=tool.name, spec=spec, memory=10**8, timeout=timedelta(minutes=1), env=env)


def example_context() -> Context:
    """What a first look may use."""
    env = {"COUNTERPOINT_TASK": "load", "COUNTERPOINT_WRITES": '["raw.orders"]'}
    return Context(folder="/scores/daily", env=env, attempt="daily#1/load/1", callback_url="http://127.0.0.1/back")


def _secrets_in(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        if isinstance(node.get("secret"), str):
            yield node["secret"]
        else:
            for value in node.values():
                yield from _secrets_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from _secrets_in(value)
