"""How thoroughly properties look: quickly and the same each time, or `HYPOTHESIS_PROFILE=nightly` for long."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile("quick", max_examples=100, derandomize=True, **_COMMON)
settings.register_profile("ci", settings.get_profile("quick"))
settings.register_profile("nightly", max_examples=3000, print_blob=True, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
