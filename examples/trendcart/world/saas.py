"""A stand-in for a SaaS ingestion service, with the asynchronous API such services have.

    POST /v1/syncs                    start a sync of what is new; Idempotency-Key is honoured
    GET  /v1/syncs?label=&status=     syncs, newest first
    GET  /v1/syncs/ID                 pending, running, succeeded or failed
    GET  /v1/syncs/ID/records?cursor= a page of records and the next cursor
    GET  /v1/syncs/ID/logs            what the sync did, as text
    POST /v1/syncs/ID/commit          the records are safe with us: later syncs begin after them

The shop behind it is moved by hand: `POST /shop/days {"day", "in_cents"}` closes a day and
`POST /shop/corrections {"day"}` sends a day once more. Like the real thing the service is
sometimes slow, sometimes fails and sometimes answers 503; the seed decides when. A sync started
with `callback_url` and `callback_secret` calls back when it ends, signed as Standard Webhooks
describes it; `label` is a name of the caller's own.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import random
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import date
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from orders import Shop
from stand_in import JsonHandler, serve

PAGE = 500
BUSY, SLOW, BROKEN = 0.3, 0.25, 0.1  # shares of requests, of syncs, of syncs
Reply = tuple[int, Any, dict[str, str]]


@dataclass
class Sync:
    """One transfer of what is new in the source; where it stands follows from the time since its start."""

    id: str
    label: str
    first: int
    last: int
    outcome: str
    begins_s: float
    ends_s: float
    started: float = field(default_factory=time.monotonic)

    @property
    def status(self) -> str:
        """Pending, running, or how it ended."""
        age = time.monotonic() - self.started
        return "pending" if age < self.begins_s else "running" if age < self.ends_s else self.outcome

    def log(self) -> list[str]:
        """What it did so far."""
        lines = ["accepted", f"reading changes {self.first + 1} to {self.last}", self.outcome]
        return lines[: ("pending", "running", self.outcome).index(self.status) + 1]

    def document(self) -> dict[str, Any]:
        """The sync as the API shows it."""
        document: dict[str, Any] = {"id": self.id, "label": self.label, "status": self.status}
        document["records"] = self.last - self.first
        if document["status"] == "failed":
            document["error"] = "connection to the source was reset"
        return document


class Service:
    """The service behind the API: its syncs, its place in the change log, and its moods."""

    def __init__(self, seed: int, *, pace: float) -> None:
        self.shop = Shop(seed)
        self.seed = seed
        self.pace = pace
        self.committed = 0
        self.syncs: dict[str, Sync] = {}
        self.keys: dict[str, str] = {}
        self.requests: dict[str, int] = {}
        self.lock = threading.Lock()

    def busy(self, kind: str) -> bool:
        """Whether the next request of this kind gets a 503; never two in a row."""
        number = self.requests[kind] = self.requests.get(kind, 0) + 1
        return self._draw(kind, number) < BUSY and self._draw(kind, number - 1) >= BUSY

    def start(self, key: str, request: dict[str, str]) -> tuple[bool, Sync]:
        """Start a sync, or find the one that was started with this key; whether it is new."""
        if key in self.keys:
            return False, self.syncs[self.keys[key]]
        number = len(self.syncs) + 1
        mood = self._draw("sync", number)
        sync = Sync(
            id=f"sync-{number}",
            label=request.get("label", ""),
            first=self.committed,
            last=len(self.shop.changes),
            outcome="failed" if mood < BROKEN else "succeeded",
            begins_s=0.2 * self.pace,
            ends_s=(2.5 if BROKEN <= mood < BROKEN + SLOW else 0.8) * self.pace,
        )
        self.syncs[sync.id] = sync
        if key:
            self.keys[key] = sync.id
        if "callback_url" in request:
            calling = [sync, request["callback_url"], request["callback_secret"]]
            caller = threading.Timer(sync.ends_s, self._call_back, calling)
            caller.daemon = True
            caller.start()
        return True, sync

    def _draw(self, kind: str, number: int) -> float:
        return random.Random(f"{self.seed}/{kind}/{number}").random()

    def _call_back(self, sync: Sync, url: str, secret: str) -> None:
        body = json.dumps({"type": f"sync.{sync.status}", "data": sync.document()}).encode()
        headers = signature(secret, f"msg-{sync.id}", int(time.time()), body)
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"} | headers)
        for wait_s in (0.5, 2, 0):
            try:
                urllib.request.urlopen(request, timeout=5).close()
                return
            except OSError as error:
                print(f"call-back to {url} failed: {error}", file=sys.stderr, flush=True)
                time.sleep(wait_s)


def signature(secret: str, message: str, at: int, body: bytes) -> dict[str, str]:
    """Headers that prove who calls, as https://www.standardwebhooks.com describes them."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message}.{at}.".encode() + body, hashlib.sha256).digest()
    signed = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": message, "webhook-timestamp": str(at), "webhook-signature": signed}


