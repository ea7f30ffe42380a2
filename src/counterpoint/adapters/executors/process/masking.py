"""Secret values are replaced in what an attempt prints and reports, also where a value is cut in two."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_MASK = b"***"
#: Shorter parts of a value (a line of a key, an encoded form) would hide words that are no secret.
_PART_MIN = 8


class Mask:
    """Replaces secret values and their usual encodings by `***`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret.encode())}
        # Longest first: a value that contains another one must not leave its rest behind.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile(b"|".join(re.escape(form) for form in self._forms) or b"(?!)")
        self._held = b""

    def text(self, text: str) -> str:
        """The text without the secrets."""
        return self._pattern.sub(_MASK, text.encode(errors="surrogateescape")).decode(errors="surrogateescape")

    def value(self, value: Any) -> Any:
        """A JSON value without the secrets, in keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(part) for part in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(part) for key, part in value.items()}
        return value

    def stream(self, chunk: bytes) -> bytes:
        """The next part of a stream without the secrets; what may be the start of one is held back."""
        text = self._held + chunk
        cut = len(text) - self._beginning_at_end_of(text)
        parts, taken = [], 0
        for match in self._pattern.finditer(text):
            if match.start() >= cut:
                break
            parts += [text[taken : match.start()], _MASK]
            taken = match.end()
        cut = max(cut, taken)
        self._held = text[cut:]
        return b"".join([*parts, text[taken:cut]])

    def rest(self) -> bytes:
        """What was held back, at the end of the stream."""
        held, self._held = self._held, b""
        return self._pattern.sub(_MASK, held)

    def _beginning_at_end_of(self, text: bytes) -> int:
        longest = len(self._forms[0]) - 1 if self._forms else 0
        for length in range(min(longest, len(text)), 0, -1):
            end = text[len(text) - length :]
            if any(form.startswith(end) for form in self._forms):
                return length
        return 0


def _forms(secret: bytes) -> set[bytes]:
    if not secret:
        return set()
    import json
    from base64 import b64encode, urlsafe_b64encode
    from urllib.parse import quote, quote_plus

    # JSON: a value with quotes or newlines in it, printed by a program that logs JSON.
    text = secret.decode()
    parts = [json.dumps(text)[1:-1].encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode()]
    parts += [encode(secret).rstrip(b"=") for encode in (b64encode, urlsafe_b64encode)]
    parts += [quote(secret, safe="").encode(), quote_plus(secret).encode(), *secret.splitlines()]
    return {secret} | {part for part in parts if len(part) >= _PART_MIN}
