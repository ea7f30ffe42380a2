"""Whatever happens, no asset claims a change whose data it cannot have.

Beside the kernel stands a model of what is truly in each version, in two readings of what a task does. A task
that handles its items (a delta) adds what the items brought. A task that reads all of an input makes what it
writes of the version that it was given. A claim must be true in both. What a condition leaves out counts as
there; what was skipped counts as there once a run that began later has published.
"""

from __future__ import annotations

from collections import defaultdict
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, field

from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.obligations import is_sliced
from counterpoint.kernel.state import in_ms
from counterpoint.model.lineage import Input
from counterpoint.testing.builders import Fact
from counterpoint.testing.worlds import HAPPENINGS, World, random_plan

SEEDS = st.integers(0, 2**32)
LENGTHS = st.integers(20, 120)
AMONG = tuple(each for each in HAPPENINGS if each not in (World.declare, World.retry))

Changes = set[tuple[str, int]]


class Begun(Struct):
    """A run as it was admitted: what every input was then, when that was, and whether it makes all or a slice."""

    place: int
    editions: dict[str, int]
    at: int
    is_slice: bool


class Made(Struct):
    """What one writer put into one asset.

    Attributes:
        dealt: subject -> editions whose items it handled.
        read: subject -> the edition that its newest version is made of.
        sampled: as of when it has the world.
    """

    dealt: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    read: dict[str, int] = field(default_factory=dict)
    sampled: int = 0


