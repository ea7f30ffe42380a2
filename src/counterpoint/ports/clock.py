"""What time it is, twice: engine time, which never goes back, and the clock on the wall."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Two clocks, both as aware UTC datetimes."""

    def at(self) -> datetime:
        """Engine time: an anchor plus the time elapsed since, suspend included. It never goes back."""
        ...

    def wall(self) -> datetime:
        """What the clock on the wall says; it may be set in any direction."""
        ...
