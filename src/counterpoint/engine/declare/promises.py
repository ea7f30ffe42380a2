"""Checks of promises: what surely cannot hold is a mistake, what may not hold is a warning."""

from __future__ import annotations

from collections.abc import Iterator

from counterpoint.analysis.critical_path import outlooks
from counterpoint.engine.declare.links import Declared
from counterpoint.model.pipeline import Pipeline
from counterpoint.model.plan import Plan
from counterpoint.model.trigger import Batch
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading


def check_limits(plan: Plan, declared: Declared, reading: Reading) -> None:
    """Put on the list what a pipeline, a pool or an asset cannot act on as it stands."""
    for name, pipeline in plan.pipelines.items():
        node = declared["pipelines"][name]
        for place, message in _idle_limits(pipeline, node):
            reading.add(place, message, "wrong-value")
        if pipeline.team and pipeline.team not in plan.teams:
            hint = reading.hint(pipeline.team, plan.teams, "") if plan.teams else ""
            if hint:
                place = node.at("team" if "team" in node.members else "owner")
                reading.warn(
                    place, f"no team is called {pipeline.team!r}, so it has weight 1; {hint}", "unknown-team"
                )
    for name, asset in plan.assets.items():
        if asset.arrives is not None and name in plan.writers:
            message = (
                f"`arrives` was expected with an asset that no pipeline writes, {plan.writers[name][0]!r} "
                f"writes {name!r}; leave it out"
            )
            reading.add(declared["assets"][name].at("arrives"), message, "wrong-value")
    for use in reading.uses:
        pool = plan.pools.get(use.name) if use.of == "pool" else None
        if pool is not None and pool.target is not None and pool.slots * pool.target < use.amount <= pool.slots:
            message = (
                f"{use.amount} of {pool.slots} slots of {use.name!r} are more than its target, {pool.target:.6g}: "
                "this starts only when it has no time left; ask for less, or aim higher"
            )
            reading.warn(use.node, message, "above-target")


def check_promises(plan: Plan, declared: Declared, reading: Reading) -> None:
    """Put on the list what is wrong or doubtful about promises. The plan's links must be right."""
    for outlook in outlooks(plan):
        place = declared["assets"][outlook.asset].at(outlook.kind)
        if outlook.way is None:
            message = (
                f"a pipeline that writes {outlook.asset!r} was expected for its promise, none was found: it is a "
                "source itself; put the promise on an asset that is made of it, or declare what writes it"
            )
            reading.add(place, message, "promise-on-source")
        for finding in outlook.findings:
            if finding.pipeline:
                reading.warn(declared["pipelines"][finding.pipeline], finding.message, finding.code)
                continue
            message = f"`{outlook.kind}` of {outlook.asset!r}: {finding.message}"
            (reading.add if finding.is_certain else reading.warn)(place, message, finding.code)
    for name, pipeline in plan.pipelines.items():
        if pipeline.trigger and pipeline.trigger.auto and not plan.lineage.below.get(name):
            written = ", ".join(dict.fromkeys(pipeline.written)) or "nothing"
            message = (
                f"a promise at or below what {name!r} writes ({written}) was expected for `auto`, none was found: "
                "nothing would ever ask it to run; write `freshness: 30m` for an asset below, or another trigger"
            )
            reading.add(declared["pipelines"][name].at("trigger"), message, "no-promise-below")


def _idle_limits(pipeline: Pipeline, node: Node) -> Iterator[tuple[Node, str]]:
    """Keys of a pipeline that could have no effect, or no right one: where, and why."""
    if pipeline.preempt is not None and not any(task.pools for task in pipeline.tasks.values()):
        message = "a pipeline that holds slots was expected for `preempt`, no pools were found"
        yield node.at("preempt"), f"{message}; leave it out, or say which `pools` it holds"
    if pipeline.elastic is None:
        return
    trigger, place = pipeline.trigger, node.at("elastic")
    if trigger is None or (trigger.auto is None and trigger.batch == Batch()):
        message = "a trigger with a `batch` was expected for `elastic`, none was found; "
        yield place, f"{message}write `batch: {{max: 500}}`, or `trigger: auto`"
    if pipeline.written and pipeline.write == "in_place":
        message = "`write: atomic` was expected for `elastic`, its runs write in place: only one could go on; "
        yield place, f"{message}write `write: atomic` if several runs may write at once"
