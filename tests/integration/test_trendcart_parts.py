"""The parts of examples/trendcart, each on its own: without an engine, as their owners would try them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from counterpoint.adapters.tools import standard_tools
from counterpoint.engine.declare import declare

EXAMPLE = Path(__file__).parents[2] / "examples" / "trendcart"
MONDAY, TUESDAY = "2026-03-02", "2026-03-03"
RUN = "ingest-orders#1"
LOAD_RATES = "import fx_rates; fx_rates.load()"
MEMORY_USUAL, MEMORY_MORE = 96_000_000, 4 * 96_000_000  # as in score.yaml

sys.path.insert(0, str(EXAMPLE / "world"))
from clicks import CLICKS_PER_DAY, drop_clicks  # noqa: E402
from orders import Shop  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, as the demo makes one."""
    return shutil.copytree(
        EXAMPLE, tmp_path / "trendcart", ignore=shutil.ignore_patterns("work", ".counterpoint", "target", "logs")
    )


@contextmanager
def stand_in(folder: Path, script: str, *more: str) -> Iterator[str]:
    """Start one of the stand-ins and give its address."""
    url_file = folder / f"{script}.url"
    process = subprocess.Popen(
        [sys.executable, f"world/{script}", "--port", "0", "--url-file", str(url_file), *more],
        cwd=folder,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(url_file.exists)
        yield url_file.read_text()
    finally:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=10) == 0


def until(condition: Any, *, longest_s: float = 20.0) -> None:
    end = time.monotonic() + longest_s
    while not condition():
        assert time.monotonic() < end, f"not within {longest_s} s"
        time.sleep(0.02)


def call(method: str, url: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    data = json.dumps(body or {}).encode() if method == "POST" else None
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, headers, method=method), timeout=10
        ) as answer:
            raw = answer.read()
            text = answer.headers["Content-Type"].startswith("text/")
            return answer.status, raw.decode() if text else json.loads(raw), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers


def start_sync(saas: str, **body: str) -> str:
    """Start syncs until one succeeds, as the http tool does with its retries."""
    for _ in range(10):
        status, sync, _ = call("POST", f"{saas}/v1/syncs", body)
        if status == 503:
            continue
        until(
            lambda name=sync["id"]: call("GET", f"{saas}/v1/syncs/{name}")[1]["status"] in ("succeeded", "failed")
        )
        if call("GET", f"{saas}/v1/syncs/{sync['id']}")[1]["status"] == "succeeded":
            return str(sync["id"])
    raise AssertionError("no sync succeeded")


def run_task(
    folder: Path, *argv: str, events: tuple[dict[str, Any], ...] = (), **env: str
) -> list[dict[str, Any]]:
    """Run a task as the worker host would, and give what it reported of assets."""
    output = folder / "output.jsonl"
    output.unlink(missing_ok=True)
    (folder / "events.json").write_text(json.dumps(events))
    given = {"COUNTERPOINT_OUTPUT": str(output), "COUNTERPOINT_EVENTS": str(folder / "events.json")}
    given["COUNTERPOINT_RUN_ID"] = RUN
    subprocess.run(
        [sys.executable, *argv], cwd=folder, env=os.environ | given | env, check=True, capture_output=True
    )
    lines = map(json.loads, output.read_text().splitlines() if output.exists() else ())
    return [line for line in lines if line["kind"] == "asset"]


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
        return warehouse.execute(query).fetchall()


def test_orders_are_the_same_for_the_same_seed() -> None:
    first, second, other = Shop(7), Shop(7), Shop(8)

    for shop in (first, second, other):
        shop.close_day(date.fromisoformat(MONDAY))

    assert first.changes == second.changes
    assert first.changes != other.changes


def test_orders_have_long_tails_returns_and_late_records() -> None:
    shop = Shop()
    for day in (MONDAY, TUESDAY):
        shop.close_day(date.fromisoformat(day))
    sold: dict[str, int] = {}
    for line in shop.changes:
        sold[line["sku"]] = sold.get(line["sku"], 0) + line["quantity"]

    best = sorted(sold.values(), reverse=True)
    tuesday = [line for line in shop.changes if line["batch"] == TUESDAY]

    assert sum(best[:24]) > 0.3 * sum(best)  # a tenth of the products, a third of what is sold
    assert any(line["kind"] == "return" for line in tuesday)
    assert any(line["kind"] == "sale" and line["ordered_at"].startswith(MONDAY) for line in tuesday)


