from __future__ import annotations

import ast
from pathlib import Path

from counterpoint.kernel import rules
from counterpoint.kernel.sentences import REASONS

#: Codes that are chosen at run time: how far a subscriber got, and why a failure is not retried.
CHOSEN = {"started", "succeeded", "not-retried", "tries-used-up", "failed", "pipeline-removed", "source-removed"}


def used() -> set[str]:
    """Every code that stands in a rule as `Reason("code", ...)`."""
    found = set()
    for path in Path(rules.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reason":
                first = node.args[0]
                found |= {first.value} if isinstance(first, ast.Constant) else set()
    return found


def test_every_reason_of_a_rule_has_a_sentence() -> None:
    assert used() | CHOSEN <= set(REASONS)


def test_every_sentence_has_a_rule() -> None:
    assert set(REASONS) - CHOSEN <= used()