class Truth:
    """What is in each version, as far as one can know from outside.

    Attributes:
        brought: subject -> for each edition what was new in it; `whole` what was in it at all.
        left_out: (pipeline, subject) -> editions that a condition left out.
        skipped: (pipeline, subject) -> edition -> when it was skipped.
    """

    def __init__(self, world: World) -> None:
        self.state = world.kernel.state
        self.lineage = self.state.plan.lineage
        self.brought: dict[str, list[Changes]] = defaultdict(list)
        self.whole: dict[str, list[Changes]] = defaultdict(list)
        self.made: dict[tuple[str, str], Made] = {}
        self.left_out: dict[tuple[str, str], set[int]] = defaultdict(set)
        self.skipped: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        self.items: dict[int, tuple[str, str, int]] = {}
        self.of_run: dict[str, dict[int, None]] = defaultdict(dict)
        self.runs: dict[str, Begun] = {}
        self.slices: dict[str, bool] = {}
        self.place = 0
        self._waiting: list[tuple[str, int]] = []

    def take(self, facts: list[Fact]) -> None:
        """Follow the facts of some steps."""
        for fact in facts:
            self.place += 1
            if isinstance(fact, e.Event):
                self._settle()
            match fact:
                case e.EventAccepted(change=change):
                    self._publish_source(change.subject)
                case d.Deliver(change=change, items=items):
                    self._deliver(change, items)
                case d.CreateRun(run=run, items=numbers):
                    self.of_run[run].update(dict.fromkeys(numbers))
                    is_part = fact.lane == "backfill" and bool(fact.partition)
                    self.slices[run] = is_part or is_sliced(self.state, fact.pipeline)
                case d.AdmitRun(run=run, items=numbers, at=at):
                    self.of_run[run].update(dict.fromkeys(numbers))
                    editions = {subject: len(all_) for subject, all_ in self.brought.items()}
                    self.runs[run] = Begun(self.place, editions, in_ms(at), self.slices[run])
                case d.PublishAsset(asset=asset, by=by):
                    self._publish(asset, by)
                case d.ConfirmAsset(asset=asset, by=by):
                    self._note(asset, by, confirms=True)
                case d.FinishRun(run=run, items_become=become):
                    taken = self.of_run.pop(run, {})
                    if become == "skipped":
                        self._skip(taken)
                case d.EndItems(items=numbers, outcome="skipped"):
                    self._skip(numbers)
                case e.DiscardRequested(items=numbers):
                    self._skip(numbers)
                case _:
                    continue
            self._grow()
        self._settle()
        self._grow()

    def _publish_source(self, subject: str) -> None:
        if subject in self.lineage.lookers:
            edition = len(self.brought[subject]) + 1
            self.brought[subject].append({(subject, edition)})
            self.whole[subject].append(set().union(*self.brought[subject]))
            self._waiting.append((subject, edition))

    def _deliver(self, change: e.Change, items: tuple[d.Item, ...]) -> None:
        for item in items:
            if item.origin in self.items:
                self.items[item.number] = self.items[item.origin]
                continue
            # Changes come up for delivery in the order in which they were made.
            edition = next((number for subject, number in self._waiting if subject == change.subject), None)
            if edition is not None:
                self.items[item.number] = (item.pipeline, item.subject, edition)
        edition = next((number for subject, number in self._waiting if subject == change.subject), None)
        if edition is not None:
            self._waiting.remove((change.subject, edition))
            self._leave_out(change.subject, edition, {item.pipeline for item in items})

    def _leave_out(self, subject: str, edition: int, wanted: set[str]) -> None:
        for reader in self.lineage.readers.get(subject, ()):
            given = next(each for each in self.lineage.inputs[reader] if each.subject == subject)
            if given.subscribed and reader not in wanted:
                self.left_out[reader, subject].add(edition)

    def _settle(self) -> None:
        """What nobody got an item for was left out by all."""
        for subject, edition in self._waiting:
            self._leave_out(subject, edition, set())
        self._waiting = []

    def _skip(self, numbers: object) -> None:
        for number in numbers:  # type: ignore[attr-defined]
            if number in self.items:
                pipeline, subject, edition = self.items[number]
                self.skipped[pipeline, subject][edition] = self.place

    def _publish(self, asset: str, by: str) -> None:
        subject = f"asset:{asset}"
        if subject in self.lineage.lookers:
            self._publish_source(subject)
            return
        if subject not in self.lineage.readers and asset not in self.lineage.sources:
            return
        self._note(asset, by, confirms=False)
        content = self.content(asset)
        known: Changes = set().union(*self.brought[subject])
        self.brought[subject].append(content - known)
        self.whole[subject].append(content)
        self._waiting.append((subject, len(self.whole[subject])))

    def _note(self, asset: str, by: str, *, confirms: bool) -> None:
        pipeline = by.partition("#")[0]
        if by not in self.runs or asset not in self.lineage.written.get(pipeline, ()):
            return
        # What is only a slice leaves the rest as it was.
        begun, made = self.runs[by], self.made.setdefault((pipeline, asset), Made())
        for number in self.of_run[by]:
            if number in self.items:
                _, subject, edition = self.items[number]
                made.dealt[subject].add(edition)
        for each in self.lineage.inputs[pipeline]:
            at_start = begun.editions.get(each.subject, 0)
            before = made.read.get(each.subject, 0)
            made.read[each.subject] = max(at_start, before) if confirms or begun.is_slice else at_start
            for edition, when in self.skipped[pipeline, each.subject].items():
                if when < begun.place:
                    made.dealt[each.subject].add(edition)
        made.sampled = max(begun.at, made.sampled) if confirms or begun.is_slice else begun.at

    def _grow(self) -> None:
        """A version may come to be known to have more: it is in what it brought to its readers, too."""
        for name in self.lineage.inputs:
            for asset in self.lineage.written[name]:
                subject = f"asset:{asset}"
                if self.whole[subject]:
                    more = self.content(asset) - set().union(*self.brought[subject])
                    self.brought[subject][-1] |= more
                    self.whole[subject][-1] |= self.content(asset)

    def content(self, asset: str) -> Changes:
        """What all writers of an asset have put into it."""
        if f"asset:{asset}" in self.lineage.lookers:
            return set().union(*self.brought[f"asset:{asset}"])
        changes = {
            (source, mark) for source in self.lineage.sources[asset] for mark in range(1, self._newest(source) + 1)
        }
        writers = self.lineage.writers[asset]
        return {
            (source, mark)
            for source, mark in changes
            if all(
                (source, mark) in self.put(writer, asset)
                for writer in writers
                if source in self.lineage.through[writer]
            )
        }

    def put(self, writer: str, asset: str) -> Changes:
        """What one writer has put into an asset: what is in each of its inputs that lead to a source."""
        made = self.made.get((writer, asset))
        if made is None:
            return set()
        found: Changes = set()
        for source in self.lineage.through[writer]:
            ways = [
                self._through(writer, made, each) for each in self.lineage.inputs[writer] if source in each.sources
            ]
            found |= {each for each in set.intersection(*ways) if each[0] == source} if ways else set()
        return found

    def _through(self, writer: str, made: Made, given: Input) -> Changes:
        subject, left_out = given.subject, self.left_out[writer, given.subject]
        dealt = made.dealt[subject] | left_out
        delta = set().union(*(self.brought[subject][number - 1] for number in dealt))
        if not given.asset or given.asset not in self.state.plan.pipelines[writer].reads:
            return delta
        read = made.read.get(subject, 0)
        while read + 1 in left_out:
            read += 1
        snapshot = self.whole[subject][read - 1] if read else set[tuple[str, int]]()
        return (snapshot & delta if given.subscribed else snapshot) if not is_sliced(self.state, writer) else delta

    def _newest(self, source: str) -> int:
        return len(self.brought[source]) if not source.startswith("world:") else 0


def check(truth: Truth, world: World) -> None:
    """Every claim of every writer is true."""
    for asset, mark in world.kernel.state.marks.items():
        for writer, part in mark.parts.items():
            has = truth.put(writer, asset)
            for source, reached in part.items():
                if source == f"world:{writer}":
                    assert reached <= truth.made[writer, asset].sampled, (asset, source)
                elif not source.startswith("world:"):
                    missing = [number for number in range(1, reached + 1) if (source, number) not in has]
                    assert not missing, f"{asset} by {writer} claims {source} up to {reached}, it lacks {missing}"


@given(SEEDS, LENGTHS)
def test_no_asset_claims_a_change_that_it_cannot_have(seed: int, length: int) -> None:
    random = Random(seed)
    declared = random_plan(random)
    while not declared.lineage:
        declared = random_plan(random)
    world = World(random, declared)
    truth = Truth(world)
    known = len(world.kernel.facts)

    for _ in range(length):
        world.anything(AMONG)
        truth.take(world.kernel.facts[known:])
        known = len(world.kernel.facts)

        check(truth, world)