def test_a_correction_sends_the_same_lines_again_with_the_right_prices() -> None:
    shop = Shop()
    sent = shop.close_day(date.fromisoformat(MONDAY), in_cents=True)

    assert shop.correct_day(date.fromisoformat(MONDAY)) == sent
    wrong, right = shop.changes[:sent], shop.changes[sent:]
    assert [line["order_id"] for line in wrong] == [line["order_id"] for line in right]
    assert all(w["unit_price"] == pytest.approx(100 * r["unit_price"]) for w, r in zip(wrong, right, strict=True))


def test_the_service_starts_a_sync_once_for_each_key(folder: Path) -> None:
    with stand_in(folder, "saas.py", "--pace", "0.1") as saas:
        call("POST", f"{saas}/shop/days", {"day": MONDAY})
        answers = [call("POST", f"{saas}/v1/syncs", Idempotency_Key="run-1") for _ in range(6)]

        kept = [(status, body["id"]) for status, body, _ in answers if status != 503]
        assert kept[0][0] == 201
        assert {status for status, _ in kept[1:]} == {200}
        assert len({name for _, name in kept}) == 1


def test_the_service_is_busy_now_and_then_and_says_how_long(folder: Path) -> None:
    with stand_in(folder, "saas.py") as saas:
        answers = [call("POST", f"{saas}/v1/syncs") for _ in range(12)]

        busy = [headers["Retry-After"] for status, _, headers in answers if status == 503]
        assert busy
        assert set(busy) == {"1"}
        assert not any(a[0] == b[0] == 503 for a, b in pairwise(answers))


def test_the_records_of_a_sync_come_in_pages_until_they_are_committed(folder: Path) -> None:
    with stand_in(folder, "saas.py", "--pace", "0.1") as saas:
        expected = call("POST", f"{saas}/shop/days", {"day": MONDAY})[1]["changes"]
        first = start_sync(saas)

        again = start_sync(saas)
        call("POST", f"{saas}/v1/syncs/{again}/commit")
        after = start_sync(saas)

        assert call("GET", f"{saas}/v1/syncs/{first}")[1]["records"] == expected
        assert call("GET", f"{saas}/v1/syncs/{again}")[1]["records"] == expected
        assert call("GET", f"{saas}/v1/syncs/{after}")[1]["records"] == 0
        assert "succeeded" in call("GET", f"{saas}/v1/syncs/{first}/logs")[1]


