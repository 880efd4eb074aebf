"""Commands about data: scan, score, noise, demo."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from labelsieve.cli.engines import EngineOptions, answers, engine_options, placed
from labelsieve.cli.options import (
    DATA,
    METHOD,
    OWN,
    Config,
    DataOptions,
    Device,
    Grouped,
    Json,
    Precision,
    Quiet,
    answer,
    data_options,
)
from labelsieve.errors import OptionError

app = typer.Typer()

DATA_HELP = (
    "Folder of class folders, tables or YOLO; CSV, TSV, JSONL or Parquet file or a pattern of "
    "these; zip, tar, WebDataset, COCO, CVAT, Label Studio; save_to_disk folder, hf:// or s3://."
)
Data = Annotated[str, typer.Argument(help=DATA_HELP)]
Several = Annotated[
    list[str],
    typer.Argument(help=f"{DATA_HELP} Several tables or annotation files are one set."),
]
Table = Annotated[
    Path,
    typer.Option("-o", "--output", help="Table to write: .parquet, or .csv."),
]


@app.command(cls=Grouped)
@data_options(side_texts=True)
@engine_options()
def scan(
    data: Several,
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder.")] = Path(
        "labelsieve-run"
    ),
    method: Annotated[
        str,
        typer.Option(
            help="See: labelsieve methods. default: deft; of sets tai-adapter.",
            rich_help_panel=METHOD,
        ),
    ] = "default",
    model: Annotated[
        str,
        typer.Option(
            help="See: labelsieve models. auto: by the items and what is here.",
            rich_help_panel=METHOD,
        ),
    ] = "auto",
    preset: Annotated[
        str,
        typer.Option(
            help="Named settings: default, fast, paper, ... or auto.",
            rich_help_panel=METHOD,
        ),
    ] = "auto",
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="The preset with fewer passes of the model.",
            rich_help_panel=METHOD,
        ),
    ] = False,
    tuning: Annotated[
        str | None,
        typer.Option(
            help="vpt-deep, vpt-shallow, lora, adapter, ssf, bias, none.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="real, for web data: given must also be the best class.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            help="One setting of the method, NAME=VALUE; repeatable.",
            rich_help_panel=METHOD,
        ),
    ] = [],  # noqa: B006
    config: Config = None,
    seed: Annotated[
        int, typer.Option(help="Same seed, same scores.", rich_help_panel=METHOD)
    ] = 0,
    *,
    columns: DataOptions,
    truth_column: Annotated[
        str | None,
        typer.Option(
            help="Column of true labels, for evaluation only.", rich_help_panel=DATA
        ),
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option(
            help="Names in prompts: file of label,name or JSON.",
            rich_help_panel=DATA,
        ),
    ] = None,
    template: Annotated[
        str,
        typer.Option(help="Prompt, with {} for the class name.", rich_help_panel=DATA),
    ] = "a photo of a {}.",
    embeddings: Annotated[
        str | None,
        typer.Option(
            help="Your embeddings by id: .npy, .npz, Parquet, CSV, JSONL.",
            rich_help_panel=OWN,
        ),
    ] = None,
    pred_probs: Annotated[
        str | None,
        typer.Option(
            help="Likewise class probabilities, a column per class.",
            rich_help_panel=OWN,
        ),
    ] = None,
    rows_match: Annotated[
        bool,
        typer.Option(
            "--rows-match",
            help="Files without ids are in the order of the data.",
            rich_help_panel=OWN,
        ),
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    several: EngineOptions,
    preflight: Annotated[
        bool, typer.Option("--preflight", help="Only check the data.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace another run in the folder.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find wrong labels: a probability and a suggestion for every image, and a report."""
    from labelsieve import progress
    from labelsieve.cli import show
    from labelsieve.pipeline import scan as pipeline

    # two presets at once have no meaning; the same one twice does no harm
    if fast and preset not in ("auto", "default", "fast"):
        raise OptionError(
            f"--fast and --preset {preset} exclude each other.",
            "--fast is --preset fast.",
        )
    progress.be_quiet(quiet)
    spec = columns.load(
        data,
        truth_column=truth_column,
        class_names=class_names or {},
        template=template,
        embeddings=embeddings,
        pred_probs=pred_probs,
        rows_match=rows_match,
    )
    if preflight:
        # no model is loaded and no run folder is begun
        checked = pipeline.look(spec, model=model)
        answer(checked.as_dict(), as_json, show.preflight)
        return
    if several.launched():
        return
    with placed(output) as folder, several.working(spec):
        if folder is None:
            return
        opened = pipeline.scan(
            spec,
            output=folder,
            force=force,
            method=method,
            model=model,
            preset="fast" if fast else preset,
            settings=settings(config, set_, tuning=tuning, rule=rule),
            seed=seed,
            device=device,
            precision=precision,
        )
    if answers():
        _shown(opened, as_json, show.scan)


