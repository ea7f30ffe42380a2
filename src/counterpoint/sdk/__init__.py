"""For pipelines, standard library only: emit, progress, checkpoint, asset metadata.

In a task that calls a Python function, as `python: {function: orders:load, arguments: {day: today}}`::

    from counterpoint.sdk import Run

    def load(run: Run, day: str) -> dict[str, int]:
        for event in run.events:
            ...
        run.progress(0.5, "half of it")
        run.publish("raw.orders", label="2026-01-31", metadata={"rows": 120})
        return {"rows": 120}  # the task's result

In a command written in Python the run is `counterpoint.sdk.current()`. In any other task the same is
`python -m counterpoint.sdk publish raw.orders rows=120`.
"""

from counterpoint.sdk.events import EmitError
from counterpoint.sdk.run import NotInATask, Run, current

__all__ = ["EmitError", "NotInATask", "Run", "current"]
