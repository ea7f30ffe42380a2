"""TrendCart's shop: realistic orders, the same for the same seed.

A few products sell most (a long tail), a few customers buy often, weekends and the months
before Christmas are busy. About one line in fifteen is sent back on a later day, and a few
orders reach us one day late. What happened is kept as a change log, as change data capture gives it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

ORDERS_PER_DAY = 900
WEEKDAY = (0.95, 0.90, 0.92, 0.98, 1.08, 1.22, 1.15)  # Monday first
MONTH = (0.90, 0.85, 0.92, 0.95, 1.00, 0.95, 0.88, 0.90, 1.00, 1.05, 1.45, 1.60)
HOUR = (2, 1, 1, 1, 1, 2, 4, 7, 9, 11, 12, 13, 14, 12, 11, 11, 12, 14, 17, 20, 22, 18, 11, 5)
COUNTRIES = {"DE": 38, "FR": 16, "NL": 9, "AT": 6, "ES": 6, "GB": 15, "US": 10}
CURRENCIES = {"GB": "GBP", "US": "USD"}  # the others pay in euro
CATEGORIES = {"shoes": 62.0, "dresses": 48.0, "shirts": 24.0, "bags": 71.0, "home": 33.0, "beauty": 17.0}
RETURNED, LATE = 0.065, 0.015

Change = dict[str, Any]


class Shop:
    """The shop's order database, seen through its change log."""

    def __init__(self, seed: int = 7) -> None:
        self._random = random.Random(seed)
        self._products = list(_products(self._random))
        self._popularity = [1 / (rank + 3) ** 0.9 for rank in range(len(self._products))]
        self._random.shuffle(self._popularity)
        self._customers = [
            (f"C{number:05d}", self._pick(COUNTRIES), self._random.paretovariate(1.3)) for number in range(4000)
        ]
        self._activity = [activity for _, _, activity in self._customers]
        self._sold: list[Change] = []
        self._late: list[Change] = []
        self._news: dict[date, list[Change]] = {}
        self.changes: list[Change] = []

    def close_day(self, day: date, *, in_cents: bool = False) -> int:
        """Log what the day brought: its orders, returns of earlier ones, and orders left over from before.

        Args:
            in_cents: a mistake of the shop's new release: prices are written in cents.

        Returns:
            How many changes were logged.
        """
        returned = [_returned(line, day) for line in self._sold if self._random.random() < RETURNED]
        sold = [line for number in range(self._orders_on(day)) for line in self._order(day, number)]
        late_orders = {line["order_id"] for line in sold if self._random.random() < LATE}
        on_time = [line for line in sold if line["order_id"] not in late_orders]
        news = [line | {"batch": day.isoformat()} for line in self._late + on_time + returned]
        self._late = [line for line in sold if line["order_id"] in late_orders]
        self._sold = sold
        self._news[day] = news
        factor = 100 if in_cents else 1
        return self._log([line | {"unit_price": round(line["unit_price"] * factor, 2)} for line in news])

    def correct_day(self, day: date) -> int:
        """Log every line that came with this day once more, as it should have been."""
        return self._log(self._news[day])

    def _log(self, lines: list[Change]) -> int:
        for line in lines:
            self.changes.append(line | {"change": len(self.changes) + 1})
        return len(lines)

    def _orders_on(self, day: date) -> int:
        expected = ORDERS_PER_DAY * WEEKDAY[day.weekday()] * MONTH[day.month - 1]
        return round(self._random.gauss(expected, expected * 0.04))

    def _order(self, day: date, number: int) -> Iterator[Change]:
        customer, country, _ = self._random.choices(self._customers, self._activity)[0]
        hour = self._random.choices(range(24), HOUR)[0]
        at = datetime.combine(day, time(hour)) + timedelta(seconds=self._random.randrange(3600))
        lines = 1 + min(int(self._random.expovariate(0.9)), 9)
        for line, product in enumerate(self._random.choices(self._products, self._popularity, k=lines), start=1):
            sku, category, price = product
            yield {
                "order_id": f"{day:%y%m%d}-{number:05d}",
                "line": line,
                "kind": "sale",
                "ordered_at": at.isoformat(),
                "customer_id": customer,
                "country": country,
                "currency": CURRENCIES.get(country, "EUR"),
                "sku": sku,
                "category": category,
                "quantity": 1 + (self._random.random() < 0.12),
                "unit_price": price,
            }

    def _pick(self, weights: dict[str, int]) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]


def _products(chance: random.Random) -> Iterator[tuple[str, str, float]]:
    for number in range(240):
        category = chance.choice(list(CATEGORIES))
        price = max(3.0, CATEGORIES[category] * chance.lognormvariate(0, 0.45))
        yield f"{category[:2].upper()}-{number:04d}", category, round(price) - 0.05


def _returned(line: Change, day: date) -> Change:
    at = datetime.combine(day, time(10)) + timedelta(minutes=line["line"])
    return line | {"kind": "return", "ordered_at": at.isoformat()}
