"""NTS: the best teacher on noisy labels relabels, its student learns from that; the better stays.

Chen, Ye, Chen, Zhao, Heng, "Robustness of Accuracy Metric and its Inspirations in Learning with
Noisy Labels", AAAI 2021 (arXiv 2012.04193), read with the authors' code
(chenpf1025/RobustnessAccuracy):

    teacher   trained on the labels; the epoch that agrees best with held-out noisy labels
    student   trained from the start on the teacher's answers to whole pictures (the most probable
              class); again the best epoch on the same held-out labels, which stay as given

Differences: the paper keeps the student. Here the better of the two on the held-out labels is kept,
the student where they are level, with the paired test of
`labelsieve.estimation.validation.noisy_accuracy` between them. A training costs twice as much.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from labelsieve.classifiers.comparison import held_out
from labelsieve.classifiers.fine_tuning import Fitting
from labelsieve.classifiers.trainers import Beginning, Place
from labelsieve.classifiers.training_set import TRAIN

OPTION = "recipe"
TEACHER = "teacher"
STUDENT = "student"


def run(beginning: Beginning, place: Place) -> tuple[Fitting, dict[str, Any]]:
    """Train a teacher, then its student; gives the one that is kept, with figures of both."""
    # checkpoints of each in a folder of its own: a stop in either loses nothing of the other
    teacher = beginning.fitting(Fitting, beginning.samples)
    taught = teacher.run(place.folder / TEACHER, place.identity, place.val)
    samples, changed = answered(teacher, beginning.samples)
    student = beginning.fitting(Fitting, samples)
    learned = student.run(place.folder / STUDENT, place.identity, place.val)
    # the student first, as it is kept where both are level
    right = {}
    for name, fitting in ((STUDENT, student), (TEACHER, teacher)):
        right[name] = fitting.agreement(place.val)
    aside = teacher.validation(place.val)
    between = held_out.between(right, aside)
    # without held-out labels nothing can be said against the paper's choice
    best = STUDENT if between is None else between["best"]
    facts = {
        # with its epochs, so that what was kept can be told from what was left
        "teacher": {"chosen": taught["chosen"], "history": taught["history"]},
        "student": {"chosen": learned["chosen"], "history": learned["history"]},
        "trained_from": best,
        "relabelled": changed,
        "held_out": between,
    }
    if best == TEACHER:
        return teacher, {**taught, **facts}
    return student, {**learned, **facts}


def answered(teacher: Fitting, samples: pa.Table) -> tuple[pa.Table, int]:
    """Samples that train, labelled by the teacher, and how many of them that changes."""
    images = teacher.images
    probs = teacher.probabilities(images, teacher.rows)
    names = np.array(images.classes, dtype=object)[probs.argmax(1)]
    # by id, as samples have another order than images
    said = dict(zip(images.ids.take(teacher.rows).to_pylist(), names, strict=True))
    labels, changed = [], 0
    for row in samples.to_pylist():
        label = row["label"]
        # held-out labels stay as they were given: a teacher would judge itself
        if row["part"] == TRAIN:
            label = said[row["sample_id"]]
        changed += label != row["label"]
        labels.append(label)
    column = samples.column_names.index("label")
    return samples.set_column(column, "label", pa.array(labels, pa.string())), changed
