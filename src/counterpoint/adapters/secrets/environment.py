"""Secrets from environment variables."""

from __future__ import annotations

from collections.abc import Mapping

from counterpoint.errors import NotFound

#: Variables of this prefix are taken for secrets only; no task inherits them.
PREFIX = "COUNTERPOINT_SECRET_"


class EnvironmentSecrets:
    """The secret NAME is the variable `COUNTERPOINT_SECRET_NAME`, else `NAME`.

    >>> EnvironmentSecrets({"COUNTERPOINT_SECRET_TOKEN": "t0p"}).resolve("TOKEN")
    't0p'
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def resolve(self, name: str) -> str:
        """The value of a secret; as in `ports.secrets`."""
        for variable in (PREFIX + name, name):
            if variable in self._environ:
                return self._environ[variable]
        raise NotFound(f"set {PREFIX}{name} in the environment of `counterpoint up`", code="unknown-secret")
