"""Bands of durations, as they were learned."""

from __future__ import annotations

from counterpoint.kernel import events as e
from counterpoint.kernel.state import State


def durations_learned(state: State, event: e.DurationsLearned) -> None:
    for band in event.bands:
        state.bands[band.pipeline, band.task] = band
