"""The command line: words to one call to an exit code.

Nothing heavy is imported before it is needed, so that --help comes at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Annotated, NoReturn

import typer

from labelsieve import __version__
from labelsieve.cli import bench, certify, engines, installed, runs, scan, train
from labelsieve.errors import LabelsieveError
from labelsieve.progress import NARROW

# as shells report a program that Ctrl-C ended: 128 and the number of the signal
INTERRUPTED = 130
# what typer and click raise on wrong words; typer brings a click of its own in some versions
USAGE_ERRORS = ("click", "typer")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Find the wrong labels in data sets of images or texts.",
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
app.add_typer(installed.app)
app.add_typer(runs.app)
app.add_typer(certify.app)
app.add_typer(train.app)
app.add_typer(bench.app)
app.add_typer(engines.app)


def main() -> None:
    """Run the command line.

    Mistakes and what the machine cannot do become one line on stderr and exit code 2; only a
    fault of this package ends in a traceback.
    """
    _write_what_can_be_written()
    try:
        # typer turns Ctrl-C into an exit code and gives it back
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # whoever read the output is gone, as after `| head`: nothing is left to say
        os._exit(1)
    except Exception as error:
        message = _explain(error)
        if message is None:
            raise
        _fail(message)
    if code == INTERRUPTED:
        print("Interrupted. The same command continues.", file=sys.stderr)
    if code:
        sys.exit(code)


def _write_what_can_be_written() -> None:
    """Characters that a narrow encoding lacks become an escape, not a traceback.

    Redirected output has the encoding of the system, which on Windows is one for one alphabet.
    """
    # errors name files, too, and those may have any name
    for stream in (sys.stdout, sys.stderr):
        # a stream that a program put in place has no encoding to change
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors=NARROW)  # type: ignore[union-attr]


def _explain(error: Exception) -> str | None:
    """What is wrong in one line; None for a fault of this package."""
    if isinstance(error, LabelsieveError):
        return str(error)
    if isinstance(error, OSError):
        return _explain_system(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory. Close other programs, or use smaller data."
    if isinstance(error, RecursionError):
        return "A file is nested too deeply to be read."
    if isinstance(error, UnicodeError):
        return f"A name or a file is not valid text: {error}."
    return _explain_usage(error)


def _explain_system(error: OSError) -> str:
    """A full disk, a folder that may not be written: what, and where."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        where = os.fsdecode(error.filename) if error.filename != "" else "."
        return f"'{where}': {reason}."
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return f"'{_fullest_folder()}': {reason}. Free some space; the same command continues."
    return f"{reason.rstrip('.')}."


def _fullest_folder() -> str:
    """The folder of those that are written with the least space left."""
    import shutil
    import tempfile
    from pathlib import Path

    from labelsieve.cache import cache_folder

    folders = [path for path in (Path.cwd(), cache_folder()) if path.exists()]
    folders.append(Path(tempfile.gettempdir()))
    return str(min(folders, key=lambda path: shutil.disk_usage(path).free))


def _explain_usage(error: Exception) -> str | None:
    """What typer says about words that it does not understand."""
    if not type(error).__module__.startswith(USAGE_ERRORS):
        return None
    if not hasattr(error, "format_message"):
        return None
    words = str(error.format_message())
    if type(error).__name__ == "NoArgsIsHelpError":
        # the help itself, which is no error and has many lines
        print(words, file=sys.stderr)
        sys.exit(2)
    # where the command is known, its own help is named
    context = getattr(error, "ctx", None)
    if context is not None:
        words += f" Try '{context.command_path} --help'."
    return words


def _fail(message: str) -> NoReturn:
    from labelsieve.progress import plain

    print("error: " + plain(" ".join(message.split())), file=sys.stderr)
    sys.exit(2)
