"""Judging a training on held-out labels that may be wrong: its epochs, beside each other.

The figures are those of `labelsieve compare`, on the pictures that the epoch was chosen on, so that
the chosen epoch looks a little better than it is; see
`labelsieve.estimation.validation.noisy_accuracy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from labelsieve.classifiers.comparison.compare import Answers, judged
from labelsieve.data.dataset import Dataset
from labelsieve.estimation.validation import noisy_accuracy
from labelsieve.estimation.validation.noisy_accuracy import ClassNoise
from labelsieve.runs.run import Run

UNKNOWN = (
    "What share of the validation labels is wrong is not known, so nothing is said of "
    "right ones."
)


@dataclass(frozen=True)
class Validation:
    """Pictures that are not trained on, by which an epoch is chosen.

    Attributes:
        images: the data set they belong to.
        rows: [v] int64, which of them.
        labels: [n] int64, of the whole data set.
        noise: how the labels of these rows came about; None where nothing is known of it.
    """

    images: Dataset
    rows: np.ndarray
    labels: np.ndarray
    noise: ClassNoise | None = None


def noise_of(
    opened: Run, images: Dataset, labels: np.ndarray, rows: np.ndarray
) -> ClassNoise | None:
    """What a scan thinks of the labels of some of its own pictures, class by class.

    Of the clean part less is wrong than of all labels, so the shares are those of these rows:
    mean probabilities of the true class, by given class.

    Args:
        images: of the run. labels: [n] int64. rows: [v] int64.

    Returns:
        None without rows, or where the scan does not know one of them.
    """
    # by id: the scan's table has an order of its own
    table = opened.probs()
    where = pc.index_in(images.ids.take(rows), table["sample_id"].combine_chunks())
    if not len(rows) or where.null_count:
        return None
    # classes without a picture have no column in the run
    columns = [images.classes.index(name) for name in opened.classes]
    flat = table["probs"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    probs = flat.reshape(len(table), len(columns))[where.to_numpy()]
    k = len(images.classes)
    # add.at: a class is given more than once
    joint = np.zeros((k, k))
    np.add.at(joint, np.ix_(labels[rows], columns), probs.astype(np.float64))
    return noisy_accuracy.from_joint(joint / joint.sum())


def between(
    right: Mapping[str, np.ndarray], aside: Validation
) -> dict[str, Any] | None:
    """Candidates on the same held-out labels, the one that was chosen first.

    Args:
        right: name -> [v] bool, whether each label of `aside.rows` was given.

    Returns:
        as `labelsieve.classifiers.comparison.compare.compare`; None without pictures.
    """
    if not len(aside.rows):
        return None
    ids = aside.images.ids.take(aside.rows)
    labels = aside.labels[aside.rows]
    classes = tuple(aside.images.classes)
    # all see the same pictures, so nothing is left out
    answers = []
    for name, hit in right.items():
        answers.append(Answers(name, ids, labels, hit, classes))
    return judged(answers, ids, aside.noise, UNKNOWN)
