"""The commands around a classifier: train, predict, evaluate, export-model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from labelsieve.cli import engines
from labelsieve.cli.options import (
    Config,
    DataOptions,
    Device,
    Folder,
    Json,
    Moved,
    Precision,
    Quiet,
    answer,
    data_options,
    say,
)

app = typer.Typer(rich_markup_mode=None)
Model = Annotated[
    str,
    typer.Argument(
        help="Folder written by labelsieve train, or a classifier of transformers."
    ),
]
Data = Annotated[
    str, typer.Argument(help="What labelsieve scan takes, or a folder without classes.")
]
BatchSize = Annotated[int, typer.Option(help="Images computed together.")]


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
            help="clip: the tower that the run scanned with; or a folder or hub id of "
            "transformers, open_clip:, timm: or torchvision:MODEL. A,B trains both and "
            "keeps the better."
        ),
    ] = "clip",
    recipe: Annotated[
        str,
        typer.Option(
            help="Optimiser settings: clip, vit, resnet, convnext, mae; auto: by the student. "
            "Or a way to train: nts (a teacher relabels, its student learns from that), "
            "capro (prototypes; what fits no class is left out). X,Y as with --student."
        ),
    ] = "auto",
    use: Annotated[
        str,
        typer.Option(
            help="Training set: clean, clean+relabelled, certified (the clean part that an "
            "audit guarantees), all, weighted (by p_clean), gmm."
        ),
    ] = "clean",
    loss: Annotated[str, typer.Option(help="ce, sce, elr, gce, mae, memory.")] = "ce",
    regulariser: Annotated[
        str,
        typer.Option(
            help="none, or context-vat: answers hold where the context moves."
        ),
    ] = "none",
    labels: Annotated[
        str,
        typer.Option(
            help="reviewed: decisions outweigh the scan; scan: they do not count."
        ),
    ] = "reviewed",
    min_confidence: Annotated[
        float,
        typer.Option(help="Of clean+relabelled: least probability of a suggestion."),
    ] = 0.9,
    val: Annotated[
        str | None,
        typer.Option(
            help="Data to choose the epoch on. Default: part of the clean images is held out."
        ),
    ] = None,
    val_label_column: Annotated[
        str | None, typer.Option(help="Of --val: column of labels.")
    ] = None,
    data: Moved = None,
    set_: Annotated[
        list[str],
        typer.Option(
            "--set", help="One setting of the training, NAME=VALUE; repeatable."
        ),
    ] = [],  # noqa: B006
    config: Config = None,
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
    from labelsieve.classifiers import train as training
    from labelsieve.classifiers.comparison.choose import by_names
    from labelsieve.cli.scan import settings
    from labelsieve.runs.run import Run

    progress.be_quiet(quiet)
    # a table of its own columns is loaded here; else the run's columns hold
    validation: object = val
    if val and val_label_column:
        validation = DataOptions(label_column=val_label_column).load(val)
    folder = output or Run(run).folder / "classifier"
    with engines.placed(folder) as own:
        if own is None:
            return
        by_names(student, recipe)(
            run,
            # the run's own folder is looked at before anything is written there
            output=output if own == folder else own,
            data=data,
            val=validation,
            force=force,
            use=use,
            loss=loss,
            regulariser=regulariser,
            labels=labels,
            min_confidence=min_confidence,
            settings=settings(config, set_),
            seed=seed,
            device=device,
            precision=precision,
        )
    # what was saved is shown, so that a call that had nothing to do says the same
    if engines.answers():
        answer(training.model_folder(folder).read(), as_json, _trained)


def _trained(record: dict[str, Any]) -> None:
    """What was trained; its epochs on held-out labels, and where those say little."""
    from labelsieve.classifiers.comparison.compare import in_words
    from labelsieve.cli import show

    show.train(record)
    # models of earlier versions have none
    figures = record["figures"]
    about = figures.get("candidates") or figures.get("held_out")
    if about:
        say(*in_words(about))


@app.command()
@data_options("label_column")
def predict(
    model: Model,
    data: Data,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Table to write, .parquet or .csv.")
    ] = Path("predictions.parquet"),
    top_k: Annotated[
        int, typer.Option(help="How many classes to name, the most probable first.")
    ] = 5,
    adapt: Annotated[
        str | None,
        typer.Option(
            help="in-context: a slow second opinion on each image; "
            "in-context-tokens: a far slower one, with prompt tokens."
        ),
    ] = None,
    context: Annotated[
        Path | None,
        typer.Option(help="Of --adapt: a scan whose trusted images are examples."),
    ] = None,
    set_: Annotated[
        list[str], typer.Option("--set", help="Of --adapt: NAME=VALUE; repeatable.")
    ] = [],  # noqa: B006
    *,
    columns: DataOptions,
    batch_size: BatchSize = 256,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Classify images or texts: label, probability and the next best classes of each."""
    from labelsieve import progress
    from labelsieve.classifiers import predict as predictions
    from labelsieve.cli import show
    from labelsieve.settings import parse_sets

    progress.be_quiet(quiet)
    # written in there, like all results: what is shown is on the disk
    table = predictions.predict(
        model,
        columns.load(data),
        output=output,
        top_k=top_k,
        batch_size=batch_size,
        device=device,
        precision=precision,
        adapt=adapt,
        context=context,
        settings=parse_sets(set_),
    )
    # items that cannot be read have no label
    unreadable = table["label"].null_count
    counts = {
        "images": len(table),
        "classified": len(table) - unreadable,
        "unreadable": unreadable,
        "file": str(output),
        "noun": predictions.noun_of(table),
    }
    answer(counts, as_json, show.predict)


