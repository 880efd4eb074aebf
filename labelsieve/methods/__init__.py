"""Detectors of wrong labels: one method per file.

A file of this room offers:

    COST: str                    what it takes, in words
    NEEDS: tuple[str, ...]       of "text" (class names that mean something) and
                                 "pixels" (passes of pictures through the tower)
    JUDGES: tuple[str, ...]      kinds of labels it can judge (`labelsieve.data.labels`)
    Settings                     frozen dataclass, defaults with their source
    PRESETS: dict[str, dict]     named settings
    detect(task, settings) -> Evidence
    judge(task, settings, learned) -> Evidence    optional: labels of other images, with the
                                                  tensors that `detect` has learned

`task` is a `labelsieve.features.task.Task`; its data have no true labels. Row numbers are for
use inside `detect` alone: `Evidence` is in the same order, and the pipeline joins it with ids.
A higher p_clean always means that the label is more likely right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from labelsieve.estimation.sets.shares import SetNoise
from labelsieve.estimation.transition import Transition


@dataclass(frozen=True)
class Heat:
    """Where pictures disagree with their labels, of those that a person may look at.

    rows: [m] int, rows of the pictures, ascending.
    maps: [m, g, g] float in 0..1, of what the model saw of the picture, row by row: the share of a
        part that speaks for another class, 0.5 where it speaks for neither.
    """

    rows: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class Evidence:
    """What a method says about the labels of n images of k classes.

    p_clean, flagged and suggested have the shape of the data's labels: [n] where each image has
    one, [n, k] where it has a set of them, of which each class is there or is not.

    p_clean: [n] float, probability that the given label is right.
    flagged: [n] bool, labels called wrong.
    suggested: [n] int, the most likely class, `labelsieve.data.labels.NONE` for none of them; of
        sets [n, k] bool, the suggested set.
    probs: [n, k] float, class probabilities; rows sum to one. Of sets the probability that the
        picture shows each class, given picture and label.
    columns: further columns for the scores, name -> [n].
    posterior: whether `probs` take the given label into account, or come from the picture alone.
    rates: shares of wrong labels under other assumptions that are about as likely; they widen
        the interval.
    learned: tensors by name, what `judge` of the same file needs; None where it has no `judge`.
    transition: how labels arise from classes, where the method has estimated it from `probs`.
    estimate: of sets, how many labels are missing and extra.
    facts: what the numbers depend on, for run.json: temperatures, the rule of the flags, rates.
    heat: maps of some pictures, for the pages.
    """

    p_clean: np.ndarray
    flagged: np.ndarray
    suggested: np.ndarray
    probs: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    learned: dict[str, Tensor] | None = None
    posterior: bool = False
    rates: tuple[float, ...] = ()
    transition: Transition | None = None
    estimate: SetNoise | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    heat: Heat | None = None
