"""Wrong labels that depend on the picture: how many more there may be than T alone explains.

People mislabel hard pictures more often than easy ones, and take them for what they look like. A
transition matrix by class knows neither. On a picture that the reference classifier is sure of,
every wrong label shows; where it hesitates between two classes, a label that follows the looks of
the picture agrees with its answers and is counted as right. So with people's errors the share of
wrong labels comes out too low, by an amount that no number of images makes smaller.

Model: with the class probabilities q_i of picture i, T of all images, and e_k = 1 − T[k, k], class
k gets a wrong label with probability

    c · e_k · u_i^growth,    u_i = (1 − max_j q_i(j)) / (1 − 1/k),

which goes to class j in the proportions

    (1 − directed) T[k, j] / e_k + directed · √q_i(j) / Σ_{l≠k} √q_i(l).

u_i is how little is known of the picture, 0 to 1: a power law, since the logarithm of the odds of
an error rises about linearly with log u on the set that `LEVELS` was chosen with. Only c is found
anew, by maximum likelihood of the labels; c, growth and directed together decide how many labels
are wrong. `growth` and `directed` cannot be estimated: errors that follow q exactly leave no trace.
This is an analysis of sensitivity (Rosenbaum, "Observational Studies", 2002, chapter 4): levels of
dependence are supposed, and those that the labels contradict are dropped
(`labelsieve.estimation.transition`). What the labels cannot contradict stays in the interval.

Shapes: n images, k classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelsieve.estimation.calibration import parts

NEWTON = 30  # steps at most; five are usual
# Change of c below which Newton's method stops: far finer than an estimate is shown.
CLOSE = 1e-5


class Level(NamedTuple):
    """How far errors depend on the picture; both 0 would be T alone."""

    directed: float  # share of wrong labels that follow what the picture looks like
    growth: float  # power of u that the chance of an error grows with


# What was seen of people (CIFAR-10N's random_label1, images 0 to 7,999): growth about .17, and a
# third of the wrong labels on pictures that the model takes for another class are that class,
# where T alone expects a fifth. The first level is half of that, the second a good half more. The
# third is for sets of few errors, nearly all of hard pictures: with a part of these errors, 9 % of
# the labels and the likelier the harder the picture, the second level just reached the truth.
LEVELS = (Level(0.25, 0.1), Level(0.5, 0.2), Level(0.75, 0.3))


class Explained(NamedTuple):
    """The labels under one level of dependence."""

    fitted: np.ndarray  # [n] log-likelihood of each label
    rate: float  # share of wrong labels


def explain(
    calibrated: np.ndarray, labels: np.ndarray, matrix: np.ndarray, level: Level
) -> Explained:
    """How likely the labels are, and how many are wrong, if errors depend on the picture.

    Args:
        calibrated: [n, k] class probabilities q.
        labels: [n] given labels.
        matrix: T [k, k] of all images.
    """
    given = calibrated[np.arange(len(labels)), labels]
    wrong = np.empty(len(labels))
    spared = np.empty(len(labels))
    for part in parts(*calibrated.shape):
        wrong[part], spared[part] = _of_errors(
            calibrated[part], labels[part], matrix, level
        )
    # likelihood of a label: given + c (wrong - given spared)
    slope = wrong - given * spared
    scale = _scale(given, slope, 1 / max(float(spared.max()), 1e-9))
    likelihoods = (given + scale * slope).clip(1e-30)
    return Explained(
        np.log(likelihoods), float((scale * wrong / likelihoods).mean().clip(0, 1))
    )


def _of_errors(
    calibrated: np.ndarray, labels: np.ndarray, matrix: np.ndarray, level: Level
) -> tuple[np.ndarray, np.ndarray]:
    """At c = 1: probability [n] of each label as a wrong one, and of an error in its class."""
    # the diagonal of T says how often each class is labelled right
    rows = np.arange(len(labels))
    k = len(matrix)
    # certainty in the last digit is rounding, and 0 to the power of `growth` would rule errors out
    unsure = (1 - calibrated.max(1)).clip(1e-9) / (1 - 1 / k)
    strength = unsure**level.growth
    errors = 1 - np.diag(matrix)
    looks = np.sqrt(calibrated.clip(1e-9))
    # of each true class, how often its wrong label would be this one by the picture's looks
    others = (looks.sum(1, keepdims=True) - looks).clip(1e-12)
    by_looks = errors * looks[rows, labels][:, None] / others
    wrong = (1 - level.directed) * matrix.T[labels] + level.directed * by_looks
    # the label of its own class is no error
    wrong[rows, labels] = 0
    joint = np.einsum("nk,nk->n", calibrated, wrong)
    return strength * joint, strength * errors[labels]


def _scale(given: np.ndarray, slope: np.ndarray, most: float) -> float:
    """The c in (0, most) under which labels of likelihood given + c slope [n] are likeliest."""
    scale = min(1.0, most / 2)
    for _ in range(NEWTON):
        # the log-likelihood is concave in c: its derivative falls
        ratio = slope / (given + scale * slope).clip(1e-30)
        step = float(ratio.sum() / max(float((ratio**2).sum()), 1e-30))
        # half of the way to either end at most, so that no probability leaves [0, 1]
        new = min(max(scale + step, scale / 2), (scale + most) / 2)
        if abs(new - scale) < CLOSE * scale:
            break
        scale = new
    return scale
