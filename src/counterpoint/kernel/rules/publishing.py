"""Versions: what tasks and runs wrote becomes current, together and only when it is good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from counterpoint.kernel.decisions import AnyDecision, ConfirmAsset, Pin, PublishAsset, Reason, RefuseReport
from counterpoint.kernel.events import Report
from counterpoint.kernel.records import Run
from counterpoint.kernel.rules.reflecting import claims
from counterpoint.kernel.state import State
from counterpoint.model.pipeline import Pipeline


def publish_tasks(state: State, run: Run, pipeline: Pipeline) -> Iterator[AnyDecision]:
    """Task-level writes: published when the task and the checks directly after it passed."""
    for name, declared in pipeline.tasks.items():
        task = run.tasks[name]
        if not declared.writes or task.phase != "done" or task.published:
            continue
        checks = [
            other.name
            for other in pipeline.tasks.values()
            if other.tool == "check" and any(after.task == name and after.on == "success" for after in other.after)
        ]
        if all(run.tasks[check].phase == "done" for check in checks):
            yield from _publish_writes(state, run, declared.writes, task.reports, task=name)


def clash_of(state: State, run: Run, pipeline: Pipeline, reports: Sequence[Report]) -> Reason | None:
    """Why a compare-and-set of the run does not hold; None if all do."""
    for report in reports:
        if report.expect is not None and report.asset in pipeline.writes:
            found = state.asset(report.asset, _partition(report, run.partition)).seq
            if found != report.expect:
                return Reason("clash", {"asset": report.asset, "expected": report.expect, "found": found})
    return None


def publish_run(state: State, run: Run, pipeline: Pipeline, reports: Sequence[Report]) -> Iterator[AnyDecision]:
    """Pipeline-level writes: published together when the run succeeds."""
    yield from _publish_writes(state, run, pipeline.writes, reports)
    for report in reports:
        if report.asset not in pipeline.written:
            reason = Reason("not-declared", {"asset": report.asset, "run": run.run})
            yield RefuseReport(at=state.at, reason=reason, asset=report.asset, by=run.run)


def _publish_writes(
    state: State, run: Run, assets: Sequence[str], reports: Sequence[Report], *, task: str = ""
) -> Iterator[AnyDecision]:
    for asset in assets:
        # The last report of a partition counts; without any there is one implicit version.
        latest = {_partition(report, run.partition): report for report in reports if report.asset == asset}
        chosen = tuple(latest.values()) or (Report(asset=asset),)
        reason = Reason("written", {"run": run.run, "reported": bool(latest)})
        yield from publish(state, chosen, by=run.run, run=run, task=task, reason=reason)


def publish(
    state: State,
    reports: Sequence[Report],
    *,
    by: str,
    run: Run | None = None,
    task: str = "",
    reason: Reason,
) -> Iterator[AnyDecision]:
    """Make reported versions current, or confirm the current ones where nothing changed."""
    for report in reports:
        place = _partition(report, run.partition if run is not None else "")
        current = state.asset(report.asset, place)
        pins = as_read(run.pins, report) if run is not None else ()
        if report.expect is not None and report.expect != current.seq:
            figures = {"expected": report.expect, "found": current.seq}
            refusal = Reason("clash", figures)
            yield RefuseReport(at=state.at, reason=refusal, asset=report.asset, by=by, task=task)
        elif report.unchanged and current.seq:
            yield ConfirmAsset(
                at=state.at,
                reason=Reason("unchanged"),
                asset=report.asset,
                partition=place,
                seq=current.seq,
                by=by,
                task=task,
                pins=pins,
                reflects=claims(state, run, report.asset, pins, task=task) if run is not None else {},
            )
        else:
            yield PublishAsset(
                at=state.at,
                reason=reason,
                asset=report.asset,
                partition=place,
                seq=current.seq + 1,
                label=report.label,
                metadata=report.metadata,
                data_through=report.data_through,
                pins=pins,
                by=by,
                task=task,
                hops=run.hops if run is not None else 0,
                reflects=claims(state, run, report.asset, pins, task=task, over=current)
                if run is not None
                else {},
            )


def as_read(pins: tuple[Pin, ...], report: Report) -> tuple[Pin, ...]:
    """What a version is made of: the versions pinned at admission, or older ones that the task says it read."""
    return tuple(
        msgspec.structs.replace(pin, seq=report.read[pin.asset], label="", metadata={}, reflects={}, edition=-1)
        if report.read.get(pin.asset, pin.seq) < pin.seq
        else pin
        for pin in pins
    )


def _partition(report: Report, default: str) -> str:
    return default if report.partition is None else report.partition
