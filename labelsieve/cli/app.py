"""The command line: arguments to one pipeline call to an exit code. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from labelsieve import __version__
from labelsieve.cli import bench, runs, scan, train
from labelsieve.errors import LabelsieveError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Find the wrong labels in image data sets.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Options that come before the command."""


app.add_typer(scan.app)
app.add_typer(runs.app)
app.add_typer(train.app)
app.add_typer(bench.app)


def main() -> None:
    """Run the command line; errors raised on purpose become one line on stderr and exit code 2."""
    try:
        code = app(
            standalone_mode=False
        )  # typer turns Ctrl-C into exit code 130 and gives it back
    except LabelsieveError as error:
        _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        os._exit(1)
    except OSError as error:  # a full disk, a folder that may not be written: the machine's fault, not ours
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        _fail(f"'{error.filename or 'disk'}': {error.strerror}.")
    except Exception as error:
        if not (
            type(error).__module__.startswith(("click", "typer"))
            and hasattr(error, "format_message")
        ):
            raise
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
            sys.exit(2)
        _fail(
            error.format_message()
            + (f" Try '{context.command_path} --help'." if context else "")
        )
    if code == 130:
        print("Interrupted. The same command continues.", file=sys.stderr)
    if code:
        sys.exit(code)


def _fail(message: str) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
