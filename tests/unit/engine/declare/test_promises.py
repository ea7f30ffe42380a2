"""Promises that cannot hold are refused, those that may not hold are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from counterpoint.engine.declare import check

Refused = Callable[[str], list[str]]


@pytest.fixture
def warned(tools: Mapping[str, Any], tmp_path: Path) -> Callable[[str], list[str]]:
    """The warnings about a score that is right, without its file."""

    def warnings(text: str) -> list[str]:
        path = tmp_path / "score.yaml"
        path.write_text(text)
        return [str(each).removeprefix(f"{path}:") for each in check([path], tools).warnings]

    return warnings


CHAIN = """
assets:
  raw: {}
  mid: {}
  mart:
    freshness: %s
pipelines:
  mid: {trigger: auto, reads: [raw], writes: [mid], takes: 10m..1h, run: x}
  mart: {trigger: auto, reads: [mid], writes: [mart], takes: 5m, run: x}
"""


def test_a_way_longer_than_the_promise_is_refused_with_its_steps(refused: Refused) -> None:
    assert refused(CHAIN % "14m") == [
        "score.yaml:6: `freshness` of 'mart': a way of at most 14m was expected, "
        "raw -> mid 10m -> mart 5m -> mart with 15m was found: the promise cannot hold even on an empty system; "
        "promise more, or make the way shorter [impossible-promise]"
    ]


def test_a_way_as_long_as_the_promise_may_stand(refused: Refused, warned: Callable[[str], list[str]]) -> None:
    assert refused(CHAIN % "15m") == []
    assert warned(CHAIN % "15m") == []


def test_the_longest_of_several_ways_counts(refused: Refused) -> None:
    text = """
assets: {raw: {}, a: {}, b: {}, mart: {freshness: 20m}}
pipelines:
  short: {trigger: auto, reads: [raw], writes: [a], takes: 1m, run: x}
  long: {trigger: auto, reads: [raw], writes: [b], takes: 15m, run: x}
  mart: {trigger: auto, reads: [a, b], writes: [mart], takes: 6m, run: x}
"""

    [mistake] = refused(text)

    assert "raw -> long 15m -> mart 6m -> mart with 21m was found" in mistake


def test_tasks_count_up_to_the_publication_and_not_where_they_run_on_failure(refused: Refused) -> None:
    text = """
assets: {raw: {}, early: {freshness: %s}, late: {freshness: %s}}
pipelines:
  p:
    trigger: auto
    reads: [raw]
    writes: [late]
    takes: 1m
    tasks:
      load: {command: x, takes: 5m, writes: [early]}
      good: {check: x, after: [load]}
      more: {command: x, takes: 10m, after: [good]}
      tell: {command: x, takes: 9h, after: [{task: load, on: failure}]}
"""

    assert refused(text % ("6m", "16m")) == []
    early, late = refused(text % ("350s", "950s"))
    assert "p 6m -> early" in early
    assert "p 16m -> late" in late


def test_a_batch_that_nothing_closes_is_part_of_the_way(refused: Refused) -> None:
    text = """
assets: {raw: {}, mart: {freshness: 10m}}
pipelines:
  p: {trigger: {asset: raw, batch: {wait: 8m%s}}, reads: [raw], writes: [mart], takes: 3m, run: x}
"""

    [mistake] = refused(text % "")

    assert "raw -> batch 8m -> p 3m -> mart with 11m was found" in mistake
    assert refused(text % ", max: 50") == []


def test_a_completion_needs_time_between_cut_off_and_due(refused: Refused) -> None:
    text = "assets: {raw: {}, mart: {completion: {by: %s, cutoff: %s}}}\npipelines:\n"
    text += "  p: {trigger: auto, reads: [raw], writes: [mart], takes: 2h, run: x}\n"

    [mistake] = refused(text % ("01:30", "00:00"))

    assert "a way of at most 1h 30m, from 00:00 to 01:30, was expected, raw -> p 2h -> mart with 2h" in mistake
    assert "[impossible-promise]" in mistake
    assert refused(text % ("01:30", "23:00")) == []
    assert refused(text % ("23:00", "23:00")) == []


def test_auto_needs_a_promise_at_or_below_what_it_writes(refused: Refused) -> None:
    text = """
assets: {raw: {}, a: {}, b: {}, c: {freshness: 1h}}
pipelines:
  one: {trigger: auto, reads: [raw], writes: [a], run: x}
  two: {trigger: auto, reads: [a], writes: [b], run: x}
  three: {trigger: auto, reads: [a], writes: [c], run: x}
  none: {trigger: auto, reads: [raw], run: x}
