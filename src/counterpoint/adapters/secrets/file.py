"""Secrets from files: a folder with a file for each, or one file with a line for each."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from counterpoint.errors import NotFound


class FileSecrets:
    """Reads a folder, where the file NAME holds the value, or a file of `NAME=VALUE` lines.

    Files are read anew each time, so a value that was changed holds from the next attempt on. Empty lines
    and lines that begin with `#` are passed over; one pair of quotes around a value is taken off.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)

    def resolve(self, name: str) -> str:
        """The value of a secret; as in `ports.secrets`."""
        try:
            value = self._in_folder(name) if self._path.is_dir() else self._in_file(name)
        except OSError as error:
            raise NotFound(f"{self._path} cannot be read: {error.strerror}", code="unknown-secret") from error
        if value is None:
            raise NotFound(f"{self._path} has no {name!r}; add it there", code="unknown-secret")
        return value

    def _in_folder(self, name: str) -> str | None:
        file = self._path / name
        # A name such as `../x` must not reach outside.
        if "/" in name or name.startswith(".") or not file.is_file():
            return None
        return file.read_text(encoding="utf-8").removesuffix("\n")

    def _in_file(self, name: str) -> str | None:
        for line in self._path.read_text(encoding="utf-8").splitlines():
            key, separator, value = line.partition("=")
            if separator and not line.startswith("#") and key.strip() == name:
                value = value.strip()
                quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
                return value[1:-1] if quoted else value
        return None
