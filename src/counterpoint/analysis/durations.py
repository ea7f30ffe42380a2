"""How long things take, learned from what ended: bands of the median and of nine in ten.

A quantile is the *nearest rank* of the newest samples: a time that was really measured. One hang
must not move it. From ten samples on nearest rank sees to that (the largest of ten is above the
ninth); below, the largest sample is left out where it is an outlier: more than twice the median,
and further above it than `FAR` median absolute deviations.

Hours of the week have quantiles of their own where the data carries it: enough samples in each,
and more of the variance between hours than within them (`HOURS_EXPLAIN`). Durations are compared
by their logarithm, so that one hang does not make an hour look different.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from math import ceil, exp, log
from operator import mul
from statistics import median
from typing import TypeAlias

from counterpoint.kernel.events import Band
from counterpoint.kernel.lengths import hour_of_week

#: Samples that a band is made of: the newest.
NEWEST = 100
#: Below so many samples the largest may be left out.
FEW = 10
#: So many median absolute deviations above the median is far; 1.4826 makes them standard deviations.
FAR = 5 * 1.4826
#: Samples kept for each hour of the week, and needed before it counts.
HOUR_NEWEST, HOUR_FEWEST = 12, 4
#: A code counts so many steps to a factor of e, from the shortest duration that is told from none.
STEPS, SHORTEST_S, MOST_STEPS = 2_000, 1e-3, 65_535
#: The share of variance that lies between hours, above which they have bands of their own.
HOURS_EXPLAIN = 0.5
#: Hours are compared anew after so many samples: that costs as much as there are hours.
HOURS_EVERY = 16
#: A band that moved by more than this share is worth telling.
MOVED = 0.1

#: (pipeline, task or "" for the whole run).
Subject: TypeAlias = tuple[str, str]


def quantiles(samples: Sequence[float]) -> tuple[float, float]:
    """Median and nine in ten of samples in ascending order, by nearest rank; one outlier of a few is left out."""
    count = len(samples)
    if 2 < count < FEW and _is_outlier(samples):
        count -= 1
    return samples[ceil(0.5 * count) - 1], samples[ceil(0.9 * count) - 1]


def _is_outlier(samples: Sequence[float]) -> bool:
    middle = median(samples)
    deviation = median(sorted(abs(sample - middle) for sample in samples))
    return samples[-1] > 2 * middle and samples[-1] > middle + FAR * deviation


def coded(seconds: float) -> int:
    """A duration as its logarithm, in whole steps of a twentieth of a per cent: 16 bits of it are enough."""
    return min(MOST_STEPS, round(STEPS * log(max(seconds, SHORTEST_S) / SHORTEST_S)))


def _decoded(code: int) -> float:
    return SHORTEST_S * exp(code / STEPS)


def explained(groups: Iterable[Sequence[int]]) -> float:
    """The share of the variance of codes that lies between groups, less what chance makes (epsilon squared)."""
    groups = list(groups)
    count, total = sum(map(len, groups)), sum(map(sum, groups))
    if len(groups) < 2 or count <= len(groups):
        return 0.0
    squares = sum(sum(map(mul, group, group)) for group in groups)
    # Whole numbers, so that what does not vary at all is known for sure.
    if squares * count <= total * total:
        return 0.0
    within = squares - sum(sum(group) ** 2 / len(group) for group in groups)
    all_of_it = squares - total * total / count
    by_chance = (len(groups) - 1) * within / (count - len(groups))
    return (all_of_it - within - by_chance) / all_of_it


class Hours:
    """The newest samples by hour of the week: up to `HOUR_NEWEST` of each hour that was seen, oldest first.

    One array has the codes of all, hour after hour: a week has 168 hours, and there may be many pipelines.
    """

    __slots__ = ("_counts", "_hours", "_samples", "_since", "bands")

    def __init__(self) -> None:
        # Hours as they were first seen, and how many samples each has.
        self._hours, self._counts = bytearray(), bytearray()
        self._samples = array("H")
        self._since = 0
        self.bands: dict[str, tuple[float, float]] = {}

    def add(self, hour: int, sample: float) -> None:
        """Take a sample; now and then look whether hours differ."""
        place, counts = self._hours.find(hour), self._counts
        if place < 0:
            place = len(counts)
            self._hours.append(hour)
            counts.append(0)
        begin = sum(counts[:place])
        if counts[place] == HOUR_NEWEST:
            del self._samples[begin]
            counts[place] -= 1
        self._samples.insert(begin + counts[place], coded(sample))
        counts[place] += 1
        self._since += 1
        if self._since >= HOURS_EVERY:
            self._since = 0
            self._compare()

    def _compare(self) -> None:
        enough: dict[int, array[int]] = {}
        begin = 0
        for hour, count in zip(self._hours, self._counts, strict=True):
            if count >= HOUR_FEWEST:
                enough[hour] = self._samples[begin : begin + count]
            begin += count
        if explained(enough.values()) <= HOURS_EXPLAIN:
            self.bands = {}
            return
        self.bands = {str(hour): _band_of(enough[hour]) for hour in sorted(enough)}


def _band_of(codes: Iterable[int]) -> tuple[float, float]:
    """The quantiles of coded durations, with as many digits as a code tells."""
    p50, p90 = quantiles([_decoded(code) for code in sorted(codes)])
    return float(f"{p50:.4g}"), float(f"{p90:.4g}")


class _Samples:
    """The newest of one subject, oldest first. Arrays, because a sample has 8 bytes there, and there are many."""

    __slots__ = ("took", "waited")

    def __init__(self) -> None:
        self.took, self.waited = array("d"), array("d")


def _append(samples: array[float], sample: float) -> None:
    samples.append(sample)
    if len(samples) > NEWEST:
        del samples[0]


class Learner:
    """Makes bands of what it is told. Its memory is bounded by the number of pipelines and tasks.

    Args:
        known: bands learned before. One stands until there are as many new samples as it was made of, or
            ten: what was learned in a month is not given up for the first sample after a restart.
    """

    def __init__(self, known: Iterable[Band] = ()) -> None:
        self._told: dict[Subject, Band] = {(band.pipeline, band.task): band for band in known}
        self._stands_until = {subject: min(band.samples, FEW) for subject, band in self._told.items()}
        self._samples: dict[Subject, _Samples] = {}
        #: The only task of a pipeline has none of its own: they are those of the whole run.
        self._hours: dict[Subject, Hours] = {}
        self._new: dict[Subject, None] = {}

    def add(
        self,
        pipeline: str,
        task: str,
        *,
        took_s: float,
        at: datetime,
        waited_s: float | None = None,
        is_only: bool = False,
    ) -> bool:
        """Take a sample of something that succeeded.

        Args:
            task: "" for a whole run.
            at: when it started.
            waited_s: how long it waited before that; None where that says nothing.
            is_only: it is the only task of its pipeline, and whole runs are told too.

        Returns:
            Whether nothing was known of it before.
        """
        subject = (pipeline, task)
        samples = self._samples.get(subject)
        if samples is None:
            samples = self._samples[subject] = _Samples()
        _append(samples.took, took_s)
        if is_only:
            self._hours.pop(subject, None)
        else:
            hours = self._hours.get(subject)
            if hours is None:
                hours = self._hours[subject] = Hours()
            hours.add(int(hour_of_week(at)), took_s)
        if waited_s is not None:
            _append(samples.waited, waited_s)
        self._new[subject] = None
        return subject not in self._told

    def changed(self) -> tuple[Band, ...]:
        """Bands that are new, that moved by more than a tenth, or that are surer; they are told now."""
        found: list[Band] = []
        for subject in self._new:
            samples, told = self._samples[subject], self._told.get(subject)
            if len(samples.took) < self._stands_until.get(subject, 0):
                continue
            hours = self._hours.get(subject) or self._hours.get((subject[0], ""))
            band = _band(subject, samples, hours.bands if hours is not None else {}, told)
            if told is None or is_surer(told, band) or has_moved(told, band):
                self._told[subject] = band
                found.append(band)
        self._new.clear()
        return tuple(found)

    def keep(self, subjects: Collection[Subject]) -> None:
        """Forget all others: the plan does not have them any more."""
        for known in (self._told, self._stands_until, self._samples, self._hours, self._new):
            for subject in [subject for subject in known if subject not in subjects]:
                del known[subject]


def _band(subject: Subject, samples: _Samples, hours: dict[str, tuple[float, float]], told: Band | None) -> Band:
    p50, p90 = quantiles(sorted(samples.took))
    wait = quantiles(sorted(samples.waited)) if samples.waited else (0.0, 0.0)
    if not hours and told is not None and len(samples.took) < min(told.samples, NEWEST):
        # It takes weeks to see that hours differ; until there are as many samples again, what was seen holds.
        hours = told.hours
    return Band(
        pipeline=subject[0],
        task=subject[1],
        p50=p50,
        p90=p90,
        wait_p50=wait[0],
        wait_p90=wait[1],
        samples=len(samples.took),
        hours=hours,
    )


def is_surer(before: Band, after: Band) -> bool:
    """Whether a band is of twice as many samples: seldom, and without it a tenth of error would never go away."""
    return after.samples >= 2 * before.samples


def has_moved(before: Band, after: Band) -> bool:
    """Whether a band is another one for whoever plans by it: by a tenth, or in its hours."""
    if before.hours.keys() != after.hours.keys():
        return True
    # A wait is a tenth of nothing where nothing waited: it counts against wait and duration together.
    whole = before.p90 + before.wait_p90
    pairs = [(before.p50, after.p50, before.p50), (before.p90, after.p90, before.p90)]
    pairs += [(before.wait_p50, after.wait_p50, whole), (before.wait_p90, after.wait_p90, whole)]
    for hour, (p50, p90) in after.hours.items():
        old = before.hours[hour]
        pairs += [(old[0], p50, old[0]), (old[1], p90, old[1])]
    return any(abs(new - old) > MOVED * base for old, new, base in pairs)
