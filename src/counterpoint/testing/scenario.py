"""Scenarios: stories of a score, and what the kernel decides in them.

A scenario is a text of three parts between lines of dashes: a score, what happens, and what was decided.

    # A failed attempt is followed by another after its back-off.
    score: shop
    pipelines:
      ingest: {run: "true", retry: {attempts: 2, backoff: 10s}}
    ----
    10:00 run ingest by=anna
    10:01 ended ingest#1/run/1 failed exit=3
    10:02 ended ingest#1/run/2 ok
    ----
    10:00:00 CreateRun ingest#1 asked by=anna
    ...

Time is virtual: between two lines the kernel is woken whenever it asks for it. A time is `HH:MM[:SS]`
of the day, a date with a time (`2026-03-29T00:30`, UTC), or `+5m` after the line before. The plan and a
worker host are there from the start. Further plans follow the first after `---`, and come into force
with `declare 2`. `VERBS` lists what may happen.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from counterpoint.adapters.tools import standard_tools
from counterpoint.engine.declare import declare_text
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.sentences import REASONS, sentence
from counterpoint.model.plan import Plan
from counterpoint.model.quantity import format_duration, parse_duration
from counterpoint.testing.builders import START, Kernel

_LINE = re.compile(r"^----+\s*$", re.MULTILINE)
_NEXT_PLAN = re.compile(r"^---\s*$", re.MULTILINE)
_PAYLOAD = re.compile(r"\s(?=[\[{])")


class Line(Struct, frozen=True):
    """One thing that happens: `10:01 ended ingest#1/run/1 failed exit=3`."""

    text: str
    time: str
    verb: str
    words: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    payload: Any = None


class Scenario(Struct, frozen=True):
    """A story as it is written. `score` and `story` are the text above the decisions."""

    name: str
    about: str
    score: str
    story: str
    expected: str

    @property
    def plans(self) -> list[Plan]:
        """The plans, in the order of the text."""
        texts = _NEXT_PLAN.split(self.score)
        return [declare_text(text, folder=Path("/"), tools=standard_tools()) for text in texts]

    @property
    def lines(self) -> list[Line]:
        """What happens, in order."""
        written = (line.strip() for line in self.story.splitlines())
        return [_line(text) for text in written if text and not text.startswith("#")]

    def updated(self, decided: str) -> str:
        """The text of the scenario with what was decided now."""
        return f"{self.score.rstrip()}\n----\n{self.story.strip()}\n----\n{decided.rstrip()}\n"


def read(text: str, name: str) -> Scenario:
    """Take the text of a scenario apart."""
    parts = _LINE.split(text)
    if len(parts) not in (2, 3):
        raise ValueError(
            f"{name}: a score, what happens and what was decided were expected, between lines of dashes"
        )
    about = text.lstrip().partition("\n")[0].lstrip("# ").strip()
    return Scenario(name, about, parts[0], parts[1], parts[2].strip() if len(parts) == 3 else "")


def play(scenario: Scenario) -> tuple[Kernel, str]:
    """Let a scenario happen: the kernel as it is then, and what it decided, one line each."""
    return _Play(scenario).run()


def _line(text: str) -> Line:
    head, *rest = _PAYLOAD.split(text, maxsplit=1)
    time, verb, *words = shlex.split(head)
    options = dict(word.split("=", 1) for word in words if "=" in word)
    plain = tuple(word for word in words if "=" not in word)
    return Line(text, time, verb, plain, options, msgspec.json.decode(rest[0]) if rest else None)


class _Play:
    def __init__(self, scenario: Scenario) -> None:
        self._scenario, self._plans, self._lines = scenario, scenario.plans, scenario.lines
        self._kernel = Kernel(_moment(self._lines[0].time, START))
        self._first_day = self._kernel.now.date()
        self._decided: list[str] = []

    def run(self) -> tuple[Kernel, str]:
        self._note(self._kernel.declare(self._plans[0]))
        if not any(line.verb == "host" for line in self._lines):
            self._note(self._kernel.host("h1"))
        for line in self._lines:
            try:
                self._pass(_moment(line.time, self._kernel.now))
                VERBS[line.verb](self, line)
            except Exception as error:
                error.add_note(f"in {self._scenario.name}, at: {line.text}")
                raise
        return self._kernel, "\n".join(self._decided)

    def _pass(self, moment: datetime) -> None:
        if moment < self._kernel.now:
            raise ValueError(
                f"it is {self._kernel.now:%H:%M:%S} already; write a date before a time of another day"
            )
        for _, decisions in self._kernel.wake_until(moment):
            self._note(decisions)

    def _note(self, decisions: Sequence[d.AnyDecision]) -> None:
        for decision in decisions:
            assert decision.reason.code in REASONS, f"the reason {decision.reason.code!r} has no sentence"
            sentence(decision)
            is_first_day = decision.at.date() == self._first_day
            fraction = f".{decision.at.microsecond // 1000:03}" if decision.at.microsecond else ""
            time = decision.at.strftime("%H:%M:%S" if is_first_day else "%m-%dT%H:%M:%S") + fraction
            self._decided.append(f"{time} {describe(decision)}")

    def _take(self, kind: type[e.Event], **fields: Any) -> None:
        sentence(kind(at=self._kernel.now, wall=self._kernel.now, **fields))  # type: ignore[arg-type]
        self._note(self._kernel.take(kind, **fields))

    # What may happen.

    def wait(self, line: Line) -> None:
        """`12:00 wait`: nothing but time."""

    def declare(self, line: Line) -> None:
        """`declare 2`: the second plan comes into force."""
        self._note(self._kernel.declare(self._plans[int(line.words[0]) - 1], by=line.options.get("by", "anna")))

    def start(self, line: Line) -> None:
        """`run ingest by=anna partition=2026-01-05 deadline=12:00 takes_s=60 {"n": 1}`: a run is asked for."""
        options: dict[str, Any] = {"by": "anna"} | line.options
        if "deadline" in options:
            options["deadline"] = _moment(options["deadline"], self._kernel.now)
        if "takes_s" in options:
            options["takes_s"] = float(options["takes_s"])
        self._take(e.RunRequested, pipeline=line.words[0], params=line.payload or {}, **options)

    def cancel(self, line: Line) -> None:
        """`cancel ingest#1 [skip]`: somebody ends a run."""
        self._take(
            e.CancelRequested, run=line.words[0], by=line.options.get("by", "anna"), skip="skip" in line.words
        )

    def retry(self, line: Line) -> None:
        """`retry ingest#1`: somebody lets an ended run go on."""
        document = msgspec.to_builtins(self._kernel.state.written.runs[line.words[0]])
        self._take(e.RetryRequested, run=line.words[0], by=line.options.get("by", "anna"), document=document)

    def pause(self, line: Line) -> None:
        """`pause build`: somebody stops automatic admission."""
        self._take(e.PauseRequested, pipeline=line.words[0], by=line.options.get("by", "anna"))

    def resume(self, line: Line) -> None:
        """`resume build`: somebody lets it go on."""
        self._take(e.ResumeRequested, pipeline=line.words[0], by=line.options.get("by", "anna"))

    def event(self, line: Line) -> None:
        """`event product.updated id=1 by_run=ingest#1 {"sku": "A"}`: an event is accepted."""
        run = self._kernel.state.runs.get(line.options.get("by_run", ""))
        fields: dict[str, Any] = {"hops": run.hops if run else 0} | line.options
        fields["hops"] = int(fields["hops"])
        self._note(self._kernel.emit(line.words[0], line.payload, **fields))

    def replay(self, line: Line) -> None:
        """`replay build 3 4` (changes) or `replay build dead`: one subscriber gets changes again."""
        state, dead = self._kernel.state, "dead" in line.words
        letters = [item for item in state.dead.values() if item.pipeline == line.words[0]] if dead else []
        numbers = [item.change for item in letters] if dead else [int(word) for word in line.words[1:]]
        self._take(
            e.ReplayRequested,
            pipeline=line.words[0],
            changes=tuple(state.written.changes[number] for number in numbers),
            origins=tuple(item.number for item in letters),
            by=line.options.get("by", "anna"),
        )

    def discard(self, line: Line) -> None:
        """`discard 3 4`: somebody drops dead letters, named by their items."""
        self._take(e.DiscardRequested, items=tuple(int(word) for word in line.words), by="anna")

    def report(self, line: Line) -> None:
        """`report fx.rates label=monday {"rows": 3}`: a version is reported from outside."""
        report = msgspec.convert(
            {"asset": line.words[0], "metadata": line.payload or {}, **line.options}, e.Report, strict=False
        )
        self._take(e.AssetReported, report=report, by="anna")

    def host(self, line: Line) -> None:
        """`host h2`: a worker host appears."""
        self._note(self._kernel.host(line.words[0]))

    def unreachable(self, line: Line) -> None:
        """`unreachable h1`: a worker host does not answer."""
        self._take(e.HostUnreachable, host=line.words[0])

    def gone(self, line: Line) -> None:
        """`gone h1`: a worker host has certainly ended."""
        self._take(e.HostLost, host=line.words[0])

    def ended(self, line: Line) -> None:
        """`ended ATTEMPT ok|failed [exit=3] [kind=out-of-memory] [REPORTS]`: an attempt ends."""
        attempt, how = line.words
        reports = msgspec.convert(line.payload or (), tuple[e.Report, ...])
        if how == "ok":
            self._note(self._kernel.end(attempt, reports=reports))
            return
        options = line.options
        exit_code = int(options["exit"]) if "exit" in options else None
        fields = {"failure": options.get("kind", "exit"), "exit_code": exit_code, "reports": reports}
        self._note(self._kernel.end(attempt, "failed", **fields, detail=options.get("detail", "")))

    def deferred(self, line: Line) -> None:
        """`deferred ATTEMPT look=30s [callback]`: an attempt answers *not yet*."""
        self._take(
            e.AttemptDeferred,
            attempt=line.words[0],
            look_at=self._kernel.now + parse_duration(line.options["look"]),
            callback="callback" in line.words,
            note=line.options.get("note", ""),
        )

    def callback(self, line: Line) -> None:
        """`callback ATTEMPT {"state": "done"}`: the remote side calls back."""
        self._take(e.CallbackReceived, attempt=line.words[0], message="m1", data=line.payload)

    def checkpoint(self, line: Line) -> None:
        """`checkpoint ATTEMPT loaded {"rows": 3}`: a running task reports progress."""
        attempt, name = line.words
        self._take(e.CheckpointReached, attempt=attempt, name=name, data=line.payload or {})

    def lost(self, line: Line) -> None:
        """`lost ATTEMPT`: an attempt has certainly ended, nobody knows how."""
        self._take(e.AttemptLost, attempt=line.words[0])

    def learned(self, line: Line) -> None:
        """`learned build[/run] p50=5m p90=8m [wait=1m] [{"11": 1800}]`: how long it takes; by hour of the week."""
        pipeline, _, task = line.words[0].partition("/")
        seconds = {name: parse_duration(text).total_seconds() for name, text in line.options.items()}
        wait = seconds.get("wait", 0.0)
        band = e.Band(
            pipeline=pipeline,
            task=task,
            p50=seconds["p50"],
            p90=seconds["p90"],
            wait_p50=wait,
            wait_p90=wait,
            samples=30,
            hours={hour: (float(each), float(each)) for hour, each in (line.payload or {}).items()},
        )
        self._take(e.DurationsLearned, bands=(band,))

    def clock(self, line: Line) -> None:
        """`clock 2h` or `clock -2h`: the clock on the wall is set forward or back."""
        text = line.words[0]
        by = -parse_duration(text[1:]) if text.startswith("-") else parse_duration(text)
        self._kernel.ahead += by
        self._take(e.ClockJumped, by=by)

    def reload(self, line: Line) -> None:
        """`reload`: the engine starts again from a snapshot."""
        written = self._kernel.state.written
        self._kernel.reload()
        # What history keeps, for `retry` and `replay`.
        self._kernel.state.written = written


#: What may happen -> how.
VERBS: Mapping[str, Callable[[_Play, Line], None]] = {
    "wait": _Play.wait,
    "declare": _Play.declare,
    "run": _Play.start,
    "cancel": _Play.cancel,
    "retry": _Play.retry,
    "pause": _Play.pause,
    "resume": _Play.resume,
    "event": _Play.event,
    "replay": _Play.replay,
    "discard": _Play.discard,
    "report": _Play.report,
    "host": _Play.host,
    "unreachable": _Play.unreachable,
    "gone": _Play.gone,
    "ended": _Play.ended,
    "deferred": _Play.deferred,
    "callback": _Play.callback,
    "checkpoint": _Play.checkpoint,
    "lost": _Play.lost,
    "learned": _Play.learned,
    "clock": _Play.clock,
    "reload": _Play.reload,
}


def _moment(text: str, now: datetime) -> datetime:
    if text.startswith("+"):
        return now + parse_duration(text[1:])
    if "T" in text:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    hour, minute, *second = (int(part) for part in text.split(":"))
    return now.replace(hour=hour, minute=minute, second=second[0] if second else 0, microsecond=0)


# Decisions as lines.

#: Kind of decision -> what it is about, and its fields that are shown where they say something.
SHOWN: Mapping[type[d.Decision], tuple[str, str]] = {
    d.Deliver: ("{0.change.subject}", "items"),
    d.SkipTicks: ("{0.pipeline}", "count first last"),
    d.AdvanceClock: ("{0.pipeline}", "tick"),
    d.CreateRun: ("{0.run}", "key partition items params by"),
    d.AdmitRun: ("{0.run}", "items pins partial waited_s"),
    d.StartAttempt: ("{0.attempt}", "slots memory deadline host"),
    d.LookAttempt: ("{0.attempt}", "look callback host"),
    d.StopAttempt: ("{0.attempt}", "why look host taker lost_s saved_s"),
    d.RetryTask: ("{0.run}/{0.task}", "failure not_before memory slots"),
    d.FailTask: ("{0.run}/{0.task}", "failure"),
    d.SkipTask: ("{0.run}/{0.task}", ""),
    d.PublishAsset: ("{0.asset}", "partition seq label pins by task reflects"),
    d.ConfirmAsset: ("{0.asset}", "partition seq by task reflects"),
    d.RaiseMark: ("{0.asset}", "writer reflects"),
    d.Oblige: ("{0.asset}", "promise marks since due"),
    d.MissObligations: ("{0.asset}", "promise count"),
    d.RefuseReport: ("{0.asset}", "by task expected found"),
    d.MarkSuspect: ("{0.asset}", "partition by"),
    d.CancelRun: ("{0.run}", ""),
    d.AwaitConfirmation: ("{0.run}", "items deadline"),
    d.Confirm: ("{0.run}", "item fails"),
    d.FinishRun: ("{0.run}", "phase items_become failure"),
    d.RestSubscription: ("{0.pipeline}", "partition key failures until"),
    d.EndItems: ("{0.pipeline}", "partition key items outcome"),
    d.RaiseRun: ("{0.run}", ""),
    d.PlaceRun: ("{0.run}", "latest"),
    d.ReserveFor: ("{0.run}", "task resources lacks start"),
    d.KeepRoom: ("{0.run}", "task resources until"),
    d.TripStorm: ("{0.pipeline}", "until"),
    d.CalmStorm: ("{0.pipeline}", "since items lanes"),
    d.Note: ("{0.subject}", ""),
}

#: Fields whose times are shown by how far ahead they are.
LATER = ("deadline", "not_before", "until", "start")


def describe(decision: d.AnyDecision) -> str:
    """A decision as one short line: its kind, what it is about, why, and the figures that matter."""
    subject, names = SHOWN[type(decision)]
    figures: dict[str, Any] = {}
    for name in names.split():
        value = getattr(decision, name, decision.reason.figures.get(name))
        figures[name] = value - decision.at if value and name in LATER else value
    # Zero, nothing, and the one host there is, say nothing.
    said = [f"{name}={_shown(value, decision.at)}" for name, value in figures.items() if value and value != "h1"]
    return " ".join([type(decision).__name__, subject.format(decision), decision.reason.code, *said])


def _shown(value: Any, now: datetime) -> str:
    match value:
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%SZ")
        case timedelta():
            return f"+{format_duration(value).replace(' ', '')}"
        case dict():
            return ",".join(f"{name}:{amount}" for name, amount in value.items())
        case tuple():
            return ",".join(_shown(each, now) for each in value)
        case d.Item():
            lane = value.pipeline + (f"/{value.partition}" if value.partition else "")
            origin = f"(again {value.origin})" if value.origin else ""
            return f"{value.number}:{lane}{f'[{value.key}]' if value.key else ''}{origin}"
        case d.Pin():
            place = value.asset + (f"/{value.partition}" if value.partition else "")
            return f"{place}@{value.seq}{'(suspect)' if value.suspect else ''}"
        case _:
            return str(value)
