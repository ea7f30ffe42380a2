"""The `wait` tool at work: one look, and *not yet* if it is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoint.adapters.tools import expectation
from counterpoint.adapters.tools.runtime import databases, files, requests
from counterpoint.adapters.tools.runtime.output import answering, not_yet, say
from counterpoint.adapters.tools.runtime.templates import Values


@answering
def run(**arguments: Any) -> None:
    """Look once."""
    spec = arguments["spec"]
    if "duration" in spec:
        # The engine looks again when the time is over, not before: the second look is the end.
        if arguments["look"] == 0:
            not_yet(spec["duration"], f"waits for {spec['duration']:g}s")
        return
    there, found = _look(spec, Values(arguments))
    if there:
        say(f"there: {found}")
    else:
        not_yet(spec["every"], found)


def _look(spec: Mapping[str, Any], values: Values) -> tuple[bool, str]:
    """Whether it is there, and what was found.

    A server or database that is away, or locked, is *not yet*; a wrong query or address is a failure.
    """
    if "file" in spec:
        pattern = values.fill(spec["file"])
        there, found = files.find(spec, pattern)
        return there, f"{files.expected(spec, pattern)} was expected, {found} was found"
    if "http" in spec:
        try:
            response = requests.ask(spec["http"], values)
        except (requests.Unreachable, requests.Unexpected) as error:
            return False, error.detail
        return True, f"answered {response.status}"
    expected = expectation.parse(spec.get("expect", "> 0"))
    try:
        with databases.connect(
            values.fill(spec["database"]), params=spec.get("params", {}), readonly=True
        ) as session:
            value = session.execute(spec["sql"].rstrip().rstrip(";")).first
    except databases.Unreachable as error:
        return False, error.detail
    return expected.holds(value), f"{expected.text} was expected, {value} was found"
