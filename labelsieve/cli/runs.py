"""The commands that act on a finished run: report, review, apply, export."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from labelsieve.cli.options import (
    DataOptions,
    Folder,
    Json,
    Moved,
    answer,
    data_options,
    say,
)
from labelsieve.errors import OptionError

app = typer.Typer(rich_markup_mode=None)


@app.command()
def report(
    run: Folder,
    data: Moved = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also suspects after the 10,000th, in files beside it."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write report.html of a run again, with the decisions made since."""
    from labelsieve.report.page import make

    path = make(run, data, everything=everything)
    answer({"report": str(path)}, as_json, lambda _: say(f"Report  {path}"))


@app.command()
def review(
    run: Folder,
    data: Moved = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            help="Interface to listen on; 0.0.0.0 lets other machines connect."
        ),
    ] = "127.0.0.1",
    allowed_host: Annotated[
        list[str],
        typer.Option(
            help="Another host name that the page is opened under; repeatable."
        ),
    ] = [],  # noqa: B006
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
) -> None:
    """Decide about suspicious labels in the browser, by keyboard.

    Nothing leaves this machine, unless --host lets others in.
    """
    from labelsieve import registry
    from labelsieve.runs.run import Run

    opened = Run(run)
    # while libraries are imported
    opened.warm()
    # an optional part: what is missing is named with the command that installs it
    server = registry.need("labelsieve.review.server")
    session = registry.need("labelsieve.review.session")
    listening = server.Listening(host, port, tuple(allowed_host))
    if not listening.is_local:
        _warn_of_others(host)

    def tell(address: str) -> None:
        say(f"Review page  {address}", "Decisions are saved at once. Stop with Ctrl+C.")

    reviewed = session.Review(opened, data=data)
    launch = typer.launch if browser else None
    server.serve(reviewed, listening, launch=launch, tell=tell)


def _warn_of_others(host: str) -> None:
    typer.echo(
        f"warning: with --host {host}, anyone who can reach this machine and knows the "
        "address can see the images and decide; the connection is not encrypted.",
        err=True,
    )


@app.command()
@data_options("split", belongs_to="--data")
def apply(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder; leave it out with --patch.")
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="reviewed: people's decisions; certified: also what a random audit "
            "guarantees (recommended); auto: also confident suggestions, without guarantee."
        ),
    ] = "reviewed",
    min_confidence: Annotated[
        float, typer.Option(help="With auto: least probability of a suggestion.")
    ] = 0.9,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="Correct labels (the default).")
    ] = False,
    drop: Annotated[
        bool,
        typer.Option(
            "--drop",
            help="Leave out images with wrong labels; with --relabel, only those whose "
            "right label is unknown.",
        ),
    ] = False,
    drop_outsiders: Annotated[
        bool,
        typer.Option(
            "--drop-outsiders",
            help="Leave out images of no class, as people said, with auto also as "
            "the scan does.",
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Corrected copy to write.")
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", help="Change the data themselves; lists the changes first."
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --in-place: make the listed changes.")
    ] = False,
    copy_files: Annotated[
        bool, typer.Option("--copy", help="With -o: copy images, no hard links.")
    ] = False,
    patch: Annotated[
        Path | None,
        typer.Option(help="Apply this corrections.parquet instead of a run's."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data set to correct, if not where it was scanned."),
    ] = None,
    reverse: Annotated[
        bool,
        typer.Option("--reverse", help="Undo corrections that were made in place."),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish",
            help="Also finish changes to these data that somebody else began.",
        ),
    ] = False,
    *,
    columns: DataOptions,
    as_json: Json = False,
) -> None:
    """Write the corrected data set: a copy with -o, or --in-place.

    corrections.parquet, written beside the run, is a patch that can be reversed.
    """
    from labelsieve.corrections.apply import carry_out, in_words, prepare
    from labelsieve.corrections.policy import Policy
    from labelsieve.runs.run import alone

    _one_way(run, output=output, in_place=in_place, reverse=reverse)
    # Policy refuses other words, and names the valid ones
    kind = cast(Literal["reviewed", "certified", "auto"], policy)
    with alone(run):
        work = prepare(
            run,
            Policy(kind, min_confidence, relabel or not drop, drop, drop_outsiders),
            patch=patch,
            data=data,
            columns=columns.given(),
        )
        result = carry_out(
            work,
            output=output,
            yes=yes,
            reverse=reverse,
            links=not copy_files,
            finish=finish,
        )
    # a line break in a name cannot be told from one between lines: escaped where it is put in
    answer(result, as_json, lambda _: say(*in_words(result).split("\n")))


def _one_way(
    run: Path | None, *, output: Path | None, in_place: bool, reverse: bool
) -> None:
    """Refuse none and several: what would be done must be plain from the words."""
    options = {"-o": output is not None, "--in-place": in_place, "--reverse": reverse}
    given = [name for name, is_given in options.items() if is_given]
    if not given:
        raise OptionError(
            "One of -o, --in-place and --reverse is needed.",
            "-o FOLDER writes a corrected copy.",
        )
    if len(given) > 1:
        do = "Give one of them."
        if output is not None and reverse:
            do = _way_back(run, output)
        raise OptionError(f"{' and '.join(given)} exclude each other.", do)


def _way_back(run: Path | None, output: Path) -> str:
    """What to do for somebody who wants to undo a corrected copy."""
    from labelsieve.data.sources import STATE
    from labelsieve.data.sources._history import records

    if records(output / STATE):
        # the copy has a history of its own, and so its own way back
        words = ["labelsieve", "apply", str(run or "RUN"), "--data", str(output)]
        return f"That copy is put back with {shlex.join([*words, '--reverse'])}."
    return "-o leaves the data as they were: a copy that is not wanted is deleted."


@app.command()
def export(
    run: Folder,
    to: Annotated[
        str,
        typer.Option(
            help="label-studio, cvat, coco, yolo, webdataset, imagefolder, hf, fiftyone, "
            "cleanlab, csv, parquet or jsonl; of texts also argilla or textfolder."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File or folder to write.")
    ],
    only: Annotated[
        str,
        typer.Option(
            help="all, clean, issues, or certified: what an audit guarantees."
        ),
    ] = "all",
    safe_formulas: Annotated[
        bool,
        typer.Option(
            "--safe-formulas",
            help="In CSV: mark texts that a spreadsheet would run as a formula.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace a file that is no earlier export, and files of an earlier one that"
            " were changed.",
        ),
    ] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            "--push-to-hub",
            metavar="OWNER/NAME",
            help="With --to hf: also upload it to the hub, private if it is new there.",
        ),
    ] = None,
    data: Moved = None,
    root: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of a table's paths, or where links lead.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export a run for another tool, with labels as corrected by decisions."""
    from labelsieve import exports, registry

    if push_to_hub is not None:
        if to != "hf":
            raise OptionError(f"--push-to-hub goes with --to hf, not --to {to}.")
        # what cannot work is said before an hour of writing
        registry.load("exports", "hf").check_push(push_to_hub)
    files = exports.export(
        run,
        to,
        output,
        only=only,
        data=data,
        root=root,
        safe_formulas=safe_formulas,
        force=force,
    )
    result = {"files": [str(path) for path in files]}
    if push_to_hub is not None:
        result["uploaded"] = [registry.load("exports", "hf").push(output, push_to_hub)]
    lines = [line for part in result.values() for line in part]
    answer(result, as_json, lambda _: say(*lines))
