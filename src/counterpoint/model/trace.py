"""One trace through all tools: W3C Trace Context, `VERSION-TRACE-PARENT-FLAGS` (https://www.w3.org/TR/trace-context/).

A run goes by the trace of what caused it; where nothing had one, its own is derived from its id,
so that a replay gives the same. Each attempt is a span of it.
"""

from __future__ import annotations

import hashlib
import re

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_of(traceparent: str) -> str:
    """The trace (32 hex digits) that a `traceparent` names; "" where it is none.

    >>> trace_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    '0af7651916cd43dd8448eb211c80319c'
    >>> trace_of("yes"), trace_of(f"00-{'0' * 32}-b7ad6b7169203331-01")
    ('', '')
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    return match[1] if match else ""


def derive_trace(name: str) -> str:
    """The trace of something that came without one."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def traceparent(trace: str, span: str) -> str:
    """The `traceparent` for what happens in a span of a trace, named by whatever is unique."""
    return f"00-{trace}-{hashlib.sha256(span.encode()).hexdigest()[:16]}-01"
