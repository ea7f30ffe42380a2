"""Kinds of tasks: each translates a declaration into an invocation, and its end into an answer.

What a tool does outside, it does in the attempt's own process: the functions are in `runtime/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from counterpoint.ports.tool import Tool


def standard_tools() -> Mapping[str, Tool]:
    """Every kind of task that comes with Counterpoint, by the key that it has in a score."""
    from counterpoint.adapters.tools.check import CheckTool
    from counterpoint.adapters.tools.command import CommandTool
    from counterpoint.adapters.tools.dbt import DbtTool
    from counterpoint.adapters.tools.http import HttpTool
    from counterpoint.adapters.tools.python import PythonTool
    from counterpoint.adapters.tools.sql import SqlTool
    from counterpoint.adapters.tools.wait import WaitTool

    tools: tuple[Tool, ...] = (
        CommandTool(),
        PythonTool(),
        HttpTool(),
        DbtTool(),
        SqlTool(),
        CheckTool(),
        WaitTool(),
    )
    return {tool.name: tool for tool in tools}
