"""Where what is in an asset comes from: the sources that a promise looks at, and the ways between them.

A *source* is an asset (`asset:NAME`) or a type of event (`event:TYPE`) that no pipeline writes, or the
world (`world:PIPELINE`), as a pipeline without inputs samples it. Of a plan, only what lies on the way from
a source to a promise is here; for a plan without promises everything is empty and nothing is reckoned.

The ways have no cycle: an asset that a pipeline reads without being started by it, and that is made of what
the pipeline itself writes, is feedback and carries nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from counterpoint.model.pipeline import Pipeline
from counterpoint.model.promise import PromiseKind
from counterpoint.model.trigger import OnAsset, OnEvent

if TYPE_CHECKING:
    from counterpoint.model.plan import Plan

Member = TypeVar("Member", str, tuple[str, PromiseKind])

#: A promise: an asset and which of its two promises.
Promised: TypeAlias = tuple[str, PromiseKind]


class Input(Struct, frozen=True, gc=False):
    """An asset or a type of event of which a pipeline makes what it writes.

    Attributes:
        subject: `asset:NAME` or `event:TYPE`, as changes are looked up by.
        subscribed: it is in the pipeline's trigger; else it is only read.
        asset: the asset's name; "" for a type of event.
        sources: the sources it leads to.
    """

    subject: str
    subscribed: bool
    asset: str = ""
    sources: tuple[str, ...] = ()


def world(pipeline: str) -> str:
    """The source that a pipeline without inputs samples."""
    return f"world:{pipeline}"


def inputs_of(pipeline: Pipeline) -> tuple[Input, ...]:
    """What a pipeline's writes are made of: what starts it, then what it only reads; not what it writes itself."""
    found: dict[str, Input] = {}
    for source in pipeline.trigger.sources if pipeline.trigger else ():
        match source:
            case OnAsset(asset=asset) if asset not in pipeline.written:
                found[f"asset:{asset}"] = Input(f"asset:{asset}", True, asset)
            case OnEvent(type=type_):
                found[f"event:{type_}"] = Input(f"event:{type_}", True)
    for asset in pipeline.reads:
        if asset not in pipeline.written:
            found.setdefault(f"asset:{asset}", Input(f"asset:{asset}", False, asset))
    return tuple(found.values())


