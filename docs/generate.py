"""Writes the pages of docs/reference that follow from the code: `make docs`. A test compares them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import click

from counterpoint.bootstrap import tools
from counterpoint.engine.declare.pages import reference, schema
from counterpoint.entrypoints.api.app import description
from counterpoint.entrypoints.cli.main import cli
from counterpoint.kernel.decisions import AnyDecision
from counterpoint.kernel.events import AnyEvent

REFERENCE = Path(__file__).parent / "reference"


def pages() -> dict[str, str]:
    """Name of each generated file below docs/reference -> what must stand in it."""
    return {
        "score.md": reference(tools()),
        "score.schema.json": json.dumps(schema(tools()), indent=2) + "\n",
        "cli.md": "\n".join(_cli()),
        "facts.md": "\n".join(_facts()),
        "api.md": "\n".join(_api()),
    }


def _cli() -> Iterator[str]:
    yield "# The command line\n"
    yield "What a person can type. This page is written by `make docs` from the command line itself.\n"
    yield "Exit codes are the same for every verb: 0 done, 1 the thing itself failed, 2 wrong use or a refused"
    yield "declaration, 3 the server cannot be reached. With `--json` the result, or the error, is JSON.\n"
    context = click.Context(cli, info_name="counterpoint")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None, "a listed verb is there"
        yield f"## {name}\n"
        inner = click.Context(command, parent=context, info_name=name)
        yield f"`counterpoint {name} {' '.join(command.collect_usage_pieces(inner))}`\n"
        yield _reflowed(command.help or "") + "\n"
        options = [record for p in command.get_params(inner) if (record := p.get_help_record(inner))]
        options = [(option, meaning) for option, meaning in options if meaning and not option.endswith("--help")]
        if options:
            yield "| option | meaning |"
            yield "|---|---|"
            for option, meaning in options:
                yield f"| `{option.replace('|', '/')}` | {' '.join(meaning.split())} |"
            yield ""


def _facts() -> Iterator[str]:
    yield "# Facts\n"
    yield "Every kind of entry of the journal. This page is written by `make docs` from the kernel.\n"
    yield "Each carries `at` (engine time). Events also carry `wall`, decisions a `reason`.\n"
    for title, kinds in (("Events: they happened", AnyEvent), ("Decisions: the kernel chose them", AnyDecision)):
        yield f"## {title}\n"
        yield "| kind | meaning | fields |"
        yield "|---|---|---|"
        common = ("at", "wall") if kinds is AnyEvent else ("at", "reason")
        for kind in get_args(kinds):
            meaning = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
            fields = [f"`{name}`" for name in kind.__struct_fields__ if name not in common]
            yield f"| {kind.__struct_config__.tag} | {meaning} | {', '.join(fields)} |"
        yield ""


def _api() -> Iterator[str]:
    document: Mapping[str, Any] = description()
    yield "# The API\n"
    yield "Every path below the address of `counterpoint up`. This page is written by `make docs` from the OpenAPI"
    yield "document, which the server hands out at `/api/v1/openapi.json`.\n"
    yield "| request | what it does |"
    yield "|---|---|"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if isinstance(operation, dict) and "summary" in operation:
                yield f"| `{method.upper()} {path}` | {operation['summary']} |"
    yield ""


def _reflowed(text: str) -> str:
    """Help as click writes it, as Markdown: its marks that keep lines together become code."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph.startswith("\b\n"):
            paragraphs.append("```\n" + paragraph.removeprefix("\b\n") + "\n```")
        else:
            paragraphs.append(" ".join(paragraph.split()))
    return "\n\n".join(paragraphs)


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for name, content in pages().items():
        (REFERENCE / name).write_text(content, encoding="utf-8")
        sys.stdout.write(f"docs/reference/{name}\n")
