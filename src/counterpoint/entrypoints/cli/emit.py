"""The verb that hands an event in."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import click

from counterpoint.entrypoints.cli.client import Client
from counterpoint.entrypoints.cli.options import asks_server
from counterpoint.entrypoints.cli.output import Output


@click.command()
@click.argument("type_", metavar="TYPE")
@click.argument("data", nargs=-1, metavar="[JSON | KEY=VALUE... | -]")
@click.option("--id", "id_", metavar="ID", help="Its identity: the same id twice is one event.")
@click.option("--source", metavar="URI", help="Who says it.")
@click.option("--subject", metavar="TEXT", help="What it is about.")
@asks_server
def emit(
    client: Client,
    out: Output,
    type_: str,
    data: tuple[str, ...],
    id_: str | None,
    source: str | None,
    subject: str | None,
) -> None:
    """Hand in an event; done when it is committed.

    Its data is JSON, or KEY=VALUE pairs, or `-` for JSON from standard input. A VALUE is read
    as JSON where it is some, else as text.
    """
    payload = _read(data)
    if "COUNTERPOINT_RUN_ID" in os.environ and id_ is None and source is None:
        answer = _emit_from_task(type_, payload, subject)
    else:
        answer = client.post(
            "events",
            {
                "specversion": "1.0",
                "id": id_ or _fresh_id(),
                "source": source or f"/cli/{client.by}",
                "type": type_,
                "time": datetime.now(UTC).isoformat(),
                **({} if subject is None else {"subject": subject}),
                **({} if payload is None else {"datacontenttype": "application/json", "data": payload}),
            },
            headers={"Content-Type": "application/cloudevents+json"},
        )
    if out.as_json:
        out.json(answer)
        return
    said = "was here before" if answer.get("duplicate") else "is kept"
    change = f" as change {answer['change']}" if "change" in answer else ""
    out.say(f"{type_} {said}{change}; its id is {answer['id']}")


def _emit_from_task(type_: str, payload: Any, subject: str | None) -> dict[str, Any]:
    """As the SDK does it: the id is derived, so that a retry of the task does not repeat the event."""
    from counterpoint.errors import Mistake
    from counterpoint.sdk import EmitError, current

    try:
        return {"id": current().emit(type_, payload, subject=subject)}
    except EmitError as error:
        raise Mistake(str(error), code="not-emitted") from error


def _fresh_id() -> str:
    from uuid import uuid4

    return str(uuid4())


def _read(words: tuple[str, ...]) -> Any:
    """The data as it was typed; None for none."""
    if not words:
        return None
    if words == ("-",):
        return _json(sys.stdin.read(), "standard input")
    pairs = [word.partition("=") for word in words]
    if all(key and equals and key[0] not in '{["' for key, equals, _ in pairs):
        return {key: _value(text) for key, _, text in pairs}
    if len(words) > 1:
        raise click.UsageError(f"KEY=VALUE pairs were expected, {' '.join(words)!r} was found")
    return _json(words[0], words[0])


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"JSON or KEY=VALUE was expected, {what[:80]!r} was found ({error})") from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


VERBS = (emit,)
