"""Names that changed places: labels and answers that match one to one under another order.

Two class folders that bear each other's name, or a list of names that is off by one, are
consistent: every picture of a class carries the same label, and it is the wrong one. A model of
errors by class explains that away as "this class is called so here", and reports no wrong label.
The answers of a model that reads names tell: they match the labels under a permutation of the
names much better than under the names as they stand.

A permutation is only reported where it is beyond doubt, cycle by cycle: for every class of the
cycle most of its labels get the other name as answer, and clearly more of them than get the
own name. A class that the model merely takes for a neighbour ("elk" for "deer") is in no
cycle, since the neighbour keeps its own name.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

LEVEL = 0.001  # of the test of one class, before it is shared out: a false alarm would be loud
MOST = 0.5  # share of a class's labels whose answers must agree on the other name


def renamed(answers: np.ndarray, labels: np.ndarray, classes: int) -> dict[int, int]:
    """Classes whose labels are consistently answered with the name of another class.

    Args:
        answers: [n] int64, the class each picture is by name, from a model that knows no label.
        labels: [n] int64, the given labels.
        classes: k.

    Returns:
        Given class -> the class its pictures are by name; whole cycles, so that keys and values
        are the same classes. Empty where names stand as they should, or nothing is certain.
    """
    counts = np.zeros(
        (classes, classes), dtype=np.int64
    )  # rows given, columns answered
    np.add.at(counts, (labels, answers), 1)
    _, matched = linear_sum_assignment(counts, maximize=True)
    result: dict[int, int] = {}
    for start in range(classes):
        cycle = _cycle(matched, start)
        # each cycle is met once per member; it is judged at its smallest one
        certain = all(
            _is_certain(counts[given], given, matched[given]) for given in cycle
        )
        if start == min(cycle) and len(cycle) > 1 and certain:
            result.update({given: int(matched[given]) for given in cycle})
    return result


def _cycle(matched: np.ndarray, start: int) -> list[int]:
    """The classes that `matched` leads through from `start` back to it."""
    cycle = [start]
    while matched[cycle[-1]] != start:
        cycle.append(int(matched[cycle[-1]]))
    return cycle


def _is_certain(row: np.ndarray, own: int, other: int) -> bool:
    """Whether the labels of a class, counted by answer in `row` [k], clearly mean the other name.

    The sign test of "other" against "own" among the labels that got one of both answers,
    Bonferroni over all k classes.
    """
    if row[other] <= MOST * row.sum():
        return False
    decided = row[own] + row[other]
    p_value = binom.sf(row[other] - 1, decided, 0.5)
    return bool(p_value < LEVEL / len(row))
