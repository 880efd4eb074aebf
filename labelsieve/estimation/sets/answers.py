"""What answers about some sets of labels say about the sets that nobody has looked at yet.

Every label of a picture, there or not, is one question of `labelsieve.estimation.audits.answers`:
its odds of being wrong are corrected by what was found out about others of the same class, given
or not given alike, and about as suspicious. A picture that somebody looked at answers k of them.

Kernel and `LEAST` were tried on 2,000 mosaics of CIFAR-10 (rows 0 to 7,999, `tiny`, 5 to 20 % of
the labels dropped and added): after 300 reviews the calibration error of the rest fell from .04 to
.28 to .03 to .06. Of other pictures: docs/guide/methods.md (benchmarks/bench_reviewing.py).

Shapes: n pictures, k classes, m of the pictures answered.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from labelsieve.estimation.audits.answers import Answers, Learner
from labelsieve.estimation.sets.judging import p_wrong_of

# Of a label that is less likely to be wrong nobody's answer says anything new, and of twenty
# classes that a picture does not show most are such.
LEAST = 0.01
UNKNOWN = -1  # which class is right instead: there is none, a label is right or wrong


class SetAnswers(NamedTuple):
    """What people said about m pictures, oldest first.

    rows: [m] int64. sets: [m, k] bool, the right ones.
    """

    rows: np.ndarray
    sets: np.ndarray


class SetLearner:
    """Corrects probabilities by answers; what does not depend on them is computed once.

    Args:
        probs: [n, k] probability that each picture shows each class, by the scan.
        given: [n, k] bool.
    """

    def __init__(self, probs: np.ndarray, given: np.ndarray) -> None:
        self._probs, self._given = probs, given
        p_wrong = p_wrong_of(probs, given).reshape(-1).astype(np.float64)
        self._cells = np.flatnonzero(p_wrong >= LEAST)
        self._p_wrong = p_wrong[self._cells]

    @cached_property
    def _learner(self) -> Learner:
        # pairs of "given or not" and class take the place of given and suggested label
        given = self._given.reshape(-1)[self._cells].astype(np.int64)
        return Learner(self._p_wrong, given, self._cells % self._given.shape[1])

    def probs(self, answers: SetAnswers) -> np.ndarray:
        """[n, k] as `probs`, of all pictures; those of answered ones are corrected alike."""
        asked = self._answers(answers)
        if not len(asked.rows):
            return self._probs
        p_wrong = self._learner.p_wrong(asked)
        given = self._given.reshape(-1)[self._cells]
        result = self._probs.copy()
        result.reshape(-1)[self._cells] = np.where(given, 1 - p_wrong, p_wrong)
        return result

    def _answers(self, answers: SetAnswers) -> Answers:
        """The labels that pictures answer, of those that are learned about."""
        k = self._given.shape[1]
        cells = (answers.rows[:, None] * k + np.arange(k)).reshape(-1)
        wrong = (answers.sets ^ self._given[answers.rows]).reshape(-1)
        if not len(self._cells):
            return Answers(cells[:0], wrong[:0], cells[:0])
        place = np.searchsorted(self._cells, cells).clip(max=len(self._cells) - 1)
        known = self._cells[place] == cells
        place = place[known]
        return Answers(place, wrong[known], np.full(len(place), UNKNOWN))
