"""`labelsieve train`: fine-tune a pre-trained model on the samples that a scan found clean
(DeFT's second phase).

Wei et al., "Vision-Language Models are Strong Noisy Label Detectors", NeurIPS 2024,
section 3.3. Visual prompts are dropped; the transformer blocks of the image tower and a
new linear head train on the clean samples, SGD 5e-4, 10 epochs. Differences: the clean
samples come from a scoring pass without augmentation, and the epoch is chosen on a part of
them that is kept aside, never on test data; the last epoch's figures are reported beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack

import pyarrow as pa

from labelsieve import tables
from labelsieve.audits import guarantee
from labelsieve.classifiers import backbone, model_card, trainers, training_set
from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.comparison import held_out
from labelsieve.classifiers.fine_tuning import Fitting
from labelsieve.classifiers.objective import LOSSES, REGULARISERS, Objective
from labelsieve.classifiers.pretrained import LAST, RECORD, TOKENIZER, WHOLE
from labelsieve.classifiers.recipe import RECIPES, Settings, mirrored, recipe_name
from labelsieve.classifiers.trainers import Beginning
from labelsieve.classifiers.trainers._data import (
    read,
    spec_for,
    trust_of,
    validation_spec,
)
from labelsieve.data.dataset import Dataset, prepare
from labelsieve.data.spec import DataSpec
from labelsieve.errors import LabelsieveError, OptionError, RunError
from labelsieve.files import fingerprint
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.runs import pictures
from labelsieve.runs.decisions import Decision, open_decisions
from labelsieve.runs.folder import CHECKPOINTS, FINISHED, WorkFolder
from labelsieve.runs.run import Run, alone
from labelsieve.settings import (
    AtLeast,
    Below,
    BoundedOptions,
    OneOf,
    Share,
    as_dict,
    override,
    resolve,
)
from labelsieve.versions import environment

# what a training writes, and what export-model adds to it
OWNED = (
    *(LAST, WHOLE, "config.json"),
    "model.safetensors",
    "preprocessor_config.json",
    *TOKENIZER,
    "samples.parquet",
    "README.md",
    "model.onnx",
)


@dataclass(frozen=True)
class TrainOptions(BoundedOptions):
    """Everything about a training that is not the run.

    Attributes:
        student: the backbone: "clip", the tower of the run's model that it scanned with; or a
            checkpoint: a directory or hub id.
        recipe: a name of `labelsieve.classifiers.recipe.RECIPES`; "auto" goes by the
            backbone's family; or a trainer of `labelsieve.classifiers.trainers`.
        use: what trains (`labelsieve.classifiers.training_set.choose`).
        loss: a name of `labelsieve.classifiers.objective.LOSSES`, or a trainer.
        regulariser: of `labelsieve.classifiers.objective.REGULARISERS`.
        labels: "reviewed" takes people's decisions into account, "scan" does not.
        min_confidence: least probability of a suggested label, for use="clean+relabelled".
        settings: fields of `labelsieve.classifiers.recipe.Settings`; they outweigh the recipe.

    Raises:
        OptionError: a value that cannot be.
    """

    student: str = "clip"
    recipe: Annotated[str, OneOf(("auto", *RECIPES, *trainers.names("recipe")))] = (
        "auto"
    )
    use: Annotated[training_set.Use, OneOf(training_set.USES)] = "clean"
    loss: Annotated[str, OneOf((*LOSSES, *trainers.names("loss")))] = "ce"
    regulariser: Annotated[str, OneOf(REGULARISERS)] = "none"
    labels: Annotated[Literal["reviewed", "scan"], OneOf(("reviewed", "scan"))] = (
        "reviewed"
    )
    min_confidence: Annotated[float, Share()] = 0.9
    settings: Mapping[str, Any] | None = None
    # torch's generators take seeds of 63 bits
    seed: Annotated[int, AtLeast(0), Below(2**63)] = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision == "float16":
            raise OptionError(
                "--precision float16 is too coarse to train in.",
                "Use bfloat16, float32 or auto.",
            )
        trainers.refuse_two(self.recipe, self.loss)


class Choices(TypedDict, total=False):
    """The fields of `TrainOptions` as keywords."""

    student: str
    recipe: str
    use: str
    loss: str
    regulariser: str
    labels: str
    min_confidence: float
    settings: Mapping[str, Any] | None
    seed: int
    device: str
    precision: str


@dataclass(frozen=True)
class _Work:
    """One training as it was asked for, resolved against the run.

    Attributes:
        checkpoint: the backbone's directory or hub id.
        samples: labels, weights and parts by sample id.
        command: everything that decides the weights.
    """

    run: Run
    options: TrainOptions
    settings: Settings
    checkpoint: str
    samples: pa.Table
    command: dict[str, Any]


def train(
    run: str | Path | Run,
    *,
    output: str | Path | None = None,
    data: Any = None,
    val: Any = None,
    force: bool = False,
    options: TrainOptions | None = None,
    **choices: Unpack[Choices],
) -> Classifier:
    """Fine-tune a model on what a scan found clean, and save it.

    Interrupted at any time, the same call continues and ends with the same weights.

    Args:
        run: a finished scan.
        output: where the model goes; None is `classifier` in the run folder.
        data: the data set, where it is no longer what and where the scan read it (or was
            in memory).
        val: a data set to choose the epoch on, with the same columns; None keeps a part of
            the clean samples aside.
        force: replace another model in that folder.
        options: or its fields as keywords, see `TrainOptions`.

    Raises:
        LabelsieveError: what is wrong with run, data or options, and what to do.
    """
    options = override(options or TrainOptions(), choices, "training")
    with alone(run):
        work = _resolve(run, options, data, val)
        # for the model card, hours later: the run may be another one then
        _ = work.run.noise
    path = Path(output) if output is not None else own_folder(work.run)
    folder = model_folder(path)
    if folder.find(work.command, force=force) == FINISHED:
        folder.verify()
        return _open_finished(path, work.options)
    beginning, aside = _prepare(work, data, val)
    with folder.locked():
        if folder.begin(work.command, force=force) == FINISHED:
            # another process did the same work meanwhile
            return _open_finished(path, work.options)
        # checkpoints of another command are not continued
        identity = fingerprint(work.command)
        try:
            checkpoints = trainers.Place(path / CHECKPOINTS, identity, aside)
            fitting, figures = trainers.run(
                work.options.recipe, work.options.loss, beginning, checkpoints
            )
        except LabelsieveError:
            folder.abandon()
            raise
        return _finish(folder, work, fitting, figures)


def own_folder(opened: Run) -> Path:
    """Where the classifier of a run lies when no other folder is named.

    Raises:
        RunError: a link lies there. Runs come from strangers, too, and the user named no
            folder outside of this one.
    """
    path = opened.folder / "classifier"
    if path.is_symlink():
        raise RunError(
            f"'{path}' is a link.", "Remove it, or name a folder with --output."
        )
    return path


def _resolve(
    run: str | Path | Run, options: TrainOptions, data: Any, val: Any
) -> _Work:
    opened = run if isinstance(run, Run) else Run(run)
    if not opened.finished:
        raise RunError(
            f"'{opened.folder}' is not finished.",
            "Run labelsieve scan again; it continues.",
        )
    training_set.refuse_sets(opened.kind)
    checkpoint = options.student
    if checkpoint == "clip":  # the paper's phase 2: the tower that scanned
        checkpoint = opened.record["command"]["model"]
    settings = _settings(opened, checkpoint, options)
    # a validation set of its own leaves all clean samples to train on
    share = settings.val_share if val is None else 0.0
    samples = _samples(opened, options, share, settings.validate)
    # what decides the weights: the same command continues, another one is refused
    command = {
        **asdict(options),
        "student": checkpoint,
        "settings": as_dict(settings),
        "run": opened.record["identity"],
        "data_fingerprint": opened.record["data_fingerprint"],
        "samples": _fingerprint_of(samples),
        "data": _named(data),
        "val": _named(val),
    }
    return _Work(opened, options, settings, checkpoint, samples, command)


def _settings(opened: Run, checkpoint: str, options: TrainOptions) -> Settings:
    """Recipe, then what the user set; pictures are mirrored where the scan mirrored them."""
    # a trainer optimises as the backbone's family does
    named = options.recipe if options.recipe in RECIPES else "auto"
    recipe = RECIPES[recipe_name(checkpoint, named)]
    settings = resolve(Settings, recipe, options.settings or {})  # the later one wins
    if settings.mirror is None:
        settings = replace(settings, mirror=mirrored(opened.record))
    return settings


def _samples(
    opened: Run, options: TrainOptions, val_share: float, validate: str
) -> pa.Table:
    current: dict[str, Decision] = {}
    decisions = open_decisions(opened) if options.labels == "reviewed" else None
    if decisions is not None:
        current = decisions.all_current()
        decisions.close()
    samples = training_set.choose(
        opened.scores,
        current,
        opened.all_classes,
        options.use,
        options.min_confidence,
        _certified(opened, options.use),
    )
    return training_set.divide(samples, val_share, options.seed, validate)


def _certified(opened: Run, use: str) -> frozenset[str]:
    """Ids of the clean part that an audit promises, for use="certified".

    Raises:
        RunError: no audit promises one, or it is empty.
    """
    if use != "certified":
        return frozenset()
    return frozenset(guarantee.of_run(opened).clean.require_rows().ids)


def _fingerprint_of(samples: pa.Table) -> str:
    # decisions of people change the samples, and so the training
    rows = json.dumps(samples.to_pydict(), sort_keys=True).encode()
    return hashlib.sha256(rows).hexdigest()[:16]


def _named(data: Any) -> str | None:
    """Data as the record names them."""
    if isinstance(data, DataSpec):
        names = (_named(data.data), data.label_column, data.split)
        return " ".join(filter(None, names))
    if data is None or isinstance(data, str):
        return data
    # data in memory have no name; their content is in the samples
    return str(data) if isinstance(data, Path) else type(data).__qualname__


def _prepare(work: _Work, data: Any, val: Any) -> tuple[Beginning, Dataset | None]:
    """What the training begins with, and the images of a validation set of its own."""
    options = work.options
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    classes = work.run.all_classes
    spec = spec_for(work.run, data)
    pictures.require_there(spec)
    loss = options.loss if options.loss in LOSSES else "ce"
    divides = options.use == "gmm"
    objective = Objective(loss, divides, options.regulariser)
    first = backbone.build(work.checkpoint, classes, seed=options.seed, device=device)
    images = read(work.run, spec, first.preprocess)
    aside = None
    if val is not None:
        of_val = validation_spec(spec, val)
        aside = prepare(of_val, first.preprocess, classes=images.classes).dataset
    opened = [first]

    def fitting(kind: type[Fitting], samples: pa.Table) -> Fitting:
        # the first was opened to know how it wants its pictures
        built = opened.pop() if opened else again()
        made = kind(built, images, samples, work.settings, objective, options.seed)
        made.dtype = precision
        made.noise = partial(held_out.noise_of, work.run, images)
        return made

    def again() -> backbone.Backbone:
        seed = options.seed
        return backbone.build(work.checkpoint, classes, seed=seed, device=device)

    return Beginning(work.samples, fitting, partial(trust_of, work.run)), aside


def model_folder(path: Path) -> WorkFolder:
    """The life of a classifier folder."""
    return WorkFolder(path, RECORD, OWNED, "model")


def _open_finished(folder: Path, options: TrainOptions) -> Classifier:
    return Classifier.from_pretrained(
        folder, device=options.device, precision=options.precision
    )


def _finish(
    folder: WorkFolder, work: _Work, fitting: Fitting, figures: Mapping[str, Any]
) -> Classifier:
    """Write model, card and samples; the record says last that all is there."""
    record = {
        "identity": fingerprint(work.command),
        "command": work.command,
        "environment": environment(),
        "samples": training_set.count(work.samples),
        "classes": work.run.all_classes,
        "figures": figures,
        "device": str(fitting.device),
        "folder": str(folder.path),
        "precision": str(fitting.dtype).removeprefix("torch."),
    }
    # first, since it puts the chosen weights back
    if fitting.last is not None:
        _save_last(folder.path / LAST, work, record, fitting)
    card = model_card.write(work.run, record)
    classes = work.run.all_classes
    trained = Classifier(fitting.backbone, classes, card, dtype=fitting.dtype)
    trained.save_pretrained(folder.path)
    tables.write_parquet(work.samples, folder.path / "samples.parquet")
    folder.finish(record)
    return trained


def _save_last(
    path: Path, work: _Work, record: Mapping[str, Any], fitting: Fitting
) -> None:
    """A model of its own from the last epoch; the backbone has its own weights back after."""
    model = fitting.backbone.model
    # clones, as loading writes into the very tensors that it gave out
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(fitting.last)
    about = {**record, "figures": {**record["figures"], "kept": "last"}}
    card = model_card.write(work.run, about)
    Classifier(fitting.backbone, work.run.all_classes, card).save_pretrained(path)
    model.load_state_dict(kept)
