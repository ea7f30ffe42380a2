"""The command `counterpoint`: its verbs, and how every error is told.

Exit codes: 0 done, 1 the thing itself failed, 2 wrong use or a refused declaration,
3 the server cannot be reached.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import click

from counterpoint.entrypoints.cli import act, declare, emit, look, promises, run, simulate, up
from counterpoint.entrypoints.cli.client import Refused, Unreachable
from counterpoint.errors import Conflict, CounterpointError, DeclarationError, Mistake

DONE, FAILED, WRONG_USE, UNREACHABLE = 0, 1, 2, 3


#: The verbs by what they are for, as `--help` shows them.
_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Declare": ("init", "check", "apply", "schema"),
    "Run": ("up", "run", "emit"),
    "Look": ("status", "runs", "show", "logs", "why", "incidents", "dead-letters"),
    "Plan": ("simulate",),
    "Act": ("cancel", "retry", "pause", "resume", "replay"),
    "Other": ("version",),
}


class _Verbs(click.Group):
    """Verbs by what they are for, with the nearest one for a slip of the finger."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the verb, or say which one may have been meant."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = get_close_matches(args[0], self.commands, n=1)
            hint = f"did you mean `{near[0]}`?" if near else "`counterpoint --help` lists them"
            raise click.UsageError(f"there is no verb {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs, section by section."""
        for section, names in _SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(80)) for name in names])


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="VERB ...",
)
def cli() -> None:
    """Counterpoint makes pipelines that run on different clocks work together.

    `init` writes a score to begin with, `up` runs it, `why` says why anything waits.
    Times of day are UTC.
    """


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def version(as_json: bool) -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    found = version_of("counterpoint")
    print(json.dumps({"version": found}) if as_json else found)


for module in (declare, up, run, emit, look, promises, simulate, act):
    for verb in module.VERBS:
        cli.add_command(verb)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line; its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = cli.main(arguments, prog_name="counterpoint", standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return WRONG_USE
    except click.ClickException as error:
        _tell(error.format_message(), "wrong-use", as_json="--json" in arguments)
        return WRONG_USE
    except (click.Abort, KeyboardInterrupt):
        return 130  # as shells tell an interrupt
    except BrokenPipeError:
        # Whoever read us has gone, such as `head`. Python would complain once more when it flushes.
        sys.stdout = None
        return DONE
    except CounterpointError as error:
        _tell_error(error, as_json="--json" in arguments)
        return _code_of(error)


def _code_of(error: CounterpointError) -> int:
    match error:
        case Unreachable():
            return UNREACHABLE
        case Conflict() | Refused(status=409 | 500):
            return FAILED
        case Mistake() | DeclarationError():
            return WRONG_USE
        case _:
            return FAILED


def _tell_error(error: CounterpointError, *, as_json: bool) -> None:
    match error:
        case DeclarationError(mistakes=mistakes):
            declare.tell_mistakes([declare.plain(each) for each in mistakes], as_json=as_json)
        case Refused(mistakes=mistakes) if mistakes:
            declare.tell_mistakes(mistakes, as_json=as_json)
        case Mistake():
            _tell(error.message, error.code, where=error.where, as_json=as_json)
        case _:
            _tell(str(error), error.code, as_json=as_json)


def _tell(message: str, code: str, *, where: str = "", as_json: bool) -> None:
    """An error: as JSON where the result would have been, else as a sentence on standard error."""
    if as_json:
        print(json.dumps({"error": {"code": code, "message": message, "where": where}}))
        return
    place = click.style(f"{where}: ", fg="cyan") if where else ""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {place}{message}", err=True)


if __name__ == "__main__":
    sys.exit(main())
