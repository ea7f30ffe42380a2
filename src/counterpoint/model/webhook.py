"""Signed webhooks as the Standard Webhooks specification describes them.

A message carries three headers: `webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature`,
a space-separated list of `v1,BASE64`, each the HMAC-SHA256 of `ID.TIMESTAMP.BODY`. Several stand
there while a secret is replaced. Secrets are written `whsec_BASE64`.
Source: https://www.standardwebhooks.com, specification 1.0.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from counterpoint.errors import Mistake

#: How far a message's timestamp may lie from our clock, in either direction.
TOLERANCE = timedelta(minutes=5)

_PREFIX = "whsec_"


class BadSignature(Mistake):
    """A message is not signed by who it should come from, or not lately."""

    code = "bad-signature"


def derive_secret(key: bytes, name: str) -> str:
    """The secret for one name, such as an attempt's id: always the same, and telling nothing of the key.

    >>> derive_secret(b"key", "daily#1/load/1") == derive_secret(b"key", "daily#1/load/2")
    False
    """
    return _PREFIX + b64encode(hmac.digest(key, name.encode(), hashlib.sha256)).decode()


def sign(secret: str, *, message: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers that a message with this id, sent at this time, must carry."""
    timestamp = str(int(at.timestamp()))
    return {
        "webhook-id": message,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{_signature(secret, message, timestamp, body)}",
    }


def verify(secrets: Iterable[str], *, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Make sure that a message is genuine and recent.

    Args:
        secrets: those that are valid now; one match is enough.
        headers: names in any case.
        now: what the clock on the wall says.

    Returns:
        The message's id: the same for each delivery of one message, so that repeats can be dropped.

    Raises:
        BadSignature: a header is missing or wrong, the time is off, or no signature matches.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message, timestamp, signatures = (given[f"webhook-{part}"] for part in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise BadSignature(f"the header {error} was expected, and is not there") from None
    # Plain digits only: int() would also take signs, blanks and underscores, which were not what was signed.
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 13):
        raise BadSignature(f"webhook-timestamp: seconds since 1970 were expected, {timestamp[:40]!r} was found")
    off_s = now.timestamp() - int(timestamp)
    if abs(off_s) > TOLERANCE.total_seconds():
        raise BadSignature(
            f"webhook-timestamp: a time within {TOLERANCE.total_seconds():.0f}s of ours was expected, "
            f"one {abs(off_s):.0f}s {'behind' if off_s > 0 else 'ahead'} was found"
        )
    candidates = [
        value.encode() for version, _, value in (s.partition(",") for s in signatures.split()) if version == "v1"
    ]
    for secret in secrets:
        expected = _signature(secret, message, timestamp, body).encode()
        if any(hmac.compare_digest(expected, candidate) for candidate in candidates):
            return message
    raise BadSignature("webhook-signature: no signature in it matches a secret of ours")


def _signature(secret: str, message: str, timestamp: str, body: bytes) -> str:
    signed = b".".join((message.encode(), timestamp.encode(), body))
    return b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        raise Mistake(
            f"a webhook secret such as {_PREFIX}… was expected, another text was found", code="bad-secret"
        )
    try:
        return b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise Mistake(
            f"base64 was expected after {_PREFIX}, something else was found", code="bad-secret"
        ) from None
