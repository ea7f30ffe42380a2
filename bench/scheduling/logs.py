"""Logs of a parallel machine in the Standard Workload Format, drawn from a seed.

The shape follows Lublin and Feitelson (2003): a quarter of the jobs are serial, sizes are mostly
powers of two, run times are lognormal with a long tail and a little longer for larger jobs,
arrivals follow the hour of the day. Estimates follow Tsafrir, Etsion and Feitelson (2005): users
ask for round lengths, often several times of what the job needs. The distances between arrivals
are scaled so that the log asks for a given share of the machine.
"""

from __future__ import annotations

from math import exp, log2
from random import Random

from bench.scheduling.references import Job

#: Processors of the machine.
SLOTS = 128
#: What users ask for: the lengths that a site offers, in seconds.
OFFERED = tuple(minutes * 60 for minutes in (5, 10, 15, 30, 60, 120, 240, 480, 720, 1080, 1440, 2160))
LONGEST = OFFERED[-1]
#: Weight of each hour of the day for arrivals: nights are quiet, the early afternoon is not.
HOURS = (3, 2, 2, 1, 1, 1, 2, 3, 6, 9, 11, 11, 10, 11, 12, 12, 11, 9, 7, 6, 5, 5, 4, 4)
DAY = 86_400


def draw(seed: int, *, jobs: int = 5_000, load: float = 0.9, slots: int = SLOTS) -> list[Job]:
    """A log in order of submission; times are whole seconds, as the format wants them."""
    random = Random(seed)
    drawn = []
    for _ in range(jobs):
        size = _size(random, slots)
        duration = min(LONGEST, max(1, round(exp(random.gauss(6.0 + 0.15 * log2(size), 1.8)))))
        drawn.append((size, duration, _estimate(random, duration)))
    work = sum(size * duration for size, duration, _ in drawn)
    arrivals = _arrivals(random, jobs, span=work / (load * slots))
    return [
        Job(id=str(number), arrival=arrival, duration=duration, slots=size, estimate=estimate)
        for number, (arrival, (size, duration, estimate)) in enumerate(zip(arrivals, drawn, strict=True), 1)
    ]


def _size(random: Random, slots: int) -> int:
    if random.random() < 0.24:
        return 1
    exponent = random.uniform(0.8, log2(slots)) if random.random() < 0.3 else random.uniform(0.8, log2(slots) - 2)
    return 2 ** round(exponent) if random.random() < 0.75 else max(1, round(2**exponent))


def _estimate(random: Random, duration: int) -> int:
    if random.random() < 0.1:
        # Ends when its time is up: the estimate was exact.
        return duration
    wanted = duration / random.uniform(0.05, 1.0)
    return next((offered for offered in OFFERED if offered >= max(wanted, duration)), LONGEST)


def _arrivals(random: Random, jobs: int, *, span: float) -> list[int]:
    """Whole seconds, ascending from 0; `jobs` of them over about `span`, more by day than by night."""
    mean = sum(HOURS) / len(HOURS)
    at, found = 0.0, []
    for _ in range(jobs):
        found.append(round(at))
        # The distance is drawn for a clock that runs faster in busy hours.
        left = random.expovariate(jobs / span)
        while True:
            pace = HOURS[int(at % DAY // 3600)] / mean
            to_next_hour = (at // 3600 + 1) * 3600 - at
            if left <= to_next_hour * pace:
                at += left / pace
                break
            left -= to_next_hour * pace
            at = (at // 3600 + 1) * 3600
    return found


def text(jobs: list[Job], slots: int = SLOTS) -> str:
    """The log as a file of the Standard Workload Format (version 2.2, 18 fields a line)."""
    lines = ["; Version: 2.2", f"; MaxProcs: {slots}", f"; MaxJobs: {len(jobs)}", "; Note: drawn from a seed"]
    for job in jobs:
        fields = [
            job.id, job.arrival, -1, job.duration, job.slots, -1, -1, job.slots, job.estimate, -1,
            1, 1, 1, 1, 1, 1, -1, -1,
        ]  # fmt: skip
        lines.append(" ".join(str(field) for field in fields))
    return "\n".join(lines) + "\n"


def offered_load(jobs: list[Job], slots: int = SLOTS) -> float:
    """Work over what the machine could have done while jobs arrived."""
    return sum(job.duration * job.slots for job in jobs) / (slots * (jobs[-1].arrival - jobs[0].arrival))