class Lineage:
    """The ways from sources to promises in one plan. Everything is in the order of the plan, or sorted.

    Attributes:
        inputs: pipeline -> what it is made of, as far as it leads to a source. Only pipelines at or below
            whose writes a promise stands.
        by_subject: pipeline -> subject -> that one of its inputs.
        through: pipeline -> the sources that reach what it writes.
        unasked: pipeline -> those of them that come to it, also, otherwise than by what starts it: whatever a run
            is for, it may have more of them.
        sources: asset -> the sources in it; an asset that nobody writes is its own source. Only assets at
            or below which a promise stands.
        promises: asset -> the promises at or below it, sorted.
        below: pipeline -> the promises at or below what it writes, sorted.
        readers: subject -> the pipelines that are made of it and lead to a promise.
        onward: pipeline -> the pipelines that are made of what it writes and lead to a promise.
        writers: asset -> the pipelines that write it.
        written: pipeline -> the assets it writes at or below which a promise stands.
        lookers: source -> the promises that look at it, sorted.
        worlds: the pipelines that sample the world.
    """

    def __init__(self, plan: Plan) -> None:
        self.inputs: dict[str, tuple[Input, ...]] = {}
        self.by_subject: dict[str, dict[str, Input]] = {}
        self.through: dict[str, tuple[str, ...]] = {}
        self.unasked: dict[str, tuple[str, ...]] = {}
        self.sources: dict[str, tuple[str, ...]] = {}
        self.promises: dict[str, tuple[Promised, ...]] = {}
        self.below: dict[str, tuple[Promised, ...]] = {}
        self.readers: dict[str, tuple[str, ...]] = {}
        self.onward: dict[str, tuple[str, ...]] = {}
        self.writers: dict[str, tuple[str, ...]] = {}
        self.written: dict[str, tuple[str, ...]] = {}
        self.lookers: dict[str, tuple[Promised, ...]] = {}
        self.worlds: dict[str, None] = {}
        promised: list[Promised] = []
        for name, asset in plan.assets.items():
            promised += [(name, "freshness")] if asset.freshness else []
            promised += [(name, "completion")] if asset.completion else []
        if promised:
            self._trace(plan, promised)

    def __bool__(self) -> bool:
        return bool(self.sources)

    def tracked(self, asset: str) -> tuple[str, ...]:
        """The sources whose changes are followed in an asset; empty where no promise looks at it."""
        return self.sources.get(asset, ())

    def is_source(self, asset: str) -> bool:
        """Whether an asset is a source that a promise looks at."""
        return f"asset:{asset}" in self.lookers

    def _trace(self, plan: Plan, promised: list[Promised]) -> None:
        self._find_ways(plan, promised)
        order = self._order(plan)
        reached = _Sets[str]()
        for name in order:
            if not self.inputs[name]:
                self.worlds[name] = None
                reached.add(f"pipeline:{name}", (world(name),))
            for each in self.inputs[name]:
                if each.subject not in reached:
                    reached.add(each.subject, (each.subject,))
                reached.join(f"pipeline:{name}", each.subject)
            for asset in self.written[name]:
                reached.join(f"asset:{asset}", f"pipeline:{name}")
        for asset, _ in promised:
            if f"asset:{asset}" not in reached:
                reached.add(f"asset:{asset}", (f"asset:{asset}",))
        wanted = _Sets[Promised]()
        for promise in sorted(promised):
            wanted.add(f"asset:{promise[0]}", (promise,))
        for name in reversed(order):
            for asset in self.written[name]:
                wanted.join(f"pipeline:{name}", f"asset:{asset}")
            for each in self.inputs[name]:
                wanted.join(each.subject, f"pipeline:{name}")
        self._spread(promised, reached, wanted)

    def _find_ways(self, plan: Plan, promised: list[Promised]) -> None:
        """Every pipeline above a promise, with its inputs and writes, in the order of the plan."""
        found: dict[str, None] = {}
        assets = dict.fromkeys(asset for asset, _ in promised)
        waiting = list(assets)
        while waiting:
            for name in plan.writers.get(waiting.pop(), ()):
                if name in found:
                    continue
                found[name] = None
                for each in inputs_of(plan.pipelines[name]):
                    if each.asset and each.asset not in assets:
                        assets[each.asset] = None
                        waiting.append(each.asset)
        for name, pipeline in plan.pipelines.items():
            if name in found:
                self.inputs[name] = inputs_of(pipeline)
                self.written[name] = tuple(dict.fromkeys(each for each in pipeline.written if each in assets))
        self.writers = {
            asset: plan.writers[asset] for asset in plan.assets if asset in assets and asset in plan.writers
        }

    def _order(self, plan: Plan) -> list[str]:
        """The pipelines, each after those it is made of; feedback is taken out of `inputs`."""
        while True:
            sorter = TopologicalSorter(dict(self._graph()))
            try:
                return list(sorter.static_order())
            except CycleError as error:
                # Pipelines of one cycle, the last one the first again; each is read by the next.
                self._cut(error.args[1])

    def _graph(self) -> Iterator[tuple[str, list[str]]]:
        for name, inputs in self.inputs.items():
            yield name, [writer for each in inputs for writer in self.writers.get(each.asset, ())]

    def _cut(self, cycle: list[str]) -> None:
        """Take one input out of a cycle: one that is only read, of the pipeline that the plan names first."""
        links = [(name, before) for before, name in pairwise(cycle)]
        places = list(self.inputs)
        for is_any in (False, True):
            for name, before in sorted(links, key=lambda link: places.index(link[0])):
                for each in self.inputs[name]:
                    if before in self.writers.get(each.asset, ()) and (is_any or not each.subscribed):
                        self.inputs[name] = tuple(other for other in self.inputs[name] if other != each)
                        return
        raise AssertionError("a cycle of pipelines has a link")

    def _spread(self, promised: list[Promised], reached: _Sets[str], wanted: _Sets[Promised]) -> None:
        """Write down what was traced."""
        for name, inputs in self.inputs.items():
            self.inputs[name] = tuple(replace(each, sources=reached.members(each.subject)) for each in inputs)
            self.by_subject[name] = {each.subject: each for each in self.inputs[name]}
            self.through[name] = reached.members(f"pipeline:{name}")
            only_read = [source for each in self.inputs[name] if not each.subscribed for source in each.sources]
            self.unasked[name] = tuple(sorted(set(only_read))) if inputs else self.through[name]
            self.below[name] = wanted.members(f"pipeline:{name}")
        readers: dict[str, list[str]] = {}
        for name, inputs in self.inputs.items():
            for each in inputs:
                readers.setdefault(each.subject, []).append(name)
        self.readers = {subject: tuple(names) for subject, names in readers.items()}
        for name, assets in self.written.items():
            below = (reader for asset in assets for reader in self.readers.get(f"asset:{asset}", ()))
            self.onward[name] = tuple(dict.fromkeys(below))
        for asset in sorted({asset for asset, _ in promised} | {each.asset for each in self._all_inputs()} - {""}):
            self.sources[asset] = reached.members(f"asset:{asset}")
            self.promises[asset] = wanted.members(f"asset:{asset}")
        for assets in self.written.values():
            for asset in assets:
                self.sources.setdefault(asset, reached.members(f"asset:{asset}"))
                self.promises.setdefault(asset, wanted.members(f"asset:{asset}"))
        lookers: dict[str, list[Promised]] = {}
        for promise in sorted(promised):
            for source in self.sources[promise[0]]:
                lookers.setdefault(source, []).append(promise)
        self.lookers = {source: tuple(promises) for source, promises in sorted(lookers.items())}

    def _all_inputs(self) -> Iterator[Input]:
        return (each for inputs in self.inputs.values() for each in inputs)


class _Sets(Generic[Member]):
    """Sets under names, as bits of an integer: to join two of them is one operation."""

    def __init__(self) -> None:
        self._bits: dict[Member, int] = {}
        self._sets: dict[str, int] = {}
        self._known: dict[int, tuple[Member, ...]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._sets

    def add(self, name: str, members: Iterable[Member]) -> None:
        """Put members into the set of a name."""
        for member in members:
            bit = self._bits.setdefault(member, 1 << len(self._bits))
            self._sets[name] = self._sets.get(name, 0) | bit

    def join(self, name: str, other: str) -> None:
        """Put all that is under another name into the set of a name."""
        self._sets[name] = self._sets.get(name, 0) | self._sets.get(other, 0)

    def members(self, name: str) -> tuple[Member, ...]:
        """What is under a name, sorted."""
        bits = self._sets.get(name, 0)
        found = self._known.get(bits)
        if found is None:
            found = self._known[bits] = tuple(sorted(member for member, bit in self._bits.items() if bits & bit))
        return found
