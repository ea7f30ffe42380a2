"""Orders: take what a finished sync brought, first into staging, then, once the gates passed, into raw.orders.

    ingest.py stage     page through the records of this run's sync -> staging.orders
    ingest.py publish   staging.orders -> raw.orders, then tell the service that we have them

Both steps may be repeated: staging is made anew, raw.orders takes each line by its key, and
the service sends everything again that was not committed.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import duckdb

from counterpoint.sdk import current

SERVICE = os.environ["SAAS_URL"]
WAREHOUSE = "warehouse.duckdb"  # tasks run in the score's folder
LANDING = Path("landing/orders.jsonl")

COLUMNS = {
    "change": "bigint", "order_id": "varchar", "line": "integer", "kind": "varchar", "batch": "date",
    "ordered_at": "timestamp", "customer_id": "varchar", "country": "varchar", "currency": "varchar",
    "sku": "varchar", "category": "varchar", "quantity": "integer", "unit_price": "double",
}  # fmt: skip
KEY = "order_id, line, kind"


def stage() -> None:
    """Fill staging.orders with the newest version of each order line that the sync brought."""
    label = urllib.parse.quote(current().id, safe="")
    sync = call("GET", f"/v1/syncs?label={label}&status=succeeded")["data"][0]
    records, cursor = 0, ""
    LANDING.parent.mkdir(exist_ok=True)
    with LANDING.open("w") as landing:
        while cursor is not None:
            page = call("GET", f"/v1/syncs/{sync['id']}/records?cursor={cursor}")
            landing.writelines(json.dumps(record) + "\n" for record in page["data"])
            records, cursor = records + len(page["data"]), page["next_cursor"]
            current().progress(records / max(sync["records"], 1), f"{records} of {sync['records']} records")
    with duckdb.connect(WAREHOUSE) as warehouse:
        warehouse.execute("create schema if not exists staging")
        warehouse.execute(
            f"""create or replace table staging.orders as
                select *, $sync as sync from read_json($file, format = 'newline_delimited', columns = {COLUMNS})
                qualify row_number() over (partition by {KEY} order by change desc) = 1""",
            {"sync": sync["id"], "file": str(LANDING)},
        )


def publish() -> None:
    """Take staging.orders over into raw.orders, in one transaction."""
    with duckdb.connect(WAREHOUSE) as warehouse:
        sync, rows, high_water, through = warehouse.execute(
            "select any_value(sync), count(*), max(change), max(ordered_at) from staging.orders"
        ).fetchone()
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        warehouse.execute("create schema if not exists raw")
        warehouse.execute(f"create table if not exists raw.orders ({columns}, primary key ({KEY}))")
        warehouse.execute(
            f"insert or replace into raw.orders by name select {', '.join(COLUMNS)} from staging.orders"
        )
        total = warehouse.execute("select count(*) from raw.orders").fetchone()[0]
    call("POST", f"/v1/syncs/{sync}/commit")
    current().publish(
        "raw.orders",
        label=sync,
        metadata={"rows": rows, "rows_total": total, "high_water": high_water},
        data_through=through,
    )
    print(f"{sync}: {rows} order lines taken over, {total} in raw.orders")


def call(method: str, path: str) -> Any:
    """Ask the service; when it is busy, wait as long as it says and ask again."""
    request = urllib.request.Request(SERVICE + path, method=method)
    for _ in range(5):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            wait_s = float(error.headers["Retry-After"])
            print(f"{path}: the service is busy, asking again in {wait_s:g} s", flush=True)
            time.sleep(wait_s)
    raise SystemExit(f"{path}: the service stayed busy")


if __name__ == "__main__":
    {"stage": stage, "publish": publish}[sys.argv[1]]()