"""

    two, none = refused(text)

    assert two.startswith("score.yaml:5: a promise at or below what 'two' writes (b) was expected for `auto`")
    assert none.startswith("score.yaml:7: a promise at or below what 'none' writes (nothing) was expected")
    assert two.endswith("[no-promise-below]")


def test_a_source_promises_nothing(refused: Refused) -> None:
    [mistake] = refused("assets:\n  raw:\n    freshness: 1h\n")

    assert mistake.startswith("score.yaml:3: a pipeline that writes 'raw' was expected for its promise, none was")
    assert mistake.endswith("[promise-on-source]")


def test_a_pipeline_without_inputs_may_be_promised(refused: Refused) -> None:
    assert refused("assets: {a: {freshness: 1h}}\npipelines: {p: {trigger: auto, writes: [a], run: x}}") == []


def test_a_sampler_must_have_started_again_in_time(refused: Refused) -> None:
    text = "assets: {a: {freshness: %s}}\npipelines: {p: {trigger: auto, writes: [a], takes: 20m, run: x%s}}"

    [mistake] = refused(text % ("39m", ""))

    assert "the world -> again after 20m -> p 20m -> a with 40m was found" in mistake
    assert refused(text % ("40m", "")) == []
    assert refused(text % ("20m", ", concurrency: 2, write: atomic")) == []


def test_a_calendar_that_is_not_there_is_told_with_the_nearest(refused: Refused) -> None:
    text = "calendars: {work: {}}\nassets: {a: {freshness: {within: 1h, calendar: wrok}}}\n"

    [mistake] = refused(f"{text}pipelines: {{p: {{writes: [a], run: x}}}}")

    assert "no calendar is called 'wrok'; did you mean 'work'? [unknown-name]" in mistake


@pytest.mark.parametrize(
    ("keys", "saying"),
    [
        ("{run: x, preempt: true}", "a pipeline that holds slots was expected for `preempt`, no pools were found"),
        (
            "{run: x, trigger: {asset: raw}, elastic: {max: 2, by: event.data.x}}",
            "a trigger with a `batch` was expected for `elastic`",
        ),
        ("{run: x, elastic: {max: 2, by: event.data.x}}", "a trigger with a `batch` was expected for `elastic`"),
        (
            "{run: x, trigger: {asset: raw, batch: {max: 9}}, writes: [mart], elastic: {max: 2, by: event.data}}",
            "`write: atomic` was expected for `elastic`, its runs write in place",
        ),
    ],
)
def test_limits_without_an_effect_are_refused(refused: Refused, keys: str, saying: str) -> None:
    [mistake] = refused(f"assets: {{raw: {{}}, mart: {{}}}}\npipelines:\n  p: {keys}\n")

    assert saying in mistake
    assert mistake.startswith("score.yaml:3: ")


def test_only_what_comes_from_outside_arrives(refused: Refused) -> None:
    [mistake] = refused("assets:\n  a: {arrives: 1m}\npipelines: {p: {writes: [a], run: x}}")

    assert "`arrives` was expected with an asset that no pipeline writes, 'p' writes 'a'" in mistake


def test_what_cannot_hold_and_what_nobody_asks_for_is_told_at_once(refused: Refused) -> None:
    text = """
pools: {gpu: 1}
assets: {raw: {}, a: {freshness: 5m}, b: {}}
pipelines:
  a: {trigger: auto, reads: [raw], writes: [a], pools: {gpu: 2}, takes: 10m, run: x}
  b: {trigger: auto, reads: [raw], writes: [b], run: x}
"""

    assert [mistake.rpartition("[")[2] for mistake in refused(text)] == [
        "impossible-promise]",
        "too-large]",
        "no-promise-below]",
    ]


# What is doubtful.

CLOCK = """
calendars: {work: {days: mon-fri, maintenance: ["18:00-06:00"]}}
assets:
  raw: {}
  mart: {%s}
pipelines:
  p: {trigger: {%s}, reads: [raw], writes: [mart], takes: 5m, run: x}
