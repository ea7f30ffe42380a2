from __future__ import annotations

from pathlib import Path

import pytest

from counterpoint.adapters.tools import standard_tools
from counterpoint.engine.declare import declare_text
from counterpoint.errors import DeclarationError
from counterpoint.model.plan import Plan


def declared(expression: str) -> Plan:
    text = f'score: s\npipelines:\n  p: {{trigger: {{cron: "{expression}"}}, run: ls}}\n'
    return declare_text(text, folder=Path("/"), tools=standard_tools())


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "60 * * * *", "* 25 * * *", "a * * * *", "@often", "* * * * * *", "0 0 30 2 *"],
)
def test_a_wrong_expression_is_said(expression: str) -> None:
    with pytest.raises(DeclarationError, match=r"score\.yaml:3: "):
        declared(expression)


@pytest.mark.parametrize("expression", ["*/15 * * * *", "0 7 * * mon-fri", "@hourly", "0 0 L * *"])
def test_a_right_expression_has_no_mistake(expression: str) -> None:
    assert len(declared(expression).clocks) == 1
