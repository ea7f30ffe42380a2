"""The SDK for tasks that are not Python: `python -m counterpoint.sdk emit order.placed '{"id": 1}'`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from counterpoint.sdk import EmitError, NotInATask, current


def main(argv: list[str] | None = None) -> int:
    """Report one thing; 0 if it is done, 1 if it was refused, 2 for wrong use."""
    parser = _parser()
    args = parser.parse_args(argv)
    run = current()
    try:
        if args.verb == "emit":
            print(run.emit(args.type, _json(args.data), subject=args.subject, id=args.id))  # noqa: T201 - its answer
        elif args.verb == "progress":
            run.progress(args.fraction, args.text)
        elif args.verb == "checkpoint":
            run.checkpoint(args.name, _mapping(args.data))
        elif args.verb == "publish":
            run.publish(
                args.asset,
                label=args.label,
                metadata=_pairs(args.metadata),
                unchanged=args.unchanged,
                partition=args.partition,
            )
        else:
            run.metric(args.name, args.value)
    except ValueError as error:
        parser.error(str(error))
    except (EmitError, NotInATask) as error:
        print(f"counterpoint: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m counterpoint.sdk", description="Report from inside a task.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    emit = verbs.add_parser("emit", help="hand an event to Counterpoint; prints its id")
    emit.add_argument("type")
    emit.add_argument("data", nargs="?", default="null", metavar="JSON")
    emit.add_argument("--subject")
    emit.add_argument("--id")
    progress = verbs.add_parser("progress", help="say how far the task is, from 0 to 1")
    progress.add_argument("fraction", type=float)
    progress.add_argument("text", nargs="?", default="")
    checkpoint = verbs.add_parser("checkpoint", help="report a named point of progress")
    checkpoint.add_argument("name")
    checkpoint.add_argument("data", nargs="?", default="null", metavar="JSON")
    publish = verbs.add_parser("publish", help="describe the version of an asset that this task has written")
    publish.add_argument("asset")
    publish.add_argument("metadata", nargs="*", metavar="KEY=VALUE", help="VALUE is JSON, or else a text")
    publish.add_argument("--label", default="")
    publish.add_argument("--partition")
    publish.add_argument("--unchanged", action="store_true", help="nothing new was written")
    metric = verbs.add_parser("metric", help="report a figure")
    metric.add_argument("name")
    metric.add_argument("value", type=float)
    return parser


def _pairs(words: list[str]) -> dict[str, Any]:
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise ValueError(f"KEY=VALUE was expected, {word!r} was found")
        try:
            pairs[key] = json.loads(value)
        except ValueError:
            pairs[key] = value
    return pairs


def _mapping(text: str) -> dict[str, Any]:
    found = _json(text) or {}
    if not isinstance(found, dict):
        raise ValueError(f"a JSON object was expected, {text[:80]!r} was found")
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"JSON was expected, {text[:80]!r} was found: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
