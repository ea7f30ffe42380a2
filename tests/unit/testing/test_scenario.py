"""What may happen in a scenario becomes the facts that the kernel knows."""

from __future__ import annotations

from counterpoint.kernel.events import Band
from counterpoint.testing.scenario import play, read


def test_what_was_learned_is_a_band_of_seconds() -> None:
    story = "10:00 learned p p50=5m p90=8m wait=1m\n10:00 learned p/run p50=30s p90=40s"

    kernel, _ = play(read(f"pipelines: {{p: {{run: x}}}}\n----\n{story}\n", "learned"))

    assert kernel.state.bands == {
        ("p", ""): Band(pipeline="p", p50=300.0, p90=480.0, wait_p50=60.0, wait_p90=60.0, samples=30),
        ("p", "run"): Band(pipeline="p", task="run", p50=30.0, p90=40.0, samples=30),
    }
