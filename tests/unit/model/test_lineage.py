"""The ways from sources to promises."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from counterpoint.model.plan import Asset, Plan
from counterpoint.model.promise import Completion, Freshness
from counterpoint.model.trigger import OnAsset, OnEvent
from counterpoint.testing.builders import pipeline, plan

FRESH = Asset(freshness=Freshness(timedelta(minutes=30)), writers="many")


def promised(*pipelines: Any, **assets: Asset) -> Plan:
    named = [asset for each in pipelines for asset in (*each.reads, *each.written)]
    return plan(*pipelines, assets={name: Asset(writers="many") for name in named} | assets)


def test_a_plan_without_promises_has_none() -> None:
    lineage = plan(pipeline("build", on=[OnAsset("raw")], reads=["raw"], writes=["mart"])).lineage

    assert not lineage
    assert lineage.tracked("mart") == () and lineage.inputs == {} and lineage.readers == {}


def test_sources_come_down_a_chain_to_the_promise_and_no_further() -> None:
    lineage = promised(
        pipeline("build", on=[OnAsset("raw")], writes=["mid"]),
        pipeline("serve", on=[OnAsset("mid"), OnEvent("price")], writes=["mart"]),
        pipeline("report", on=[OnAsset("mart")], writes=["page"]),
        pipeline("elsewhere", on=[OnAsset("other")], writes=["thing"]),
        mart=FRESH,
    ).lineage

    assert lineage.tracked("mid") == ("asset:raw",)
    assert lineage.tracked("mart") == ("asset:raw", "event:price")
    assert lineage.tracked("page") == () and lineage.tracked("other") == ()
    assert lineage.readers == {"asset:raw": ("build",), "asset:mid": ("serve",), "event:price": ("serve",)}
    assert lineage.onward == {"build": ("serve",), "serve": ()}
    assert lineage.below == {"build": (("mart", "freshness"),), "serve": (("mart", "freshness"),)}


def test_a_pipeline_without_inputs_samples_the_world() -> None:
    lineage = promised(
        pipeline("ingest", writes=["raw"]), pipeline("build", on=[OnAsset("raw")], writes=["mart"]), mart=FRESH
    ).lineage

    assert lineage.tracked("raw") == lineage.tracked("mart") == ("world:ingest",)
    assert list(lineage.worlds) == ["ingest"]


def test_both_promises_of_an_asset_look_at_its_sources() -> None:
    both = Asset(freshness=Freshness(timedelta(hours=1)), completion=Completion(by="07:00"))

    lineage = promised(pipeline("build", reads=["raw"], writes=["mart"]), mart=both).lineage

    assert lineage.lookers == {"asset:raw": (("mart", "completion"), ("mart", "freshness"))}


def test_an_asset_that_nobody_writes_is_its_own_source() -> None:
    lineage = promised(pipeline("use", reads=["raw"]), raw=FRESH).lineage

    assert lineage.tracked("raw") == ("asset:raw",)
    assert lineage.is_source("raw")


def test_what_a_pipeline_writes_itself_is_no_input_of_it() -> None:
    lineage = promised(
        pipeline("add", on=[OnAsset("raw")], reads=["raw", "mart"], writes=["mart"]), mart=FRESH
    ).lineage

    assert [each.subject for each in lineage.inputs["add"]] == ["asset:raw"]


def test_what_is_only_read_and_comes_from_the_pipeline_itself_is_feedback() -> None:
    lineage = promised(
        pipeline("train", on=[OnAsset("raw")], reads=["raw", "clicks"], writes=["model"]),
        pipeline("serve", on=[OnAsset("model")], reads=["model"], writes=["clicks"]),
        clicks=FRESH,
    ).lineage

    assert lineage.tracked("clicks") == lineage.tracked("model") == ("asset:raw",)
    assert [each.subject for each in lineage.inputs["train"]] == ["asset:raw"]


def test_two_ways_to_one_source_are_both_known() -> None:
    lineage = promised(
        pipeline("left", on=[OnAsset("raw")], writes=["a"]),
        pipeline("right", on=[OnAsset("raw")], writes=["b"]),
        pipeline("join", on=[OnAsset("a")], reads=["b"], writes=["mart"]),
        mart=FRESH,
    ).lineage

    assert [(each.subject, each.subscribed, each.sources) for each in lineage.inputs["join"]] == [
        ("asset:a", True, ("asset:raw",)),
        ("asset:b", False, ("asset:raw",)),
    ]
