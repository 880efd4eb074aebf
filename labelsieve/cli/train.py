"""The commands around a classifier: train, predict, evaluate, export-model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelsieve.cli.options import (
    Device,
    Folder,
    IdColumn,
    ImageColumn,
    Json,
    Precision,
    Quiet,
    Root,
    Split,
    answer,
)

app = typer.Typer(rich_markup_mode=None)
Model = Annotated[
    str,
    typer.Argument(
        help="Folder that labelsieve train wrote, or a transformers image classifier."
    ),
]
Data = Annotated[
    str, typer.Argument(help="What labelsieve scan takes, or a folder of pictures.")
]
BatchSize = Annotated[int, typer.Option(help="Pictures computed together.")]


@app.command()
def train(
    run: Folder,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder of the model. Default: classifier in the run folder.",
        ),
    ] = None,
    student: Annotated[
        str,
        typer.Option(
            help="clip: the run's own image tower; or a transformers image classifier, folder or hub id."
        ),
    ] = "clip",
    recipe: Annotated[
        str,
        typer.Option(
            help="Optimiser settings: clip, vit, resnet, convnext, mae; auto goes by the student."
        ),
    ] = "auto",
    use: Annotated[
        str,
        typer.Option(
            help="What trains: clean, clean+relabelled, all, weighted (by p_clean), gmm."
        ),
    ] = "clean",
    loss: Annotated[str, typer.Option(help="ce, sce, elr, gce, mae.")] = "ce",
    labels: Annotated[
        str,
        typer.Option(
            help="reviewed: people's decisions outweigh the scan; scan: they do not count."
        ),
    ] = "reviewed",
    min_confidence: Annotated[
        float,
        typer.Option(help="Of clean+relabelled: least probability of a suggestion."),
    ] = 0.9,
    val: Annotated[
        str | None,
        typer.Option(
            help="Data to choose the epoch on. Default: a part of the clean images is kept aside."
        ),
    ] = None,
    val_label_column: Annotated[
        str | None, typer.Option(help="Of --val: column of labels.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="The scanned data, if not where they were scanned."),
    ] = None,
    set_: Annotated[
        list[str],
        typer.Option(
            "--set", help="One setting of the training, NAME=VALUE; repeatable."
        ),
    ] = [],  # noqa: B006
    config: Annotated[
        str | None,
        typer.Option(help="File with settings of the training, TOML or JSON."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same weights.")] = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Replace another model in the folder.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a classifier on the labels that a scan found clean."""
    from labelsieve import progress
    from labelsieve.classifiers import train as adapt
    from labelsieve.cli import show
    from labelsieve.data.load import load
    from labelsieve.runs.run import Run
    from labelsieve.settings import parse_sets, read_file

    progress.be_quiet(quiet)
    adapt.train(
        run,
        output=output,
        data=data,
        val=load(val, label_column=val_label_column)
        if val and val_label_column
        else val,
        force=force,
        student=student,
        recipe=recipe,
        use=use,
        loss=loss,
        labels=labels,
        min_confidence=min_confidence,
        settings={**(read_file(config) if config else {}), **parse_sets(set_)},
        seed=seed,
        device=device,
        precision=precision,
    )
    answer(
        adapt.model_folder(output or Run(run).folder / "classifier").read(),
        as_json,
        show.train,
    )


@app.command()
def predict(
    model: Model,
    data: Data,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Table to write, .parquet or .csv.")
    ] = Path("predictions.parquet"),
    top_k: Annotated[
        int, typer.Option(help="How many classes to name, the most probable first.")
    ] = 5,
    image_column: ImageColumn = None,
    id_column: IdColumn = None,
    root: Root = None,
    split: Split = None,
    batch_size: BatchSize = 256,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Classify pictures: label, probability and the next best classes of each."""
    from labelsieve import progress
    from labelsieve.classifiers import predict as classifiers_predict_module
    from labelsieve.cli import show
    from labelsieve.data.load import load

    progress.be_quiet(quiet)
    spec = load(
        data, image_column=image_column, id_column=id_column, root=root, split=split
    )
    table = classifiers_predict_module.predict(
        model,
        spec,
        output=output,
        top_k=top_k,
        batch_size=batch_size,
        device=device,
        precision=precision,
    )
    unreadable = table["label"].null_count
    found = {
        "images": len(table),
        "classified": len(table) - unreadable,
        "unreadable": unreadable,
        "file": str(output),
    }
    answer(found, as_json, show.predict)


@app.command()
def evaluate(
    model: Model,
    data: Data,
    truth_column: Annotated[
        str | None,
        typer.Option(help="Column of true labels. Default: the column of labels."),
    ] = None,
    image_column: ImageColumn = None,
    id_column: IdColumn = None,
    root: Root = None,
    split: Split = None,
    batch_size: BatchSize = 256,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a model against true labels: accuracy, per class, calibration error, confusion."""
    from labelsieve import progress
    from labelsieve.classifiers import predict as classifiers_predict_module
    from labelsieve.cli import show
    from labelsieve.data.load import load

    progress.be_quiet(quiet)
    spec = load(
        data, image_column=image_column, id_column=id_column, root=root, split=split
    )
    found = classifiers_predict_module.evaluate(
        model,
        spec,
        truth_column=truth_column,
        batch_size=batch_size,
        device=device,
        precision=precision,
    )
    answer(found, as_json, show.evaluate)


@app.command()
def export_model(
    model: Model,
    to: Annotated[str, typer.Option(help="onnx.")] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File to write. Default: model.onnx in the model's folder.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Pictures to check it with, as predict takes them. Default: noise."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a model for another runtime, and check that it gives the same answers there."""
    from labelsieve import progress
    from labelsieve.classifiers import onnx as model_export
    from labelsieve.cli import show

    progress.be_quiet(quiet)
    answer(
        model_export.export_model(model, to, output, data=data),
        as_json,
        show.export_model,
    )
