"""What an attempt reports: the lines of its COUNTERPOINT_OUTPUT, read while it is still writing."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from counterpoint.adapters.executors.process.masking import Mask

#: Kinds that are reported as soon as they are written.
LIVE = frozenset({"checkpoint", "progress", "metric"})

#: Taken at one look.
_CHUNK_BYTES = 1 << 20
_LINES_MAX = 10_000
_BYTES_MAX = 4 << 20
_LINE_MAX_BYTES = 1 << 20
_BAD_LINES_MAX = 20
_BAD_LINE_MAX = 200


class Output:
    """Reads the file as it grows, and keeps what the report of the end needs.

    Attributes:
        lines: good lines, as JSON text; `progress` and `metric` may fill half of the room at most, so
            that they cannot push out an asset or a checkpoint.
        bad: lines that are no JSON object, cut short, and what was left out.
    """

    def __init__(self, path: str, mask: Mask | None) -> None:
        self._path, self._mask = path, mask
        self._position = 0
        self._partial = b""
        self._bytes = self._left_out = self._bad_count = 0
        self._bad: list[str] = []
        self.lines: list[str] = []
        self.checkpoints: list[str] = []

    @property
    def bad(self) -> list[str]:
        """What could not be taken, in words."""
        notes = list(self._bad)
        if self._bad_count > len(notes):
            notes.append(f"... and {self._bad_count - len(notes)} more bad lines")
        if self._left_out:
            notes.append(f"... {self._left_out} lines were left out: only {_LINES_MAX} lines or 4 MiB are kept")
        return notes

    def read(self, *, at_end: bool = False) -> Iterator[str]:
        """Take new complete lines; at the end also one without a line break. Yields live ones, as JSON text."""
        try:
            size = os.stat(self._path).st_size
        except OSError:
            return
        if size < self._position:  # the task writes with `>`, which empties the file first
            self._position, self._partial = 0, b""
        if size > self._position:
            with open(self._path, "rb") as file:
                file.seek(self._position)
                while chunk := file.read(_CHUNK_BYTES):
                    self._position += len(chunk)
                    *lines, partial = (self._partial + chunk).split(b"\n")
                    self._partial = partial[: _LINE_MAX_BYTES + 1]  # too long already: the rest changes nothing
                    for line in lines:
                        yield from self._take(line)
                    if not at_end:
                        break  # a task that writes without pause must not keep the host from all others
        if at_end and self._partial:
            line, self._partial = self._partial, b""
            yield from self._take(line)

    def _take(self, line: bytes) -> Iterator[str]:
        if not line.strip():
            return
        try:
            if len(line) > _LINE_MAX_BYTES:
                raise ValueError("too long")
            value = json.loads(line, parse_constant=_refuse)
            if not isinstance(value, dict):
                raise ValueError("not an object")
            if self._mask:
                value = self._mask.value(value)
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            size = len(text.encode())  # a lone surrogate is no text, and raises
        except (ValueError, RecursionError):
            self._note_bad(line)
            return
        kind = value.get("kind")
        self._keep(text, size, share=2 if kind in ("progress", "metric") else 1)
        if kind == "checkpoint":
            self.checkpoints.append(text)
        if kind in LIVE:
            yield text

    def _keep(self, text: str, size: int, *, share: int) -> None:
        if len(self.lines) < _LINES_MAX // share and self._bytes + size <= _BYTES_MAX // share:
            self.lines.append(text)
            self._bytes += size
        else:
            self._left_out += 1

    def _note_bad(self, line: bytes) -> None:
        self._bad_count += 1
        if len(self._bad) < _BAD_LINES_MAX:
            # Masked before it is cut, lest the cut leave the first half of a secret.
            text = line[:_LINE_MAX_BYTES].decode(errors="replace")
            self._bad.append((self._mask.text(text) if self._mask else text)[:_BAD_LINE_MAX])


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
