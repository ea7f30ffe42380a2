"""The three steps: copy the shop's products, enrich them, build an index of words.

The work is real and small; each step is then stretched to the length that it has in life, divided
by the time scale that the demo sets.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from counterpoint.sdk import current

#: Step -> minutes in life that half of its runs stay below; every tenth takes a quarter longer.
MINUTES = {"load": 2.0, "enrich": 3.0, "index": 4.0}
SCALE = float(os.environ.get("CATALOG_SCALE", "150"))


def load(shop: dict[str, Any]) -> dict[str, Any]:
    """Copy what the shop sells."""
    return {"through": shop["through"], "products": shop["products"]}


def enrich(raw: dict[str, Any]) -> dict[str, Any]:
    """Give every product its search terms."""
    products = {
        sku: product | {"terms": sorted({*product["name"].lower().split(), product["colour"]})}
        for sku, product in raw["products"].items()
    }
    return {"through": raw["through"], "products": products}


def index(catalog: dict[str, Any]) -> dict[str, Any]:
    """Word -> the products that have it."""
    words: dict[str, list[str]] = {}
    for sku, product in catalog["products"].items():
        for term in product["terms"]:
            words.setdefault(term, []).append(sku)
    return {"through": catalog["through"], "words": words}


#: Step -> what it reads, what it writes, which asset that is, and how it is made.
STEPS: dict[str, tuple[str, str, str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "load": ("shop.json", "raw.json", "catalog.raw", load),
    "enrich": ("raw.json", "products.json", "catalog.products", enrich),
    "index": ("products.json", "index.json", "search.index", index),
}


def main(step: str) -> None:
    """Carry out one step."""
    began = time.monotonic()
    run = current()
    source, target, asset, make = STEPS[step]
    made = make(json.loads(Path(source).read_text()))
    # Some runs take longer than others: the same run of the same pipeline always as long.
    slower = 1 + max(0.0, Random(run.id).gauss(0.05, 0.12))
    time.sleep(max(0.0, MINUTES[step] * 60 / SCALE * slower - (time.monotonic() - began)))
    partial = Path(f"{target}.partial")
    partial.write_text(json.dumps(made))
    partial.rename(target)
    run.publish(asset, metadata={"through": made["through"], "products": len(made.get("products", []))})


if __name__ == "__main__":
    main(sys.argv[1])