@app.command()
@data_options("label_column")
def evaluate(
    model: Model,
    data: Data,
    truth_column: Annotated[
        str | None,
        typer.Option(help="Column of true labels. Default: the column of labels."),
    ] = None,
    *,
    columns: DataOptions,
    batch_size: BatchSize = 256,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a model on true labels: accuracy, per class, calibration error, confusion."""
    from labelsieve import progress
    from labelsieve.classifiers import predict as predictions
    from labelsieve.cli import show

    progress.be_quiet(quiet)
    # of true labels, so the data need no clean ones
    figures = predictions.evaluate(
        model,
        columns.load(data),
        truth_column=truth_column,
        batch_size=batch_size,
        device=device,
        precision=precision,
    )
    answer(figures, as_json, show.evaluate)


@app.command()
@data_options()
def compare(
    models: Annotated[
        list[str], typer.Argument(help="Two or more models, then the data.")
    ],
    *,
    columns: DataOptions,
    run: Annotated[
        Path | None,
        typer.Option(help="A scan of such data: it says how labels come about."),
    ] = None,
    noise_rate: Annotated[
        float | None,
        typer.Option(help="Instead: share of wrong labels, spread evenly."),
    ] = None,
    batch_size: BatchSize = 256,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare models on labels that may be wrong: which is better, and whether that is chance."""
    from labelsieve import progress
    from labelsieve.classifiers.comparison import compare as comparing
    from labelsieve.errors import OptionError

    progress.be_quiet(quiet)
    *names, data = models
    if len(names) < 2:
        raise OptionError(
            "Two models and the data are needed.", "labelsieve compare A B DATA"
        )
    facts = comparing.compare(
        names,
        columns.load(data),
        run=run,
        noise_rate=noise_rate,
        batch_size=batch_size,
        device=device,
        precision=precision,
    )
    answer(facts, as_json, lambda _: say(*comparing.in_words(facts)))


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
            help="Data to check it with, as predict takes them. Default: noise."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Export a model to another runtime, and check that it answers the same there."""
    from labelsieve import progress
    from labelsieve.classifiers import onnx
    from labelsieve.cli import show

    progress.be_quiet(quiet)
    # the difference to the original's answers is measured in there, and shown
    exported = onnx.export_model(model, to, output, data=data)
    answer(exported, as_json, show.export_model)
