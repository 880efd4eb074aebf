"""`labelsieve predict` and `evaluate`: a trained classifier on a data set, and against
true labels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelsieve import progress, tables
from labelsieve.classifiers.classifier import BATCH, Classifier
from labelsieve.data.dataset import prepare
from labelsieve.data.load import load
from labelsieve.data.spec import DataSpec
from labelsieve.errors import OptionError
from labelsieve.estimation import metrics
from labelsieve.tables import CORRUPT, OK


def _open(model: str | Path | Classifier, device: str, precision: str) -> Classifier:
    if isinstance(model, Classifier):
        return model
    return Classifier.from_pretrained(model, device=device, precision=precision)


def predict(
    model: str | Path | Classifier,
    data: Any,
    *,
    output: str | Path | None = None,
    top_k: int = 5,
    batch_size: int = BATCH,
    device: str = "auto",
    precision: str = "auto",
) -> pa.Table:
    """Classify a data set: one row per picture, those that cannot be read included.

    Args:
        model: a `Classifier`, its directory or a hub id.
        data: what `labelsieve.load` takes or gives, or a folder of pictures without
            classes, or a list of pictures. Labels are not looked at.
        output: a .parquet or .csv file to write.
        top_k: how many classes a row names, the most probable first.

    Returns:
        sample_id, path, label, probability, label_2, probability_2, …, status, reason.

    Raises:
        LabelsieveError: what is wrong with model or data, and what to do.
    """
    if top_k < 1 or batch_size < 1:
        raise OptionError(
            f"--top-k {top_k} and --batch-size {batch_size} are at least 1."
        )
    if output is not None and Path(output).suffix not in (".parquet", ".csv"):
        raise OptionError(f"-o '{output}' must end in .parquet or .csv.")
    opened = _open(model, device, precision)
    found = _predictions(opened, replace(load(data), labelled=False), top_k, batch_size)
    if output is not None:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        (
            tables.write_parquet
            if Path(output).suffix == ".parquet"
            else tables.write_csv
        )(found, Path(output))
    return found


def _predictions(
    opened: Classifier, spec: DataSpec, top_k: int, batch_size: int
) -> pa.Table:
    prepared = prepare(spec, opened.preprocess)
    manifest = prepared.manifest.table
    status = manifest["status"].to_numpy(zero_copy_only=False)
    usable = np.flatnonzero(status != CORRUPT)
    probs = np.full((len(manifest), len(opened.classes)), np.nan, dtype=np.float32)
    with progress.bar("Classifying", len(usable)) as shown:
        for start in range(0, len(usable), batch_size):
            rows = np.arange(start, min(start + batch_size, len(usable)))
            probs[usable[rows]] = opened.probabilities(prepared.dataset.inputs(rows))
            shown.advance(len(rows))
    columns: dict[str, Any] = {
        "sample_id": manifest["sample_id"],
        "path": manifest["path"],
    }
    order = np.argsort(-probs, axis=1, kind="stable")[
        :, : min(top_k, len(opened.classes))
    ]
    lost = status == CORRUPT
    names = np.array(opened.classes, dtype=object)
    for place, chosen in enumerate(order.T, 1):
        suffix = "" if place == 1 else f"_{place}"
        columns[f"label{suffix}"] = pa.array(names[chosen], pa.string(), mask=lost)
        columns[f"probability{suffix}"] = pa.array(
            probs[np.arange(len(probs)), chosen], pa.float32(), mask=lost
        )
    columns["status"] = pa.array(np.where(lost, CORRUPT, OK), pa.string())
    columns["reason"] = pa.array(
        np.where(lost, manifest["reason"].to_numpy(zero_copy_only=False), ""),
        pa.string(),
    )
    return pa.table(columns).sort_by("sample_id")


def evaluate(
    model: str | Path | Classifier,
    data: Any,
    *,
    truth_column: str | None = None,
    batch_size: int = BATCH,
    device: str = "auto",
    precision: str = "auto",
) -> dict[str, Any]:
    """Judge a model against true labels.

    Args:
        model, data, batch_size, device, precision: as in `predict`.
        truth_column: of true labels; without it the data's labels are the truth.

    Returns:
        images, unreadable, classes, accuracy, per_class, calibration_error, confusion
        (rows true, columns predicted).

    Raises:
        LabelsieveError: what is wrong with model or data, and what to do; also a label
            that the model does not know.
    """
    spec = load(data)
    truth = truth_column or spec.truth_column
    if truth is not None:
        spec = replace(spec, label_column=truth, truth_column=None)
    opened = _open(model, device, precision)
    prepared = prepare(spec, opened.preprocess, classes=opened.classes)
    manifest, images = prepared.manifest.table, prepared.dataset
    probs = np.empty((len(images), len(opened.classes)), dtype=np.float32)
    with progress.bar("Classifying", len(images)) as shown:
        for start in range(0, len(images), batch_size):
            rows = np.arange(start, min(start + batch_size, len(images)))
            probs[rows] = opened.probabilities(images.inputs(rows))
            shown.advance(len(rows))
    found = metrics.classification(probs, images.labels)
    unreadable = int(
        (manifest["status"].to_numpy(zero_copy_only=False) == CORRUPT).sum()
    )
    return {
        "images": len(images),
        "unreadable": unreadable,
        "classes": opened.classes,
        **found,
    }
