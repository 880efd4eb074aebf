"""Commands about data: scan, score, noise, demo, methods, models, cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelsieve.cli.options import (
    Device,
    IdColumn,
    ImageColumn,
    Json,
    LabelColumn,
    Precision,
    Quiet,
    Root,
    Split,
    answer,
)
from labelsieve.errors import OptionError

app = typer.Typer()

DATA_HELP = "Folder with one sub-folder per class, CSV, TSV, JSONL or Parquet file, save_to_disk folder, or hf://OWNER/NAME."
Data = Annotated[str, typer.Argument(help=DATA_HELP)]
TruthColumn = Annotated[
    str | None,
    typer.Option(help="Column of true labels, for scoring only; methods never see it."),
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        help="File that maps labels to names for prompts: JSON, or lines label,name."
    ),
]
Template = Annotated[
    str, typer.Option(help="Plain prompt, with {} for the class name.")
]


@app.command()
def scan(
    data: Data,
    output: Annotated[Path, typer.Option("-o", "--output", help="Run folder.")] = Path(
        "labelsieve-run"
    ),
    method: Annotated[str, typer.Option(help="See: labelsieve methods.")] = "deft",
    model: Annotated[str, typer.Option(help="See: labelsieve models.")] = "tiny",
    preset: Annotated[
        str, typer.Option(help="Named settings of the method, e.g. default, paper.")
    ] = "default",
    fast: Annotated[
        bool,
        typer.Option(
            "--fast", help="Train on cached features: much faster, a little worse."
        ),
    ] = False,
    tuning: Annotated[
        str | None,
        typer.Option(
            help="How the image tower adapts: vpt-deep, vpt-shallow, lora, adapter, ssf, bias, none."
        ),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="'real' for web data: the given label must also be the best class."
        ),
    ] = None,
    set_: Annotated[
        list[str],
        typer.Option(
            "--set", help="One setting of the method, NAME=VALUE; repeatable."
        ),
    ] = [],  # noqa: B006
    config: Annotated[
        str | None, typer.Option(help="File with settings of the method, TOML or JSON.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same scores.")] = 0,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    truth_column: TruthColumn = None,
    id_column: IdColumn = None,
    root: Root = None,
    split: Split = None,
    class_names: ClassNames = None,
    template: Template = "a photo of a {}.",
    device: Device = "auto",
    precision: Precision = "auto",
    preflight: Annotated[
        bool, typer.Option("--preflight", help="Only look at the data.")
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
    from labelsieve.data.load import load
    from labelsieve.pipeline import scan as pipeline
    from labelsieve.settings import parse_sets, read_file

    if fast and preset not in ("default", "fast"):
        raise OptionError(
            f"--fast and --preset {preset} exclude each other.",
            "--fast is --preset fast.",
        )
    progress.be_quiet(quiet)
    spec = load(
        data,
        image_column=image_column,
        label_column=label_column,
        truth_column=truth_column,
        id_column=id_column,
        root=root,
        split=split,
        class_names=class_names or {},
        template=template,
    )
    if preflight:
        found = pipeline.look(spec, model=model)
        answer(found.as_dict(), as_json, show.preflight)
        return
    named = {k: v for k, v in (("tuning", tuning), ("rule", rule)) if v is not None}
    settings = {**(read_file(config) if config else {}), **named, **parse_sets(set_)}
    opened = pipeline.scan(
        spec,
        output=output,
        force=force,
        method=method,
        model=model,
        preset="fast" if fast else preset,
        settings=settings,
        seed=seed,
        device=device,
        precision=precision,
    )
    answer(opened.record, as_json, show.scan)


@app.command()
def score(
    run: Annotated[Path, typer.Argument(help="Run folder whose detector judges.")],
    data: Data,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Table to write, .parquet or .csv.")
    ] = Path("scores.parquet"),
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    id_column: IdColumn = None,
    root: Root = None,
    split: Split = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge the labels of other images with the detector of a run."""
    from labelsieve import progress
    from labelsieve.cli import show
    from labelsieve.data.load import load
    from labelsieve.pipeline import results
    from labelsieve.pipeline import score as pipeline_score_module

    progress.be_quiet(quiet)
    spec = load(
        data,
        image_column=image_column,
        label_column=label_column,
        id_column=id_column,
        root=root,
        split=split,
    )
    table = pipeline_score_module.score(
        run, spec, output=output, device=device, precision=precision
    )
    answer(results.count_scores(table, output), as_json, show.score)


@app.command()
def noise(
    data: Data,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Table to write, .parquet or .csv.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            help="symmetric, symmetric-biased, asymmetric, pair, class-conditional, instance or recorded."
        ),
    ] = "symmetric",
    rate: Annotated[
        float | None, typer.Option(help="Share of labels that are replaced.")
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
        typer.Option(help="For recorded: column of labels that somebody gave."),
    ] = None,
    centre: Annotated[
        bool,
        typer.Option("--centre", help="For instance: take the mean picture off first."),
    ] = False,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    id_column: IdColumn = None,
    root: Root = None,
    split: Split = None,
    as_json: Json = False,
) -> None:
    """Plant label errors: write a table with wrong labels and the truth beside them."""
    from labelsieve.cli import show
    from labelsieve.data.load import load
    from labelsieve.noise import planting

    spec = load(
        data,
        image_column=image_column,
        label_column=label_column,
        id_column=id_column,
        root=root,
        split=split,
    )
    plan = planting.Plan(kind, rate, seed, matrix, map_, recorded, centre)
    answer(planting.plant(spec, plan, output), as_json, show.noise)


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for data and run.")
    ] = Path("labelsieve-demo"),
    data: Annotated[
        str, typer.Option(help="digits (embedded) or cifar10n (needs a network).")
    ] = "digits",
    force: Annotated[bool, typer.Option("--force", help="Start anew.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Scan handwritten digits with planted errors, without a network."""
    from labelsieve import progress
    from labelsieve.cli import show
    from labelsieve.pipeline import demo as demos

    progress.be_quiet(quiet)
    opened = demos.run(data, output, force=force)
    answer(opened.record, as_json, show.demo)


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods: what they are, what they cost and what they need."""
    from labelsieve import registry
    from labelsieve.cli import show

    found = [
        {
            "name": n,
            "summary": registry.summary("methods", n),
            **registry.constants("methods", n, ("COST", "NEEDS")),
        }
        for n in registry.names("methods")
    ]
    answer({"methods": found}, as_json, show.methods)


@app.command()
def models(as_json: Json = False) -> None:
    """List the models that are known to work."""
    from labelsieve import registry
    from labelsieve.cli import show

    rows = registry.constants("models", "load", ("RECOMMENDED",))["recommended"]
    answer(
        {
            "models": [
                dict(zip(("name", "parameters", "use"), row, strict=True))
                for row in rows
            ]
        },
        as_json,
        show.models,
    )


@app.command()
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete all cached pixels and features.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show or delete the cache of decoded pixels and features."""
    from labelsieve import cache as cache_module
    from labelsieve.cli import show

    deleted = cache_module.clear() if clear else 0
    found = {
        "folder": str(cache_module.cache_folder()),
        "bytes": cache_module.used(),
        "deleted": deleted,
    }
    answer(found, as_json, show.cache)
