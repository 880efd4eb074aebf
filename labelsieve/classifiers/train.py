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
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import tables
from labelsieve.classifiers import backbone, model_card, training_set
from labelsieve.classifiers.backbone import RECIPES, Student
from labelsieve.classifiers.classifier import Classifier
from labelsieve.classifiers.fine_tuning import LOSSES, Fitting, Settings
from labelsieve.classifiers.pretrained import LAST, RECORD
from labelsieve.data.dataset import Dataset, prepare
from labelsieve.data.load import load
from labelsieve.data.spec import DataSpec
from labelsieve.errors import LabelsieveError, OptionError, RunError, unknown
from labelsieve.files import environment, fingerprint
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.runs import pictures
from labelsieve.runs.decisions import open_decisions
from labelsieve.runs.folder import FINISHED, WorkFolder
from labelsieve.runs.run import Run
from labelsieve.settings import as_dict, resolve

# what a training writes, and what export-model adds to it
OWNED = (
    LAST,
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "samples.parquet",
    "README.md",
    "model.onnx",
)


@dataclass(frozen=True)
class TrainOptions:
    """Everything about a training that is not the run.

    Attributes:
        student: "clip", the image tower of the run's model; or a checkpoint: a directory or hub id.
        recipe: a name of `labelsieve.classifiers.backbone.RECIPES`; "auto" goes by the
            student's family.
        use: what trains (`labelsieve.classifiers.training_set.choose`).
        loss: a name of `labelsieve.classifiers.fine_tuning.LOSSES`.
        labels: "reviewed" takes people's decisions into account, "scan" does not.
        min_confidence: least probability of a suggested label, for use="clean+relabelled".
        settings: fields of `labelsieve.classifiers.fine_tuning.Settings`; they outweigh the recipe.
    """

    student: str = "clip"
    recipe: str = "auto"
    use: training_set.Use = "clean"
    loss: str = "ce"
    labels: Literal["reviewed", "scan"] = "reviewed"
    min_confidence: float = 0.9
    settings: Mapping[str, Any] | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        valid = {
            "recipe": ("auto", *RECIPES),
            "use": training_set.USES,
            "loss": tuple(LOSSES),
            "labels": ("reviewed", "scan"),
        }
        for name, names in valid.items():
            if getattr(self, name) not in names:
                raise OptionError(unknown(f"--{name}", getattr(self, name), names))
        if not 0 <= self.min_confidence <= 1:
            raise OptionError(
                f"--min-confidence {self.min_confidence} must lie between 0 and 1."
            )
        if not 0 <= self.seed < 2**63:
            raise OptionError(
                f"--seed {self.seed} cannot be used.", "It is a whole number from 0 on."
            )
        if self.precision == "float16":
            raise OptionError(
                "--precision float16 is too coarse to train in.",
                "Use bfloat16, float32 or auto.",
            )


