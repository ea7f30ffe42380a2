"""The process executor beyond its port's contract: warm processes, a host that hangs, what is left behind."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from counterpoint.adapters.executors.process import launch
from counterpoint.adapters.executors.process.client import ProcessExecutor
from counterpoint.model.pipeline import Secret
from counterpoint.ports.executor import HostState, Invocation, Lost, Placement, Report
from counterpoint.testing.contracts.executor import Reports, Session, is_running, until

ENVIRONMENT = "counterpoint.adapters.secrets.environment:EnvironmentSecrets"


class Bench:
    """A host folder, a folder for tasks, and engines that come and go."""

    def __init__(self, path: Path) -> None:
        self.host_folder, self.folder = path / "host", path / "work"
        self.folder.mkdir(parents=True)
        self.sessions: list[Session] = []

    async def connect(self, *, epoch: int = 1, idle_s: float = 5, patience_s: float = 10) -> Session:
        executor = ProcessExecutor(self.host_folder, idle_s=idle_s, patience_s=patience_s, secrets=[ENVIRONMENT])
        reports = Reports()
        [host] = await executor.connect(epoch=epoch, sink=reports)
        self.sessions.append(Session(executor, host, reports, self.folder))
        return self.sessions[-1]

    def module(self, name: str, text: str) -> dict[str, object]:
        """Write a module; what a placement needs to call a function of it, but for `function`."""
        (self.folder / f"{name}.py").write_text(textwrap.dedent(text))
        return {"paths": (str(self.folder),)}

    @property
    def host_pid(self) -> int:
        return int((self.host_folder / "lock").read_text().split()[0])

    def children(self) -> list[int]:
        return [
            int(pid) for pid in Path(f"/proc/{self.host_pid}/task/{self.host_pid}/children").read_text().split()
        ]

    def log(self, name: str) -> str:
        return (self.host_folder / "logs" / name).read_text()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for session in bench.sessions:
        await session.executor.close()
    if not launch.is_gone(bench.host_folder):
        os.kill(bench.host_pid, signal.SIGCONT)
        os.kill(bench.host_pid, signal.SIGTERM)


def state_of_host(report: Report) -> str | None:
    return report.state if isinstance(report, HostState) else None


async def test_a_changed_source_file_is_used_at_once(bench: Bench) -> None:
    session = await bench.connect()
    where = bench.module("figures", "import helper\ndef value(): return {'value': helper.VALUE}")
    bench.module("helper", "VALUE = 1")
    first = await session.run("a", function="figures:value", **where)
    [warm] = bench.children()

    bench.module("helper", "VALUE = 2222")
    second = await session.run("b", function="figures:value", **where)

    assert [ended.lines[0]["data"]["value"] for ended in (first, second)] == [1, 2222]
    await until(lambda: not is_running(warm))


async def test_functions_of_one_module_share_a_warm_process(bench: Bench) -> None:
    session = await bench.connect()
    where = bench.module(
        "figures", "import os\nLOADED = os.getpid()\ndef f(): return {'loaded': LOADED}\ndef g(): return f()"
    )

    loaded = {
        (await session.run(name, function=f"figures:{name}", **where)).lines[0]["data"]["loaded"] for name in "fg"
    }

    assert loaded == set(bench.children())


async def test_the_death_of_a_warm_process_does_not_hide_how_its_attempts_end(bench: Bench) -> None:
    session = await bench.connect()
    where = bench.module(
        "slow",
        """
        import os, sys, time
        def wait():
            open("started", "w").close()
            while not os.path.exists("go"): time.sleep(0.02)
            sys.exit(9)
        """,
    )
    await session.place("a", function="slow:wait", **where)
    await until((bench.folder / "started").exists)
    [warm] = bench.children()

    os.kill(warm, signal.SIGKILL)
    await until(lambda: not is_running(warm))
    (bench.folder / "go").touch()

    assert (await session.reports.end_of("a")).exit_code == 9


async def test_a_module_that_ends_the_interpreter_fails_alone(bench: Bench) -> None:
    session = await bench.connect()
    where = bench.module("deadly", "import os; os._exit(17)")
    bench.module("good", "def work(): return {'worked': True}")
    await session.place("bad", function="deadly:work", **where)
    await session.place("good", function="good:work", **where)

    good, bad = await session.reports.end_of("good"), await session.reports.end_of("bad")

    assert good.succeeded
    assert (bad.failure, bad.exit_code) == ("exit", 17)


async def test_a_module_that_hangs_can_be_stopped_and_keeps_nobody_waiting_for_good(bench: Bench) -> None:
    session = await bench.connect()
    where = bench.module("hanging", "import time; open('importing', 'w').close(); time.sleep(100)")
    bench.module("good", "def work(): return {'worked': True}")
    where = {**where, "folder": str(bench.folder)}
    await session.place("bad", function="hanging:work", **where)
    await session.place("good", function="good:work", **where)

    await session.executor.stop("bad", grace_s=0.3)

    assert (await session.reports.end_of("bad")).failure == "signal"
    assert (await session.reports.end_of("good")).succeeded


async def test_a_function_gets_the_run_where_it_wants_it_and_may_be_async(bench: Bench) -> None:
    session = await bench.connect()
    where = bench.module(
        "modern",
        """
        from __future__ import annotations
        import asyncio
        from counterpoint.sdk import Run
        def sync(run): run.checkpoint("half"); return {"id": run.id}
        def annotated(this: Run, epochs): return {"id": this.id, "epochs": epochs}
        def runs(runs): return {"runs": runs}
        async def wait(**arguments): await asyncio.sleep(0); return arguments
        """,
    )
    where["env"] = {"COUNTERPOINT_RUN_ID": "p#1"}

    with_run = await session.run("a", function="modern:sync", **where)
    annotated = await session.run("b", function="modern:annotated", arguments={"epochs": 3}, **where)
    without = await session.run("c", function="modern:runs", arguments={"runs": 2}, **where)
    awaited = await session.run("d", function="modern:wait", arguments={"x": 1}, **where)
    twice = await session.run("e", function="modern:sync", arguments={"run": 1}, **where)

    assert [line["kind"] for line in with_run.lines] == ["checkpoint", "result"]
    assert with_run.lines[1]["data"] == {"id": "p#1"}
    assert annotated.lines[0]["data"] == {"id": "p#1", "epochs": 3}
    assert without.lines[0]["data"] == {"runs": 2}
    assert awaited.lines[0]["data"] == {"x": 1}
    assert "multiple values for argument 'run'" in twice.detail


async def test_another_interpreter_needs_nothing_of_ours(bench: Bench) -> None:
    session = await bench.connect()
    where = bench.module("plain", "import sys\ndef which(): return {'prefix': sys.prefix}")
    python = str(Path(sys.base_prefix) / "bin" / "python3")

    ended = await session.run("a", function="plain:which", python=python, **where)
    missing = await session.run("b", function="plain:which", python="/nowhere/python", **where)

    assert ended.lines[0]["data"] == {"prefix": sys.base_prefix}
    assert missing.failure == "error" and "/nowhere/python" in missing.detail


async def test_secrets_of_a_function_are_masked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOINT_SECRET_TOKEN", "hush-hush-hush")
    session = await bench.connect()
    where = bench.module("quiet", "import os\ndef f(): raise ValueError(os.environ['TOKEN'])")

    ended = await session.run("a", function="quiet:f", env={"TOKEN": Secret("TOKEN")}, **where)
    inherits = await session.run("b", "sh", "-c", 'test -z "$COUNTERPOINT_SECRET_TOKEN"')

    assert "ValueError: ***" in ended.detail
    assert "hush-hush-hush" not in bench.log("a.log")
    assert inherits.succeeded


async def test_tasks_start_from_the_environment_of_the_engine_that_places_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOR", "red")
    first = await bench.connect(epoch=1)
    await first.run("a", "sh", "-c", "echo $COLOR")
    await first.executor.close()
    monkeypatch.setenv("COLOR", "green")
    second = await bench.connect(epoch=2)
    await second.run("b", "sh", "-c", "echo $COLOR; command -v python")

    assert bench.log("a.log") == "red\n"
    assert bench.log("b.log").splitlines() == ["green", str(Path(sys.executable).parent / "python")]


async def test_a_silent_host_is_unreachable_and_then_there_again(bench: Bench) -> None:
    session = await bench.connect(patience_s=1)
    await session.place("a", "sh", "-c", "until [ -e go ]; do sleep 0.02; done; exit 5")
    await session.run("b", "true")
    (bench.folder / "go").touch()

    os.kill(bench.host_pid, signal.SIGSTOP)
    await until(lambda: HostState(host=session.host, state="unreachable") in session.reports.all, within_s=2)
    os.kill(bench.host_pid, signal.SIGCONT)

    assert (await session.reports.end_of("a")).exit_code == 5
    states = [state for report in session.reports.all if (state := state_of_host(report))]
    assert states == ["appeared", "unreachable", "appeared"]


async def test_a_host_with_nothing_to_do_ends_by_itself(bench: Bench) -> None:
    session = await bench.connect(idle_s=0.2)
    await session.place("a", "sleep", "1")
    await session.run("b", "true")
    await session.executor.close()

    pid = bench.host_pid
    await until(lambda: not is_running(pid))
    ended_after = await bench.connect(epoch=2)

    assert launch.is_gone(bench.host_folder) is False
    assert (await ended_after.reports.end_of("a")).succeeded  # it was not killed: the host waited for it
    assert ended_after.host == session.host.removesuffix("-1") + "-2"


async def test_a_host_that_is_asked_to_end_stops_its_attempts_first(bench: Bench) -> None:
    session = await bench.connect()
    await session.place("a", "sh", "-c", "trap 'exit 7' TERM; echo > ready; while :; do sleep 0.02; done")
    await until((bench.folder / "ready").exists)

    os.kill(bench.host_pid, signal.SIGTERM)

    assert (await session.reports.end_of("a")).exit_code == 7
    await until(lambda: "lost" in [state_of_host(report) for report in session.reports.all])


async def test_a_killed_host_leaves_no_function_running(bench: Bench) -> None:
    session = await bench.connect()
    where = bench.module(
        "slow",
        """
        import os, subprocess, time
        def wait():
            child = subprocess.Popen(["sleep", "60"], start_new_session=True, env={})
            open("pids", "w").write(f"{os.getpid()} {child.pid} ")
            time.sleep(60)
        """,
    )
    await session.place("a", function="slow:wait", **where)
    pids = bench.folder / "pids"
    await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    [warm] = bench.children()

    os.kill(bench.host_pid, signal.SIGKILL)
    await session.reports.loss_of("a")

    assert not any(is_running(int(pid)) for pid in pids.read_text().split())
    await until(lambda: not is_running(warm))


async def test_an_orphan_without_any_mark_goes_with_the_last_attempt(bench: Bench) -> None:
    session = await bench.connect()
    # Its parent ends at once, its session and its environment are not the attempt's.
    script = "(env -i setsid sleep 60 & echo $! > pid); until [ -e go ]; do sleep 0.02; done"
    await session.place("a", "sh", "-c", script)
    await until(lambda: (bench.folder / "pid").exists() and bool((bench.folder / "pid").read_text().strip()))
    (bench.folder / "go").touch()

    await session.reports.end_of("a")

    assert not is_running(int((bench.folder / "pid").read_text()))


async def test_the_machine_restarting_loses_attempts(bench: Bench) -> None:
    spool = bench.host_folder / "spool"
    spool.mkdir(parents=True, mode=0o700)
    (spool / "old%231").write_text(f"claim 1 {os.getpid()} 1 another-boot\n")
    session = await bench.connect()

    lost = await session.reports.loss_of("old#1")

    assert lost == Lost(attempt="old#1", detail="the machine was restarted while it ran")
    await session.executor.acknowledge("old#1", 0)
    await until(lambda: not any(spool.iterdir()))


async def test_acknowledged_attempts_leave_nothing_but_their_log(bench: Bench) -> None:
    session = await bench.connect()
    await session.run(
        "a", "sh", "-c", "echo '{}' >> $COUNTERPOINT_OUTPUT", events=b'[{"id": "1"}]', checkpoint=b"1"
    )

    await session.executor.acknowledge("a", 0)

    await until(lambda: not any((bench.host_folder / "spool").iterdir()))
    assert (bench.host_folder / "logs" / "a.log").exists()


async def test_a_deep_folder_is_no_problem(tmp_path: Path) -> None:
    bench = Bench(tmp_path / ("deep" * 20) / ("deeper" * 20))
    session = await bench.connect(idle_s=0.1)

    assert (await session.run("a", "true")).succeeded
    await session.executor.close()


async def test_a_host_is_a_session_of_its_own_and_inherits_no_files(bench: Bench) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    await bench.connect()
    pid = bench.host_pid

    files = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    pipe = os.readlink(f"/proc/self/fd/{write}")
    os.close(read)
    os.close(write)

    assert pipe not in files
    assert os.getsid(pid) == pid != os.getsid(0)
    assert os.stat(bench.host_folder).st_mode & 0o777 == 0o700


async def test_a_host_is_small(bench: Bench) -> None:
    session = await bench.connect()
    await session.run("a", "true")

    rollup = Path(f"/proc/{bench.host_pid}/smaps_rollup").read_text()
    [pss_kb] = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")]

    assert pss_kb < 14_000


def test_the_host_imports_little() -> None:
    code = "import sys, counterpoint.adapters.executors.process.host; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {"asyncio", "msgspec", "click", "pathlib", "inspect", "counterpoint.errors"} & set(loaded)


async def test_memory_is_watched_where_no_cgroup_can_be_made(bench: Bench) -> None:
    program = (
        "import sys; from counterpoint.adapters.executors.process import host, memory;"
        "host.Limits = memory.LookingOnly; sys.exit(host.main(sys.argv[1:]))"
    )
    subprocess.run([sys.executable, "-c", program, "--folder", str(bench.host_folder)], check=True)
    session = await bench.connect()
    eat = f"{shutil.which('python3')} -c 'eaten = bytearray(200_000_000); import time; time.sleep(30)'"

    ended = await session.run("a", "sh", "-c", f"{eat}; exit 3", memory=60_000_000)
    enough = await session.run("b", "sleep", "0.2", memory=60_000_000)

    assert ended.failure == "out-of-memory" and "60 MB" in ended.detail
    assert enough.succeeded


async def test_a_log_outside_the_log_folder_is_refused(bench: Bench) -> None:
    session = await bench.connect()
    invocation = Invocation(argv=("true",), folder=str(bench.folder))
    await session.executor.place(
        session.host, Placement(attempt="a", look=0, invocation=invocation, log="../../outside.log")
    )

    ended = await session.reports.end_of("a")

    assert ended.failure == "error" and "../../outside.log" in ended.detail


async def test_a_module_in_the_engines_folder_does_not_hide_ours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("socket", "json", "counterpoint", "host"):
        bench.module(name, "raise RuntimeError")
    monkeypatch.chdir(bench.folder)
    session = await bench.connect()

    assert (await session.run("a", "true")).succeeded


async def test_what_cannot_be_written_down_does_not_run_on(bench: Bench) -> None:
    session = await bench.connect()
    await session.run("warm-up", "true")
    # As a full disk: files can be made and take nothing.
    unlimited = resource.prlimit(bench.host_pid, resource.RLIMIT_FSIZE)
    resource.prlimit(bench.host_pid, resource.RLIMIT_FSIZE, (0, unlimited[1]))
    ended = await session.run("a", "sh", "-c", "sleep 100")
    left = bench.children()
    successor = await bench.connect(epoch=2)
    resource.prlimit(bench.host_pid, resource.RLIMIT_FSIZE, unlimited)

    unknown = await successor.executor.resolve([("a", successor.host, 0)])

    assert (ended.succeeded, ended.failure) == (False, "error")
    assert "cannot write to its spool" in ended.detail
    assert left == []
    # Its end could not be kept either: the engine that missed it must not place it for a second time.
    assert not unknown
    assert "not known" in (await successor.reports.loss_of("a")).detail
