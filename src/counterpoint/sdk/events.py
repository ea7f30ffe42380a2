"""Sending events to the server, as CloudEvents over HTTP."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

#: How long a server that is away is tried again: long enough for a restart or a fail-over.
_TRY_FOR_S = 30.0

_REQUEST_TIMEOUT_S = 10.0

#: No proxy: the server is the one that started the task.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EmitError(RuntimeError):
    """An event was not taken.

    Args:
        status: what the server answered; None where it did not answer.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


def emit(
    env: Mapping[str, str],
    type: str,  # noqa: A002
    data: Any,
    *,
    subject: str | None,
    id: str | None,  # noqa: A002
) -> str:
    """See `Run.emit`. There is no time in it: with one, the same event would differ from try to try."""
    url, token = env.get("COUNTERPOINT_URL", ""), env.get("COUNTERPOINT_TOKEN", "")
    if not url:
        raise EmitError("COUNTERPOINT_URL is not set: there is no server to emit to")
    pipeline, task = env.get("COUNTERPOINT_PIPELINE", ""), env.get("COUNTERPOINT_TASK", "")
    own_id = id if id is not None else _derived_id(env)
    event = {
        "specversion": "1.0",
        "id": own_id,
        "source": f"/pipelines/{pipeline}/tasks/{task}" if pipeline else "/sdk",
        "type": type,
        "datacontenttype": "application/json",
        "data": data,
    }
    if subject is not None:
        event["subject"] = subject
    headers = {"content-type": "application/cloudevents+json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    if env.get("TRACEPARENT"):
        headers["traceparent"] = env["TRACEPARENT"]
    try:
        _post(f"{url.rstrip('/')}/api/v1/events", json.dumps(event).encode(), headers)
    except EmitError as error:
        if error.status != 409 or id is not None:
            raise
        # An earlier attempt has emitted its event of this number. Another one now would be a repeat.
        sys.stderr.write(f"counterpoint: {own_id} was emitted before with other content; that one counts\n")
    return own_id


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """POST until the server has answered; a repeat is harmless, as the event has its identity."""
    give_up_at, pause_s = time.monotonic() + _TRY_FOR_S, 0.1
    while True:
        request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")  # noqa: S310 - our own server
        try:
            with _OPENER.open(request, timeout=_REQUEST_TIMEOUT_S):
                return
        except urllib.error.HTTPError as error:
            with error:
                said = _said(error.read(100_000))
                problem = EmitError(f"{url}: refused with {error.code}: {said}", status=error.code)
                if error.code not in (502, 503, 504):
                    raise problem from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            problem = EmitError(f"{url}: not reachable for {_TRY_FOR_S:.0f}s: {reason}")
        if time.monotonic() + pause_s > give_up_at:
            raise problem
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 2.0)


def _said(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except ValueError:
        return text[:500]
    while isinstance(content, list) and content:
        content = content[0]
    if isinstance(content, dict):
        for key in ("error", "detail", "title", "message"):
            if isinstance(content.get(key), str):
                return str(content[key])
    return text[:500]


def _derived_id(env: Mapping[str, str]) -> str:
    """`RUN/TASK/ORDINAL`; the count is in a file, for each `python -m counterpoint.sdk` is a new process."""
    output = env.get("COUNTERPOINT_OUTPUT", "")
    if not output:
        raise EmitError("the event needs an id: outside a task there is nothing to derive one from")
    handle = os.open(f"{output}.emitted", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+") as count:
        fcntl.flock(count, fcntl.LOCK_EX)
        ordinal = int(count.read() or 0) + 1
        count.seek(0)
        count.write(str(ordinal))
        count.flush()
    return f"{env['COUNTERPOINT_RUN_ID']}/{env['COUNTERPOINT_TASK']}/{ordinal}"
