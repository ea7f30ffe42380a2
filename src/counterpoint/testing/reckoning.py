"""What is truly in each version, and what each promise is owed, reckoned from the journal alone.

The kernel claims: this version has every change of that source up to a mark; this obligation was kept. Here
the same journal is read by other means, and the claims are compared. A plan that is declared anew with other
pipelines or promises ends what can be followed, and so does a run that a person retries.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct, field

from counterpoint.engine.facts import Fact
from counterpoint.kernel import decisions as d
from counterpoint.kernel import events as e
from counterpoint.kernel.obligations import bucket, is_sliced, terms
from counterpoint.kernel.records import in_ms
from counterpoint.kernel.state import GRACE, State
from counterpoint.model.lineage import Input, Promised
from counterpoint.model.plan import Plan

#: Writer and asset -> what the writer claims to have put into it: source -> mark.
Claims = dict[tuple[str, str], dict[str, int]]


def no_version_claims_what_it_lacks(facts: Sequence[Fact]) -> Claims:
    """Whatever happened, no version claims a change whose data it cannot have; what is claimed in the end.

    The model has two readings of what a task does. A task that handles its items (a delta) adds what the items
    brought. A task that reads all of an input makes what it writes of the version that it was given. A claim
    must be true in both. What a condition leaves out counts as there; what was skipped counts as there once a
    run that began later has published.
    """
    claims: Claims = {}
    truth: Truth | None = None
    for seq, plan, step in _followed(facts):
        truth = truth or Truth(plan)
        truth.take(step)
        for place in _claimed(claims, step, plan):
            writer, asset = place
            has = truth.put(writer, asset)
            for source, reached in claims[place].items():
                if source == f"world:{writer}":
                    sampled = truth.made[writer, asset].sampled
                    assert reached <= sampled, f"fact {seq}: {asset} by {writer} claims a sample it lacks"
                elif not source.startswith("world:"):
                    missing = [number for number in range(1, reached + 1) if (source, number) not in has]
                    assert not missing, (
                        f"fact {seq}: {asset} by {writer} claims {source} up to {reached}, it lacks {missing}"
                    )
    return claims


def _followed(facts: Sequence[Fact]) -> Iterator[tuple[int, Plan, list[Fact]]]:
    """Each step with the seq of its event and the plan in force, as far as a journal can be followed."""
    plan: Plan | None = None
    step: list[Fact] = []
    first = 1
    for seq, fact in enumerate(facts, start=1):
        if isinstance(fact, e.Event):
            if step and plan is not None:
                yield first, plan, step
            step, first = [], seq
        if isinstance(fact, e.RetryRequested):
            return
        if isinstance(fact, e.PlanDeclared):
            declared = fact.content
            if plan is not None and (plan.pipelines, plan.assets) != (declared.pipelines, declared.assets):
                return
            plan = declared
        step.append(fact)
    if step and plan is not None:
        yield first, plan, step


def _claimed(claims: Claims, step: Sequence[Fact], plan: Plan) -> dict[tuple[str, str], None]:
    """Note what is claimed in a step; who claimed something."""
    found: dict[tuple[str, str], None] = {}
    for fact in step:
        match fact:
            case d.PublishAsset(by=by) | d.ConfirmAsset(by=by):
                place = by.rpartition("#")[0], fact.asset
                if fact.asset not in plan.lineage.written.get(place[0], ()):
                    continue
                if isinstance(fact, d.PublishAsset):
                    claims[place] = dict(fact.reflects)
                else:
                    part = claims.setdefault(place, {})
                    part |= {of: max(mark, part.get(of, 0)) for of, mark in fact.reflects.items()}
            case d.RaiseMark():
                place = fact.writer, fact.asset
                claims[place] = dict(fact.reflects)
            case _:
                continue
        found[place] = None
    return found


def everything_has_arrived(facts: Sequence[Fact], accounts: Accounts) -> int:
    """Once all has come to rest, a promised asset has every change of its sources; how many marks were compared.

    Left out are ways on which somebody gave something up (items that were skipped, dead letters, items that
    wait for others), that lead over an input without a subscription, or that nothing has gone yet.
    """
    ends: dict[int, str] = {}
    delivered: dict[int, str] = {}
    of_run: dict[str, dict[int, None]] = defaultdict(dict)
    for fact in facts:
        match fact:
            case d.Deliver(items=items):
                delivered |= {item.number: item.pipeline for item in items}
            case d.CreateRun(run=run, items=numbers) | d.AdmitRun(run=run, items=numbers):
                of_run[run].update(dict.fromkeys(numbers))
            case d.FinishRun(run=run, items_become=become):
                ends |= dict.fromkeys(of_run.pop(run, {}), become)
            case d.EndItems(items=numbers, outcome=outcome):
                ends |= dict.fromkeys(numbers, outcome)
    given_up = {pipeline for number, pipeline in delivered.items() if ends.get(number) != "done"}
    lineage, compared = accounts.lineage, 0
    for source, promises in lineage.lookers.items():
        for asset, _ in promises:
            above = list(lineage.writers.get(asset, ()))
            for name in above:
                writers = (w for each in lineage.inputs[name] for w in lineage.writers.get(each.asset, ()))
                above += [writer for writer in dict.fromkeys(writers) if writer not in above]
            if source.startswith("world:") or any(
                name in given_up
                or not all(each.subscribed for each in lineage.inputs[name])
                or any((name, written) not in accounts.claims for written in lineage.written[name])
                for name in above
            ):
                continue
            reached, newest = accounts.reflects(asset, source), accounts.newest[source]
            assert reached == newest, f"{asset} has {source} up to {reached} in the end, and not up to {newest}"
            compared += 1
    return compared


class _Open(Struct):
    """An obligation that is neither kept nor missed, as far as the facts say."""

    marks: dict[str, int]
    due: datetime
    made: datetime


class Accounts:
    """What each promise is owed, and what became of it.

    Attributes:
        kept, missed: promise -> number of a bucket of its window -> how many.
        followed: how many facts of the journal were taken.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.lineage, self.followed = plan, plan.lineage, 0
        self.newest: Counter[str] = Counter()
        self.claims: Claims = {}
        self.open: dict[Promised, list[_Open]] = defaultdict(list)
        self.kept: dict[Promised, Counter[int]] = defaultdict(Counter)
        self.missed: dict[Promised, Counter[int]] = defaultdict(Counter)

    def take(self, seq: int, fact: Fact) -> None:
        """Follow a fact.

        Raises:
            AssertionError: obligations are missed that are not open and late, or not all that are.
        """
        match fact:
            case e.EventAccepted(change=change):
                self.newest[change.subject] += 1
            case d.PublishAsset(asset=asset) if f"asset:{asset}" in self.lineage.lookers:
                self.newest[f"asset:{asset}"] += 1
            case d.Oblige() if fact.marks:
                self._oblige(fact)
            case d.MissObligations():
                promise: Promised = (fact.asset, fact.promise)
                late = [each for each in self.open[promise] if each.due < fact.at]
                assert len(late) == fact.count, f"fact {seq}: {fact.count} are said to be missed, {len(late)} are"
                self.open[promise] = [each for each in self.open[promise] if each.due >= fact.at]
                self.missed[promise][self._bucket(promise, fact.due)] += len(late)
                return
        _claimed(self.claims, (fact,), self.plan)

    def settle(self, at: datetime) -> None:
        """Obligations whose marks are reached are kept."""
        for promise, waiting in self.open.items():
            reached = [each for each in waiting if self._is_reached(promise[0], each)]
            if reached:
                self.kept[promise][self._bucket(promise, at)] += len(reached)
                self.open[promise] = [each for each in waiting if each not in reached]

    def reflects(self, asset: str, source: str) -> int:
        """Up to where an asset has a source: the least of what its writers claim."""
        if source == f"asset:{asset}":
            return self.newest[source]
        writers = self.lineage.writers.get(asset, ())
        ways = [writer for writer in writers if source in self.lineage.through[writer]]
        return min((self.claims.get((writer, asset), {}).get(source, 0) for writer in ways), default=0)

    def _oblige(self, fact: d.Oblige) -> None:
        promise: Promised = (fact.asset, fact.promise)
        made = _Open(dict(fact.marks), fact.due, fact.at)
        last = next(
            (each for each in reversed(self.open[promise]) if each.marks.keys() == made.marks.keys()), None
        )
        is_same_moment = fact.promise == "freshness" and last is not None and last.made == made.made
        if last is not None and is_same_moment and not self._is_reached(fact.asset, made):
            # Changes of one moment are one obligation.
            last.marks, last.due = made.marks, min(last.due, made.due)
            return
        self.open[promise].append(made)

    def _is_reached(self, asset: str, obligation: _Open) -> bool:
        return all(self.reflects(asset, source) >= mark for source, mark in obligation.marks.items())

    def _bucket(self, promise: Promised, at: datetime) -> int:
        return bucket(terms(self.plan, promise).over, at)


