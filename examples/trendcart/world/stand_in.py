"""What the stand-ins for outside services share: JSON over HTTP, and an end that nobody has to remember."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


class JsonHandler(BaseHTTPRequestHandler):
    """Hands each request to `answer`, which returns a status, a body (JSON or text) and headers."""

    protocol_version = "HTTP/1.1"

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any, dict[str, str]]:
        """What to reply; subclasses say so."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answer a GET."""
        self._reply("GET")

    def do_POST(self) -> None:
        """Answer a POST."""
        self._reply("POST")

    def _reply(self, method: str) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        try:
            status, body, headers = self.answer(method, url.path, query, json.loads(raw) if raw else {})
        except (ValueError, KeyError) as error:
            status, body, headers = 400, {"error": repr(error)}, {}
        except Exception as error:  # a service answers, whatever happens
            status, body, headers = 500, {"error": repr(error)}, {}
        text = isinstance(body, str)
        payload = body.encode() if text else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8" if text else "application/json")
        self.send_header("Content-Length", str(len(payload)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, the base class names it
        """Write the request log to standard error, one line each."""
        print(f"{self.log_date_time_string()} {format % args}", file=sys.stderr, flush=True)


def serve(server: ThreadingHTTPServer, *, url_file: Path | None, longest_s: float) -> None:
    """Serve until the pipe on standard input closes (whoever started us is gone) or the time is up."""
    url = f"http://127.0.0.1:{server.server_port}"
    if url_file is not None:
        partial = url_file.with_name(url_file.name + ".partial")
        partial.write_text(url)
        partial.rename(url_file)  # whoever waits for the file never reads half of it
    print(f"listening on {url}", flush=True)
    stop = threading.Timer(longest_s, server.shutdown)
    stop.daemon = True
    stop.start()
    if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
        threading.Thread(target=_shut_down_with_stdin, args=[server], daemon=True).start()
    server.serve_forever(poll_interval=0.1)


def _shut_down_with_stdin(server: ThreadingHTTPServer) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.shutdown()
