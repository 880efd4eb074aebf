"""Doubts of a second reference classifier where class names are the first.

A sentence encoder was never taught to answer with class names. Its answers may fit the labels far
better than chance and be wrong for three texts in ten, and T takes these for wrong labels: of
MiniLM's answers to NoisyAG-News 17 % where no label is wrong, as much as where a fifth is. A probe
of the texts, out of fold, predicts these labels much better, and labels that are predicted are no
errors; but it also predicts the errors that people make again and again, and sees none there: of
the same labels with a fifth wrong it takes 1 % for wrong, and without errors they are about as
likely to it. Which of the two is right cannot be told then, so names stay the reference, and what
the probe says is tenable, too. A probe to which labels are clearly likelier with errors than
without any has not learned them all, and is the reference where it predicts labels better.

Of texts alone: towers of pictures are taught with names, and theirs is the better vote.

Shapes: n texts, k classes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from labelsieve.estimation.doubt import ERRORS, SUPPORT
from labelsieve.estimation.transition import (
    Transition,
    clearly_below,
    fit_transition,
)
from labelsieve.features.task import Task


def is_asked(task: Task) -> bool:
    """Whether the items are texts."""
    return getattr(task.encoder, "modality", "images") == "texts"


def sees_errors(probe: Transition) -> bool:
    """Whether labels are clearly likelier with errors than without any, by T of a probe.

    Of 2,000 posts of 20 Newsgroups with 19 % planted, .10 and .13 with a standard error of .01,
    as they are .0115 (.005); of NoisyAG-News, a fifth wrong by people, .0016 (.002) and .0000
    (two times 3,000 texts), its true labels .012 (.003).
    """
    gain, chance = probe.support
    return gain > max(SUPPORT[1], ERRORS[1] * chance)


def errors_show(task: Task, answers: np.ndarray) -> bool:
    """Whether texts are judged by a probe, if it predicts labels better than names that fit.

    Args:
        answers: [n, k] class probabilities of the probe, out of fold.
    """
    if not is_asked(task):
        return False
    probe = answers.astype(np.float64)
    return sees_errors(fit_transition(probe, task.data.labels, task.seed))


def widened(transition: Transition, other: Transition) -> Transition:
    """T of class names, with the rates of a probe that predicts the labels as well or better.

    Args:
        transition: found with the answers of class names.
        other: with those of the probe, out of fold, for the same labels and seed.
    """
    if clearly_below(other.held_out, transition.held_out):
        return transition
    return replace(transition, rates=(*transition.rates, *other.rates))
