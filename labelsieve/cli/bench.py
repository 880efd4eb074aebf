"""The command that compares methods: bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelsieve.cli.options import Device, Json, Precision, Quiet, answer

app = typer.Typer(rich_markup_mode=None)
# listed from the files, so that a new one needs no line here
CONFIGURATIONS = Path(__file__).parent.parent / "assets" / "bench"
READY = ", ".join(sorted(path.stem for path in CONFIGURATIONS.glob("*.toml")))


@app.command()
def bench(
    config: Annotated[
        str | None, typer.Argument(help=f"{READY}, or a TOML file of your own.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of cells and results.")
    ] = Path("labelsieve-bench"),
    data_root: Annotated[
        Path, typer.Option(help="Folder with the configuration's data.")
    ] = Path(),
    tower: Annotated[
        list[str],
        typer.Option(
            help="Another image-text model, NAME=DIR or NAME=HUB-ID; repeatable."
        ),
    ] = [],  # noqa: B006
    only: Annotated[
        list[str],
        typer.Option(
            help="Only some cells: KEY=NAME,... of tower, data, noise, method, seed; * matches "
            "anything."
        ),
    ] = [],  # noqa: B006
    jobs: Annotated[
        str,
        typer.Option(help="Cells at once; auto: as many as cores and memory allow."),
    ] = "auto",
    embeddings: Annotated[
        str | None,
        typer.Option(help="Your embeddings of the one data set, by id, as of scan."),
    ] = None,
    pred_probs: Annotated[
        str | None,
        typer.Option(help="Likewise class probabilities, a column per class."),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Show the figures of the DeFT paper beside the results in --output.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods on data with known errors: one table of quality, time and memory."""
    from labelsieve import progress
    from labelsieve.bench import command
    from labelsieve.bench.published import show
    from labelsieve.bench.steps import Workspace
    from labelsieve.cli import show as summary
    from labelsieve.cli._published import published as in_words
    from labelsieve.errors import OptionError

    progress.be_quiet(quiet)
    if config is None and not published:
        raise OptionError(
            "No configuration is named.",
            f"Name one of {READY}, or a TOML file of your own.",
        )
    if config is not None:
        results = command.run(
            config,
            Workspace(output, data_root, device, precision),
            towers=tower,
            only=only,
            jobs=jobs,
            own={"embeddings": embeddings, "pred_probs": pred_probs},
        )
    # also after a run: both tables side by side
    if published:
        answer(show(output), as_json, in_words)
    else:
        answer(results, as_json, summary.bench)
