"""From probabilities of classes to sets: how likely each is right, and what is suggested.

Shapes: n pictures, k classes.
"""

from __future__ import annotations

import numpy as np

from labelsieve.estimation.flagging import LEAST, MOST


def p_wrong_of(posterior: np.ndarray, given: np.ndarray) -> np.ndarray:
    """[n, k] probability that each label is wrongly there, or wrongly not."""
    result: np.ndarray = np.where(given, 1 - posterior, posterior)
    return result


def p_right(posterior: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """[n] float64 probability that a whole set is right: errors of its classes are independent.

    Args:
        posterior: [n, k] probability that each picture shows each class.
        chosen: [n, k] bool, the set.
    """
    # sums of logarithms: a product of a thousand factors has no digits left
    right = 1 - p_wrong_of(posterior, chosen).astype(np.float64)
    result: np.ndarray = np.exp(np.log(right.clip(1e-12)).sum(1))
    return result


def flag(p_wrong: np.ndarray) -> np.ndarray:
    """[n, k] bool: labels called missing or extra, those that make expected F1 largest.

    As `labelsieve.estimation.flagging.flag_by_f1` does for single labels, over all classes of all
    pictures together, so that a class with many errors gets many flags.
    """
    total = float(p_wrong.sum())
    # only these may be flagged; of all n k cells they are few
    candidates = np.flatnonzero(p_wrong >= LEAST)
    values = p_wrong.reshape(-1)[candidates]
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(values[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + total)
    flagged = np.zeros(p_wrong.shape, dtype=bool)
    if len(f1):
        most = min(int(f1.argmax()) + 1, round(MOST * total))
        flagged.reshape(-1)[candidates[order[:most]]] = True
    return flagged


def flag_most(p_wrong: np.ndarray, rate: float) -> np.ndarray:
    """[n, k] bool: labels called wrong where a share `rate` of all sets is.

    The most suspicious labels, until so many sets have one.
    """
    n = len(p_wrong)
    worst = p_wrong.max(1)
    chosen = np.zeros(n, dtype=bool)
    chosen[np.argsort(-worst, kind="stable")[: round(rate * n)]] = True
    least = worst[chosen].min() if chosen.any() else np.inf
    # of a chosen set all that is as suspicious as the last one that was chosen
    result: np.ndarray = chosen[:, None] & (p_wrong >= least) & (p_wrong > 0)
    return result


def separation(scores: np.ndarray, given: np.ndarray) -> np.ndarray:
    """[k] AUROC of scores against given labels; NaN of a class that all or none have.

    Of scores that do not know the labels it says how far they know the class: errors of labels
    bring it nearer to one half, and never to its other side.
    """
    from sklearn.metrics import roc_auc_score  # slow to import

    values = np.full(given.shape[1], np.nan)
    for number in range(given.shape[1]):
        if 0 < given[:, number].sum() < len(given):
            values[number] = roc_auc_score(given[:, number], scores[:, number])
    return values
