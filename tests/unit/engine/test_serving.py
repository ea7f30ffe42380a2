"""What can be asked of a running engine."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from counterpoint.engine import loop
from counterpoint.errors import Conflict, Mistake, NotFound
from counterpoint.model import webhook
from counterpoint.testing.rig import SCORE, Running, event, plan


async def statuses(running: Running, *events: dict[str, object]) -> list[int]:
    return [accepted.status for accepted in await running.service.accept(events, by="test")]


async def test_the_same_event_again_is_a_duplicate_and_changes_nothing(running: Running) -> None:
    assert await statuses(running, event()) == [202]
    facts = len(running.store.journal.facts)

    (again,) = await running.service.accept([event()], by="test")

    assert (again.status, again.duplicate, again.change) == (200, True, 1)
    assert len(running.store.journal.facts) == facts


async def test_one_identity_with_other_content_is_a_clash(running: Running) -> None:
    assert await statuses(running, event(), event(data={"sku": "other"})) == [202, 409]
    assert await statuses(running, event(data={"sku": "other"})) == [409]


async def test_repeats_at_the_same_moment_are_told_apart(running: Running) -> None:
    answers = await asyncio.gather(*(running.service.accept([event()], by="test") for _ in range(20)))

    assert sorted(accepted.status for (accepted,) in answers) == [200] * 19 + [202]
    assert [item.change for item in running.engine.state.runs["ingest#1"].items.values()] == [1]


async def test_a_bad_event_is_refused_with_the_place_and_the_good_beside_it_is_kept(running: Running) -> None:
    bad, good = await running.service.accept([event(1, data={"sku": 7}), event(2)], by="test")

    assert (bad.status, bad.code) == (400, "schema")
    assert "data/sku" in bad.error
    assert good.status == 202


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"type": "order.plased"}, "unknown-name"),
        ({"type": "counterpoint.tick"}, "reserved"),
        ({"specversion": "0.3"}, "envelope"),
        ({"id": ""}, "envelope"),
        ({"time": "yesterday"}, "envelope"),
    ],
)
async def test_an_event_that_cannot_be_taken_says_why(
    running: Running, changed: dict[str, object], code: str
) -> None:
    (refused,) = await running.service.accept([event(**changed)], by="test")

    assert (refused.status, refused.code) == (400, code)


async def test_an_event_that_is_too_large_is_refused(running: Running) -> None:
    (refused,) = await running.service.accept([event(data={"sku": "x" * 2_000_000})], by="test")

    assert refused.status == 413


async def test_what_a_task_emits_carries_its_run_and_one_hop_more(running: Running) -> None:
    await statuses(running, event(1))
    await running.until(lambda: running.executor.placed)

    await running.service.accept([event(2)], by="task", attempt="ingest#1/run/1")

    change = (await running.store.events([2]))[0]
    assert b'"counterpointrun":"ingest#1"' in change.envelope
    (item,) = [item for log in running.engine.state.backlogs.values() for item in log.items]
    assert item.hops == 1


async def test_a_tasks_token_is_worth_nothing_after_its_attempt(running: Running) -> None:
    await running.service.run("manual", by="test")
    await running.until(lambda: running.executor.placed)
    token = running.executor.placed[0].invocation.env["COUNTERPOINT_TOKEN"]
    assert isinstance(token, str)
    assert running.service.attempt_of(token) == "manual#1/run/1"
    assert running.service.attempt_of(token[:-1] + "x") is None

    running.executor.end("manual#1/run/1")
    await running.service.wait_for_run("manual#1")

    assert running.service.attempt_of(token) is None


async def test_a_run_can_be_cancelled_and_retried(running: Running) -> None:
    await running.service.run("manual", by="test")
    await running.until(lambda: running.executor.placed)
    await running.service.cancel("manual#1", by="test", reason="wrong day")
    await running.until(lambda: running.executor.stopped)
    running.executor.end("manual#1/run/1", exit_code=143)
    assert await running.service.wait_for_run("manual#1") == "cancelled"

    await running.service.retry("manual#1", by="test")

    await running.until(lambda: len(running.executor.placed) == 2)
    assert running.executor.placed[1].attempt == "manual#1/run/2"
    with pytest.raises(Conflict):
        await running.service.retry("manual#1", by="test")


async def test_a_run_that_never_was_is_not_found(running: Running) -> None:
    for asked in (running.service.cancel, running.service.retry):
        with pytest.raises(NotFound):
            await asked("manual#9", by="test")
    with pytest.raises(NotFound, match="did you mean 'manual'"):
        await running.service.run("manul", by="test")


async def test_dead_letters_are_replayed_to_their_subscriber(running: Running) -> None:
    score = SCORE.replace("trigger: {event: order.placed}", "trigger: {event: order.placed, give_up: 1}")
    await running.service.declare(plan(score), by="test")
    await statuses(running, event())
    for number in (1, 2):
        await running.until(lambda number=number: len(running.executor.placed) == number)
        running.executor.end(f"ingest#1/run/{number}", exit_code=1)
    await running.service.wait_for_run("ingest#1")
    assert [item.number for item in running.engine.state.dead.values()] == [1]

    why = await running.service.explain("ingest")
    assert why.lines[-1] == "It gave up on 1 item: see `counterpoint dead-letters ingest`."
    assert await running.service.replay("ingest", by="test", dead=True) == 1

    assert running.engine.state.dead == {}
    await running.until(lambda: len(running.executor.placed) == 3)
    assert [item.origin for item in running.engine.state.runs["ingest#2"].items.values()] == [1]
    assert b'"sku":"s1"' in running.executor.placed[2].events


async def test_a_version_from_outside_is_taken_only_for_what_no_pipeline_writes(running: Running) -> None:
    score = SCORE.replace("assets: {", "assets: {rates: {}, ")
    await running.service.declare(plan(score), by="test")

    reported = await running.service.report_asset({"asset": "rates", "label": "today"}, by="finance")

    assert (reported.seq, reported.label) == (1, "today")
    with pytest.raises(Conflict, match="written by pipeline ingest"):
        await running.service.report_asset({"asset": "orders"}, by="finance")
    with pytest.raises(Conflict, match="version 5 was expected"):
        await running.service.report_asset({"asset": "rates", "expect": 5}, by="finance")


async def test_a_declaration_says_what_it_changes_and_dry_run_changes_nothing(running: Running) -> None:
    other = plan(SCORE.replace("pools: {db: 1}", "pools: {db: 2}", 1).replace("  manual: {run: by-hand}\n", ""))

    foreseen = await running.service.declare(other, by="test", dry_run=True)

    assert (
        foreseen.changed
        and foreseen.removed == {"pipelines": ["manual"]}
        and foreseen.altered == {"pools": ["db"]}
    )
    assert "manual" in running.service.plan.pipelines
    await running.service.declare(other, by="test")
    assert "manual" not in running.service.plan.pipelines


async def test_a_call_back_without_the_right_signature_is_refused(running: Running) -> None:
    await running.service.run("manual", by="test")

    with pytest.raises(Mistake) as refused:
        await running.service.callback("manual#1/run/1", headers={"webhook-id": "m1"}, body=b"{}")

    assert refused.value.code == "bad-signature"
    secret = webhook.derive_secret(b"other", "manual#1/run/1")
    headers = webhook.sign(secret, message="m1", at=running.engine.clock.wall(), body=b"{}")
    with pytest.raises(Mistake):
        await running.service.callback("manual#1/run/1", headers=headers, body=b"{}")


async def test_why_tells_what_led_to_a_run_that_has_ended(running: Running) -> None:
    await statuses(running, event())
    await running.until(lambda: running.executor.placed)
    running.executor.end("ingest#1/run/1")
    await running.until(lambda: len(running.executor.placed) == 2)
    running.executor.end("build#1/run/1")
    await running.service.wait_for_run("build#1")

    explained = await running.service.explain("build#1")

    assert explained.state == "succeeded"
    whats = [cause["what"] for cause in explained.causes]
    assert whats == ["ingest#1 published orders version 1", "order.placed e1 from /shop"]


@pytest.mark.parametrize("token", ["", ".", "cpt_", "cpt_YQ.é", "cpt_é.x", "cpt_/w.x", "cpt_YQ"])
async def test_a_token_that_is_none_belongs_to_no_attempt(running: Running, token: str) -> None:
    assert running.service.attempt_of(token) is None


async def test_an_event_is_kept_as_it_came_but_for_what_is_ours_to_say(running: Running) -> None:
    given = event(datacontenttype="application/json; charset=utf-8", comexample="x", counterpointrun="ingest#9")

    assert await statuses(running, given) == [202]

    (row,) = await running.store.events([1])
    kept = msgspec.json.decode(row.envelope)
    assert kept["datacontenttype"] == "application/json; charset=utf-8"
    assert kept["comexample"] == "x"
    assert "counterpointrun" not in kept


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ({"kind": "asset", "asset": "orders"}, "wrong-type"),
        ({}, "wrong-type"),
        ({"kind": "checkpoint"}, "missing-key"),
        ({"kind": "checkpoint", "name": 7}, "missing-key"),
    ],
)
async def test_a_line_that_cannot_be_taken_over_http_is_refused(
    running: Running, line: dict[str, object], code: str
) -> None:
    await running.service.run("manual", by="test")

    with pytest.raises(Mistake) as refused:
        await running.service.report_attempt("manual#1/run/1", line)

    assert refused.value.code == code


async def test_progress_over_http_is_remembered_for_so_many_attempts_only(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "MOST_PROGRESS", 1)
    for number in (1, 2):
        await running.service.run("manual", by="test")
        await running.until(lambda number=number: len(running.executor.placed) == number)
        await running.service.report_attempt(f"manual#{number}/run/1", {"kind": "progress", "fraction": 0.5})
        running.executor.end(f"manual#{number}/run/1")

    assert list(running.engine.progress) == ["manual#2/run/1"]


@pytest.mark.parametrize("body", [b"{", rb'{"a": "\ud800"}', b"[" * 5_000])
async def test_a_call_back_that_is_no_json_is_refused_and_disturbs_nothing(running: Running, body: bytes) -> None:
    await running.service.run("manual", by="test")
    secret = webhook.derive_secret(b"secret", "manual#1/run/1")
    headers = webhook.sign(secret, message="m1", at=running.engine.clock.wall(), body=body)

    with pytest.raises(Mistake, match="JSON"):
        await running.service.callback("manual#1/run/1", headers=headers, body=body)

    assert running.engine.ready


async def test_a_batch_is_taken_in_its_order_and_its_sender_is_on_record(running: Running) -> None:
    accepted = await running.service.accept([event(n) for n in range(20)], by="web-shop")

    assert [each.change for each in accepted] == list(range(1, 21))
    first = next(fact for fact in running.store.journal.facts if fact.kind == "EventAccepted")
    assert b'"by":"web-shop"' in first.body


async def test_why_tells_what_a_running_attempt_says_of_its_progress(running: Running) -> None:
    await running.service.run("manual", by="test")
    await running.until(lambda: running.executor.placed)
    running.executor.report("manual#1/run/1", {"kind": "progress", "fraction": 0.25, "text": "page 3"})

    explained = await running.service.explain("manual#1")

    assert explained.lines[-1] == "manual#1/run/1 says: 25%, page 3."


async def test_why_tells_of_a_pause_also_while_a_run_goes_on(running: Running) -> None:
    await statuses(running, event())
    await running.until(lambda: running.executor.placed)
    await running.service.pause("ingest", by="anna", reason="audit")

    explained = await running.service.explain("ingest")

    assert explained.state == "running"
    assert explained.lines[-1].startswith("ingest was paused by anna")
    assert explained.lines[-1].endswith("(audit); what runs goes on.")


async def test_what_is_refused_is_on_record_and_changes_nothing_else(running: Running) -> None:
    before = running.engine.state.changes

    await running.service.accept([event(1, data={"sku": 7})], by="web-shop")

    await running.until(lambda: running.store.journal.facts[-1].kind == "InputRefused")
    (message,) = await running.service.journal(after=running.store.journal.seq - 1)
    assert message.text.startswith(
        "event order.placed e1 of /shop by web-shop is refused: the payload does not fit"
    )
    assert message.text.endswith("[schema]")
    assert running.engine.state.changes == before
