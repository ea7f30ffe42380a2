from __future__ import annotations

from typing import Any

import httpx
import pytest

from counterpoint.entrypoints.api.app import create_app
from counterpoint.entrypoints.api.settings import ApiSettings


@pytest.fixture
def make_client(service: Any) -> Any:
    """A client of the API in this process; `settings` are those of the API."""

    def make(**settings: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(create_app(service, ApiSettings(**settings)))
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8700")

    return make


@pytest.fixture
def client(make_client: Any) -> httpx.AsyncClient:
    made: httpx.AsyncClient = make_client()
    return made
