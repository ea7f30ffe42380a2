"""Server-sent events over a real connection: ids, pings, going on from an id, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from counterpoint.adapters.stores.memory import MemoryJournal
from counterpoint.engine import loop
from counterpoint.entrypoints.api.app import create_app
from counterpoint.entrypoints.api.server import Listener
from counterpoint.entrypoints.api.settings import ApiSettings
from counterpoint.errors import StoreUnavailable
from counterpoint.testing.faults import ScriptedExecutor
from counterpoint.testing.rig import Running, event, plan


@pytest.fixture
def open_stream(server: Any) -> Iterator[Any]:
    connections = []

    def opened(path: str, **headers: str) -> HTTPResponse:
        connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
        connections.append(connection)
        connection.request("GET", path, headers=headers)
        return connection.getresponse()

    yield opened
    for connection in connections:
        connection.close()


def read_blocks(response: HTTPResponse, count: int, *, pings: bool = False) -> list[list[str]]:
    """So many blocks of a stream, each as its lines; those that break silence only where they are wanted."""
    blocks: list[list[str]] = [[]]
    while len(blocks) <= count:
        line = response.readline().decode()
        assert line, "the stream ended early"
        if line == "\n":
            if pings or blocks[-1] != [": ping"]:
                blocks.append([])
            else:
                blocks[-1] = []
        else:
            blocks[-1].append(line.rstrip("\n"))
    return blocks[:-1]


def test_facts_come_with_their_seq_as_id(service: Any, open_stream: Any, make_message: Any) -> None:
    service.messages += [make_message(1), make_message(2)]

    response = open_stream("/api/v1/stream?after=0")

    retry, first, second = read_blocks(response, 3)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert retry == ["retry: 1000"]
    assert first[0] == "id: 1" and first[1].startswith('data: {"seq":1,')
    assert second[0] == "id: 2"


def test_a_reader_goes_on_from_the_last_id_it_saw(service: Any, open_stream: Any, make_message: Any) -> None:
    service.messages += [make_message(number) for number in (1, 2, 3)]

    response = open_stream("/api/v1/stream?after=0", **{"Last-Event-ID": "2"})

    assert read_blocks(response, 2)[1][0] == "id: 3"


def test_silence_is_broken_by_a_ping(open_stream: Any) -> None:
    assert read_blocks(open_stream("/api/v1/stream"), 2, pings=True)[1] == [": ping"]


def test_only_facts_of_one_run_are_sent_when_asked(service: Any, open_stream: Any, make_message: Any) -> None:
    service.messages += [make_message(1), make_message(2, run="marts#1"), make_message(3)]
    service.messages.append(make_message(4, "AssetPublished", run="", pipeline="", fact={"by": "marts#1"}))

    response = open_stream("/api/v1/stream?after=0&run=marts/1")

    assert [block[0] for block in read_blocks(response, 3)] == ["retry: 1000", "id: 2", "id: 4"]


def test_a_followed_log_ends_with_its_run(service: Any, open_stream: Any, tmp_path: Path) -> None:
    log = tmp_path / "load.1.log"
    log.write_text("one\nhalf a li")
    service.log_paths = [("load#1/load/1", str(log))]

    response = open_stream("/api/v1/runs/load/1/logs?follow=true")
    first = read_blocks(response, 2)[1]
    log.write_text("one\nhalf a line\nno end of line")
    second = read_blocks(response, 1)[0]
    service.phases["load#1"] = "succeeded"
    last, end = read_blocks(response, 2)

    assert first == ['data: {"attempt":"load#1/load/1","text":"one\\n"}']
    assert second == ['data: {"attempt":"load#1/load/1","text":"half a line\\n"}']
    assert last == ['data: {"attempt":"load#1/load/1","text":"no end of line"}']
    assert end == ["event: end", 'data: {"phase":"succeeded"}']
    assert response.read() == b""


def test_open_streams_end_when_the_server_closes(server: Any, open_stream: Any) -> None:
    response = open_stream("/api/v1/stream")
    read_blocks(response, 1)

    server.stop()

    assert b"data" not in response.read()


def test_a_stream_ends_when_the_store_fails_so_that_its_reader_comes_back(
    service: Any, open_stream: Any, make_message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stream(*, after: int | None = None) -> Any:
        yield make_message(1)
        raise StoreUnavailable("away")

    monkeypatch.setattr(service, "stream", stream)

    blocks = open_stream("/api/v1/stream").read().split(b"\n\n")

    assert [block.split(b"\n")[0] for block in blocks] == [b"retry: 1000", b"id: 1", b""]


async def test_a_slow_reader_is_cut_off_and_comes_back_for_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STREAM_BACKLOG", 5)
    running = await Running(MemoryJournal(), ScriptedExecutor(), plan()).ready()
    listener = Listener("127.0.0.1", 0, ApiSettings())
    await listener.open(create_app(running.service, ApiSettings()))

    async def come(last_id: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=2**20)
        head = (
            f"GET /api/v1/stream HTTP/1.0\r\nHost: 127.0.0.1:{listener.port}\r\nLast-Event-ID: {last_id}\r\n\r\n"
        )
        writer.write(head.encode())
        await reader.readuntil(b"retry: 1000\n")
        return reader, writer

    async def ids(reader: asyncio.StreamReader, last: int) -> list[int]:
        """Of what comes until that id, or until the end."""
        found = [0]
        async with asyncio.timeout(20):
            while found[-1] != last and (line := await reader.readline()):
                found += [int(line[4:])] if line.startswith(b"id: ") else []
        return found[1:]

    reader, writer = await come(0)
    before = await ids(reader, running.engine.state.facts)
    for number in range(40):  # and now it reads nothing, while more comes than fits between two programs
        await running.service.accept([event(number, data={"sku": "x" * 900_000})], by="test")
    facts = running.engine.state.facts
    before += await ids(reader, facts)
    writer.close()
    reader, writer = await come(before[-1])
    after = await ids(reader, facts)
    writer.close()
    await running.stop()
    await listener.close()

    assert 0 < len(before) < facts
    assert before + after == list(range(1, facts + 1))
