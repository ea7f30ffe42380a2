"""Counterpoint makes pipelines that run on different clocks work together."""

from __future__ import annotations

# Not from `typing`: the worker host and the SDK start faster without it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from counterpoint.front import Score
    from counterpoint.sdk import Run

__all__ = ["Run", "Score"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: a pipeline that only wants the SDK need not pay for anything else.
    if name == "Score":
        from counterpoint.front import Score

        return Score
    if name == "Run":
        from counterpoint.sdk import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
