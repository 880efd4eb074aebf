"""Doubts of a second reference classifier where class names are the first.

A sentence encoder was never taught to answer with class names. Its answers may fit the labels far
better than chance and be wrong for three texts in ten, and T takes these for wrong labels: of
MiniLM's answers to NoisyAG-News 17 % where no label is wrong, as much as where a fifth is. A probe
of the texts, out of fold, predicts these labels much better, and labels that are predicted are no
errors; but it also predicts the errors that people make again and again. Which of the two is right
cannot be told from labels, so names stay the reference, and what the probe says is tenable, too.

Of texts alone: towers of pictures are taught with names, and theirs is the better vote.

Shapes: n texts, k classes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labelsieve.estimation.transition import (
    Transition,
    clearly_below,
    fit_transition,
)
from labelsieve.features.task import Task


def is_asked(task: Task) -> bool:
    """Whether the items are texts."""
    return getattr(task.encoder, "modality", "images") == "texts"


def widened(
    transition: Transition, answers: np.ndarray, labels: np.ndarray, seed: int
) -> Transition:
    """T of class names, with the rates of a probe that predicts the labels as well or better.

    Args:
        transition: found with the answers of class names.
        answers: [n, k] of the probe, out of fold.
        labels: [n] given.
        seed: that `transition` was fitted with.
    """
    other = fit_transition(answers.astype(np.float64), labels, seed)
    if clearly_below(other.held_out, transition.held_out):
        return transition
    return replace(transition, rates=(*transition.rates, *other.rates))
