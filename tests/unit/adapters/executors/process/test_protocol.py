from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from counterpoint.adapters.executors.process.loop import Loop
from counterpoint.adapters.executors.process.protocol import Channel, encode


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    loop.later(10, lambda: pytest.fail("nothing happened for ten seconds"))
    yield loop
    signal.set_wakeup_fd(-1)


class Peer:
    """One end of a socket pair, the other end in a channel."""

    def __init__(self, loop: Loop) -> None:
        self.socket, theirs = socket.socketpair()
        self.heard: list[dict[str, Any]] = []
        self.loop = loop
        self.channel = Channel(
            loop, theirs, receive=lambda _channel, message: self.hear(message), closed=lambda _channel: loop.stop()
        )

    def hear(self, message: dict[str, Any]) -> None:
        self.heard.append(message)
        if message == {"last": True}:
            self.loop.stop()


def test_messages_arrive_whole_and_in_order_however_they_are_cut(loop: Loop) -> None:
    peer = Peer(loop)
    sent = [{"number": number, "text": "x" * number} for number in range(30)] + [{"last": True}]
    unsent = bytearray(b"".join(map(encode, sent)))

    def send_a_little() -> None:
        peer.socket.send(unsent[:7])
        del unsent[:7]
        if unsent:
            loop.soon(send_a_little)

    loop.soon(send_a_little)
    loop.run()

    assert peer.heard == sent
    peer.channel.close()
    peer.socket.close()


def test_what_was_said_before_hanging_up_is_heard(loop: Loop) -> None:
    peer = Peer(loop)
    for number in range(20):
        peer.socket.send(encode({"number": number}))
    peer.socket.close()

    loop.run()

    assert [message["number"] for message in peer.heard] == list(range(20))
    assert peer.channel.is_closed


def test_a_slow_reader_does_not_block_the_loop(loop: Loop) -> None:
    peer = Peer(loop)
    peer.socket.settimeout(10)
    for number in range(100):
        peer.channel.send(encode({"number": number, "padding": "x" * 50_000}))
    received = b""

    def read() -> None:
        nonlocal received
        received += peer.socket.recv(1 << 20)
        loop.stop() if received.count(b"\n") == 100 else loop.soon(read)

    loop.soon(read)
    loop.run()

    assert [json.loads(line)["number"] for line in received.splitlines()] == list(range(100))
    peer.channel.close()
    peer.socket.close()


def test_a_cancelled_timer_does_nothing(loop: Loop) -> None:
    done: list[str] = []
    loop.later(0, lambda: done.append("cancelled")).cancel()
    loop.later(0, lambda: done.append("first"))
    loop.later(0.01, loop.stop)

    loop.run()

    assert done == ["first"]
