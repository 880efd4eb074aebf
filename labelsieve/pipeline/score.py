"""`labelsieve score`: judge other images with the detector of a run."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from labelsieve import registry, tables
from labelsieve.data.dataset import prepare
from labelsieve.data.load import load, refuse_input
from labelsieve.data.sources import Source, open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.features.open_set import outsiders
from labelsieve.features.task import Task
from labelsieve.files import read_json
from labelsieve.methods import Evidence
from labelsieve.models.device import choose_device, choose_precision
from labelsieve.models.load import load_encoder
from labelsieve.pipeline import changes, results
from labelsieve.progress import plain
from labelsieve.runs.run import Run
from labelsieve.settings import resolve

# What numbers of other shapes and kinds end in, in numpy and torch.
UNFIT = (
    *(SafetensorError, LookupError, ValueError, TypeError, ArithmeticError),
    RuntimeError,
)
# by suffix of the file
WRITERS = {".parquet": tables.write_parquet, ".csv": tables.write_csv}


def score(
    detector: str | Path | Run,
    data: Any,
    *,
    output: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> pa.Table:
    """Judge the labels of other images with the detector of a run.

    Args:
        detector: a run or its folder.
        data: what `load` takes, with the same classes, or some of them.
        output: a .parquet or .csv file to write; None only gives the table.
        device, precision: as in `ScanOptions`.

    Returns:
        One row per image, as in the scores of a run.

    Raises:
        OptionError: `output` has another suffix, or is the data themselves.
        DataError: the data have a label that the detector does not know.
        RunError: the run's method learned nothing that can be applied, its files are damaged, or
            those of its model have changed.
    """
    # a run that is open has verified its files already
    run = detector if isinstance(detector, Run) else Run(detector)
    if not (run.folder / "detector" / "config.json").exists():
        raise RunError(
            f"'{run.folder}' has no detector that can be applied to other images.",
            "Scan with --method deft or knn.",
        )
    # whatever can be wrong with it is found before the work begins
    given = load(data)
    source = _labelled(given)
    target = None if output is None else _target(Path(output), given.path())
    config = _config(run)
    method = registry.load("methods", config["method"])
    where = choose_device(device)
    dtype = choose_precision(precision, where)
    changes.refuse_other_model(run.folder, config["model"], run.record)
    encoder = load_encoder(config["model"], device=where, dtype=dtype)
    # classes as the detector knows them, also where the data name them otherwise
    names = dict(zip(config["classes"], config["names"], strict=True))
    spec = replace(given, class_names=names, template=config["template"])
    judged = method.JUDGES
    known = config["classes"]
    prepared = prepare(
        spec, encoder.preprocess, source=source, classes=known, kinds=judged
    )
    # through the bounds again: a configuration is a file that may have been edited
    settings = resolve(method.Settings, config["settings"])
    task = Task(prepared.dataset, encoder)
    evidence = _judged(run, lambda learned: method.judge(task, settings, learned))
    # the columns of a scan: a table of both is read in one way
    columns = {**outsiders.columns(task), **evidence.columns}
    evidence = replace(evidence, columns=columns)
    table = results.scores_table(prepared.manifest.table, prepared.dataset, evidence)
    if target is not None:
        WRITERS[target.suffix](table, target)
    return table


def _config(run: Run) -> dict[str, Any]:
    """What a scan wrote beside the numbers of a detector.

    Raises:
        RunError: the file holds something else.
    """
    config = read_json(run.file("detector/config.json"))
    told = config if isinstance(config, dict) else {}
    classes, names = told.get("classes", ()), told.get("names", ())
    lists = _are_texts(classes) and _are_texts(names) and len(classes) == len(names)
    texts = _are_texts([told.get(name) for name in ("method", "model", "template")])
    if not (lists and texts and isinstance(told.get("settings"), dict)):
        raise RunError(
            f"'{run.folder}/detector/config.json' is not what a scan writes.",
            "Scan again, with -o NEW or --force.",
        )
    return told


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, str) for v in values)


def _judged(run: Run, judge: Callable[[dict[str, Tensor]], Evidence]) -> Evidence:
    """What a detector says of images, where its numbers are such as a scan writes.

    Raises:
        RunError: they are not; checksums that are right do not say who wrote a run.
    """
    broken = f"The detector of '{run.folder}' cannot judge images"
    again = "Scan again, with -o NEW or --force."
    try:
        learned = load_file(run.file("detector/detector.safetensors"))
        bad = [name for name, numbers in learned.items() if not _is_finite(numbers)]
        if bad:
            raise RunError(
                f"{broken}: '{plain(bad[0])}' is not of finite numbers.", again
            )
        evidence = judge(learned)
    except torch.OutOfMemoryError:
        raise
    except UNFIT as error:
        raise RunError(f"{broken}: its numbers do not fit.", again) from error
    # numbers may be finite and yet lead to no probabilities
    values = np.asarray(evidence.p_clean, float)
    if not ((values >= 0) & (values <= 1)).all():
        raise RunError(f"{broken}: it gives numbers that are no probabilities.", again)
    return evidence


def _is_finite(numbers: Tensor) -> bool:
    # complex numbers would lose their second half without a word
    return not numbers.is_complex() and bool(numbers.isfinite().all())


def _labelled(spec: DataSpec) -> Source:
    """The data, opened.

    Raises:
        DataError: they cannot be read; where that is for want of labels, with what names some.
    """
    try:
        return _begun(spec)
    except DataError as error:
        # a column that was named and is missing is a slip, not data without labels
        if spec.label_column is not None or not _reads_without(spec):
            raise
        names = f"labelsieve predict CLASSIFIER {shlex.quote(str(spec.data))}"
        do = f"{error.do} To name classes where no labels are to be judged: {names}"
        raise DataError(error.what, do) from error


def _begun(spec: DataSpec) -> Source:
    """The data, whose first row could be read: folders are listed only then."""
    source = open_source(spec)
    next(iter(source.rows()), None)
    return source


def _reads_without(spec: DataSpec) -> bool:
    try:
        _begun(replace(spec, labelled=False))
    except DataError:
        return False
    return True


def _target(path: Path, data: Path | None) -> Path:
    """A table to write later, in a folder that can be made, and not over the data."""
    if path.suffix not in WRITERS:
        raise OptionError(f"-o '{path}' must end in .parquet or .csv.")
    refuse_input(path, data)
    tables.refuse_other(path, tables.SCORES.names[:4])
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
