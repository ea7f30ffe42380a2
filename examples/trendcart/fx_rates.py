"""Exchange rates: load the file that finance drops, and put it aside."""

from __future__ import annotations

from pathlib import Path

import duckdb

from counterpoint.sdk import current

DROPPED, LOADED = Path("landing/fx_rates.csv"), Path("landing/fx_rates.loaded.csv")


def load() -> None:
    """Fill raw.fx_rates. If an earlier attempt got as far as putting the file aside, that one is read again."""
    file = DROPPED if DROPPED.exists() else LOADED
    with duckdb.connect("warehouse.duckdb") as warehouse:
        warehouse.execute("create schema if not exists raw")
        warehouse.execute(
            """create table if not exists raw.fx_rates (
                day date, currency varchar, eur double check (eur between 0.01 and 100),
                primary key (day, currency))"""
        )
        warehouse.execute(
            "insert or replace into raw.fx_rates select day, currency, eur from read_csv($1)", [str(file)]
        )
        day, rows = warehouse.execute("select max(day), count(*) from raw.fx_rates").fetchone()
    file.rename(LOADED)
    current().publish("raw.fx_rates", label=str(day), metadata={"rows": rows})
    print(f"rates up to {day} loaded, {rows} in raw.fx_rates")
