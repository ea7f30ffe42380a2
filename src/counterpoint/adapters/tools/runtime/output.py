"""Lines to `COUNTERPOINT_OUTPUT`, and the two answers that are more than an exit code."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from counterpoint.errors import MissingExtra


class Failed(Exception):
    """The task has failed; the message is for the person who looks at it.

    Args:
        failure: the kind of failure, as in `model.pipeline.FAILURE_KINDS`.
    """

    def __init__(self, detail: str, *, failure: str = "error") -> None:
        self.detail, self.failure = detail, failure
        super().__init__(detail)


def answering(run: Callable[..., None]) -> Callable[..., None]:
    """Let a runtime function end by raising `Failed`, which becomes its answer and a line of its log."""

    @functools.wraps(run)
    def answered(**arguments: Any) -> None:
        try:
            run(**arguments)
        except Failed as error:
            failure, detail = error.failure, error.detail
        except MissingExtra as error:
            failure, detail = "error", str(error)
        else:
            return
        say(detail)
        write("answer", state="failed", failure=failure, detail=detail)

    return answered


def write(kind: str, **fields: Any) -> None:
    """Append one line, whole: a reader never sees half of it."""
    # What is no JSON or no text must not cost the line: a verdict that is lost is a gate that opens.
    line = json.dumps(_finite({"kind": kind} | fields), default=str, ensure_ascii=False, allow_nan=False)
    with Path(os.environ["COUNTERPOINT_OUTPUT"]).open("ab", buffering=0) as output:
        output.write(line.encode(errors="replace") + b"\n")


def _finite(value: Any) -> Any:
    """The value with a text for each number that JSON does not have: `nan`, `inf`."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def say(text: str) -> None:
    """Print to the log."""
    print(text, flush=True)  # noqa: T201 - standard output is the attempt's log


def not_yet(
    look_after_s: float,
    detail: str = "",
    *,
    callback: bool = False,
    external_id: str = "",
    carry: Mapping[str, Any] | None = None,
) -> None:
    """Answer *not yet*: look again after so many seconds, or when a call-back comes."""
    write(
        "answer",
        state="not-yet",
        look_after_s=look_after_s,
        detail=detail,
        callback=callback,
        external_id=external_id,
        carry=dict(carry or {}),
    )
