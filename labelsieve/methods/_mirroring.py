"""Whether a picture the other way round still shows its class: measured, not asked.

Photographs do; letters, digits, road signs and left hands do not. A linear probe of half of a
sample judges the other half as it is and mirrored. Wrong labels count against both alike.
"""

from __future__ import annotations

import numpy as np

from labelsieve.features import probe
from labelsieve.features.cached import Mirrored
from labelsieve.features.task import Task

SAMPLE = 2_000  # images
# At most so many are mirrored, which is a pass of the tower: with few images it would be half of
# one for all. Two standard errors of so many differ by less than `LOSS` of most accuracies.
MIRRORED = 250
# Share of right answers that mirroring may cost. CIFAR-10 and clothes with both towers of ours: at
# most 1 %; handwritten digits: 56 and 67 %.
LOSS = 0.1
CHANCE = 2.0  # standard errors that the loss must exceed


def keeps_classes(task: Task) -> bool:
    """Whether pictures may be mirrored; so they may where too few images tell."""
    data = task.data
    n = len(data)
    # n is part of the seed, so that runs on parts of one data set draw independently
    order = np.random.default_rng([task.seed, n]).permutation(n)[:SAMPLE]
    learned, judged = np.sort(order[::2]), np.sort(order[1::2][:MIRRORED])
    if not len(judged):
        return True
    weight, bias = probe.linear(
        task.features.some(learned), data.labels[learned], len(data.classes), task.seed
    )
    right = []
    for view in (None, Mirrored()):
        answers = task.features.some(judged, view) @ weight.T + bias
        right.append(answers.argmax(1) == data.labels[judged])
    return not _clearly_lost(right[0], right[1])


def _clearly_lost(whole: np.ndarray, mirrored: np.ndarray) -> bool:
    """Whether right answers [m] were lost by mirroring, more than `LOSS` and than chance."""
    lost = whole.astype(float) - mirrored
    error = lost.std() / np.sqrt(len(lost))
    return bool(lost.mean() > max(LOSS * whole.mean(), CHANCE * error))
