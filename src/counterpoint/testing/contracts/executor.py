"""What every executor must do, as one suite. An adapter's test subclasses it and provides `workplace`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from counterpoint.errors import LeadershipLost
from counterpoint.model.pipeline import Secret
from counterpoint.ports.executor import Ended, Executor, HostState, Invocation, Lost, Placement, Progress, Report

_T = TypeVar("_T")

#: A secret that every workplace must know.
SECRET_NAME, SECRET_VALUE = "CONTRACT_TOKEN", "correct horse battery/staple"

_FUNCTIONS = """
import os, sys, time

def nothing(): pass
def greet(name, greeting="hello"): print(greeting, name, flush=True); return {"greeted": name}
def fail(): raise ValueError("there are no rows")
def leave(): sys.exit(4)
def where(): return {"pid": os.getpid(), "folder": os.getcwd(), "color": os.environ.get("COLOR")}
def eat(): raise MemoryError
"""


class Workplace(Protocol):
    """What a test needs around an executor."""

    folder: Path

    def executor(self) -> Executor:
        """A new client of the same hosts, as after a restart of the engine."""
        ...

    def kill_host(self) -> None:
        """End the host as a crash would, leaving its attempts to themselves."""
        ...

    def log(self, name: str) -> str:
        """What an attempt printed."""
        ...


class Reports:
    """A sink that can be waited on."""

    def __init__(self) -> None:
        self.all: list[Report] = []

    def __call__(self, report: Report) -> None:
        """Take a report."""
        self.all.append(report)

    async def first(self, found: Callable[[Report], _T | None], *, within_s: float = 20) -> _T:
        """What `found` makes of the first report for which it is not None, waiting for it."""
        seen = 0
        async with asyncio.timeout(within_s):
            while True:
                for report in self.all[seen:]:
                    seen += 1
                    if (value := found(report)) is not None:
                        return value
                await asyncio.sleep(0.005)

    async def end_of(self, attempt: str, look: int = 0) -> Ended:
        """How an attempt ended."""
        return await self.first(
            lambda report: (
                report if isinstance(report, Ended) and (report.attempt, report.look) == (attempt, look) else None
            )
        )

    async def loss_of(self, attempt: str) -> Lost:
        """That an attempt is lost."""
        return await self.first(
            lambda report: report if isinstance(report, Lost) and report.attempt == attempt else None
        )


class Session:
    """An executor that is connected, with its sink."""

    def __init__(self, executor: Executor, host: str, reports: Reports, folder: Path) -> None:
        self.executor, self.host, self.reports, self._folder = executor, host, reports, folder

    async def place(self, attempt: str, *argv: str, look: int = 0, **fields: Any) -> None:
        """Place an attempt; `fields` are of Invocation, or of Placement."""
        given = {name: fields.pop(name) for name in ("events", "inputs", "checkpoint") if name in fields}
        invocation = Invocation(argv=argv, folder=fields.pop("folder", str(self._folder)), **fields)
        log = f"{attempt.replace('/', '_')}.log"
        await self.executor.place(
            self.host, Placement(attempt=attempt, look=look, invocation=invocation, log=log, **given)
        )

    async def run(self, attempt: str, *argv: str, **fields: Any) -> Ended:
        """Place an attempt and wait for its end."""
        await self.place(attempt, *argv, **fields)
        return await self.reports.end_of(attempt)

    async def call(self, attempt: str, function: str, **fields: Any) -> Ended:
        """Call a function of the module `functions` and wait for its end."""
        (self._folder / "functions.py").write_text(_FUNCTIONS)
        paths = (str(self._folder),)
        return await self.run(attempt, function=f"functions:{function}", paths=paths, **fields)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"


async def until(holds: Callable[[], bool], *, within_s: float = 10) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


class ExecutorContract:
    """What every executor must do. An adapter's test subclasses it and provides `workplace`."""

    @pytest.fixture
    async def session(self, workplace: Workplace) -> AsyncIterator[Session]:
        """The first engine, connected."""
        session = await self.connect(workplace, epoch=1)
        yield session
        await session.executor.close()

    async def connect(self, workplace: Workplace, *, epoch: int) -> Session:
        """Connect as a new engine."""
        executor, reports = workplace.executor(), Reports()
        [host] = await executor.connect(epoch=epoch, sink=reports)
        return Session(executor, host, reports, workplace.folder)

    async def test_a_host_appears_under_its_name(self, session: Session) -> None:
        assert session.reports.all == [HostState(host=session.host, state="appeared")]

    async def test_a_command_runs_in_its_folder_and_its_output_is_kept(
        self, session: Session, workplace: Workplace
    ) -> None:
        ended = await session.run("run#1/task/1", "sh", "-c", "pwd; echo out; echo err >&2")

        assert ended.succeeded and ended.exit_code == 0 and ended.failure == ""
        assert workplace.log("run#1_task_1.log").splitlines() == [str(workplace.folder), "out", "err"]
        assert ended.started is not None and ended.ended is not None
        assert ended.started <= ended.ended

    async def test_logs_are_kept_until_they_are_to_be_forgotten(
        self, session: Session, workplace: Workplace
    ) -> None:
        await session.run("run#1/task/1", "echo", "kept")
        assert await session.executor.forget(datetime.now(UTC) - timedelta(days=1)) == 0
        assert workplace.log("run#1_task_1.log") == "kept\n"

        assert await session.executor.forget(datetime.now(UTC) + timedelta(days=1)) == 1
        with pytest.raises(FileNotFoundError):
            workplace.log("run#1_task_1.log")

    async def test_an_exit_code_is_a_failure_with_its_last_words(self, session: Session) -> None:
        ended = await session.run("a", "sh", "-c", "echo no such table >&2; exit 3")

        assert (ended.succeeded, ended.failure, ended.exit_code) == (False, "exit", 3)
        assert "no such table" in ended.detail

    async def test_a_signal_from_elsewhere_is_a_failure_of_its_own(self, session: Session) -> None:
        ended = await session.run("a", "sh", "-c", "kill -KILL $$")

        assert (ended.succeeded, ended.failure, ended.exit_code) == (False, "signal", None)
        assert "SIGKILL" in ended.detail

    async def test_a_task_gets_its_environment_and_its_files(self, session: Session) -> None:
        script = (
            "import json, os; given = os.environ.get;"
            "read = lambda name: json.load(open(given('COUNTERPOINT_' + name)));"
            "print(json.dumps({'kind': 'seen', 'color': given('COLOR'), 'events': read('EVENTS'),"
            "'inputs': read('INPUTS'), 'checkpoint': read('CHECKPOINT')}),"
            "file=open(given('COUNTERPOINT_OUTPUT'), 'a'))"
        )

        ended = await session.run(
            "a",
            sys.executable,
            "-c",
            script,
            env={"COLOR": "blue"},
            events=b'[{"id": "1"}]',
            checkpoint=b'{"at": 5}',
        )

        assert ended.lines == (
            {"kind": "seen", "color": "blue", "events": [{"id": "1"}], "inputs": [], "checkpoint": {"at": 5}},
        )

    async def test_checkpoints_are_reported_while_the_task_runs_and_all_lines_at_the_end(
        self, session: Session, workplace: Workplace
    ) -> None:
        script = (
            'echo \'{"kind": "checkpoint", "name": "half"}\' >> $COUNTERPOINT_OUTPUT;'
            "until [ -e go ]; do sleep 0.02; done;"
            "echo not json >> $COUNTERPOINT_OUTPUT;"
            'echo \'{"kind": "asset", "asset": "x"}\' >> $COUNTERPOINT_OUTPUT'
        )
        await session.place("a", "sh", "-c", script)

        line = await session.reports.first(lambda report: report.line if isinstance(report, Progress) else None)
        (workplace.folder / "go").touch()
        ended = await session.reports.end_of("a")

        assert line == {"kind": "checkpoint", "name": "half"}
        assert ended.lines == (line, {"kind": "asset", "asset": "x"})
        assert ended.bad_lines == ("not json",)

    async def test_a_repeated_placement_changes_nothing(self, session: Session, workplace: Workplace) -> None:
        command = ("sh", "-c", "echo started >> starts; until [ -e go ]; do sleep 0.02; done")
        await session.place("a", *command)
        await session.place("a", *command)
        await until((workplace.folder / "starts").exists)
        (workplace.folder / "go").touch()
        await session.reports.end_of("a")
        await session.place("a", *command)
        await session.run("b", "true")

        assert (workplace.folder / "starts").read_text() == "started\n"

    async def test_each_look_is_placed_once(self, session: Session) -> None:
        await session.run("a", "sh", "-c", "exit 1")
        await session.place("a", "sh", "-c", "exit 2", look=1)

        assert (await session.reports.end_of("a", look=1)).exit_code == 2

    async def test_what_cannot_be_started_ends_with_what_to_do(
        self, session: Session, workplace: Workplace
    ) -> None:
        (workplace.folder / "text").write_text("hello")
        missing = await session.run("a", "no-such-program-anywhere")
        forbidden = await session.run("b", "./text")
        nowhere = await session.run("c", "true", folder=str(workplace.folder / "gone"))

        assert [ended.failure for ended in (missing, forbidden, nowhere)] == ["error"] * 3
        assert "no-such-program-anywhere" in missing.detail and "install" in missing.detail
        assert "chmod" in forbidden.detail
        assert "gone" in nowhere.detail

    async def test_stopping_gives_the_task_its_grace(self, session: Session, workplace: Workplace) -> None:
        script = "trap 'echo bye; exit 7' TERM; echo > ready; while :; do sleep 0.02; done"
        await session.place("a", "sh", "-c", script)
        await until((workplace.folder / "ready").exists)

        await session.executor.stop("a", grace_s=20)

        assert (await session.reports.end_of("a")).exit_code == 7
        assert "bye" in workplace.log("a.log")

    async def test_after_the_grace_nothing_is_left_not_even_in_another_session(
        self, session: Session, workplace: Workplace
    ) -> None:
        stubborn = "trap '' TERM; echo $$ >> pids; while :; do sleep 0.05; done"
        script = f'{stubborn[:9]}; setsid sh -c "{stubborn.replace("$", chr(92) + "$")}" & {stubborn}'
        await session.place("a", "sh", "-c", script)
        pids = workplace.folder / "pids"
        await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)

        await session.executor.stop("a", grace_s=0.2)
        ended = await session.reports.end_of("a")

        assert (ended.succeeded, ended.failure) == (False, "signal")
        assert not any(is_running(int(pid)) for pid in pids.read_text().split())

    async def test_what_a_task_leaves_behind_ends_with_it(self, session: Session, workplace: Workplace) -> None:
        script = "sleep 60 & echo $! > pids; setsid sleep 60 & echo $! >> pids; (setsid sleep 60 &) ; exit 0"

        ended = await session.run("a", "sh", "-c", script)

        assert ended.succeeded
        assert not any(is_running(int(pid)) for pid in (workplace.folder / "pids").read_text().split())

    async def test_attempts_outlive_the_engine_and_are_found_again(
        self, session: Session, workplace: Workplace
    ) -> None:
        await session.place("runs", "sh", "-c", "until [ -e go ]; do sleep 0.02; done; exit 5")
        await session.run("ended", "sh", "-c", "exit 6")
        await session.executor.close()

        after = await self.connect(workplace, epoch=2)
        known = [("runs", session.host, 0), ("ended", session.host, 0), ("never", session.host, 0)]
        never_received = await after.executor.resolve(known)
        (workplace.folder / "go").touch()

        assert list(never_received) == [("never", 0)]
        assert after.host == session.host
        assert (await after.reports.end_of("ended")).exit_code == 6
        assert (await after.reports.end_of("runs")).exit_code == 5
        await after.executor.close()

    async def test_an_end_is_reported_until_it_is_acknowledged(
        self, session: Session, workplace: Workplace
    ) -> None:
        await session.run("a", "true")
        await session.executor.close()

        second = await self.connect(workplace, epoch=2)
        await second.reports.end_of("a")
        await second.executor.acknowledge("a", 0)
        await second.run("b", "true")
        await second.executor.close()
        third = await self.connect(workplace, epoch=3)
        await third.reports.end_of("b")

        assert not [report for report in third.reports.all if isinstance(report, Ended) and report.attempt == "a"]
        await third.executor.close()

    async def test_an_older_engine_is_refused(self, session: Session, workplace: Workplace) -> None:
        newer = await self.connect(workplace, epoch=5)

        with pytest.raises(LeadershipLost):
            await workplace.executor().connect(epoch=4, sink=Reports())
        with pytest.raises(LeadershipLost):
            # The first engine is told by being hung up on; until it has noticed, its words go nowhere.
            async with asyncio.timeout(10):
                while True:
                    await session.place("stale", "sh", "-c", "echo > stale")
                    await asyncio.sleep(0.01)

        assert (await newer.run("a", "true")).succeeded
        assert not (workplace.folder / "stale").exists()
        await newer.executor.close()

    async def test_a_killed_host_loses_its_attempts_and_nothing_of_them_is_left(
        self, session: Session, workplace: Workplace
    ) -> None:
        await session.run("ended", "sh", "-c", "exit 6")
        script = "echo $$ > pids; setsid sleep 60 & echo $! >> pids; wait"
        await session.place("runs", "sh", "-c", script)
        pids = workplace.folder / "pids"
        await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)

        workplace.kill_host()
        await session.reports.loss_of("runs")

        assert not any(is_running(int(pid)) for pid in pids.read_text().split())
        states = [(report.host, report.state) for report in session.reports.all if isinstance(report, HostState)]
        assert states[:2] == [(session.host, "appeared"), (session.host, "lost")]
        assert states[2][0] != session.host and states[2][1] == "appeared"
        ends = [
            report for report in session.reports.all if isinstance(report, Ended) and report.attempt == "ended"
        ]
        assert [ended.exit_code for ended in ends] == [6, 6]

    async def test_attempts_of_a_host_that_ended_are_lost_to_the_next_engine(
        self, session: Session, workplace: Workplace
    ) -> None:
        await session.place("runs", "sleep", "60")
        await session.run("other", "true")
        await session.executor.close()
        workplace.kill_host()

        after = await self.connect(workplace, epoch=2)
        known = [("runs", session.host, 0), ("never", session.host, 0)]

        assert list(await after.executor.resolve(known)) == []
        assert after.host != session.host
        await after.reports.loss_of("runs")
        await after.reports.loss_of("never")
        assert HostState(host=session.host, state="lost") in after.reports.all
        await after.executor.close()

    async def test_secrets_reach_the_task_and_are_masked_everywhere_else(
        self, session: Session, workplace: Workplace
    ) -> None:
        script = (
            "import json, os, sys; secret = os.environ['TOKEN'];"
            "half = len(secret) // 2;"
            "sys.stdout.write(secret[:half]); sys.stdout.flush();"
            "sys.stdout.write(secret[half:] + '\\n'); sys.stdout.flush();"
            "print(json.dumps({'kind': 'metric', secret: ['<' + secret + '>']}),"
            "file=open(os.environ['COUNTERPOINT_OUTPUT'], 'a'), flush=True);"
            "sys.exit('cannot log in with ' + secret)"
        )

        ended = await session.run("a", sys.executable, "-c", script, env={"TOKEN": Secret(SECRET_NAME)})

        assert workplace.log("a.log") == "***\ncannot log in with ***\n"
        assert ended.lines == ({"kind": "metric", "***": ["<***>"]},)
        assert SECRET_VALUE not in repr(session.reports.all)

    async def test_an_unknown_secret_ends_the_attempt_and_is_named(self, session: Session) -> None:
        ended = await session.run("a", "true", env={"TOKEN": Secret("NO_SUCH_SECRET")})

        assert ended.failure == "error"
        assert "NO_SUCH_SECRET" in ended.detail

    async def test_a_python_function_runs_in_a_process_of_its_own(
        self, session: Session, workplace: Workplace
    ) -> None:
        greeted = await session.call("a", "greet", arguments={"name": "Ada"})
        first = await session.call("b", "where", env={"COLOR": "red"})
        second = await session.call("c", "where")

        assert greeted.lines == ({"kind": "result", "data": {"greeted": "Ada"}},)
        assert workplace.log("a.log") == "hello Ada\n"
        assert first.lines[0]["data"]["folder"] == str(workplace.folder)
        assert [ended.lines[0]["data"]["color"] for ended in (first, second)] == ["red", None]
        assert first.lines[0]["data"]["pid"] != second.lines[0]["data"]["pid"]

    @pytest.mark.parametrize(
        ("function", "arguments", "said"),
        [
            (
                "greet",
                {},
                "functions:greet: arguments for `(name, greeting='hello')` were expected, `()` was found",
            ),
            (
                "greet",
                {"name": "Ada", "nmae": "Ida"},
                "`(name, nmae)` was found: got an unexpected keyword argument",
            ),
            (
                "nothing",
                {"name": "Ada"},
                "functions:nothing: arguments for `()` were expected, `(name)` was found",
            ),
        ],
    )
    async def test_arguments_that_do_not_fit_a_python_function_are_told_by_name(
        self, session: Session, function: str, arguments: dict[str, Any], said: str
    ) -> None:
        unfit = await session.call("a", function, arguments=arguments)

        assert (unfit.failure, unfit.exit_code) == ("exit", 1)
        assert said in unfit.detail
        assert unfit.detail.endswith("change `arguments` in the score, or the function")

    async def test_a_python_function_that_raises_fails_with_its_traceback(
        self, session: Session, workplace: Workplace
    ) -> None:
        failed = await session.call("a", "fail")
        left = await session.call("b", "leave")

        assert (failed.failure, failed.exit_code) == ("exit", 1)
        assert "ValueError: there are no rows" in failed.detail
        assert "Traceback" in workplace.log("a.log")
        assert left.exit_code == 4

    async def test_a_python_function_that_is_not_there_fails(self, session: Session) -> None:
        absent = await session.call("a", "absent")
        module = await session.run("b", function="no_such_module:f")

        assert (absent.failure, module.failure) == ("exit", "exit")
        assert "absent" in absent.detail and "no_such_module" in module.detail

    async def test_running_out_of_memory_is_a_failure_of_its_own(self, session: Session) -> None:
        eat = "import time; eaten = bytearray(200_000_000); time.sleep(30)"
        limited = await session.run("a", sys.executable, "-c", eat, memory=60_000_000)
        enough = await session.run("b", "true", memory=60_000_000)
        raised = await session.call("c", "eat")

        assert (limited.failure, limited.succeeded) == ("out-of-memory", False)
        assert enough.succeeded
        assert raised.failure == "out-of-memory"

    async def test_many_attempts_at_once_all_end(self, session: Session) -> None:
        for number in range(60):
            await session.place(f"many/{number}", "true")

        ends = [await session.reports.end_of(f"many/{number}") for number in range(60)]

        assert all(ended.succeeded for ended in ends)
