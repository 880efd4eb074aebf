"""The commands that act on a finished run: report, review, apply, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from labelsieve.cli.options import Folder, Json, answer
from labelsieve.errors import OptionError

app = typer.Typer(rich_markup_mode=None)


Moved = Annotated[
    str | None,
    typer.Option("--data", help="The scanned data, if not where they were scanned."),
]


@app.command()
def report(run: Folder, data: Moved = None, as_json: Json = False) -> None:
    """Write report.html of a run again, with what people decided since."""
    from labelsieve.runs.report import make

    path = make(run, data)
    answer({"report": str(path)}, as_json, lambda _: typer.echo(f"Report  {path}"))


@app.command()
def review(
    run: Folder,
    data: Moved = None,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port on this machine; 0 takes a free one."
        ),
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            help="Interface to listen on; 0.0.0.0: all, so that others can reach it."
        ),
    ] = "127.0.0.1",
    allowed_host: Annotated[
        list[str],
        typer.Option(
            help="One more name the page may be opened under; repeatable."
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

    server = registry.need("labelsieve.review.server")
    session = registry.need("labelsieve.review.session")
    listening = server.Listening(host, port, tuple(allowed_host))
    if not listening.is_local:
        typer.echo(
            f"warning: with --host {host}, whoever can reach this machine and sees the "
            "address can look at the images and decide; nothing is encrypted.",
            err=True,
        )

    def tell(address: str) -> None:
        typer.echo(f"Review page  {address}")
        typer.echo("Decisions are saved at once. Stop with Ctrl+C.")

    reviewed = session.Review(Run(run), data=data)
    launch = typer.launch if browser else None
    server.serve(reviewed, listening, launch=launch, tell=tell)


@app.command()
def apply(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder; leave it out with --patch.")
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="reviewed: people's decisions; auto: confident suggestions too."
        ),
    ] = "reviewed",
    min_confidence: Annotated[
        float, typer.Option(help="With auto: least probability of the suggestion.")
    ] = 0.9,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="Correct labels (the default).")
    ] = False,
    drop: Annotated[
        bool,
        typer.Option(
            "--drop",
            help="Leave out images with wrong labels; with --relabel, those without a right one.",
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
        bool, typer.Option("--yes", help="With --in-place: do what was listed.")
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
        typer.Option("--reverse", help="Undo the corrections that were made in place."),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish",
            help="Finish changes of these data that somebody else began, too.",
        ),
    ] = False,
    image_column: Annotated[
        str | None, typer.Option(help="Of --data: column of images.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Of --data: column of labels.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Of --data: column of unique ids.")
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(help="Of --data: folder that image paths are relative to."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the corrected data set: a copy with -o, or --in-place; and corrections.parquet, a patch that can be reversed."""
    from labelsieve.corrections.apply import carry_out, in_words, prepare
    from labelsieve.corrections.policy import Policy

    if in_place + (output is not None) + reverse != 1:
        raise OptionError(
            "One of -o, --in-place and --reverse is needed.",
            "-o FOLDER writes a corrected copy.",
        )
    columns = {
        "image_column": image_column,
        "label_column": label_column,
        "id_column": id_column,
        "root": root,
    }
    kind: Literal["reviewed", "auto"] = "auto" if policy == "auto" else "reviewed"
    if policy != kind:
        kind = policy  # type: ignore[assignment]  # Policy refuses it with the valid names
    work = prepare(
        run,
        Policy(kind, min_confidence, relabel or not drop, drop),
        patch=patch,
        data=data,
        columns=columns,
    )
    result = carry_out(
        work,
        output=output,
        yes=yes,
        reverse=reverse,
        links=not copy_files,
        finish=finish,
    )
    answer(result, as_json, lambda _: typer.echo(in_words(result)))


@app.command()
def export(
    run: Folder,
    to: Annotated[
        str,
        typer.Option(
            help="label-studio, fiftyone, hf, cleanlab, imagefolder, csv, parquet or jsonl."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File or folder to write.")
    ],
    only: Annotated[str, typer.Option(help="all, clean or issues.")] = "all",
    as_json: Json = False,
) -> None:
    """Write a run for another tool, with labels as they are after people's decisions."""
    from labelsieve import exports

    written = [str(p) for p in exports.export(run, to, output, only=only)]
    answer({"files": written}, as_json, lambda _: typer.echo("\n".join(written)))
