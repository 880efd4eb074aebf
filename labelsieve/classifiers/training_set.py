"""What a classifier is trained on: one row per image of a run, with its label, its weight and why.

Origins: clean (the scan found nothing wrong), relabelled (a suggestion in place of the
given label), reviewed (a person said what it is), flagged (held to be wrong), left-out (a
person said that the label is wrong or that there is none, or named a class that the run
does not have).
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from labelsieve.data.dataset import Dataset
from labelsieve.data.labels import SET
from labelsieve.errors import DataError, OptionError
from labelsieve.features.probe import split
from labelsieve.runs.decisions import Decision
from labelsieve.tables import SAMPLES

Use = Literal["clean", "clean+relabelled", "certified", "all", "weighted", "gmm"]
USES: tuple[Use, ...] = typing.get_args(Use)
ORIGINS = ("clean", "relabelled", "reviewed", "flagged", "left-out")
# Values of the column `part`.
TRAIN = "train"
VALIDATION = "validation"
NONE = "none"


def refuse_sets(kind: str) -> None:
    """Raises OptionError where the labels of a run are sets, before anything is computed."""
    if kind == SET:
        raise OptionError(
            "train takes one label per item; this run has sets of labels.",
            "labelsieve score judges other sets with what the scan learned; labelsieve export"
            " writes the corrected ones for another trainer.",
        )


def choose(
    scores: pa.Table,
    decisions: Mapping[str, Decision],
    classes: Sequence[str],
    use: Use,
    min_confidence: float,
    certified: Collection[str] = (),
) -> pa.Table:
    """Labels and weights, one row per image that was scored, by sample id; `part` is still empty.

    Args:
        scores: of a run.
        decisions: by sample id; a person's word outweighs the scan's.
        classes: of the run.
        use: "clean": labels that are not flagged; "clean+relabelled": also suggestions
            that are at least `min_confidence` probable; "certified": labels of `certified`;
            "all" and "gmm": every given label; "weighted": every given label, by p_clean.
        certified: ids of the clean part that an audit promises.
    """
    rows = []
    for about in scores.sort_by("sample_id").to_pylist():
        if about["p_clean"] is None:  # it could not be read
            continue
        decision = decisions.get(about["sample_id"])
        # a person who skipped said nothing
        if decision is not None and decision.verdict != "skip":
            label, weight, origin = _decided(about, decision, classes)
        elif use == "certified":
            label, weight, origin = _certified(about, certified)
        else:
            label, weight, origin = _scanned(about, use, min_confidence)
        rows.append(
            {
                "sample_id": about["sample_id"],
                "given_label": about["given_label"],
                "label": label,
                "weight": weight,
                "origin": origin,
                "part": NONE,
            }
        )
    return pa.Table.from_pylist(rows, schema=SAMPLES)


def _decided(
    about: Mapping[str, Any], decision: Decision, classes: Sequence[str]
) -> tuple[str, float, str]:
    label = about["given_label"] if decision.verdict == "keep" else decision.label
    # no class at all, or one that the run has no number for: nothing to learn from it
    if label is None or label not in classes:
        return about["given_label"], 0.0, "left-out"
    return label, 1.0, "reviewed"


def _certified(
    about: Mapping[str, Any], certified: Collection[str]
) -> tuple[str, float, str]:
    # the promise outweighs the scan's flags: both rest on the same scores
    listed = about["sample_id"] in certified
    return about["given_label"], float(listed), "clean" if listed else "flagged"


def _scanned(
    about: Mapping[str, Any], use: Use, min_confidence: float
) -> tuple[str, float, str]:
    given, flagged = about["given_label"], bool(about["is_label_issue"])
    sure = (
        flagged
        # of what belongs to no class there is nothing to learn
        and about["suggested_label"] is not None
        and about["suggested_label"] != given
        and about["suggested_prob"] >= min_confidence
    )
    if use == "clean+relabelled" and sure:
        return about["suggested_label"], 1.0, "relabelled"
    weight = about["p_clean"] if use == "weighted" else 1.0
    counts = not flagged or use in ("all", "weighted", "gmm")
    return given, weight if counts else 0.0, "flagged" if flagged else "clean"


def divide(
    samples: pa.Table, share: float, seed: int, validate: str = "clean"
) -> pa.Table:
    """The same rows with `part` filled in.

    A part of what is held to be clean, whatever is trained on, is kept aside for validation:
    of every class alike, drawn from the seed. A class never loses its last training image to
    it.

    Args:
        share: of the rows that may validate; 0 keeps none.
        validate: "clean", or "given": flagged and relabelled rows, too, with their given labels.

    Raises:
        DataError: less than two classes are left to train on.
    """
    label = samples["label"].to_numpy(zero_copy_only=False)
    given = samples["given_label"].to_numpy(zero_copy_only=False)
    origin = samples["origin"].to_numpy(zero_copy_only=False)
    weight = samples["weight"].to_numpy()
    part = np.where(weight > 0, TRAIN, NONE).astype(object)
    # what a person left out has no label to be judged by
    usual = ("clean", "reviewed")
    allowed = usual if validate == "clean" else (*usual, "relabelled", "flagged")
    aside = np.flatnonzero(np.isin(origin, allowed))
    if share > 0 and len(aside) > 1:
        numbers = np.unique(label[aside], return_inverse=True)[1]
        # one of the folds of a cross-validation has the share of every class alike
        aside = aside[split(numbers, round(1 / share), seed) == 0]
        part[aside] = VALIDATION
        # back where a class would have no image left to train on
        lost = ~np.isin(label[aside], label[part == TRAIN])
        part[aside[lost]] = np.where(weight[aside[lost]] > 0, TRAIN, NONE)
    left = np.unique(label[part == TRAIN])
    if len(left) < 2:
        raise DataError(
            f"{'Only one class has' if len(left) else 'No class has'} images to train on.",
            "Use --use all, or scan with another method or rule.",
        )
    # a suggestion comes from the model that is to be judged
    judged = (part == VALIDATION) & (origin == "relabelled")
    columns = {"label": np.where(judged, given, label), "part": part}
    for name, values in columns.items():
        column = pa.array(values, pa.string())
        samples = samples.set_column(samples.column_names.index(name), name, column)
    return samples


def count(samples: pa.Table) -> dict[str, Any]:
    """How many images of which origin train, and how many validate."""
    part = samples["part"].to_numpy(zero_copy_only=False)
    origin = samples["origin"].to_numpy(zero_copy_only=False)
    trained = {
        name: int(((part == TRAIN) & (origin == name)).sum()) for name in ORIGINS
    }
    return {
        "train": int((part == TRAIN).sum()),
        "validation": int((part == VALIDATION).sum()),
        "left_out": int((part == NONE).sum()),
        "origins": {name: number for name, number in trained.items() if number},
    }


def in_order(
    samples: pa.Table, images: Dataset
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels [n] as class numbers, weights [n] and parts [n] of the images, by sample id."""
    by_id = {row["sample_id"]: row for row in samples.to_pylist()}
    number = {name: k for k, name in enumerate(images.classes)}
    rows = [by_id[i] for i in images.ids.to_pylist()]
    labels = np.array([number[row["label"]] for row in rows], dtype=np.int64)
    weights = np.array([row["weight"] for row in rows])
    return labels, weights, np.array([row["part"] for row in rows], dtype=object)
