"""The engine across commits, crashes and fail-overs, without a process or a file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest

from counterpoint.engine import facts, loop
from counterpoint.errors import HostUnreachable, StoreUnavailable
from counterpoint.kernel.evolve import fold
from counterpoint.kernel.snapshots import document_of
from counterpoint.ports.store import EventRow
from counterpoint.testing.faults import ScriptedExecutor
from counterpoint.testing.rig import SCORE, Running, event, plan

Start = Callable[..., Running]


def attempts(running: Running) -> list[str]:
    return [placement.attempt for placement in running.executor.placed]


async def test_an_upstream_end_starts_the_downstream(running: Running) -> None:
    await running.service.accept([event()], by="test")
    await running.until(lambda: attempts(running) == ["ingest#1/run/1"])

    running.executor.end("ingest#1/run/1")

    await running.until(lambda: attempts(running)[-1] == "build#1/run/1")
    assert running.service.engine.state.asset("orders", "").seq == 1


async def test_an_accepted_event_is_committed_before_the_answer(running: Running) -> None:
    (accepted,) = await running.service.accept([event()], by="test")

    assert accepted.status == 202
    kinds = [fact.kind for fact in running.store.journal.facts]
    assert "EventAccepted" in kinds
    assert (await running.store.event("/shop", "e1")) is not None


async def test_what_was_not_committed_is_not_carried_out(running: Running) -> None:
    running.store.fails = "before"

    with pytest.raises(StoreUnavailable):
        await running.service.run("manual", by="test")

    await running.until(lambda: running.engine.ready)
    assert attempts(running) == []
    assert running.engine.state.runs == {}


async def test_an_event_whose_commit_failed_is_not_a_repeat_when_it_comes_again(running: Running) -> None:
    running.store.fails = "before"
    with pytest.raises(StoreUnavailable):
        await running.service.accept([event(1)], by="test")
    await running.until(lambda: running.engine.ready)
    await running.service.accept([event(2)], by="test")

    (again,) = await running.service.accept([event(1)], by="test")

    assert (again.status, again.duplicate) == (202, False)
    assert await running.store.event("/shop", "e1") is not None


async def test_a_commit_whose_answer_was_lost_is_found_in_the_store_and_carried_out_once(running: Running) -> None:
    running.store.fails = "after"

    with pytest.raises(StoreUnavailable):
        await running.service.run("manual", by="test", request="r1")

    await running.until(lambda: attempts(running) == ["manual#1/run/1"])
    assert await running.service.run("manual", by="test", request="r1") == "manual#1"


async def test_an_end_is_acknowledged_only_when_it_is_recorded(running: Running) -> None:
    await running.service.run("manual", by="test")
    await running.until(lambda: attempts(running))
    running.store.fails = "before"

    running.executor.end("manual#1/run/1")

    await running.until(lambda: running.executor.acknowledged == [("manual#1/run/1", 0)])
    assert len(running.executor.epochs) == 2, "the engine must lead anew after a failed commit"
    row = await running.store.row("runs", "manual#1")
    assert row is not None and row.phase == "succeeded"


async def test_an_end_that_is_reported_twice_counts_once(running: Running) -> None:
    await running.service.run("manual", by="test")
    await running.until(lambda: attempts(running))

    running.executor.end("manual#1/run/1")
    running.executor.end("manual#1/run/1")

    await running.until(lambda: len(running.executor.acknowledged) == 2)
    ends = [fact for fact in running.store.journal.facts if fact.kind == "AttemptEnded"]
    assert len(ends) == 1


async def test_an_attempt_that_never_arrived_is_placed_again_after_a_crash(start: Start) -> None:
    executor = ScriptedExecutor()
    first = await start(executor=executor).ready()
    executor.drops = True
    await first.service.run("manual", by="test")
    await first.crash()
    executor.drops = False

    second = await start(first.store.journal, executor).ready()

    await second.until(lambda: attempts(second) == ["manual#1/run/1"])


async def test_an_attempt_of_a_host_that_is_gone_is_lost_and_tried_under_a_new_id(start: Start) -> None:
    first = await start().ready()
    await first.service.run("manual", by="test")
    await first.until(lambda: attempts(first))
    await first.crash()

    second = await start(first.store.journal, ScriptedExecutor("test-2")).ready()

    await second.until(lambda: attempts(second) == ["manual#1/run/2"])
    assert list(second.engine.state.hosts) == ["test-2"]


async def test_the_same_state_comes_from_snapshot_and_tail_as_from_all_facts(running: Running) -> None:
    for number in range(20):
        await running.service.accept([event(number)], by="test")
    await running.engine._keep(facts.encode_state(running.engine.state))
    await running.service.pause("build", by="test")

    whole = fold(None, facts.decode_all(running.store.journal.facts))

    document = msgspec.json.encode(document_of(running.engine.state))
    assert msgspec.json.encode(document_of(whole)) == document
    loaded, _ = await running.engine._load()
    assert msgspec.json.encode(document_of(loaded)) == document


async def test_a_second_engine_stands_by_keeps_the_plan_and_takes_over(start: Start) -> None:
    executor = ScriptedExecutor()
    first = await start(executor=executor).ready()
    await first.service.run("manual", by="test")
    other = plan(SCORE + "  more: {run: more}\n")
    second = start(first.store.journal, executor, declared=other)
    await asyncio.sleep(0.01)
    assert not second.engine.ready

    await first.stop()
    await second.ready()

    assert "more" not in second.service.plan.pipelines
    assert any("plan of the store is kept" in notice for notice in second.engine.notices)
    executor.end("manual#1/run/1")
    assert await second.service.wait_for_run("manual#1") == "succeeded"


async def test_engine_time_does_not_go_back_over_a_restart(start: Start) -> None:
    first = await start().ready()
    await first.service.run("manual", by="test")
    last = first.engine.state.at
    await first.stop()

    second = await start(first.store.journal).ready()

    assert second.engine.state.at >= last


async def test_a_stream_tells_what_was_committed_and_can_go_on_from_a_seq(running: Running) -> None:
    told = []
    stream = running.service.stream(after=0)
    await running.service.run("manual", by="anna")
    async for message in stream:
        told.append(message)
        if message.kind == "StartAttempt":
            break

    again = running.service.stream(after=told[0].seq)
    assert (await anext(again)).seq == told[0].seq + 1
    assert "anna asks for a run of manual" in [message.text for message in told]


async def test_one_trace_goes_through_a_chain_and_its_tools(running: Running) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await running.service.accept([event(traceparent=parent)], by="test")
    await running.until(lambda: attempts(running) == ["ingest#1/run/1"])
    running.executor.end("ingest#1/run/1")
    await running.until(lambda: attempts(running)[-1] == "build#1/run/1")

    given = [str(placement.invocation.env["TRACEPARENT"]).split("-") for placement in running.executor.placed]

    assert {trace for _, trace, _, _ in given} == {"0af7651916cd43dd8448eb211c80319c"}
    assert len({span for _, _, span, _ in given}) == 2, "each attempt is a span of its own"


async def test_a_stop_that_did_not_arrive_is_said_again_after_a_take_over(start: Start) -> None:
    executor = ScriptedExecutor()
    first = await start(executor=executor).ready()
    await first.service.run("manual", by="test")
    await first.until(lambda: attempts(first))
    await first.service.cancel("manual#1", by="test")
    await first.crash()
    executor.stopped.clear()

    second = await start(first.store.journal, executor).ready()

    await second.until(lambda: executor.stopped == ["manual#1/run/1"])


async def test_a_plan_whose_declaration_was_not_committed_is_declared_again(start: Start) -> None:
    running = start()
    running.store.fails = "before"

    await running.ready()

    assert running.engine.state.digest == plan().digest


async def test_a_store_that_fails_while_a_task_is_prepared_does_not_fail_the_task(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await start(executor=ScriptedExecutor()).ready()
    first.executor.drops = True
    await first.service.accept([event()], by="test")
    await first.crash()
    second = start(first.store.journal)
    failures = [StoreUnavailable("the server restarts")]
    read = second.store.events

    async def fail_once(numbers: Sequence[int]) -> Sequence[EventRow]:
        if failures:
            raise failures.pop()
        return await read(numbers)

    monkeypatch.setattr(second.store, "events", fail_once)

    await second.until(lambda: attempts(second))

    assert attempts(second) == ["ingest#1/run/1"]
    assert b'"sku":"s1"' in second.executor.placed[0].events


async def test_a_tool_that_breaks_fails_its_task_and_not_the_engine(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start().ready()

    def breaks(*_: object) -> None:
        raise AttributeError("a bug in a tool")

    with monkeypatch.context() as broken:
        broken.setattr(type(running.engine.tools["command"]), "prepare", breaks)
        run = await running.service.run("manual", by="test")
        assert await running.service.wait_for_run(run) == "failed"

    await running.service.run("manual", by="test")
    await running.until(lambda: attempts(running) == ["manual#2/run/1"])


async def test_what_fails_beside_the_loop_is_not_swallowed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = await start().ready()

    async def breaks(attempt: str, look: int) -> None:
        raise RuntimeError("a bug in an executor")

    monkeypatch.setattr(running.executor, "acknowledge", breaks)
    await running.service.run("manual", by="test")
    await running.until(lambda: attempts(running))
    running.executor.end("manual#1/run/1")

    with pytest.raises(RuntimeError, match="a bug in an executor"):
        await asyncio.wait_for(running.task, 5)


async def test_a_host_that_does_not_answer_beside_the_loop_is_taken_over_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await start().ready()
    acknowledge, failures = running.executor.acknowledge, [HostUnreachable("it does not answer")]

    async def fail_once(attempt: str, look: int) -> None:
        if failures:
            raise failures.pop()
        await acknowledge(attempt, look)

    monkeypatch.setattr(running.executor, "acknowledge", fail_once)
    await running.service.run("manual", by="test")
    await running.until(lambda: attempts(running))
    running.executor.end("manual#1/run/1")

    await running.until(lambda: len(running.executor.epochs) == 2 and running.engine.ready)
    assert running.engine.state.runs == {}


async def test_who_stands_by_can_be_stopped(start: Start) -> None:
    leader = await start().ready()
    other = start(leader.store.journal)
    await asyncio.sleep(0)

    await other.engine.stop()

    await asyncio.wait_for(other.task, 5)
    assert leader.engine.ready


async def test_the_same_trouble_is_told_again_when_it_comes_again(start: Start) -> None:
    running = await start().ready()
    for _ in range(2):
        running.store.fails = "before"
        with pytest.raises(StoreUnavailable):
            await running.service.run("manual", by="test")
        await running.until(lambda: running.engine.ready)
        await running.service.run("manual", by="test")

    assert len(running.engine.notices) == 2


async def test_a_slow_reader_of_large_facts_is_cut_off_by_their_bytes(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "STREAM_BACKLOG_BYTES", 10_000)
    reading = running.service.stream()
    first = asyncio.ensure_future(anext(reading))
    await asyncio.sleep(0)

    for number in range(20):
        await running.service.accept([event(number, data={"sku": "x" * 2_000})], by="test")

    seen = (await first).seq
    rest = [message.seq async for message in reading]
    assert len(rest) < 20, "it ends, instead of holding all of them"
    again = running.service.stream(after=seen)
    assert (await anext(again)).seq == seen + 1


async def test_those_who_wait_for_one_run_do_not_disturb_each_other(running: Running) -> None:
    run = await running.service.run("manual", by="test")
    gone, stays = (asyncio.create_task(running.service.wait_for_run(run)) for _ in range(2))
    await running.until(lambda: attempts(running))
    gone.cancel()

    running.executor.end(f"{run}/run/1")

    assert await asyncio.wait_for(stays, 5) == "succeeded"


async def test_nobody_watches_an_engine_that_does_not_lead(start: Start) -> None:
    leader = await start().ready()
    other = start(leader.store.journal)

    with pytest.raises(StoreUnavailable):
        await anext(other.service.stream(after=0))
