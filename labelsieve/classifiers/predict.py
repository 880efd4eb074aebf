"""`labelsieve predict` and `evaluate`: a trained classifier on a data set, and against
true labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve import tables
from labelsieve.classifiers.adaptation.second_opinion import ADAPTATIONS, opinions
from labelsieve.classifiers.classifier import BATCH, Classifier
from labelsieve.classifiers.training_set import TRAIN
from labelsieve.data.batches import batches
from labelsieve.data.dataset import Dataset, Prepared, prepare
from labelsieve.data.load import load, refuse_input
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError, unknown
from labelsieve.estimation import metrics
from labelsieve.runs.run import Run
from labelsieve.tables import CORRUPT, OK, refuse_other

SAMPLES = "samples.parquet"  # of a classifier's folder: what it was trained on
NOUN = b"noun"  # in the metadata of a table of predictions
# how a table of predictions is written, by the ending of its name
# how every table of answers begins, by which an earlier one is known
FIRST = ("sample_id", "id", "path", "label", "probability")
WRITERS = {".parquet": tables.write_parquet, ".csv": tables.write_csv}


def noun_of(table: pa.Table) -> str:
    """What people call an item of a table of predictions: "image", "text"."""
    return str((table.schema.metadata or {}).get(NOUN, b"image").decode())


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
    adapt: str | None = None,
    context: str | Path | Run | None = None,
    settings: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Classify a data set: one row per item in the data's order, unreadable ones included.

    Args:
        model: a `Classifier`, its directory or a hub id.
        data: what `labelsieve.load` takes or gives, or a folder of pictures without
            classes, or a list of pictures. Labels are not looked at.
        output: a .parquet or .csv file to write.
        top_k: how many classes a row names, the most probable first.
        adapt: "in-context" or "in-context-tokens": a second opinion, slowly; `context` and
            `settings` are those of `labelsieve.classifiers.adaptation.second_opinion.opinions`.
            Column `before` has the label without it.

    Returns:
        sample_id, id (what the data call the item), path, label, probability, label_2,
        probability_2, …, status, reason.

    Raises:
        LabelsieveError: what is wrong with model or data, and what to do.
    """
    if top_k < 1 or batch_size < 1:
        raise OptionError(
            f"--top-k {top_k} and --batch-size {batch_size} must be at least 1."
        )
    if adapt is not None and adapt not in ADAPTATIONS:
        raise OptionError(unknown("Adaptation", adapt, ADAPTATIONS))
    if adapt is None and (context is not None or settings):
        raise OptionError("--context and --set are settings of --adapt.")
    if output is not None and Path(output).suffix not in WRITERS:
        raise OptionError(f"-o '{output}' must end in {' or '.join(WRITERS)}.")
    # labels are not looked at, so a folder of pictures without classes will do
    spec = replace(load(data), labelled=False)
    if output is not None:
        refuse_input(Path(output), spec.path())
        refuse_other(Path(output), FIRST)
    opened = _open(model, device, precision)
    prepared = prepare(spec, opened.preprocess)
    probs = _probabilities(opened, prepared.dataset, batch_size)
    manifest = prepared.manifest.table
    listed = prepared.manifest.listed
    table = _as_table(manifest, probs, opened.classes, top_k).take(listed)
    if adapt is not None:
        before = table["label"]
        probs = opinions(opened, prepared.dataset, adapt, context, settings)
        table = _as_table(manifest, probs, opened.classes, top_k).take(listed)
        table = table.append_column("before", before)
    table = table.replace_schema_metadata({NOUN: opened.backbone.inputs.noun})
    if output is not None:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[path.suffix](table, path)
    return table


def trained_on(model: str | Path | Classifier, ids: pa.Array) -> pa.BooleanArray:
    """[n] bool, whether a model was trained on items, as its folder says.

    By content: the same item may be called otherwise in other data.

    Args:
        model: as in `predict`; of one without a folder, or a foreign one, nothing is known.
        ids: [n] sample ids.
    """
    path = Path("" if isinstance(model, Classifier) else model) / SAMPLES
    if not path.is_file():
        return pa.array(np.zeros(len(ids), dtype=bool))
    samples = tables.read_parquet(path)
    trained = samples.filter(pc.equal(samples["part"], TRAIN))["sample_id"]
    return pc.is_in(_contents(ids), _contents(trained.combine_chunks()))


