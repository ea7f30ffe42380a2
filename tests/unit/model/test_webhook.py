from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from counterpoint.errors import Mistake
from counterpoint.model.webhook import TOLERANCE, BadSignature, derive_secret, sign, verify

AT = datetime.fromtimestamp(1_614_265_330, UTC)
SECRET, OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", derive_secret(b"key", "daily#1/load/1")
BODY = b'{"test": 2432232314}'


def test_the_published_example_is_signed_as_published() -> None:
    headers = sign(SECRET, message="msg_p5jXN8AQM9LWM0D4loKWxJek", at=AT, body=BODY)

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_genuine_message_is_taken_and_named() -> None:
    headers = {name.title(): value for name, value in sign(SECRET, message="m-1", at=AT, body=BODY).items()}

    assert verify([OTHER, SECRET], headers=headers, body=BODY, now=AT + TOLERANCE) == "m-1"


def test_one_matching_signature_of_several_is_enough() -> None:
    headers = sign(SECRET, message="m-1", at=AT, body=BODY)
    other = sign(OTHER, message="m-1", at=AT, body=BODY)["webhook-signature"]
    headers["webhook-signature"] = f"v1a,xyz {other} {headers['webhook-signature']}"

    assert verify([SECRET], headers=headers, body=BODY, now=AT) == "m-1"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"webhook-id": "m-2"}, "no signature"),
        ({"webhook-signature": "v1,AAAA"}, "no signature"),
        ({"webhook-signature": "v2,AAAA"}, "no signature"),
        ({"webhook-signature": "v1,é"}, "no signature"),
        ({"webhook-signature": ""}, "no signature"),
        ({"webhook-timestamp": "1614265331"}, "no signature"),
        ({"webhook-timestamp": "+1614265330"}, "seconds since 1970"),
        ({"webhook-timestamp": "soon"}, "seconds since 1970"),
    ],
)
def test_a_changed_message_is_refused(changed: dict[str, str], words: str) -> None:
    headers = sign(SECRET, message="m-1", at=AT, body=BODY) | changed

    with pytest.raises(BadSignature, match=words) as refused:
        verify([SECRET], headers=headers, body=BODY, now=AT)

    assert refused.value.code == "bad-signature"


@pytest.mark.parametrize("off", [TOLERANCE + timedelta(seconds=1), -TOLERANCE - timedelta(seconds=1)])
def test_an_old_message_and_one_from_the_future_are_refused(off: timedelta) -> None:
    headers = sign(SECRET, message="m-1", at=AT, body=BODY)

    with pytest.raises(BadSignature, match="within 300s"):
        verify([SECRET], headers=headers, body=BODY, now=AT + off)


def test_a_changed_body_a_missing_header_and_a_foreign_secret_are_refused() -> None:
    headers = sign(SECRET, message="m-1", at=AT, body=BODY)

    with pytest.raises(BadSignature):
        verify([SECRET], headers=headers, body=BODY + b" ", now=AT)
    with pytest.raises(BadSignature):
        verify([OTHER], headers=headers, body=BODY, now=AT)
    with pytest.raises(BadSignature, match="webhook-id"):
        verify([SECRET], headers={}, body=BODY, now=AT)


@pytest.mark.parametrize("secret", ["secret", "whsec_not base64"])
def test_a_secret_that_is_none_is_said_without_telling_it(secret: str) -> None:
    with pytest.raises(Mistake, match="was expected") as refused:
        sign(secret, message="m", at=AT, body=BODY)

    assert "not base64" not in str(refused.value)
