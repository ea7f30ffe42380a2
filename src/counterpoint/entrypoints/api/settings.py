"""What the API must be told."""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import Struct

from counterpoint.errors import Mistake


class ApiSettings(Struct, frozen=True, kw_only=True):
    """Settings of the API.

    Attributes:
        token: what a caller must show as `Authorization: Bearer`; "" asks for none (loopback only).
        names: host names, besides those of loopback, under which we may be addressed; `name` means
            our own port, `name:port` that port (behind a proxy).
        body_max_bytes: largest body of a request; a single event is bounded by the service's own limit.
        ping_s: silence after which a stream sends a comment, so that proxies keep it open.
    """

    token: str = ""
    names: tuple[str, ...] = ()
    body_max_bytes: int = 16 * 2**20
    ping_s: float = 15.0

    def __post_init__(self) -> None:
        for name in self.names:
            try:
                urlsplit(f"//{name}").port  # noqa: B018 - it is read to be checked
            except ValueError:
                text = f"a host name, or HOST:PORT, was expected, {name!r} was found"
                raise Mistake(text, code="bad-address") from None
