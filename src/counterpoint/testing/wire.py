"""A way to a server that can be cut at the moment that hurts."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Thread
from urllib.parse import urlsplit


class Wire:
    """Passes bytes between clients and a server of this machine, until it is told to cut.

    Attributes:
        cut: "request": the connection breaks before the next request arrives; "answer": before its answer comes
            back; "answer lost": the connection stays, and nothing comes back; "" passes everything on.
        url: the server's, by way of the wire.
        broken: set when a connection has been cut.

    Args:
        url: where the server is.
        only: cut only when it is the turn of a client that has sent this; all are cut then.
    """

    def __init__(self, url: str, *, only: bytes = b"") -> None:
        target = urlsplit(url)
        self._target = (target.hostname or "", target.port or 0)
        self._only = only
        self._listener = socket.create_server(("127.0.0.1", 0))
        user = f"{target.username}@" if target.username else ""
        self.url = target._replace(netloc=f"{user}127.0.0.1:{self._listener.getsockname()[1]}").geturl()
        self.cut = ""
        self.broken = Event()
        self._ends: list[socket.socket] = []
        self._chosen: set[socket.socket] = set()
        self._threads = [Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End every connection and take no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.break_off()
        for thread in self._threads[1:]:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def break_off(self) -> None:
        """End every connection."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.broken.set()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is shut down
            while True:
                here, _ = self._listener.accept()
                try:
                    there = socket.create_connection(self._target)
                except OSError:
                    here.close()
                    continue
                self._ends += (here, there)
                for name, source, target in (("request", here, there), ("answer", there, here)):
                    self._threads.append(Thread(target=self._pump, args=(name, source, target)))
                    self._threads[-1].start()

    def _pump(self, name: str, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if name == "request" and self._only in data:
                    self._chosen |= {source, target}
                is_chosen = source in self._chosen
                if self.cut == name and is_chosen:
                    self.break_off()
                if not (self.cut.startswith(name) and is_chosen):
                    target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
