"""Secret values are replaced in what an attempt prints and reports, also where a value is cut in two."""

from __future__ import annotations

import os
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
        forms = {form for secret in secrets for form in _forms(os.fsencode(secret))}
        # Longest first: a value that contains another one must not leave its rest behind.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self._by_first: dict[int, list[bytes]] = {}  # first byte -> forms; a key of many lines has many
        for form in self._forms:
            self._by_first.setdefault(form[0], []).append(form)
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
        for place in range(max(0, len(text) - longest), len(text)):
            if any(form.startswith(text[place:]) for form in self._by_first.get(text[place], ())):
                return len(text) - place
        return 0


def _forms(secret: bytes) -> set[bytes]:
    if not secret:
        return set()
    import json
    from base64 import b64encode, urlsafe_b64encode
    from urllib.parse import quote, quote_plus

    # JSON: a value with quotes or newlines in it, printed by a program that logs JSON.
    text = os.fsdecode(secret)
    parts = [os.fsencode(json.dumps(text, ensure_ascii=is_ascii)[1:-1]) for is_ascii in (True, False)]
    parts += [encode(secret).rstrip(b"=") for encode in (b64encode, urlsafe_b64encode)]
    parts += [quote(secret, safe="").encode(), quote_plus(secret).encode(), *secret.splitlines()]
    return {secret} | {part for part in parts if len(part) >= _PART_MIN}
