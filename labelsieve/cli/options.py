"""Options that several commands share, and how every command answers."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from labelsieve.data.spec import DataSpec

METHOD, DATA, OWN = "Method", "Data", "Your own numbers"  # titles in --help
Folder = Annotated[Path, typer.Argument(help="Run folder written by labelsieve scan.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of a summary.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, mps.")]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.")]
Config = Annotated[
    str | None,
    typer.Option(help="TOML or JSON file with such settings.", rich_help_panel=METHOD),
]
Moved = Annotated[
    str | None,
    typer.Option("--data", help="The scanned data, if they have moved since."),
]


def _of_data(help: str) -> Any:
    """An option about the data, shown with the others of its kind."""
    return typer.Option(help=help, rich_help_panel=DATA)


@dataclass(frozen=True)
class DataOptions:
    """How a data set that is named on the command line is read."""

    image_column: Annotated[
        str | None, _of_data("Column of image paths or encoded images.")
    ] = None
    text_column: Annotated[str | None, _of_data("Column of texts.")] = None
    label_column: Annotated[str | None, _of_data("Column of labels.")] = None
    id_column: Annotated[str | None, _of_data("Column of unique ids.")] = None
    side_text_column: Annotated[
        str | None, _of_data("Column of titles or tags beside images, for capro.")
    ] = None
    label_separator: Annotated[
        str | None, _of_data("Between labels of one image: '|'; none: it is one.")
    ] = None
    vote_columns: Annotated[
        str | None, _of_data("Columns of people's labels: a,b or 'label_*'.")
    ] = None
    count_columns: Annotated[
        str | None, _of_data("Columns of classes with counts or shares of votes.")
    ] = None
    items: Annotated[
        str | None, _of_data("Where the data have boxes, judge: boxes, images.")
    ] = None
    urls: Annotated[
        str | None, _of_data("Hosts that named pictures may be fetched from.")
    ] = None
    root: Annotated[
        str | None,
        _of_data("Folder of a table's paths, or where links lead."),
    ] = None
    split: Annotated[str | None, _of_data("Only this split.")] = None

    def given(self) -> dict[str, Any]:
        """The options that were given, as keywords of `load`."""
        return {
            name: value for name, value in asdict(self).items() if value is not None
        }

    def load(self, data: str | list[str], **more: Any) -> DataSpec:
        """The data set as a specification; `more` are further keywords of `load`.

        Raises:
            DataError, OptionError: it does not exist, or an option does not fit it.
        """
        # looked up when called: its imports take longer than --help may
        from labelsieve.data import load

        return load.load(data, **self.given(), **more)


def data_options(
    *left_out: str, belongs_to: str = "", side_texts: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `DataOptions` in place of its parameter `columns`.

    Args:
        left_out: options that mean nothing to the command.
        belongs_to: the option of the command that they describe, for the help.
        side_texts: whether the command reads texts beside images.
    """
    # the annotations as objects: this module's are text until they are evaluated
    hints = inspect.signature(DataOptions, eval_str=True).parameters
    options = []
    for parameter in hints.values():
        unread = parameter.name == "side_text_column" and not side_texts
        if parameter.name not in left_out and not unread:
            options.append(_option(parameter, belongs_to))

    # what was left out keeps the default of DataOptions
    return spread("columns", DataOptions, options)


def spread(
    name: str, kind: type, options: Sequence[inspect.Parameter]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command several options in place of one parameter, which gets them as an object.

    Args:
        name: of the parameter.
        kind: what it is an object of; its fields are called like the options.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**words: Any) -> None:
            chosen = {option.name: words.pop(option.name) for option in options}
            command(**words, **{name: kind(**chosen)})

        # typer reads the signature: there the options stand where the parameter stands
        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            parameters += options if parameter.name == name else [parameter]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def _option(parameter: inspect.Parameter, belongs_to: str) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    if not belongs_to:
        return parameter.replace(kind=kind)
    # the typer.Option of the Annotated
    (about,) = parameter.annotation.__metadata__
    text = f"Of {belongs_to}: {about.help[0].lower()}{about.help[1:]}"
    option = Annotated[str | None, typer.Option(help=text)]
    return parameter.replace(kind=kind, annotation=option)


def answer(
    value: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]
) -> None:
    """Print one JSON object, or what `show` makes of it."""
    if as_json:
        # one line, so that a program can read it while progress goes to stderr
        typer.echo(_json(value), file=sys.stdout)
    else:
        show(value)


def _json(value: dict[str, Any]) -> str:
    """One line of JSON; what a terminal would obey, or could not write, is escaped."""
    from labelsieve.progress import is_shown

    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    narrow = not encoding.replace("-", "").startswith("utf")
    text = json.dumps(value, ensure_ascii=narrow, default=str)
    # outside of strings JSON has ASCII only, so escapes are never out of place
    escaped = []
    for character in text:
        keeps = is_shown(character)
        escaped.append(character if keeps else json.dumps(character)[1:-1])
    return "".join(escaped)


def say(*lines: str) -> None:
    """Print lines, with names and paths in them as a terminal shows them harmlessly."""
    from labelsieve.progress import plain

    # without a file typer takes ASCII for a mistake, and writes UTF-8 instead
    for line in lines:
        typer.echo(plain(line), file=sys.stdout)


class Grouped(TyperCommand):
    """A command whose options stand under the title that `rich_help_panel` gives them.

    Typer does so only with rich, whose frames are noise where help is piped or read aloud.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, group by group, in the order of the command."""
        groups: dict[str, list[Any]] = {}
        for parameter in self.get_params(ctx):
            is_argument = parameter.param_type_name == "argument"
            title = getattr(parameter, "rich_help_panel", None)
            title = title or ("Arguments" if is_argument else "Options")
            record = parameter.get_help_record(ctx)
            # hidden ones have none
            if record is not None:
                groups.setdefault(title, []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)