"""


@pytest.mark.parametrize(
    ("promise", "clock", "saying"),
    [
        ("freshness: 30m", "every: 30m", "ticks up to 30m apart: with the way after it a change can need 35m"),
        ("freshness: 35m", "every: 30m", ""),
        ("freshness: 2h", 'cron: "0 6-18 * * *"', "ticks up to 12h apart"),
        ("freshness: {within: 2h, calendar: work}", 'cron: "0 6-18 * * *"', ""),
        ("freshness: 20d", "cron: '@monthly'", "ticks up to 31d apart"),
        ('completion: "07:00"', 'cron: "0 6 * * *"', ""),
        ('completion: "05:00"', 'cron: "0 6 * * *"', "does not tick between 00:00 and 05:00 on 14 of 14 days"),
        ('completion: "07:00"', 'cron: "0 6 * * mon-fri"', "on 4 of 14 days"),
        ('completion: {by: "07:00", calendar: work}', 'cron: "0 6 * * mon-fri"', ""),
        (
            'completion: {by: "05:00", calendar: work}',
            "every: 1h",
            "05:00 lies in the maintenance of the calendar",
        ),
    ],
)
def test_a_clock_may_be_too_slow(
    warned: Callable[[str], list[str]], promise: str, clock: str, saying: str
) -> None:
    found = warned(CLOCK % (promise, clock))

    assert len(found) == bool(saying)
    assert all(saying in each and each.startswith("5: `") for each in found)


def test_a_wide_batch_leaves_little_of_the_promise(warned: Callable[[str], list[str]]) -> None:
    batch = "batch: {quiet: 5m, max: 9}"

    assert warned(CLOCK % ("freshness: 10m", f"asset: raw, {batch}")) == []
    [warning] = warned(CLOCK % ("freshness: 9m", f"asset: raw, {batch}"))
    assert "the batch window of 'p', 5m, is more than half of the 9m that are promised" in warning


def test_durations_that_nobody_knows_are_told(warned: Callable[[str], list[str]]) -> None:
    [warning] = warned((CHAIN % "1h").replace(", takes: 5m", ""))

    assert warning.startswith("6: `freshness` of 'mart': whether the promise can hold is unknown until mart ran")


def test_changes_that_start_nothing_are_told(warned: Callable[[str], list[str]]) -> None:
    text = "assets: {raw: {}, dims: {}, mart: {freshness: 1h, completion: 07:00}}\npipelines:\n"
    by_asset = text + "  p: {trigger: {asset: raw}, reads: [raw, dims], writes: [mart], takes: 1m, run: x}\n"
    by_hand = text + "  p: {reads: [raw, dims], writes: [mart], takes: 1m, run: x}\n"

    [dims] = warned(by_asset)
    [hand] = warned(by_hand)

    assert dims.startswith("3: ")
    assert "changes of 'dims' do not start 'p', which reads it, and the promise counts them" in dims
    assert "'p' is started by hand only" in hand


def test_a_request_above_the_target_of_its_pool_is_told(warned: Callable[[str], list[str]]) -> None:
    text = "pools: {gpu: {slots: 4, target: 70%}}\npipelines:\n"

    [warning] = warned(text + "  a: {pools: {gpu: 3}, run: x}\n  b: {pools: {gpu: 2}, run: x}\n")

    assert warning.startswith("3: 3 of 4 slots of 'gpu' are more than its target")


def test_a_team_that_is_nearly_one_of_those_declared_is_told(warned: Callable[[str], list[str]]) -> None:
    text = "teams: {data: 2}\npipelines:\n  a: {owner: dta, run: x}\n  b: {team: web, run: x}\n"

    assert warned(text) == ["3: no team is called 'dta', so it has weight 1; did you mean 'data'? [unknown-team]"]


def test_a_score_without_promises_has_nothing_to_warn_of(warned: Callable[[str], list[str]]) -> None:
    assert warned("assets: {a: {}}\npipelines: {p: {trigger: {every: 1d}, writes: [a], run: x}}") == []


def test_long_chains_are_followed(refused: Refused) -> None:
    count = 2000
    assets = ", ".join(f"a{number}: {{}}" for number in range(count))
    pipelines = "".join(
        f"  p{n}: {{trigger: auto, reads: [a{n}], writes: [a{n + 1}], takes: 1m, run: x}}\n" for n in range(count)
    )

    [mistake] = refused(f"assets: {{{assets}, a{count}: {{freshness: 1d}}}}\npipelines:\n{pipelines}")

    assert "a0 -> p0 1m -> p1 1m" in mistake
    assert "p6 1m -> ... -> p1998 1m -> p1999 1m -> a2000 with 1d 9h was found" in mistake