def _shown(opened: Any, as_json: bool, words: Callable[..., None]) -> None:
    """What `words` makes of a run; one that was finished before may hold decisions."""
    from labelsieve.audits import headline

    found = headline.of_run(opened)
    answer(opened.record, as_json, functools.partial(words, found=found))


def settings(
    config: str | None, sets: list[str], **options: str | None
) -> dict[str, Any]:
    """Settings of a file, then those with an option of their own, then --set."""
    from labelsieve.settings import parse_sets, read_file

    # the most specific outweighs: what was typed last is what was meant
    chosen = read_file(config) if config else {}
    for name, value in options.items():
        if value is not None:
            chosen[name] = value
    return {**chosen, **parse_sets(sets)}


@app.command(cls=Grouped)
@data_options()
@engine_options()
def score(
    run: Annotated[Path, typer.Argument(help="Run folder with the trained detector.")],
    data: Data,
    output: Table = Path("scores.parquet"),
    *,
    columns: DataOptions,
    device: Device = "auto",
    precision: Precision = "auto",
    several: EngineOptions,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge the labels of other images with the detector of a run."""
    from labelsieve import progress
    from labelsieve.cli import show
    from labelsieve.pipeline import results
    from labelsieve.pipeline import score as pipeline
    from labelsieve.runs.run import Run

    progress.be_quiet(quiet)
    if several.launched():
        return
    spec = columns.load(data)
    # the table is written in there, so that a full disk is told before the summary
    with several.working(spec):
        opened = Run(run)
        table = pipeline.score(
            opened, spec, output=output, device=device, precision=precision
        )
    counts = results.count_scores(table, output, opened)
    answer(counts, as_json, show.score)


@app.command(cls=Grouped)
@data_options()
def noise(
    data: Data,
    output: Table,
    kind: Annotated[
        str,
        typer.Option(
            help="symmetric, symmetric-biased, asymmetric, pair, class-conditional, "
            "instance or recorded; of sets of labels: sets."
        ),
    ] = "symmetric",
    rate: Annotated[
        float | None, typer.Option(help="Share of labels to replace.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same errors.")] = 0,
    matrix: Annotated[
        Path | None,
        typer.Option(
            help="For class-conditional: CSV, rows true, columns given; or JSON of mistakes."
        ),
    ] = None,
    map_: Annotated[
        Path | None,
        typer.Option(
            "--map",
            help="For asymmetric: lines class,taken-for, or JSON. Default: CIFAR-10's.",
        ),
    ] = None,
    recorded: Annotated[
        str | None,
        typer.Option(help="For recorded: column with labels of an annotator."),
    ] = None,
    centre: Annotated[
        bool,
        typer.Option("--centre", help="For instance: subtract the mean image first."),
    ] = False,
    added: Annotated[
        float,
        typer.Option(help="For sets: labels to put in, for each that is there."),
    ] = 0.0,
    *,
    columns: DataOptions,
    as_json: Json = False,
) -> None:
    """Plant label errors: write a table with wrong labels and the truth beside them."""
    from labelsieve.cli import show
    from labelsieve.noise import planting
    from labelsieve.noise.context import Plan

    # refuses options that do not fit the kind before any data are read
    plan = Plan(kind, rate, seed, matrix, map_, recorded, centre, added)
    planted = planting.plant(columns.load(data), plan, output)
    answer(planted, as_json, show.noise)


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for data and run.")
    ] = Path("labelsieve-demo"),
    data: Annotated[
        str,
        typer.Option(help="digits or texts (included), or cifar10n (is downloaded)."),
    ] = "digits",
    force: Annotated[bool, typer.Option("--force", help="Start afresh.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Scan handwritten digits, or texts, with planted errors; needs no network."""
    from labelsieve import progress
    from labelsieve.cli import show
    from labelsieve.pipeline import demo as demos

    progress.be_quiet(quiet)
    _shown(demos.run(data, output, force=force), as_json, show.demo)