def _contents(ids: pa.Array) -> pa.Array:
    """What stands behind the key of each sample id: the hash of its content."""
    return pa.array([name.rpartition("#")[2] for name in ids.to_pylist()], pa.string())


def _probabilities(opened: Classifier, images: Dataset, batch_size: int) -> np.ndarray:
    """[n, k] float32 of the images that can be read, in the order of the data set."""
    probs = np.empty((len(images), len(opened.classes)), dtype=np.float32)
    unit = f"{images.noun}s"
    for rows in batches(len(images), batch_size, "Classifying", unit=unit):
        probs[rows] = opened.probabilities(images.inputs(rows))
    return probs


def _as_table(
    manifest: pa.Table, probs: np.ndarray, classes: Sequence[str], top_k: int
) -> pa.Table:
    """One row per picture; those that cannot be read have empty answers and a reason.

    Args:
        probs: [m, k] of the rows that can be read, in the order of the manifest.
    """
    status = manifest["status"].to_numpy(zero_copy_only=False)
    lost = status == CORRUPT
    # rows that cannot be read stay in the table, without an answer
    every = np.full((len(manifest), len(classes)), np.nan, dtype=np.float32)
    every[~lost] = probs
    columns: dict[str, Any] = {
        "sample_id": manifest["sample_id"],
        # the hash behind it is ours; what stands before it is what people know
        "id": pc.replace_substring_regex(manifest["sample_id"], "#[^#]*$", ""),
        "path": manifest["path"],
    }
    # stable: equally probable classes stay in their order
    order = np.argsort(-every, axis=1, kind="stable")[:, :top_k]
    names = np.array(classes, dtype=object)
    for rank, chosen in enumerate(order.T, 1):
        suffix = "" if rank == 1 else f"_{rank}"
        probability = every[np.arange(len(every)), chosen]
        columns[f"label{suffix}"] = pa.array(names[chosen], pa.string(), mask=lost)
        columns[f"probability{suffix}"] = pa.array(probability, pa.float32(), mask=lost)
    reason = manifest["reason"].to_numpy(zero_copy_only=False)
    columns["status"] = pa.array(np.where(lost, CORRUPT, OK), pa.string())
    columns["reason"] = pa.array(np.where(lost, reason, ""), pa.string())
    return pa.table(columns)


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
        images, trained_on (how many of them the model was trained on, as its folder says),
        noun, unreadable, classes, accuracy, per_class, calibration_error, confusion
        (rows true, columns predicted).

    Raises:
        LabelsieveError: what is wrong with model or data, and what to do; also a label
            that the model does not know.
    """
    spec = load(data)
    truth = truth_column or spec.truth_column
    # given labels would be judged otherwise, and they may be wrong
    if truth is not None:
        spec = replace(spec, label_column=truth, truth_column=None)
    opened = _open(model, device, precision)
    prepared = _with_truth(spec, opened, truth is not None)
    probs = _probabilities(opened, prepared.dataset, batch_size)
    status = prepared.manifest.table["status"].to_numpy(zero_copy_only=False)
    return {
        "images": len(prepared.dataset),
        "trained_on": trained_on(model, prepared.dataset.ids).true_count,
        "noun": opened.backbone.inputs.noun,
        "unreadable": int((status == CORRUPT).sum()),
        "classes": opened.classes,
        **metrics.classification(probs, prepared.dataset.labels),
    }


def _with_truth(spec: DataSpec, opened: Classifier, named: bool) -> Prepared:
    """The data, whose labels are the truth; `named`: by the column of true labels."""
    try:
        return prepare(spec, opened.preprocess, classes=opened.classes)
    except DataError as error:
        if not named:
            raise
        # sources read it as the labels; the user has called it the truth
        said = "--label-column", "--truth-column"
        # what is no file has no name that the word could be a part of
        if not isinstance(spec.data, str | Path):
            said = "label_column", "truth_column"
        raise type(error)(*(w.replace(*said) for w in (error.what, error.do))) from None