def obligations_end_once(facts: Sequence[Fact]) -> Accounts:
    """Each obligation is kept when its marks are reached, or missed when its due is past: once, and at once."""
    accounts: Accounts | None = None
    for seq, plan, step in _followed(facts):
        accounts = accounts or Accounts(plan)
        at = max(fact.at for fact in step)
        accounts.followed = seq + len(step) - 1
        for number, fact in enumerate(step):
            accounts.take(seq + number, fact)
            if isinstance(fact, d.PublishAsset | d.ConfirmAsset | d.RaiseMark | d.Oblige):
                accounts.settle(at)
        for promise, waiting in accounts.open.items():
            late = [each.due for each in waiting if each.due + GRACE <= at]
            assert not late or not isinstance(step[0], e.Woke), (
                f"fact {seq}: {promise} is open although it was due {late}"
            )
    return accounts or Accounts(Plan(name=""))


def counts_agree(accounts: Accounts, state: State) -> None:
    """State has counted what the facts say, if they were followed to the end."""
    if accounts.followed < state.facts:
        return
    for promise, known in state.promises.items():
        kept, missed = accounts.kept[promise], accounts.missed[promise]
        for number, is_kept, is_missed, _ in known.counts:
            found = kept[number], missed[number]
            assert (is_kept, is_missed) == found, f"{promise} has {is_kept, is_missed} in {number}, not {found}"
        assert sum(map(len, known.open.values())) == len(accounts.open[promise]), f"{promise} has others open"


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

    def __init__(self, plan: Plan) -> None:
        self.plan, self.lineage = plan, plan.lineage
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

    def take(self, facts: Sequence[Fact]) -> None:
        """Follow the facts of a step."""
        for fact in facts:
            self.place += 1
            match fact:
                case e.EventAccepted(change=change):
                    self._publish_source(change.subject)
                case d.Deliver(change=change, items=items):
                    self._deliver(change, items)
                case d.CreateRun(run=run, items=numbers):
                    self.of_run[run].update(dict.fromkeys(numbers))
                    is_part = fact.lane == "backfill" and bool(fact.partition)
                    self.slices[run] = is_part or is_sliced(self.plan, fact.pipeline)
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

    def _skip(self, numbers: Iterable[int]) -> None:
        for number in numbers:
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
        if not given.asset or given.asset not in self.plan.pipelines[writer].reads:
            return delta
        read = made.read.get(subject, 0)
        while read + 1 in left_out:
            read += 1
        snapshot = self.whole[subject][read - 1] if read else set[tuple[str, int]]()
        return (snapshot & delta if given.subscribed else snapshot) if not is_sliced(self.plan, writer) else delta

    def _newest(self, source: str) -> int:
        return len(self.brought[source]) if not source.startswith("world:") else 0
