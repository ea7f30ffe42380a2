"""A reference in, a value out; never kept. Used in the worker host only."""

from __future__ import annotations

from typing import Protocol


class Secrets(Protocol):
    """Where secret values come from."""

    def resolve(self, name: str) -> str:
        """The value of a secret.

        Raises:
            NotFound: there is none of that name.
        """
        ...