def train(
    run: str | Path | Run,
    *,
    output: str | Path | None = None,
    data: Any = None,
    val: Any = None,
    force: bool = False,
    options: TrainOptions | None = None,
    **choices: Any,
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
        options: or its fields as keywords: student, recipe, use, loss, labels,
            min_confidence, settings, seed, device, precision.

    Raises:
        LabelsieveError: what is wrong with run, data or options, and what to do.
    """
    options = _options(options, choices)
    opened = run if isinstance(run, Run) else Run(run)
    if not opened.finished:
        raise RunError(
            f"'{opened.folder}' is not finished.",
            "Run labelsieve scan again; it continues.",
        )
    folder = Path(output) if output is not None else opened.folder / "classifier"
    student_name = (
        opened.record["command"]["model"]
        if options.student == "clip"
        else options.student
    )
    settings = _settings(opened, student_name, options)
    chosen = _samples(opened, options, 0.0 if val is not None else settings.val_share)
    command = _command(opened, options, settings, student_name, chosen, data, val)
    work = model_folder(folder)
    if work.find(command, force=force) == FINISHED:
        return Classifier.from_pretrained(
            folder, device=options.device, precision=options.precision
        )
    device = choose_device(options.device)
    student = backbone.build(
        student_name, opened.classes, seed=options.seed, device=device
    )
    spec = _spec(opened, data)
    images = _read(opened, spec, student)
    aside = (
        None
        if val is None
        else _read_validation(_validation_spec(spec, val), student, images)
    )
    place = Fitting(
        student,
        images,
        chosen,
        settings,
        options.loss,
        options.use == "gmm",
        options.seed,
    )
    place.dtype = choose_precision(options.precision, device)
    with work.locked():
        if work.begin(command, force=force) == FINISHED:
            # another process did the same work meanwhile
            return Classifier.from_pretrained(
                folder, device=options.device, precision=options.precision
            )
        try:
            figures = place.run(folder / "checkpoints", fingerprint(command), aside)
        except LabelsieveError:
            work.abandon()
            raise
        return _finish(work, opened, command, place, chosen, figures)


def _options(options: TrainOptions | None, choices: Mapping[str, Any]) -> TrainOptions:
    for name in choices:
        if name not in TrainOptions.__dataclass_fields__:
            raise OptionError(
                unknown("Option", name, TrainOptions.__dataclass_fields__),
                "Settings of the training go into settings={...}.",
            )
    return replace(options or TrainOptions(), **choices)


def _settings(opened: Run, student: str, options: TrainOptions) -> Settings:
    """Recipe, then what the user set; pictures are mirrored where the scan mirrored them."""
    recipe = RECIPES[backbone.recipe_name(student, options.recipe)]
    found = resolve(Settings, recipe, options.settings or {})
    if found.mirror is None:
        scanned = opened.record["command"].get("settings") or {}
        found = replace(found, mirror=bool(scanned.get("mirror", True)))
    return found


def _samples(opened: Run, options: TrainOptions, val_share: float) -> pa.Table:
    decisions = open_decisions(opened) if options.labels == "reviewed" else None
    current = decisions.all_current() if decisions else {}
    if decisions:
        decisions.close()
    found = training_set.choose(
        opened.scores, current, opened.classes, options.use, options.min_confidence
    )
    return training_set.divide(found, val_share, options.seed)


def _command(
    opened: Run,
    options: TrainOptions,
    settings: Settings,
    student: str,
    chosen: pa.Table,
    data: Any,
    val: Any,
) -> dict[str, Any]:
    """What decides the weights."""
    rows = json.dumps(chosen.to_pydict(), sort_keys=True).encode()
    return {
        **asdict(options),
        "student": student,
        "settings": as_dict(settings),
        "run": opened.record["identity"],
        "data_fingerprint": opened.record["data_fingerprint"],
        "samples": hashlib.sha256(rows).hexdigest()[:16],
        "data": _named(data),
        "val": _named(val),
    }


def _named(data: Any) -> str | None:
    if isinstance(data, DataSpec):
        return " ".join(
            filter(None, (_named(data.data), data.label_column, data.split))
        )
    return (
        None
        if data is None
        else str(data)
        if isinstance(data, str | Path)
        else type(data).__qualname__
    )


def _spec(opened: Run, data: Any) -> DataSpec:
    if data is None:
        return pictures.spec_of(opened)
    if isinstance(data, DataSpec) or not isinstance(data, str | Path):
        return load(data)
    return replace(pictures.spec_of(opened), data=str(data))


def _read(opened: Run, spec: DataSpec, student: Student) -> Dataset:
    """The run's images as the student wants them; all that were scored must still be there."""
    scored = opened.scores.filter(pc.is_valid(opened.scores["p_clean"]))["sample_id"]
    images = prepare(
        spec,
        student.preprocess,
        classes=opened.classes,
        keep=scored.combine_chunks(),
    ).dataset
    if len(images) != len(scored):
        raise RunError(
            f"{len(scored) - len(images)} of the {len(scored)} images that '{opened.folder}' scanned are gone or have changed.",
            "Scan again, or name the data that were scanned with --data.",
        )
    return images


def _validation_spec(spec: DataSpec, val: Any) -> DataSpec:
    """A table has the columns of the run's; what was named in full stays as it is."""
    if isinstance(val, DataSpec) or not isinstance(val, str | Path):
        return load(val)
    if Path(val).is_dir():
        return DataSpec(str(val))
    return replace(
        spec, data=str(val), id_column=None, truth_column=None, split=None, root=None
    )


def _read_validation(spec: DataSpec, student: Student, images: Dataset) -> Dataset:
    return prepare(spec, student.preprocess, classes=images.classes).dataset


def model_folder(path: Path) -> WorkFolder:
    """The life of a classifier folder."""
    return WorkFolder(path, RECORD, OWNED, "model")


def _finish(
    work: WorkFolder,
    opened: Run,
    command: Mapping[str, Any],
    place: Fitting,
    chosen: pa.Table,
    figures: Mapping[str, Any],
) -> Classifier:
    folder = work.path
    record = {
        "identity": fingerprint(command),
        "command": dict(command),
        "environment": environment(),
        "samples": training_set.count(chosen),
        "classes": opened.classes,
        "figures": figures,
        "device": str(place.device),
        "folder": str(folder),
        "precision": str(place.dtype).removeprefix("torch."),
    }
    if place.last is not None:
        _save_last(folder / LAST, opened, record, place)
    made = Classifier(
        place.student,
        opened.classes,
        model_card.write(opened, record),
        dtype=place.dtype,
    )
    made.save_pretrained(folder)
    tables.write_parquet(chosen, folder / "samples.parquet")
    work.finish(record)
    return made


def _save_last(
    folder: Path, opened: Run, record: Mapping[str, Any], place: Fitting
) -> None:
    """A model of its own from the last epoch's weights; the student has its own back afterwards."""
    model = place.student.model
    kept = {name: t.clone() for name, t in model.state_dict().items()}
    model.load_state_dict(place.last)
    about = {**record, "figures": {**record["figures"], "kept": "last"}}
    Classifier(
        place.student, opened.classes, model_card.write(opened, about)
    ).save_pretrained(folder)
    model.load_state_dict(kept)
