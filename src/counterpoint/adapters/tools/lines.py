"""From the lines that an attempt wrote to `COUNTERPOINT_OUTPUT` to its answer.

`asset`, `verdict`, `result` and `answer` lines are read here, at the end; `checkpoint`, `progress`
and `metric` lines were taken while the attempt ran. An `answer` line is written by our own runtime
functions: *not yet*, or failed in a way that an exit code cannot say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from counterpoint.kernel.events import Report
from counterpoint.model.pipeline import FAILURE_KINDS
from counterpoint.ports.executor import Ended
from counterpoint.ports.tool import Answer

_DETAIL_MAX = 4000


class _Said(Struct, frozen=True):
    """An `answer` line; its fields are those of `ports.tool.Answer`."""

    state: Literal["done", "failed", "not-yet"]
    failure: str = ""
    detail: str = ""
    look_after_s: Annotated[float, Meta(ge=0)] = 5.0
    callback: bool = False
    external_id: str = ""
    carry: dict[str, Any] = field(default_factory=dict)


def read_lines(ended: Ended) -> Answer:
    """What the end of an attempt means.

    A process that failed has failed, whatever it wrote, and so has one with a verdict that was not
    passed, unless that one says `on_fail: warn`. What cannot be understood is skipped and said.
    """
    verdicts = tuple(_of_kind(ended, "verdict"))
    reports, skipped = _read_reports(_of_kind(ended, "asset"))
    said = _decide(ended, verdicts)
    return Answer(
        state=said.state,
        failure=said.failure,
        detail="; ".join(part for part in (said.detail, *skipped, _bad(ended.bad_lines)) if part)[:_DETAIL_MAX],
        reports=reports,
        verdicts=verdicts,
        result=_read_result(_of_kind(ended, "result")),
        look_after_s=said.look_after_s,
        callback=said.callback,
        external_id=said.external_id,
        carry=said.carry,
    )


def _decide(ended: Ended, verdicts: Iterable[Mapping[str, Any]]) -> _Said:
    said = _last_answer(_of_kind(ended, "answer"))
    # An exit code says less than the answer does; a signal, a time-out or a full memory says more.
    if not ended.succeeded and not (said.state == "failed" and ended.failure in ("exit", "error")):
        return _Said("failed", failure=ended.failure or "error", detail=ended.detail)
    if said.state == "failed":
        return said
    refused = [
        verdict for verdict in verdicts if verdict.get("passed") is not True and verdict.get("on_fail") != "warn"
    ]
    if refused:
        return _Said("failed", failure="check", detail="; ".join(map(_sentence, refused)))
    return said


def _last_answer(lines: Iterable[Mapping[str, Any]]) -> _Said:
    said = _Said("done")
    for line in lines:
        try:
            said = msgspec.convert(line, _Said)
        except msgspec.ValidationError as error:
            said = _Said("failed", failure="error", detail=f"an answer was written that is none: {error}")
    if said.state == "failed" and said.failure not in FAILURE_KINDS:
        return msgspec.structs.replace(said, failure="error")
    return said


def _read_reports(lines: Iterable[Mapping[str, Any]]) -> tuple[tuple[Report, ...], list[str]]:
    reports, skipped = [], []
    for line in lines:
        try:
            report = msgspec.convert(line, Report)
        except msgspec.ValidationError as error:
            skipped.append(f"a report of asset {str(line.get('asset', '?'))[:80]!r} was skipped: {error}")
            continue
        through = report.data_through
        if through is not None and through.tzinfo is None:  # a producer that names no zone means UTC
            report = msgspec.structs.replace(report, data_through=through.replace(tzinfo=UTC))
        reports.append(report)
    return tuple(reports), skipped


def _bad(lines: Sequence[str]) -> str:
    """What is said of lines that are no JSON objects."""
    if not lines:
        return ""
    count = "one line" if len(lines) == 1 else f"{len(lines)} lines"
    return f"{count} of its output skipped, a JSON object was expected, the first was {lines[0][:80]!r}"


def _read_result(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for line in lines:
        if isinstance(line.get("data"), dict):
            result |= line["data"]
    return result


def _sentence(verdict: Mapping[str, Any]) -> str:
    expected, found = verdict.get("expected", "a pass"), verdict.get("found", "none")
    return f"{verdict.get('check', 'a check')}: expected {expected}, found {found}"


def _of_kind(ended: Ended, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind, without it."""
    return [{key: line[key] for key in line if key != "kind"} for line in ended.lines if line.get("kind") == kind]
