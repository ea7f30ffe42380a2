"""A stand-in for a BI tool: `POST /refresh` reads the marts anew, `GET /dashboard` shows what was read last.

It keeps its own copy, as BI tools do: between refreshes the dashboard shows old figures.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
from stand_in import JsonHandler, serve

TILES = {
    "gmv": "select day, orders, gmv_eur, returns_eur from marts.gmv order by day",
    "top_products": "select sku, category, units, gmv_eur from marts.top_products order by rank limit 5",
    "funnel": "select day, sessions, carts, purchases, conversion from marts.funnel order by day",
}


class Handler(JsonHandler):
    """The API."""

    warehouse: Path
    dashboard: dict[str, Any] = {"refreshes": 0, "refreshed_at": None}  # noqa: RUF012, one dashboard for all requests

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any, dict[str, str]]:
        """Find what was asked for."""
        match method, path:
            case "POST", "/refresh":
                self.dashboard.update(
                    read_tiles(self.warehouse),
                    refreshes=self.dashboard["refreshes"] + 1,
                    refreshed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                )
                return 200, {"refreshed_at": self.dashboard["refreshed_at"]}, {}
            case "GET", "/dashboard":
                return 200, self.dashboard, {}
        return 404, {"error": f"there is no {method} {path}"}, {}


def read_tiles(warehouse: Path) -> dict[str, list[dict[str, Any]]]:
    """Read every tile's rows. The connection is closed again, since DuckDB lets only one process write."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        return {name: _rows(connection.execute(query)) for name, query in TILES.items()}


def _rows(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in result.description or ()]
    return [
        {
            name: value if isinstance(value, int | float) else str(value)
            for name, value in zip(names, row, strict=True)
        }
        for row in result.fetchall()
    ]


def main() -> None:
    """Serve the API."""
    parser = argparse.ArgumentParser(description="A stand-in for a BI tool.")
    parser.add_argument("--port", type=int, default=8782, help="0 lets the system choose")
    parser.add_argument("--warehouse", type=Path, default=Path("warehouse.duckdb"))
    parser.add_argument("--url-file", type=Path, help="where to write the address once it listens")
    parser.add_argument("--longest", type=float, default=3600, metavar="SECONDS", help="ends after this long")
    given = parser.parse_args()
    handler = type("BoundHandler", (Handler,), {"warehouse": given.warehouse})
    serve(
        ThreadingHTTPServer(("127.0.0.1", given.port), handler), url_file=given.url_file, longest_s=given.longest
    )


if __name__ == "__main__":
    main()
