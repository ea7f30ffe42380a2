"""The run that a task belongs to, as the task sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from counterpoint.sdk import events as _events


class NotInATask(RuntimeError):
    """What was asked for exists only inside a task that Counterpoint has started."""


class Run:
    """What the task was given, and what it may report.

    Reports go to the file `COUNTERPOINT_OUTPUT`: checkpoints and progress are read at once, assets
    when the task has ended. Only `emit` needs the server.
    """

    def __init__(self) -> None:
        self._env = os.environ

    @property
    def id(self) -> str:
        """The run's id, such as `build-marts#412`."""
        return self._get("RUN_ID")

    @property
    def pipeline(self) -> str:
        """Name of the pipeline."""
        return self._get("PIPELINE")

    @property
    def task(self) -> str:
        """Name of the task."""
        return self._get("TASK")

    @property
    def attempt(self) -> str:
        """The attempt's id, such as `build-marts#412/build/2`."""
        return self._get("ATTEMPT")

    @property
    def partition(self) -> str:
        """The slice of data that the run covers; "" where there is none."""
        return self._env.get("COUNTERPOINT_PARTITION", "")

    @property
    def key(self) -> str:
        """The batch key of the items the run took; "" where the trigger has none."""
        return self._env.get("COUNTERPOINT_KEY", "")

    @property
    def params(self) -> dict[str, Any]:
        """The run's parameters."""
        return dict(json.loads(self._env.get("COUNTERPOINT_PARAMS") or "{}"))

    @property
    def due(self) -> datetime | None:
        """When the run should be done; None where nothing says so."""
        text = self._env.get("COUNTERPOINT_DUE", "")
        return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None

    @property
    def events(self) -> list[dict[str, Any]]:
        """Everything the run has taken, as CloudEvents: the delta since the run before."""
        return list(self._load("EVENTS", []))

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """Each asset the run reads -> its version when the run was admitted: seq, label, metadata, suspect."""
        unless_given = {"partition": "", "label": "", "metadata": {}, "suspect": False}
        return {pin["asset"]: {**unless_given, **pin} for pin in self._load("INPUTS", [])}

    @property
    def resumed_from(self) -> Any:
        """The newest checkpoint of this task in this run, from an earlier attempt; None without one."""
        return self._load("CHECKPOINT", None)

    def emit(
        self,
        type: str,  # noqa: A002 - the word of CloudEvents
        data: Any = None,
        *,
        subject: str | None = None,
        id: str | None = None,  # noqa: A002
    ) -> str:
        """Hand an event to Counterpoint, now; returns its id when it is kept for good.

        Args:
            id: the same id is the same event. Without one it is derived from run, task and how many
                the attempt has emitted before, so that a retry does not repeat them.

        Raises:
            EmitError: it was refused, or the server was away for half a minute.
        """
        return _events.emit(self._env, type, data, subject=subject, id=id)

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the task is, from 0 to 1."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"a fraction from 0 to 1 was expected, {fraction} was found")
        self._write("progress", fraction=fraction, text=text)

    def checkpoint(self, name: str, data: Mapping[str, Any] | None = None) -> None:
        """Report a named point of progress: others may wait for it, and a later attempt may go on from it."""
        self._write("checkpoint", name=name, data=dict(data or {}))

    def publish(
        self,
        asset: str,
        *,
        label: str = "",
        metadata: Mapping[str, Any] | None = None,
        unchanged: bool = False,
        partition: str | None = None,
        expect: int | None = None,
        data_through: datetime | None = None,
    ) -> None:
        """Describe the version of an asset that this task has written; it counts when the task has succeeded.

        Args:
            unchanged: nothing new was written; what is current is confirmed.
            expect: publish only if the current version has this number.
            data_through: how far the data reaches, in the producer's time.
        """
        line = {"asset": asset, "label": label, "metadata": dict(metadata or {}), "unchanged": unchanged}
        optional = {
            "partition": partition,
            "expect": expect,
            "data_through": data_through.isoformat() if data_through else None,
        }
        self._write("asset", **line, **{key: value for key, value in optional.items() if value is not None})

    def metric(self, name: str, value: float) -> None:
        """Report a figure to be shown and kept in time series."""
        self._write("metric", name=name, value=value)

    def result(self, data: Mapping[str, Any]) -> None:
        """Report the task's result; several are merged."""
        self._write("result", data=dict(data))

    def _get(self, name: str) -> str:
        try:
            return self._env[f"COUNTERPOINT_{name}"]
        except KeyError:
            raise NotInATask(
                f"COUNTERPOINT_{name} is not set: this does not run as a task of Counterpoint"
            ) from None

    def _load(self, name: str, default: Any) -> Any:
        path = self._env.get(f"COUNTERPOINT_{name}", "")
        return json.loads(Path(path).read_text(encoding="utf-8")) if path else default

    def _write(self, kind: str, **fields: Any) -> None:
        try:
            line = json.dumps({"kind": kind, **fields}, allow_nan=False) + "\n"
        except ValueError as error:
            # Said here: a line that is no JSON would be skipped, and a version published without its metadata.
            raise ValueError(f"a {kind} cannot be reported, NaN and infinity are no JSON: use None") from error
        with open(self._get("OUTPUT"), "ab", buffering=0) as output:  # noqa: PTH123 - one write, so never half a line
            output.write(line.encode())


def current() -> Run:
    """The run that this process is a task of."""
    return Run()
