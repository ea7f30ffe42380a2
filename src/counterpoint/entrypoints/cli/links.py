"""How the pipelines of a plan hang together, as a tree of text: who starts whom, and by what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from counterpoint.entrypoints.cli.output import DIM
from counterpoint.model.plan import Plan
from counterpoint.model.quantity import format_duration
from counterpoint.model.trigger import Cron, Every, OnAsset, OnCheckpoint, OnEvent, OnState, Source

if TYPE_CHECKING:
    from rich.text import Text


def lines(plan: Plan) -> Iterator[Text]:
    """A line for each pipeline, below the one that starts it; one that several start stands once."""
    from rich.text import Text

    upstream = {name: _upstream(plan, name) for name in plan.pipelines}
    told: set[str] = set()

    def tell(name: str, indent: str, branch: str) -> Iterator[Text]:
        line = Text.assemble((indent + branch, DIM), (name, "bold"))
        if name in told:
            yield line.append("  as above", DIM)
            return
        told.add(name)
        yield line.append(f"  {_trigger(plan, name)}", DIM)
        below = indent + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        children = [child for child in plan.pipelines if name in upstream[child]]
        for place, child in enumerate(children, 1):
            yield from tell(child, below, "└─ " if place == len(children) else "├─ ")

    for name in plan.pipelines:
        if not upstream[name]:
            yield from tell(name, "", "")


def _upstream(plan: Plan, name: str) -> set[str]:
    """The pipelines whose work can start this one."""
    trigger, found = plan.pipelines[name].trigger, set[str]()
    for source in trigger.sources if trigger else ():
        match source:
            case OnAsset(asset=asset):
                found.update(plan.writers.get(asset, ()))
            case OnState(pipeline=other) | OnCheckpoint(pipeline=other):
                found.add(other)
            case _:
                pass
    return found - {name}


def _trigger(plan: Plan, name: str) -> str:
    trigger = plan.pipelines[name].trigger
    if trigger is None:
        return "by hand"
    sources = trigger.sources
    if trigger.auto is not None:
        read = " and ".join(source.asset for source in sources if isinstance(source, OnAsset))
        return f"as promises ask, from {read or 'the world'}"
    if len(sources) == len(trigger.groups) and all(isinstance(source, OnAsset) for source in sources):
        return f"after {' and '.join(source.asset for source in sources if isinstance(source, OnAsset))}"
    groups = [" or ".join(_source(source) for source in group) for group in trigger.groups]
    return " and ".join(f"({group})" if " or " in group and len(groups) > 1 else group for group in groups)


def _source(source: Source) -> str:
    match source:
        case Cron(expression=expression, timezone=timezone):
            return f"cron {expression} {timezone}"
        case Every(period=period):
            return f"every {format_duration(period)}"
        case OnEvent(type=type_):
            return f"on {type_}"
        case OnAsset(asset=asset):
            return f"after {asset}"
        case OnState(pipeline=other, state=state):
            return f"when {other} {'has ' * (state != 'started')}{state}"
        case OnCheckpoint(pipeline=other, checkpoint=checkpoint):
            return f"when {other} reaches {checkpoint}"
