"""A pipeline: a unit of delivery with its own rhythm, as a small DAG of tasks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from msgspec import Struct, field

from counterpoint.model.promise import Elastic, Expected, Preempt, Rate
from counterpoint.model.trigger import Trigger

#: How an attempt can fail; `retry.only` and `retry.never` name these.
FAILURE_KINDS = ("exit", "signal", "timeout", "lost", "out-of-memory", "error", "check")


class OutOfMemory(Struct, frozen=True, gc=False):
    """What the attempt after one that ran out of memory may ask for.

    Attributes:
        factor: its memory limit is multiplied by this,
        up_to: but not above this many bytes;
        pools: pool name -> slots it asks for instead.
    """

    factor: float = 2.0
    up_to: int | None = None
    pools: dict[str, int] = field(default_factory=dict)


class Retry(Struct, frozen=True, gc=False):
    """When a failed attempt is followed by another.

    Attributes:
        attempts: all tries, the first included.
        backoff: wait before the second try, and the longest; it doubles in between.
        only: kinds of failure, or exit codes, that are retried; empty means all.
        never: kinds of failure, or exit codes, that are not.
    """

    attempts: int = 1
    backoff: tuple[timedelta, timedelta] = (timedelta(seconds=10), timedelta(minutes=5))
    only: tuple[str | int, ...] = ()
    never: tuple[str | int, ...] = ()
    out_of_memory: OutOfMemory | None = None


class After(Struct, frozen=True, gc=False):
    """A task waits for another one, and for how it ended."""

    task: str
    on: Literal["success", "failure", "end"] = "success"


class Secret(Struct, frozen=True, tag="secret", gc=False):
    """A reference to a secret; its value is resolved in the worker host and never recorded."""

    name: str


class Task(Struct, frozen=True, kw_only=True, gc=False):
    """One invocation of a tool.

    Attributes:
        tool: which tool carries it out: command, python, http, dbt, sql, check or wait.
        spec: the tool's own settings, as the tool's reader left them.
        pools: pool name -> slots each attempt holds.
        memory: limit of an attempt in bytes; None is no limit.
        writes: assets published as soon as the task and the checks directly after it passed.
        env: extra environment variables.
        takes: how long an attempt is expected to take, until that is learned.
        fails: share of attempts that fail; for simulation only.
    """

    name: str
    tool: str
    spec: dict[str, Any]
    after: tuple[After, ...] = ()
    pools: dict[str, int] = field(default_factory=dict)
    retry: Retry = Retry()
    timeout: timedelta | None = None
    grace: timedelta = timedelta(seconds=10)
    memory: int | None = None
    writes: tuple[str, ...] = ()
    env: dict[str, str | Secret] = field(default_factory=dict)
    takes: Expected | None = None
    fails: float = 0.0


class Pipeline(Struct, frozen=True, kw_only=True, gc=False):
    """What runs together, why it starts, and what it needs.

    Attributes:
        folder: where its tasks run: the folder of the score that declares it.
        where: `file:line` of its declaration.
        writes: assets published together when the run succeeds.
        concurrency: how many runs of one (partition, key) may be going on at once.
        hold: slots are held by each attempt, or the largest need by the whole run.
        partition: `day`, `hour` or a CEL expression over the item; None is the one partition "".
        write: whether its writes are in place (readers are kept apart) or atomic.
        suspect: what an automatic run does while an asset it reads is suspect.
        concurrency_by: CEL expression over the change; `concurrency` then counts runs of the pipeline with one
            value of it, whatever their partition and key.
        preempt: its attempts may be asked to make room; None is never.
        rate: so many of its runs may be admitted in a span; the others wait.
        storm: above this rate no more runs are formed until things calm down; what came meanwhile is one batch.
    """

    name: str
    tasks: dict[str, Task]
    folder: str
    where: str = ""
    owner: str = ""
    team: str = ""
    description: str = ""
    trigger: Trigger | None = None
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    concurrency: int = 1
    overlap: Literal["coalesce", "queue", "skip", "cancel"] = "coalesce"
    priority_class: Literal["urgent", "normal", "bulk"] = "normal"
    hold: Literal["attempt", "run"] = "attempt"
    partition: str | None = None
    write: Literal["in_place", "atomic"] = "in_place"
    suspect: Literal["hold", "use"] = "hold"
    concurrency_by: str | None = None
    elastic: Elastic | None = None
    preempt: Preempt | None = None
    rate: Rate | None = None
    storm: Rate | None = None

    @property
    def written(self) -> tuple[str, ...]:
        """Every asset that the pipeline or one of its tasks writes."""
        return self.writes + tuple(name for task in self.tasks.values() for name in task.writes)
