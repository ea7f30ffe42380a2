"""Bands of durations: nearest rank, outliers, hours of the week, and when a change is worth telling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from counterpoint.analysis.durations import HOUR_NEWEST, NEWEST, Learner, coded, explained, quantiles
from counterpoint.kernel.events import Band
from counterpoint.kernel.lengths import hour_of_week

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def learned(learner: Learner, pipeline: str = "build", task: str = "") -> Band:
    """The band as the learner tells it now."""
    return next(band for band in learner.changed() if (band.pipeline, band.task) == (pipeline, task))


def weeks_of(took_s: dict[int, float], *, count: int, spread: float = 0.05) -> Learner:
    """A learner that was told of one run each hour of `count` weeks; hour of the day -> how long it takes."""
    learner, random = Learner(), Random(1)
    for hour in range(count * 168):
        typical = took_s.get(hour % 24, 60.0)
        at = MONDAY + timedelta(hours=hour)
        learner.add("build", "", took_s=typical * random.uniform(1 - spread, 1 + spread), at=at)
    return learner


def test_quantiles_are_by_nearest_rank() -> None:
    assert quantiles([float(n) for n in range(1, 11)]) == (5, 9)
    assert quantiles([7.0]) == (7, 7)
    assert quantiles([1.0, 2.0]) == (1, 2)


@pytest.mark.parametrize("count", [2, 3, 5, 8, 9, 20, 99])
def test_a_single_hang_does_not_move_p90(count: int) -> None:
    usual = [60.0 + n % 3 for n in range(count)]

    assert quantiles(sorted([*usual, 86_400.0]))[1] <= max(usual)


def test_of_several_slow_ones_one_at_most_is_left_out() -> None:
    assert quantiles([60.0, 61.0, 62.0, 600.0, 620.0])[1] == 600


def test_only_the_newest_count() -> None:
    learner = Learner()
    for _ in range(NEWEST):
        learner.add("build", "", took_s=10, at=MONDAY)
    for _ in range(NEWEST):
        learner.add("build", "", took_s=100, at=MONDAY)

    assert (learned(learner).p50, learned_samples(learner)) == (100, NEWEST)


def learned_samples(learner: Learner) -> int:
    """How many samples the next band is made of."""
    learner.add("build", "", took_s=1000, at=MONDAY)
    for _ in range(NEWEST):
        learner.add("build", "", took_s=1000, at=MONDAY)
    return learned(learner).samples


def test_waits_have_quantiles_of_their_own() -> None:
    learner = Learner()
    for wait in (1, 2, 3):
        learner.add("build", "", took_s=60, at=MONDAY, waited_s=wait)

    band = learned(learner)
    assert (band.wait_p50, band.wait_p90, band.p90) == (2, 3, 60)


def test_hours_that_differ_have_their_own_band() -> None:
    band = learned(weeks_of({3: 600.0}, count=6))

    assert band.hours["3"][1] == pytest.approx(600, rel=0.1)
    assert band.hours["4"][1] == pytest.approx(60, rel=0.1)
    assert set(band.hours) == {str(hour) for hour in range(168)}


def test_the_only_task_of_a_pipeline_has_the_hours_of_its_runs() -> None:
    learner = weeks_of({3: 600.0}, count=6)
    learner.add("build", "run", took_s=60, at=MONDAY, is_only=True)
    whole, task = learner.changed()

    assert (task.task, task.p90) == ("run", 60)
    assert task.hours == whole.hours != {}


def test_a_task_that_is_not_the_only_one_any_more_has_hours_of_its_own() -> None:
    learner = weeks_of({3: 600.0}, count=6)
    learner.add("build", "run", took_s=60, at=MONDAY, is_only=True)
    learner.add("build", "run", took_s=60, at=MONDAY)

    assert learned(learner, task="run").hours == {}


def test_hours_that_do_not_differ_have_none() -> None:
    assert learned(weeks_of({}, count=6, spread=0.5)).hours == {}


def test_a_few_samples_an_hour_carry_nothing() -> None:
    assert learned(weeks_of({3: 600.0}, count=3)).hours == {}


def codes(groups: list[list[float]]) -> list[list[int]]:
    return [[coded(seconds) for seconds in group] for group in groups]


def test_one_hang_does_not_make_hours_differ() -> None:
    groups = [[60.0, 61.0, 59.0, 60.0] for _ in range(20)]
    groups[0] = [60.0, 61.0, 59.0, 6000.0]

    assert explained(codes(groups)) < 0.5


def test_chance_explains_nothing() -> None:
    random = Random(2)
    groups = [[random.lognormvariate(4, 1) for _ in range(4)] for _ in range(168)]

    assert abs(explained(codes(groups))) < 0.1


def test_what_never_varies_explains_nothing() -> None:
    assert explained(codes([[7.3] * 5, [7.3] * 4, [7.3] * 6])) == 0.0


def test_what_varies_between_groups_alone_explains_all() -> None:
    assert explained(codes([[60.0] * 5, [600.0] * 5])) == pytest.approx(1.0)


def test_the_hour_of_the_week_is_in_utc() -> None:
    assert hour_of_week(MONDAY) == "0"
    assert hour_of_week(datetime.fromisoformat("2026-01-05T00:30+01:00")) == "167"


def test_only_what_is_new_or_moved_or_surer_is_told() -> None:
    learner = Learner()
    assert learner.add("build", "", took_s=60, at=MONDAY)
    assert [band.pipeline for band in learner.changed()] == ["build"]

    assert not learner.add("build", "", took_s=61, at=MONDAY)
    assert [band.samples for band in learner.changed()] == [2]

    learner.add("build", "", took_s=61, at=MONDAY)
    assert learner.changed() == ()

    learner.add("build", "", took_s=80, at=MONDAY)
    assert [band.p90 for band in learner.changed()] == [80]
    assert learner.changed() == ()


def test_a_band_comes_as_near_as_its_samples_allow() -> None:
    """The first sample is nine per cent too long: that is no tenth, but it is not all that will ever be known."""
    learner, told = Learner(), tuple[Band, ...]()
    for took_s in [109, *[100] * 63]:
        learner.add("build", "", took_s=took_s, at=MONDAY)
        told = learner.changed() or told

    assert (told[0].p50, told[0].samples) == (100, 64)


def test_what_was_learned_before_stands_until_there_is_enough_again() -> None:
    learner = Learner([Band(pipeline="build", p50=60, p90=70, samples=80, hours={"3": (600, 700)})])
    for _ in range(9):
        learner.add("build", "", took_s=10, at=MONDAY)
        assert learner.changed() == ()

    learner.add("build", "", took_s=10, at=MONDAY)
    band = learned(learner)
    assert (band.p90, band.samples, band.hours) == (10, 10, {"3": (600, 700)})


def test_what_the_plan_does_not_have_is_forgotten() -> None:
    learner = Learner()
    learner.add("build", "", took_s=10, at=MONDAY)
    learner.add("gone", "", took_s=10, at=MONDAY)
    learner.keep({("build", "")})

    assert [band.pipeline for band in learner.changed()] == ["build"]


def test_memory_is_bounded() -> None:
    learner = weeks_of({}, count=HOUR_NEWEST * 2)

    assert len(learner._samples["build", ""].took) == NEWEST
    assert len(learner._hours["build", ""]._samples) == 168 * HOUR_NEWEST
