"""What is refused, and in which words. All mistakes of a score are told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from counterpoint.adapters.tools import standard_tools
from counterpoint.engine.declare import declare, declare_text
from counterpoint.errors import DeclarationError

Refused = Callable[[str], list[str]]
GOLDEN = Path(__file__).parent / "golden"

BASE = """
pools: {warehouse: 4}
events: {order.placed: {}}
assets: {raw: {}, mart: {}}
pipelines:
  other: {run: work}
"""


def test_many_mistakes_are_told_at_once_in_the_order_of_the_file(tools: Mapping[str, Any]) -> None:
    with pytest.raises(DeclarationError) as refusal:
        declare_text((GOLDEN / "mistakes.yaml").read_text(), folder=GOLDEN, tools=tools)

    assert str(refusal.value) + "\n" == (GOLDEN / "mistakes.txt").read_text()


def test_what_beginners_write_is_answered_with_what_to_write_instead() -> None:
    with pytest.raises(DeclarationError) as refusal:
        declare_text((GOLDEN / "beginners.yaml").read_text(), folder=GOLDEN, tools=standard_tools())

    assert str(refusal.value) + "\n" == (GOLDEN / "beginners.txt").read_text()


@pytest.mark.parametrize(
    ("keys", "saying"),
    [
        # Keys and their values.
        (
            "{run: work, tiemout: 5m}",
            "a pipeline has no key 'tiemout'; did you mean 'timeout'? [unknown-key]",
        ),
        (
            "{tasks: {a: {command: x, afer: []}}}",
            "a command task has no key 'afer'; did you mean 'after'? [unknown-key]",
        ),
        (
            "[a]",
            "a pipeline, a mapping, was expected, a list was found; write it like `p: {run: work}` [wrong-type]",
        ),
        (
            "{}",
            "a pipeline needs one of `run`, `tasks`, none was found; write it like `{run: work}` [missing-key]",
        ),
        (
            "{tasks: {}}",
            "an empty mapping was found; write it like `tasks: {build: {command: work}}` [wrong-value]",
        ),
        ("{run: 5}", "was expected, 5 was found; put it in quotes [wrong-type]"),
        ("{tasks: {a: {command: {run: x, shel: 1}}}}", "`command` has no key 'shel'; it takes run [unknown-key]"),
        (
            "{tasks: {a/b: {command: x}}}",
            "a name for the task, of letters, digits and `_ . -`, was expected, 'a/b' was found",
        ),
        (
            "{run: work, owner: 5}",
            "`owner`: the name of a person or team was expected, 5 was found; put it in quotes",
        ),
        ("{run: work, owner: }", "`owner`: the name of a person or team was expected, nothing was found"),
        ("{run: work, concurrency: 0}", "a whole number of at least 1 was expected, 0 was found"),
        ("{run: work, concurrency: true}", "a whole number of at least 1 was expected, true was found"),
        ("{run: work, reads: raw}", "a list, each entry the name of an asset, was expected, 'raw' was found"),
        ("{run: work, timeout: 0s}", "a duration of at least 1s was expected, '0s' was found"),
        ("{run: work, timeout: 99999999999w}", "a shorter duration than '99999999999w' was expected"),
        ("{run: work, memory: 0MB}", "a size of at least 1B was expected"),
        ("{run: work, overlap: que}", "`cancel` was expected, 'que' was found; did you mean 'queue'?"),
        ("{run: work, class: fast}", "no class is called 'fast'"),
        (
            "{run: work, retry: {out_of_memory: x0.5}}",
            "a factor of at least x1, such as x2, was expected, 'x0.5' was found",
        ),
        ("{run: work, partition: 'event.'}", "[bad-expression]"),
        ("{run: work, env: {A: {secert: X}}}", "a secret has no key 'secert'; did you mean 'secret'?"),
        # Triggers.
        ("{run: work, trigger: daily}", "a trigger, a mapping, was expected, 'daily' was found"),
        (
            "{run: work, trigger: {event: order.placed, asset: raw}}",
            "`event` and `asset` were found; put them under `any` or `all` [wrong-value]",
        ),
        ("{run: work, trigger: {event: order.placed, timezone: UTC}}", "an event trigger has no key 'timezone'"),
        ("{run: work, trigger: {asset: raw, within: 5m}}", "an asset trigger has no key 'within'"),
        ("{run: work, trigger: {any: []}}", "was expected, an empty list was found"),
        (
            "{run: work, trigger: {any: [{all: [{asset: raw}]}]}}",
            "turn it round and put `any` inside `all` [unknown-key]",
        ),
        ("{run: work, trigger: {any: [{any: [{asset: raw}]}]}}", "put its sources into the `any` around it"),
        ("{run: work, trigger: {all: [{all: [{asset: raw}]}]}}", "put its members into the `all` around it"),
        ("{run: work, trigger: {pipeline: other}}", "a pipeline trigger needs `state` or `checkpoint`"),
        ("{run: work, trigger: {pipeline: other, state: failed, checkpoint: x}}", "both were found"),
        (
            "{run: work, trigger: {pipeline: other, state: done}}",
            "one of `completed`, `failed`, `started` was expected",
        ),
        (
            "{run: work, trigger: {cron: '* * * * * *'}}",
            "a cron expression of five fields was expected, '* * * * * *' with 6 was found",
        ),
        ("{run: work, trigger: {cron: '61 * * * *'}}", "bad minute"),
        ("{run: work, trigger: {cron: '@reboot'}}", "a cron expression of five fields was expected"),
        ("{run: work, trigger: {cron: '0 0 31 2 *'}}", "bad day-of-month"),
        ("{run: work, trigger: {cron: '@daily', timezone: Europe/Berln}}", "did you mean 'Europe/Berlin'?"),
        (
            "{run: work, trigger: {cron: '@daily', timezone: ../etc}}",
            "a time zone such as Europe/Berlin was expected",
        ),
        ("{run: work, trigger: {every: 10ms}}", "a duration of at least 1s was expected"),
        (
            "{run: work, trigger: {every: 1h, from: noon}}",
            "a date and time such as 2026-01-31T06:00 was expected, 'noon' was found",
        ),
        ("{run: work, trigger: {every: 1h, from: '0001-01-01T00:00+10:00'}}", "a date and time"),
        ("{run: work, trigger: {asset: raw, when: 'event.data.x >'}}", "mismatched input '<EOF>' at 1:15"),
        ("{run: work, trigger: {asset: raw, when: 'evnt.data.x > 1'}}", "only `event` is known here, not 'evnt'"),
        (
            "{run: work, trigger: {all: [{asset: raw}], at_latest: '25:00'}}",
            "or a time of day such as 07:00, was expected, '25:00' was found",
        ),
        ("{run: work, trigger: {asset: raw, give_up: 3}}", "an event trigger was expected beside `give_up`"),
        (
            "{run: work, trigger: {asset: raw, delivery: {until: started}}}",
            "`pattern: sync` was expected beside `until`",
        ),
        # What later releases act on.
        ("{run: work, trigger: {asset: raw, delivery: reconcile}}", "`delivery: reconcile` was found"),
        ("{run: work, trigger: {asset: raw, delivery: {pattern: reconcile}}}", "`pattern: reconcile` was found"),
        # Promises and limits.
        (
            "{run: work, reads: [raw], trigger: {auto: {}, batch: {quiet: 5s}}}",
            "`max` or `by` was expected beside `auto`, `quiet` was found; leave it out: "
            "the promises downstream say how long changes may be gathered [wrong-value]",
        ),
        ("{run: work, trigger: {auto: {eager: yes}}}", "`eager`: `never` or `idle` was expected, 'yes' was found"),
        ("{run: work, trigger: {auto: {}, asset: raw}}", "`asset` and `auto` were found; put them under"),
        (
            "{run: work, preempt: never}",
            "`preempt`: true or false or a mapping of limits was expected, 'never' was found",
        ),
        ("{run: work, preempt: {evictions: 0}}", "a whole number of at least 1 was expected, 0 was found"),
        (
            "{run: work, preemptible: true}",
            "a pipeline has no key 'preemptible'; write `preempt: true` [unknown-key]",
        ),
        (
            "{run: work, priority: 1}",
            "a pipeline has no key 'priority'; write `class: urgent`, `class: normal` or",
        ),
        ("{run: work, sla: 1h}", "a promise stands with the asset: write `assets: {NAME: {freshness: 30m}}`"),
        ("{run: work, rate: 10}", "`rate`: a rate such as 60/1m was expected, 10 was found; write it like"),
        (
            "{run: work, rate: 0/1m}",
            "a rate such as 60/1m, at least one in a time, was expected, '0/1m' was found",
        ),
        ("{run: work, storm: 5/0s}", "a rate in a time longer than nothing, such as 60/1m, was expected"),
        ("{run: work, elastic: {max: 4}}", "`elastic` needs `by`, it was not found; write `by: event.data.shop`"),
        ("{run: work, concurrency: {by: event.data.x}}", "`concurrency` needs `max`, it was not found"),
        (
            "{run: work, takes: 20m..5m}",
            "a range from the shorter to the longer was expected, '20m..5m' was found",
        ),
        (
            "{run: work, fails: 101%}",
            "a percentage from 0% to 100%, such as 99.5%, was expected, '101%' was found",
        ),
        ("{tasks: {a: {command: x, sla: 1h}}}", "a promise stands with the asset"),
        (
            "{tasks: {a: {command: x, priority: 1}}}",
            "only a pipeline has a place in the queue: write `class` there",
        ),
    ],
)
def test_a_wrong_pipeline_is_refused(refused: Refused, keys: str, saying: str) -> None:
    mistakes = refused(f"{BASE}  p: {keys}\n")

    assert len(mistakes) == 1
    assert mistakes[0].startswith("score.yaml:7: ")
    assert saying in mistakes[0]


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("[]", "score.yaml:1: a score, a mapping, was expected, an empty list was found"),
        ("score: 5", "score.yaml:1: `score`: the name of the score was expected, 5 was found; put it in quotes"),
        ("polls: {}", "score.yaml:1: a score has no key 'polls'; did you mean 'pools'? [unknown-key]"),
        ("pools: {a: 0}", "`a`: a whole number of at least 1 was expected, 0 was found; write it like `a: 1`"),
        ("pools: {a: }", "`a`: a whole number of at least 1 was expected, nothing was found"),
        ("pools: {a: {}}", "a pool needs `slots`, it was not found; write `slots: 1` [missing-key]"),
        (
            "pools: {a: {slots: 2, target: 70}}",
            "a percentage above 0%, up to 100%, such as 99.5%, was expected, 70",
        ),
        (
            "pools: {a: {slots: 2, target: 0%}}",
            "a percentage above 0%, up to 100%, such as 99.5%, was expected, '0%'",
        ),
        (
            "pools: {'a b': 1}",
            "a name for the pool, of letters, digits and `_ . : / @ + -`, was expected, 'a b' was found",
        ),
        (
            "calendars: {a: {days: mon-fry}}",
            "days of the week such as mon-fri or sat,sun were expected, 'mon-fry'",
        ),
        ("calendars: {a: {days: []}}", "days of the week such as mon-fri, or a list of such, was expected"),
        (
            "calendars: {a: {except: [25.12.2026]}}",
            "a date such as 2026-12-25 was expected, '25.12.2026' was found",
        ),
        ("calendars: {a: {maintenance: 2am-4am}}", "a window such as 01:00-01:30 or sun 02:00-04:00 was expected"),
        ("calendars: {a: {maintenance: ['00:00-12:00', '12:00-24:00']}}", "some time outside `maintenance` was"),
        ("calendars: {a: {holidays: []}}", "a calendar has no key 'holidays'; write `except: [2026-12-25]`"),
        ("calendars: {a: {blackouts: []}}", "a calendar has no key 'blackouts'; write `maintenance: ["),
        ("teams: {a: {weight: 0}}", "`weight`: a number above 0, such as 2, was expected, 0 was found"),
        ("assets: {a: {freshness: {target: 99%}}}", "a freshness promise needs `within`, it was not found"),
        ("assets: {a: {freshness: {within: 1h, target: 1}}}", "such as 99.5%, was expected, 1 was found"),
        ("assets: {a: {freshness: 9999w}}", "a duration of at most 366d was expected, '9999w' was found"),
        (
            "assets: {a: {freshness: 07:00}}",
            "a duration such as 30s, 5m, 1h30m or 7d was expected, '07:00' was found",
        ),
        (
            "assets: {a: {completion: {by: 24:00}}}",
            "a time of day from 00:00 to 23:59 was expected, '24:00' was found",
        ),
        ("assets: {a: {completion: 30m}}", "a time of day from 00:00 to 23:59 was expected, '30m' was found"),
        (
            "assets: {a: {completion: {by: 07:00, within: 1h}}}",
            "a length of time is a promise of its own: write `freshness`",
        ),
        ("assets: {a: {sla: 1h}}", "an asset has no key 'sla'; write `freshness: 30m` or `completion: "),
        ("events: {a: {arrives: 0s}}", "a duration of at least 0.001s was expected, '0s' was found"),
        ("classes: {fast: 5m}", "a mapping of classes has no key 'fast'"),
        ("events: {counterpoint.run: {}}", "that does not begin with `counterpoint.`, was expected"),
        ("events: {a: {schema: none.json}}", "'none.json' cannot be read (No such file or directory)"),
        ("events: {a: {schema: broken.json}}", "'broken.json' is none"),
        ("events: {a: {schema: list.json}}", "the path of a JSON Schema, or the schema itself was expected"),
        ("events: {a: {schema: {type: objekt}}}", "a valid JSON Schema was expected"),
        ("events: {a: {schema: {$ref: 'http://127.0.0.1:9/x'}}}", "a valid JSON Schema was expected"),
        ("events: {a: {schema: {$ref: '#/$defs/no'}}}", "a valid JSON Schema was expected"),
    ],
)
def test_a_wrong_score_is_refused(refused: Refused, tmp_path: Path, text: str, saying: str) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")

    [mistake] = refused(text)

    assert saying in mistake


def test_a_mistake_inside_a_list_stands_at_its_own_line(refused: Refused) -> None:
    text = "assets: {a: {}}\npipelines:\n  p:\n    run: x\n    reads:\n      - a\n      - 5\n"

    assert refused(text) == [
        "score.yaml:7: the name of an asset was expected, 5 was found; put it in quotes [wrong-type]"
    ]


def test_a_mistake_behind_an_alias_is_told_once(refused: Refused) -> None:
    text = "pipelines:\n  p: {run: x, retry: &r {attempts: 0}}\n  q: {run: x, retry: *r}\n"

    assert len(refused(text)) == 1


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tools: Mapping[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("polls: {}")
    (tmp_path / "b.yaml").write_bytes(b"score: b\npools: {\xff: 1}")
    paths = [tmp_path / "none.yaml", tmp_path, tmp_path / "a.yaml", tmp_path / "b.yaml"]

    with pytest.raises(DeclarationError) as refusal:
        declare(paths, tools)

    assert [(mistake.where, mistake.code) for mistake in refusal.value.mistakes] == [
        (f"{tmp_path}/none.yaml:1", "unreadable"),
        (f"{tmp_path}:1", "unreadable"),
        (f"{tmp_path}/a.yaml:1", "unknown-key"),
        (f"{tmp_path}/b.yaml:2", "unreadable"),
    ]


def test_a_name_is_declared_in_one_file_only(tools: Mapping[str, Any], tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("pools:\n  warehouse: 1\nclasses: {bulk: 1d}\npipelines:\n  p: {run: x}\n")

    with pytest.raises(DeclarationError) as refusal:
        declare([tmp_path / "a.yaml", tmp_path / "b.yaml"], tools)

    assert [str(mistake) for mistake in refusal.value.mistakes] == [
        f"{tmp_path}/b.yaml:{line}: {name!r} stands under `{section}` again, first at {tmp_path}/a.yaml:{line}; "
        "keep one of them [doubled-name]"
        for line, name, section in ((2, "warehouse", "pools"), (3, "bulk", "classes"), (5, "p", "pipelines"))
    ]
