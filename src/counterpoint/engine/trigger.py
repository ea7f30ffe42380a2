"""Events from outside: CloudEvents checked against what the score declares, and told from repeats."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from counterpoint.errors import Mistake, unknown_name
from counterpoint.kernel.events import Change
from counterpoint.kernel.rules.delivering import as_event
from counterpoint.model.plan import Plan
from counterpoint.ports.store import EventRow

#: Types under this prefix are ours; nobody can post them.
RESERVED = "counterpoint."
REQUIRED = ("specversion", "id", "source", "type")
#: The extension attribute that names the run an event comes from.
RUN = "counterpointrun"
#: Attributes of every event that says nothing else.
_DEFAULTS = {"datacontenttype": "application/json"}
_encoder = msgspec.json.Encoder(order="deterministic")


class Incoming(Struct, frozen=True, kw_only=True):
    """An event that may be accepted: its change (not numbered yet), its envelope and its digest."""

    change: Change
    envelope: bytes
    digest: str


class Schemas:
    """The payload schemas of a plan, compiled on first use."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._validators: dict[str, Any] = {}

    def check(self, event_type: str, data: Any) -> None:
        """Refuse a payload that breaks its type's schema, with the first few places."""
        schema = self._plan.events[event_type].schema
        if schema is None:
            return
        validator = self._validators.get(event_type)
        if validator is None:
            import jsonschema_rs  # here, because many plans have no schemas

            validator = self._validators[event_type] = jsonschema_rs.validator_for(schema)
        errors = []
        for error in validator.iter_errors(data):
            path = "/".join(str(part) for part in error.instance_path)
            errors.append(f"data/{path}: {error.message}" if path else f"data: {error.message}")
            if len(errors) == 5:
                break
        if errors:
            raise Mistake(
                f"the payload does not fit the schema of {event_type!r}: {'; '.join(errors)}", code="schema"
            )


def read(
    event: Mapping[str, Any], plan: Plan, schemas: Schemas, *, now: datetime, hops: int, by_run: str
) -> Incoming:
    """Check one CloudEvent (as JSON).

    Raises:
        Mistake: what is wrong with it, and what to do.
    """
    for name in REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            raise Mistake(
                f"a CloudEvent needs the attribute {name!r} as text; it is missing or empty", code="envelope"
            )
    if event["specversion"] != "1.0":
        raise Mistake(f"specversion 1.0 was expected, {event['specversion']!r} was found", code="envelope")
    event_type = event["type"]
    if event_type.startswith(RESERVED):
        raise Mistake(
            f"types that begin with {RESERVED!r} are Counterpoint's own and cannot be posted", code="reserved"
        )
    if event_type not in plan.events:
        raise unknown_name("event", event_type, plan.events)
    if "data_base64" in event:
        raise Mistake(
            "JSON `data` was expected, `data_base64` was found; binary payloads are not taken", code="envelope"
        )
    schemas.check(event_type, event.get("data"))
    change = Change(
        number=0,
        subject=f"event:{event_type}",
        source=event["source"],
        id=event["id"],
        type=event_type,
        time=_time(event.get("time"), now),
        partition=str(event.get("partition") or ""),
        hops=hops,
        data=event.get("data"),
        by_run=by_run,
        trace=str(event.get("traceparent") or ""),
    )
    # Which run emitted it is ours to say, and nobody else's.
    given = {name: value for name, value in event.items() if name != RUN}
    envelope = _DEFAULTS | given | {"time": event.get("time") or now.isoformat()} | _extensions(change)
    digest = hashlib.sha256(_encoder.encode({key: value for key, value in event.items() if key != "time"}))
    return Incoming(change=change, envelope=_encoder.encode(envelope), digest=digest.hexdigest())


def _time(text: Any, now: datetime) -> datetime:
    if text is None:
        return now
    try:
        return msgspec.convert(text, datetime).astimezone(UTC)
    except (msgspec.ValidationError, ValueError) as error:
        raise Mistake(
            f"an RFC 3339 time such as {now.isoformat()} was expected, {text!r} was found", code="envelope"
        ) from error


def row(change: Change, *, at: datetime, envelope: bytes | None = None, digest: str = "") -> EventRow:
    """A change as the events table keeps it."""
    if envelope is None:
        envelope = _encoder.encode(_DEFAULTS | as_event(change) | _extensions(change))
    return EventRow(
        number=change.number,
        source=change.source,
        id=change.id,
        type=change.type,
        subject=change.subject,
        time=change.time,
        accepted_at=at,
        digest=digest,
        envelope=envelope,
    )


def _extensions(change: Change) -> dict[str, str]:
    """CloudEvents extension attributes that say which run caused a change, and its trace."""
    named = {RUN: change.by_run, "traceparent": change.trace}
    return {name: value for name, value in named.items() if value}