class Handler(JsonHandler):
    """The API."""

    service: Service

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Reply:
        """Find what was asked for."""
        with self.service.lock:
            match method, *path.strip("/").split("/"):
                case "POST", "v1", "syncs":
                    return self._start(body)
                case "GET", "v1", "syncs":
                    found = [sync.document() for sync in reversed(self.service.syncs.values())]
                    wanted = [sync for sync in found if all(sync[name] == query[name] for name in query)]
                    return 200, {"data": wanted}, {}
                case method, "v1", "syncs", name, *rest if name in self.service.syncs:
                    return self._sync(self.service.syncs[name], method, rest, query)
                case "POST", "shop", "days":
                    day = date.fromisoformat(body["day"])
                    changes = self.service.shop.close_day(day, in_cents=body.get("in_cents", False))
                    return 201, {"changes": changes}, {}
                case "POST", "shop", "corrections":
                    return 201, {"changes": self.service.shop.correct_day(date.fromisoformat(body["day"]))}, {}
        return 404, {"error": f"there is no {method} {path}"}, {}

    def _start(self, body: Any) -> Reply:
        if self.service.busy("start"):
            return 503, {"error": "too busy to start a sync"}, self._retry_after()
        key = self.headers.get("Idempotency-Key", "")
        new, sync = self.service.start(key, body)
        return (201 if new else 200), sync.document(), {"Location": f"/v1/syncs/{sync.id}"}

    def _sync(self, sync: Sync, method: str, rest: list[str], query: dict[str, str]) -> Reply:
        match method, *rest:
            case ["GET"]:
                return 200, sync.document(), {}
            case "GET", "logs":
                return 200, "".join(f"{sync.id}: {line}\n" for line in sync.log()), {}
            case "GET", "records":
                return self._page(sync, int(query.get("cursor") or sync.first))
            case "POST", "commit":
                self.service.committed = max(self.service.committed, sync.last)
                return 200, sync.document(), {}
        return 404, {"error": f"a sync has no {'/'.join(rest)}"}, {}

    def _page(self, sync: Sync, cursor: int) -> Reply:
        if sync.status != "succeeded":
            return 409, {"error": f"{sync.id} is {sync.status}, it has no records to read"}, {}
        if self.service.busy("page"):
            return 503, {"error": "too busy to read"}, self._retry_after()
        end = min(cursor + PAGE, sync.last)
        records = self.service.shop.changes[max(cursor, sync.first) : end]
        return 200, {"data": records, "next_cursor": str(end) if end < sync.last else None}, {}

    def _retry_after(self) -> dict[str, str]:
        return {"Retry-After": f"{round(self.service.pace)}"}


def main() -> None:
    """Serve the API."""
    parser = argparse.ArgumentParser(description="A stand-in for a SaaS ingestion service.")
    parser.add_argument("--port", type=int, default=8781, help="0 lets the system choose")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--pace", type=float, default=1.0, help="how slow it is: 1 is as usual, 0.1 ten times faster"
    )
    parser.add_argument("--url-file", type=Path, help="where to write the address once it listens")
    parser.add_argument("--longest", type=float, default=3600, metavar="SECONDS", help="ends after this long")
    given = parser.parse_args()
    service = Service(given.seed, pace=given.pace)
    server = ThreadingHTTPServer(("127.0.0.1", given.port), type("BoundHandler", (Handler,), {"service": service}))
    serve(server, url_file=given.url_file, longest_s=given.longest)


if __name__ == "__main__":
    main()
