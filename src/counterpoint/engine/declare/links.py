"""Checks across a whole plan: names that must exist, cycles, requests that can never be met."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeAlias, TypeVar

from counterpoint.model.pipeline import Pipeline
from counterpoint.model.plan import Plan
from counterpoint.model.trigger import OnAsset, OnCheckpoint, OnEvent, OnState, Source
from counterpoint.tables.nodes import Node
from counterpoint.tables.reading import Reading

T = TypeVar("T", bound=Hashable)
#: Section of a score -> name -> where it is declared.
Declared: TypeAlias = Mapping[str, Mapping[str, Node]]


def check_links(plan: Plan, declared: Declared, reading: Reading) -> None:
    """Put every mistake between the parts of a plan on the list."""
    _check_names(declared, reading)
    _check_requests(plan, reading)
    for pipeline in plan.pipelines.values():
        node = declared["pipelines"][pipeline.name]
        _check_order(pipeline, node, reading)
        _check_delivery(pipeline, plan, node, reading)
    _check_writers(plan, declared["pipelines"], reading)
    _check_triggers(plan, declared["pipelines"], reading)


def cycles(graph: Mapping[T, Iterable[T]]) -> Iterator[list[T]]:
    """Cycles of a graph (node -> the nodes that follow it), at least one of each knot of them.

    Takes time in proportion to nodes and edges; recursion would end at long chains.
    """
    done: set[T] = set()
    for start in graph:
        if start in done:
            continue
        path: dict[T, Iterator[T]] = {start: iter(graph[start])}
        while path:
            node, followers = next(reversed(path.items()))
            follower = next(followers, None)
            if follower is None:
                done.add(node)
                del path[node]
            elif follower in path:
                names = list(path)
                yield names[names.index(follower) :]
            elif follower not in done:
                path[follower] = iter(graph.get(follower, ()))


def _chain(cycle: list[str], link: str) -> str:
    """A cycle in words; of a long one its beginning and its end."""
    shown = [*cycle, cycle[0]] if len(cycle) <= 12 else [*cycle[:8], "...", *cycle[-2:], cycle[0]]
    return link.join(shown)


def _check_names(declared: Declared, reading: Reading) -> None:
    for use in reading.uses:
        known = declared[f"{use.of}s"]
        if use.name not in known:
            hint = reading.hint(use.name, known, f"declare it under `{use.of}s:`")
            reading.add(use.node, f"no {use.of} is called {use.name!r}; {hint}", "unknown-name")


def _check_requests(plan: Plan, reading: Reading) -> None:
    for use in reading.uses:
        pool = plan.pools.get(use.name) if use.of == "pool" else None
        if pool is not None and use.amount > pool.slots:
            message = (
                f"at most {pool.slots} of the pool {use.name!r} were expected, {use.amount} were found; "
                "no attempt could ever start: ask for less or enlarge the pool"
            )
            reading.add(use.node, message, "too-large")


def _check_order(pipeline: Pipeline, node: Node, reading: Reading) -> None:
    """Check what the tasks of a pipeline come after."""
    tasks = node.at("tasks").members
    graph = {task.name: [after.task for after in task.after] for task in pipeline.tasks.values()}
    for task, others in graph.items():
        for other in others:
            if other not in tasks:
                hint = reading.hint(other, tasks, f"the tasks of {pipeline.name!r} are {', '.join(tasks)}")
                place = _entry(tasks[task].at("after"), other)
                reading.add(place, f"no task is called {other!r} here; {hint}", "unknown-name")
    for cycle in cycles(graph):
        chain = _chain(cycle, " after ")
        message = (
            f"tasks without a cycle were expected, {chain} was found; none of them could start: drop one `after`"
        )
        reading.add(tasks[cycle[0]].at("after"), message, "cycle")


def _entry(after: Node, task: str) -> Node:
    """The entry of a list `after` that names a task, in short or long form."""
    for entry in after.entries:
        if task in (entry.value, entry.at("task").value):
            return entry
    return after


def _check_delivery(pipeline: Pipeline, plan: Plan, node: Node, reading: Reading) -> None:
    """Check that a producer whose run could wait for a sync subscriber exists."""
    if pipeline.trigger is None or pipeline.trigger.delivery.pattern != "sync":
        return
    place = node.at("trigger").at("delivery")
    for source in pipeline.trigger.sources:
        match source:
            case OnEvent() | OnCheckpoint() | OnState(state="started"):
                continue
            case OnAsset(asset=asset) if asset in plan.writers or asset not in plan.assets:
                continue
            case OnAsset(asset=asset):
                message = f"an asset that a pipeline writes was expected for `delivery: sync`, {asset!r} was found"
            case OnState(state=state):
                message = (
                    f"a producer that still runs was expected for `delivery: sync`, `state: {state}` was found"
                )
            case _:
                message = "a producer was expected for `delivery: sync`, a clock was found"
        reading.add(place, f"{message}; leave `delivery` out or listen to something else", "wrong-value")


def _check_writers(plan: Plan, nodes: Mapping[str, Node], reading: Reading) -> None:
    for asset, writers in plan.writers.items():
        declared = plan.assets.get(asset)
        if declared is None or declared.writers == "many":
            continue
        for writer in writers[1:]:
            message = (
                f"one writer was expected for {asset!r}, {writers[0]!r} and {writer!r} were found; "
                "keep one, or give the asset `writers: many`"
            )
            reading.add(_place_of_write(nodes[writer], asset), message, "two-writers")


def _place_of_write(pipeline: Node, asset: str) -> Node:
    """Where a pipeline, or one of its tasks, says that it writes an asset."""
    for holder in (pipeline, *pipeline.at("tasks").members.values()):
        for entry in holder.at("writes").entries:
            if entry.value == asset:
                return entry
    return pipeline


def _check_triggers(plan: Plan, nodes: Mapping[str, Node], reading: Reading) -> None:
    """Refuse pipelines that would start each other for ever. What tasks emit is not known here."""
    # Assets are nodes too: an edge from each writer to each reader would be far too many.
    graph: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for pipeline in plan.pipelines.values():
        this = ("pipeline", pipeline.name)
        graph[this] = [("asset", asset) for asset in dict.fromkeys(pipeline.written)]
    for pipeline in plan.pipelines.values():
        for source in pipeline.trigger.sources if pipeline.trigger else ():
            upstream = _upstream(source)
            if upstream is not None:
                graph.setdefault(upstream, []).append(("pipeline", pipeline.name))
    order = {name: number for number, name in enumerate(nodes)}
    for cycle in cycles(graph):
        pipelines = [name for kind, name in cycle if kind == "pipeline"]
        first = min(pipelines, key=order.__getitem__)
        turned = cycle[cycle.index(("pipeline", first)) :] + cycle[: cycle.index(("pipeline", first))]
        chain = _chain([name for _, name in turned], " -> ")
        message = f"triggers without a cycle were expected, {chain} was found; drop one of them"
        reading.add(nodes[first].at("trigger"), message, "cycle")


def _upstream(source: Source) -> tuple[str, str] | None:
    match source:
        case OnAsset(asset=asset):
            return "asset", asset
        case OnState(pipeline=pipeline) | OnCheckpoint(pipeline=pipeline):
            return "pipeline", pipeline
    return None
