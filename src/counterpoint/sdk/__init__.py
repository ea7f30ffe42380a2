"""For pipelines, standard library only: emit, progress, checkpoint, asset metadata.

In a task written in Python::

    from counterpoint.sdk import current

    run = current()
    for event in run.events:
        ...
    run.progress(0.5, "half of it")
    run.publish("raw.orders", label="2026-01-31", metadata={"rows": 120})

In any other task the same is `python -m counterpoint.sdk publish raw.orders rows=120`.
"""

from counterpoint.sdk.events import EmitError
from counterpoint.sdk.run import NotInATask, Run, current

__all__ = ["EmitError", "NotInATask", "Run", "current"]
