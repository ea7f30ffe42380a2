"""What is checked across a whole plan."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from counterpoint.engine.declare.links import cycles
from counterpoint.tables import reading

Refused = Callable[[str], list[str]]


def codes(mistakes: list[str]) -> list[str]:
    return [mistake.rsplit("[", 1)[1].rstrip("]") for mistake in mistakes]


@pytest.mark.parametrize(
    ("line", "saying"),
    [
        ("p: {run: x, pools: {warehuose: 1}}", "no pool is called 'warehuose'; did you mean 'warehouse'?"),
        ("p: {run: x, reads: [zzz]}", "no asset is called 'zzz'; declare it under `assets:`"),
        ("p: {run: x, writes: [rwa]}", "no asset is called 'rwa'; did you mean 'raw'?"),
        ("p: {tasks: {a: {command: x, writes: [rwa]}}}", "no asset is called 'rwa'"),
        ("p: {run: x, trigger: {event: order.place}}", "no event is called 'order.place'"),
        ("p: {run: x, trigger: {asset: rwa}}", "no asset is called 'rwa'"),
        (
            "p: {run: x, trigger: {any: [{pipeline: othr, state: failed}]}}",
            "no pipeline is called 'othr'; did you mean 'other'?",
        ),
        ("p: {run: x, retry: {out_of_memory: {pools: {wrehouse: 4}}}}", "no pool is called 'wrehouse'"),
        (
            "p: {tasks: {a: {command: x}, b: {command: y, after: [aa]}}}",
            "no task is called 'aa' here; did you mean 'a'?",
        ),
        ("p: {run: x, pools: {warehouse: 5}}", "at most 4 of the pool 'warehouse' were expected, 5 were found"),
        ("p: {run: x, retry: {out_of_memory: {pools: {warehouse: 5}}}}", "[too-large]"),
        ("p: {run: x, trigger: {asset: raw, delivery: sync}}", "an asset that a pipeline writes was expected"),
        ("p: {run: x, trigger: {every: 5m, delivery: sync}}", "a clock was found"),
        (
            "p: {run: x, trigger: {pipeline: other, state: completed, delivery: sync}}",
            "`state: completed` was found",
        ),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(refused: Refused, line: str, saying: str) -> None:
    mistakes = refused(
        f"pools: {{warehouse: 4}}\nevents: {{order.placed: {{}}}}\nassets: {{raw: {{}}}}\n"
        f"pipelines:\n  other: {{run: x}}\n  {line}\n"
    )

    assert len(mistakes) == 1
    assert mistakes[0].startswith("score.yaml:6: ")
    assert saying in mistakes[0]


def test_one_mistake_does_not_hide_another_in_the_same_pipeline(refused: Refused) -> None:
    mistakes = refused(
        "assets: {a: {}}\npipelines:\n  p:\n    timeout: soon\n    writes: [a]\n    reads: [b]\n    run: x\n"
        "    trigger: {asset: a}\n    bogus: 1\n  q: {writes: [a], run: x}\n"
    )

    assert codes(mistakes) == ["wrong-value", "unknown-name", "cycle", "unknown-key", "two-writers"]


def test_a_name_with_a_mistake_of_its_own_is_still_declared(refused: Refused) -> None:
    assert codes(refused("pools: {gpu: many}\npipelines: {p: {run: x, pools: {gpu: 1}}}")) == ["wrong-type"]


def test_two_writers_need_to_be_declared(refused: Refused) -> None:
    pipelines = "pipelines:\n  p: {writes: [a], run: x}\n  q:\n    tasks:\n      t: {command: x, writes: [a]}\n"

    assert refused(f"assets: {{a: {{}}}}\n{pipelines}") == [
        "score.yaml:6: one writer was expected for 'a', 'p' and 'q' were found; "
        "keep one, or give the asset `writers: many` [two-writers]"
    ]
    assert refused(f"assets: {{a: {{writers: many}}}}\n{pipelines}") == []


def test_pipelines_that_would_start_each_other_for_ever_are_refused(refused: Refused) -> None:
    text = (
        "assets: {a: {}, b: {}}\npipelines:\n"
        "  q: {trigger: {asset: a}, writes: [b], run: x}\n"
        "  r: {trigger: {any: [{asset: b}, {cron: '@daily'}]}, run: x}\n"
        "  p: {trigger: {pipeline: r, state: completed}, writes: [a], run: x}\n"
    )

    assert refused(text) == [
        "score.yaml:3: triggers without a cycle were expected, q -> b -> r -> p -> a -> q was found; "
        "drop one of them [cycle]"
    ]


def test_a_pipeline_that_starts_itself_is_refused(refused: Refused) -> None:
    assert codes(refused("assets: {a: {}}\npipelines: {p: {trigger: {asset: a}, writes: [a], run: x}}")) == [
        "cycle"
    ]


def test_a_cycle_through_reads_alone_is_fine(refused: Refused) -> None:
    assert not refused(
        "assets: {a: {}, b: {}}\npipelines:\n"
        "  p: {reads: [b], writes: [a], run: x}\n  q: {trigger: {asset: a}, writes: [b], run: x}\n"
    )


def test_sync_cycles_are_refused(refused: Refused) -> None:
    mistakes = refused(
        "assets: {a: {}, b: {}}\npipelines:\n"
        "  p: {trigger: {asset: b, delivery: sync}, writes: [a], run: x}\n"
        "  q: {trigger: {asset: a, delivery: sync}, writes: [b], run: x}\n"
    )

    assert codes(mistakes) == ["cycle"]


def test_tasks_that_wait_for_each_other_are_refused(refused: Refused) -> None:
    text = (
        "pipelines:\n  p:\n    tasks:\n      a: {command: x}\n"
        "      b: {command: x, after: [a, c]}\n      c: {command: x, after: [b]}\n"
    )

    assert refused(text) == [
        "score.yaml:5: tasks without a cycle were expected, b after c after b was found; "
        "none of them could start: drop one `after` [cycle]"
    ]


def test_every_knot_of_cycles_is_told() -> None:
    graph = {"a": ["b"], "b": ["a"], "c": ["d", "e"], "d": ["c"], "e": ["e"]}

    assert list(cycles(graph)) == [["a", "b"], ["c", "d"], ["e"]]


def test_a_long_chain_does_not_exhaust_the_stack() -> None:
    graph = {first: [second] for first, second in pairwise(range(50_000))}

    assert not list(cycles(graph))


def test_the_search_for_near_names_ends_before_it_takes_long(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_COMPARISONS_MAX", 100)
    assets = ", ".join(f"asset-{n}: {{}}" for n in range(20))
    reads = ", ".join(f"aset-{n}" for n in range(20))

    mistakes = refused(f"assets: {{{assets}}}\npipelines: {{p: {{reads: [{reads}], run: x}}}}")

    assert len(mistakes) == 20
    assert sum("did you mean" in mistake for mistake in mistakes) == 5


def test_a_long_cycle_is_told_in_short(refused: Refused) -> None:
    pipelines = "\n".join(
        f"  p{n}: {{run: x, trigger: {{pipeline: p{(n + 1) % 100}, state: completed}}}}" for n in range(100)
    )

    [mistake] = refused(f"pipelines:\n{pipelines}")

    assert mistake.startswith("score.yaml:2: triggers without a cycle were expected, p0 -> p99 -> p98")
    assert "-> ... -> p2 -> p1 -> p0 was found" in mistake
