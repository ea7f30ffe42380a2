"""The `http` tool at work: one request; or start a job, look at it, take its call-back, end it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from counterpoint.adapters.tools.runtime.output import Failed, answering, not_yet, say, write
from counterpoint.adapters.tools.runtime.requests import Response, Unreachable, ask
from counterpoint.adapters.tools.runtime.templates import Values

#: A job that only calls back is looked at this often, to do nothing but wait on.
_CALLBACK_LOOK_S = 3600.0

#: However long a server asks us to stay away, we look again after this.
_RETRY_AFTER_MAX_S = 600.0

#: Answers up to this size become the task's result.
_RESULT_MAX_CHARACTERS = 8000


@answering
def run(**arguments: Any) -> None:
    """Do what this look is for."""
    spec, carry = arguments["spec"], arguments["carry"]
    job = str(carry.get("id", ""))
    values = Values(arguments, id=job)
    if arguments["stopping"]:
        response = ask(spec["cancel"], values, headers=spec.get("headers"))
        say(f"cancelled job {job}: {response.status}")
    elif "start" not in spec:
        response = ask(spec, values, headers={"idempotency-key": arguments["attempt"]})
        say(f"answered {response.status}")
        _finish(response.content, status=response.status)
    elif arguments["look"] == 0:
        _start(spec, arguments, values)
    elif arguments["callback"] is not None:
        _take_callback(spec, carry, arguments["callback"], values)
    elif "poll" in spec:
        _poll(spec, carry, values)
    else:
        _go_on(spec, carry, "waits for the call-back", _CALLBACK_LOOK_S)


def _start(spec: Mapping[str, Any], arguments: Mapping[str, Any], values: Values) -> None:
    # The key lets a server that keeps them recognise a request that it has seen.
    headers = {"idempotency-key": arguments["attempt"]} | spec.get("headers", {})
    response = ask(spec["start"], values, headers=headers)
    job = response.at(spec["start"]["id"])
    if job is None and "poll" in spec:
        raise Failed(
            f"the job's id was expected at {spec['start']['id']!r} of the answer: {_short(response.content)}"
        )
    job = "" if job is None else str(job)
    say(f"started job {job}: {response.status}")
    _go_on(
        spec, {"id": job}, f"job {job} has started", spec["poll"]["every"] if "poll" in spec else _CALLBACK_LOOK_S
    )


def _poll(spec: Mapping[str, Any], carry: dict[str, Any], values: Values) -> None:
    poll = spec["poll"]
    try:
        response = ask(poll, values, headers=spec.get("headers"))
    except Unreachable as error:
        # The job goes on whether or not we can see it; the task's timeout is the limit.
        say(error.detail)
        later_s = max(poll["every"], min(error.retry_after_s, _RETRY_AFTER_MAX_S))
        _go_on(spec, carry, error.detail, later_s)
        return
    carry = _print_log(spec, carry, values)
    _decide(spec, poll, carry, response)


def _take_callback(spec: Mapping[str, Any], carry: dict[str, Any], body: Any, values: Values) -> None:
    carry = _print_log(spec, carry, values)
    own = spec["callback"] if isinstance(spec["callback"], dict) else {}
    states = own if "status" in own else spec.get("poll", {})
    if "status" in states:
        _decide(spec, states, carry, Response(200, body))
    else:
        say("called back")
        _finish(body)


def _decide(spec: Mapping[str, Any], states: Mapping[str, Any], carry: dict[str, Any], response: Response) -> None:
    status = response.at(states["status"])
    if status is None:
        raise Failed(f"a status was expected at {states['status']!r} of the answer: {_short(response.content)}")
    if status in states["done"]:
        say(f"job {carry['id']} is {status}")
        _finish(response.content, status=status, job=carry["id"])
    elif status in states.get("failed", ()):
        raise Failed(f"job {carry['id']} is {status}: {_short(response.content)}")
    elif "running" in states and status not in states["running"]:
        known = ", ".join(map(str, (*states["done"], *states.get("failed", ()), *states["running"])))
        raise Failed(f"job {carry['id']} is {status!r}, which is none of the statuses known: {known}")
    else:
        if status != carry.get("status"):
            say(f"job {carry['id']} is {status}")
        later_s = spec["poll"]["every"] if "poll" in spec else _CALLBACK_LOOK_S
        _go_on(spec, carry | {"status": status}, f"job {carry['id']} is {status}", later_s)


def _go_on(spec: Mapping[str, Any], carry: Mapping[str, Any], detail: str, later_s: float) -> None:
    not_yet(later_s, detail, callback=bool(spec.get("callback")), external_id=str(carry["id"]), carry=carry)


def _print_log(spec: Mapping[str, Any], carry: dict[str, Any], values: Values) -> dict[str, Any]:
    """Print what is new in the job's log since the last look; a log that cannot be had stops nothing."""
    if "logs" not in spec:
        return carry
    try:
        response = ask(spec["logs"], values, headers=spec.get("headers"))
    except Failed as error:
        say(f"the job's log could not be read: {error.detail}")
        return carry
    found = response.at(spec["logs"]["text"]) if "text" in spec["logs"] else response.content
    lines = found if isinstance(found, list) else None
    text = (
        "\n".join(map(str, lines)) if lines is not None else found if isinstance(found, str) else json.dumps(found)
    )
    printed = int(carry.get("printed", 0))
    if new := text[printed if printed <= len(text) else 0 :].strip("\n"):
        say(new)
    return carry | {"printed": len(text)}


def _finish(content: Any, **facts: Any) -> None:
    if isinstance(content, dict) and len(json.dumps(content)) <= _RESULT_MAX_CHARACTERS:
        facts["response"] = content
    write("result", data=facts)


def _short(content: Any) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    return " ".join(text.split())[:500]
