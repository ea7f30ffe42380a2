"""What a step changed, as the rows that people read; written in the transaction of its facts."""

from __future__ import annotations

import msgspec

from counterpoint.engine import trigger
from counterpoint.engine.trigger import Incoming
from counterpoint.kernel.derived import Written
from counterpoint.kernel.events import Change
from counterpoint.kernel.state import State
from counterpoint.ports.store import AttemptRow, IncidentRow, ItemRow, Row, RunRow, VersionRow

_encoder = msgspec.json.Encoder()


def rows(state: State, incoming: dict[int, Incoming]) -> list[Row]:
    """The rows for all that was written since the last call.

    Args:
        incoming: number of an accepted event -> its envelope, where the change does not hold it.
    """
    written, state.written = state.written, Written()
    made: list[Row] = [_event(state, change, incoming) for change in written.changes.values()]
    for run in written.runs.values():
        made.append(
            RunRow(
                run=run.run,
                ordinal=run.ordinal,
                pipeline=run.pipeline,
                key=run.key,
                partition=run.partition,
                phase=run.phase,
                lane=run.lane,
                created_at=run.created,
                started_at=run.admitted,
                ended_at=run.ended,
                document=_encoder.encode(run),
            )
        )
    for attempt, phase, event in written.attempts.values():
        details = {"phase": phase} | (msgspec.to_builtins(event) if event is not None else {})
        is_over = phase not in ("running", "deferred")
        made.append(
            AttemptRow(
                attempt=attempt.attempt,
                run=attempt.run,
                task=attempt.task,
                number=attempt.number,
                phase=phase,
                started_at=attempt.started,
                ended_at=state.at if is_over else None,
                document=_encoder.encode(msgspec.to_builtins(attempt) | {"end": details}),
            )
        )
    for (asset, partition, seq), version in written.versions.items():
        made.append(
            VersionRow(
                asset=asset,
                partition=partition,
                seq=seq,
                at=state.at,
                by=version.by,
                document=_encoder.encode(version),
            )
        )
    for item, became, run_name in written.items.values():
        made.append(
            ItemRow(
                number=item.number,
                change=item.change,
                pipeline=item.pipeline,
                state=became,
                run=run_name,
                at=state.at,
                document=_encoder.encode(item),
            )
        )
    for incident in written.incidents.values():
        made.append(
            IncidentRow(
                incident=incident.incident,
                asset=incident.asset,
                promise=incident.promise,
                missed=incident.missed,
                begun_at=incident.begun,
                ended_at=incident.ended,
                document=_encoder.encode(incident),
            )
        )
    return made


def _event(state: State, change: Change, incoming: dict[int, Incoming]) -> Row:
    arrived = incoming.get(change.number)
    if arrived is None:
        return trigger.row(change, at=state.at)
    return trigger.row(change, at=state.at, envelope=arrived.envelope, digest=arrived.digest)
