"""The command that compares methods: bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelsieve.cli.options import Device, Json, Precision, Quiet, answer

app = typer.Typer(rich_markup_mode=None)
READY = ", ".join(
    sorted(
        p.stem
        for p in (Path(__file__).parent.parent / "assets" / "bench").glob("*.toml")
    )
)
Config = Annotated[
    str | None, typer.Argument(help=f"{READY}, or a TOML file of your own.")
]


@app.command()
def bench(
    config: Config = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of cells and results.")
    ] = Path("labelsieve-bench"),
    data_root: Annotated[
        Path, typer.Option(help="Folder that the configuration's data lie in.")
    ] = Path(),
    tower: Annotated[
        list[str],
        typer.Option(
            help="One more image-text model, NAME=DIR or NAME=HUB-ID; repeatable."
        ),
    ] = [],  # noqa: B006
    only: Annotated[
        list[str],
        typer.Option(
            help="Only some cells: KEY=NAME,… of tower, data, noise, method, seed; * stands for anything."
        ),
    ] = [],  # noqa: B006
    jobs: Annotated[
        str,
        typer.Option(help="Cells at once; auto: as many as cores and memory allow."),
    ] = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Show what DeFT's paper printed, beside the results in --output.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods on data with known errors: one table of quality, time and memory."""
    from labelsieve import progress
    from labelsieve.bench import command
    from labelsieve.bench.published import show
    from labelsieve.bench.steps import Place
    from labelsieve.cli import show as summary
    from labelsieve.errors import OptionError

    progress.be_quiet(quiet)
    if config is None and not published:
        raise OptionError(
            "There is no configuration.",
            f"Name one of {READY}, or a TOML file of your own.",
        )
    if config is not None:
        found = command.run(
            config,
            Place(output, data_root, device, precision),
            towers=tower,
            only=only,
            jobs=jobs,
        )
    if published:
        answer(show(output), as_json, summary.published)
    else:
        answer(found, as_json, summary.bench)
