"""The conformance files of the CloudEvents project, sent to our API and read back from it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml

from counterpoint.adapters.stores.memory import MemoryJournal
from counterpoint.entrypoints.api.app import create_app
from counterpoint.entrypoints.api.settings import ApiSettings
from counterpoint.testing.faults import ScriptedExecutor
from counterpoint.testing.rig import Running, plan

FILES = Path(__file__).resolve().parents[3] / "shared" / "data" / "cloudevents"

SCORE = """
score: conformance
events: {com.example.someevent: {}, io.cloudevents.minimum: {}}
pipelines: {}
"""


def requests(feature: str) -> Iterator[Any]:
    """Each request of the feature file: name, headers, body, the attributes and the data it must be read as."""
    for scenario in re.split(r"Scenario Outline: ", feature)[1:]:
        sent, data = re.findall(r'"""\n(.*?)\n *"""', scenario, re.DOTALL)
        attributes = dict(re.findall(r"^ *\| +(\w+) \| (\S.*?) +\|$", scenario, re.MULTILINE)[1:])
        for content_type in re.findall(r"^ *\| (application/\S.*?) +\|$", scenario, re.MULTILINE):
            head, _, body = re.sub("^ {8}", "", sent, flags=re.MULTILINE).partition("\n\n")
            headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
            yield pytest.param(
                {name: value.replace("<contentType>", content_type) for name, value in headers.items()},
                body,
                {name: value.replace("<contentType>", content_type) for name, value in attributes.items()},
                json.loads(data),
                id=f"{'binary' if 'ce-id' in headers else 'structured'}-{content_type}",
            )


def events(name: str) -> list[dict[str, Any]]:
    """The events of a YAML file: attributes, extensions among them, as text; `data` as text; the mode, if any."""
    found = []
    for document in yaml.load_all((FILES / name).read_text(), yaml.BaseLoader):
        attributes = document["ContextAttributes"]
        attributes |= attributes.pop("Extensions", {})
        found.append({"mode": document.get("Mode", ""), "attributes": attributes, "data": document["Data"]})
    return found


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an engine to which nothing has happened yet."""
    running = await Running(MemoryJournal(), ScriptedExecutor(), plan(SCORE)).ready()
    transport = httpx.ASGITransport(create_app(running.service, ApiSettings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8700") as client:
        yield client
    await running.stop()


async def kept(client: httpx.AsyncClient) -> dict[str, Any]:
    """The one event that was taken."""
    event: dict[str, Any] = (await client.get("/api/v1/events/1")).json()["event"]
    return event


def in_binary(attributes: Mapping[str, str]) -> dict[str, str]:
    """Attributes as headers."""
    named = {name: value for name, value in attributes.items() if name != "datacontenttype"}
    headers = {f"ce-{name}": quote(value, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~") for name, value in named.items()}
    return headers | {"content-type": attributes.get("datacontenttype", "application/json")}


@pytest.mark.parametrize(
    ("headers", "body", "attributes", "data"),
    list(requests((FILES / "http-protocol-binding.feature").read_text())),
)
async def test_a_request_of_the_http_binding_is_read_as_it_says(
    client: httpx.AsyncClient, headers: dict[str, str], body: str, attributes: dict[str, str], data: Any
) -> None:
    own = {name: value for name, value in headers.items() if name not in ("Host", "Content-Length")}

    answer = await client.post("/api/v1/events", content=body, headers=own)

    assert answer.status_code == 202, answer.text
    event = await kept(client)
    assert {name: event[name] for name in attributes} == attributes
    assert event["data"] == data


@pytest.mark.parametrize("event", events("v1.yaml"), ids=lambda event: event["mode"])
async def test_extensions_survive_in_either_mode(client: httpx.AsyncClient, event: dict[str, Any]) -> None:
    if event["mode"] == "binary":
        sent = {"content": event["data"], "headers": in_binary(event["attributes"])}
    else:
        body = json.dumps({**event["attributes"], "data": json.loads(event["data"])})
        sent = {"content": body, "headers": {"content-type": "application/cloudevents+json"}}

    answer = await client.post("/api/v1/events", **sent)

    assert answer.status_code == 202, answer.text
    taken = await kept(client)
    assert {name: taken[name] for name in event["attributes"]} == event["attributes"]
    assert taken["data"] == json.loads(event["data"])


@pytest.mark.parametrize("event", events("v1_minimum.yaml"), ids=lambda event: event["attributes"]["id"])
async def test_an_event_with_any_data_is_taken_in_structured_mode(
    client: httpx.AsyncClient, event: dict[str, Any]
) -> None:
    attributes = event["attributes"]
    is_json = attributes["datacontenttype"].startswith("application/json")
    data = json.loads(event["data"]) if is_json else event["data"]

    answer = await client.post(
        "/api/v1/events",
        content=json.dumps([{**attributes, "data": data}]),
        headers={"content-type": "application/cloudevents-batch+json"},
    )

    assert answer.status_code == 202, answer.text
    taken = await kept(client)
    assert {name: taken[name] for name in attributes} == attributes
    assert taken["data"] == data


@pytest.mark.parametrize("event", events("v1_minimum.yaml"), ids=lambda event: event["attributes"]["id"])
async def test_binary_mode_takes_json_and_refuses_what_a_foreign_page_could_send(
    client: httpx.AsyncClient, event: dict[str, Any]
) -> None:
    is_json = event["attributes"]["datacontenttype"].startswith("application/json")

    answer = await client.post(
        "/api/v1/events", content=event["data"].encode(), headers=in_binary(event["attributes"])
    )

    assert answer.status_code == (202 if is_json else 415), answer.text
    if is_json:
        assert (await kept(client))["data"] == json.loads(event["data"])