def test_the_service_calls_back_signed_when_a_sync_ends(folder: Path) -> None:
    received: list[tuple[dict[str, str], bytes]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    key = base64.b64encode(b"a shared secret of 24 b.").decode()
    with HTTPServer(("127.0.0.1", 0), Listener) as listener:
        threading.Thread(target=listener.handle_request).start()
        with stand_in(folder, "saas.py", "--pace", "0.1") as saas:
            url = f"http://127.0.0.1:{listener.server_port}/"
            start_sync(saas, callback_url=url, callback_secret=f"whsec_{key}")
            until(lambda: received)

    headers, body = received[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(base64.b64decode(key), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert json.loads(body)["data"]["status"] in ("succeeded", "failed")


def test_orders_are_taken_over_once_however_often_they_come(folder: Path) -> None:
    with stand_in(folder, "saas.py", "--pace", "0.1") as saas:
        sent = call("POST", f"{saas}/shop/days", {"day": MONDAY, "in_cents": True})[1]["changes"]
        call("POST", f"{saas}/shop/corrections", {"day": MONDAY})
        sync = start_sync(saas, label=RUN)

        for _ in range(2):
            run_task(folder, "ingest.py", "stage", SAAS_URL=saas)
            report = run_task(folder, "ingest.py", "publish", SAAS_URL=saas)

    assert rows(folder, "select count(*), max(unit_price) < 1000 from raw.orders") == [(sent, True)]
    assert report[0]["label"] == sync
    assert report[0]["metadata"] == {"rows": sent, "rows_total": sent, "high_water": 2 * sent}


@pytest.mark.parametrize(
    ("times", "limit", "fits"),
    [(1, MEMORY_USUAL, True), (10, MEMORY_USUAL, False), (10, MEMORY_MORE, True)],
    ids=["a usual day fits", "ten times as much does not", "ten times as much fits with more memory"],
)
def test_clicks_are_counted_in_memory(folder: Path, times: int, limit: int, fits: bool) -> None:
    file, clicks = drop_clicks(folder / "landing", date.fromisoformat(MONDAY), times=times)
    (folder / "events.json").write_text(json.dumps([{"type": "web.clicks.landed", "data": {"file": str(file)}}]))

    ended = subprocess.run(
        [sys.executable, "web_events.py", "aggregate"],
        cwd=folder, env=os.environ | {"COUNTERPOINT_EVENTS": str(folder / "events.json")},
        text=True, capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip

    assert clicks >= times * CLICKS_PER_DAY
    assert (ended.returncode == 0) is fits
    assert fits or "MemoryError" in ended.stderr


def test_counts_replace_those_of_the_same_hours(folder: Path) -> None:
    file, _ = drop_clicks(folder / "landing", date.fromisoformat(MONDAY))
    event = {"type": "web.clicks.landed", "data": {"file": str(file)}}

    for _ in range(2):
        run_task(folder, "web_events.py", "aggregate", events=(event,))
        report = run_task(folder, "web_events.py", "load", events=(event,))

    assert rows(folder, "select count(*) from raw.web_events") == [(report[0]["metadata"]["rows"],)]


def test_rates_are_loaded_again_after_the_file_was_put_aside(folder: Path) -> None:
    (folder / "landing").mkdir()
    (folder / "landing" / "fx_rates.csv").write_text(f"day,currency,eur\n{MONDAY},GBP,1.17\n{MONDAY},USD,0.92\n")

    for _ in range(2):
        report = run_task(folder, "-c", LOAD_RATES)

    assert rows(folder, "select count(*) from raw.fx_rates") == [(2,)]
    assert report[0]["label"] == MONDAY


def test_the_score_has_no_mistakes() -> None:
    plan = declare([EXAMPLE / "score.yaml"], standard_tools())

    assert list(plan.pipelines) == ["ingest-orders", "web-events", "fx-rates", "build-marts", "refresh-dashboard"]
    assert plan.pipelines["web-events"].tasks["aggregate"].memory == MEMORY_USUAL


def test_a_day_goes_from_the_feeds_to_the_dashboard(folder: Path) -> None:
    dbt = [
        sys.executable,
        "-m",
        "dbt.cli.main",
        "build",
        "--project-dir",
        "warehouse",
        "--profiles-dir",
        "warehouse",
    ]
    clicks, _ = drop_clicks(folder / "landing", date.fromisoformat(MONDAY))
    event = {"type": "web.clicks.landed", "data": {"file": str(clicks)}}
    with stand_in(folder, "saas.py", "--pace", "0.1") as saas:
        call("POST", f"{saas}/shop/days", {"day": MONDAY})
        start_sync(saas, label=RUN)
        run_task(folder, "ingest.py", "stage", SAAS_URL=saas)
        run_task(folder, "ingest.py", "publish", SAAS_URL=saas)
    run_task(folder, "web_events.py", "aggregate", events=(event,))
    run_task(folder, "web_events.py", "load", events=(event,))
    (folder / "landing" / "fx_rates.csv").write_text(f"day,currency,eur\n{MONDAY},GBP,1.17\n{MONDAY},USD,0.92\n")
    run_task(folder, "-c", LOAD_RATES)

    built = subprocess.run(dbt, cwd=folder, text=True, capture_output=True)
    assert built.returncode == 0, built.stdout
    with stand_in(folder, "bi.py", "--warehouse", "warehouse.duckdb") as bi:
        assert call("POST", f"{bi}/refresh")[0] == 200
        dashboard = call("GET", f"{bi}/dashboard")[1]

    assert dashboard["refreshes"] == 1
    assert [(tile["day"], tile["orders"] > 500, tile["gmv_eur"] > 30_000) for tile in dashboard["gmv"]] == [
        (MONDAY, True, True)
    ]
    assert len(dashboard["top_products"]) == 5
    assert 0.001 < dashboard["funnel"][0]["conversion"] < 0.3
