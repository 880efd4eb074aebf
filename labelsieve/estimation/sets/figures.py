"""How good judgements about sets are where the truth is known.

Only the scoring step of the pipeline and the bench call this. Shapes: n pictures, k classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from labelsieve.estimation.metrics import ENDS, calibration_error
from labelsieve.estimation.sets.judging import p_wrong_of

FIGURES = ("map", "auroc_missing", "auroc_extra", "f1", "ece")
REPLICATES = 200  # of the bootstrap over pictures: each sorts n k numbers
BINS = 15  # of the calibration error, as in Guo et al.


def of_sets(
    posterior: np.ndarray, given: np.ndarray, flagged: np.ndarray, right: np.ndarray
) -> dict[str, Any]:
    """Quality label by label.

    Args:
        posterior: [n, k] probability that each picture shows each class.
        given, right: [n, k] bool, labels as they are and as they should be.
        flagged: [n, k] bool, labels called missing or extra.

    Returns:
        map: mean over classes of the average precision of `posterior`; map_given: the same of the
        given labels alone, which the posterior knows. auroc_missing: of the labels
        that are not there, how well those that are missing are told apart; auroc_extra: likewise of
        those that are there. precision, recall, f1: of the flags; ece: of the probabilities that a
        label is wrongly there or not, `BINS` bins. missing, extra, labels: how many.
    """
    p_wrong = p_wrong_of(posterior, given)
    wrong = given != right
    hits, called, errors = (int(x.sum()) for x in (flagged & wrong, flagged, wrong))
    return {
        "map": mean_average_precision(posterior, right),
        "map_given": mean_average_precision(given.astype(float), right),
        "auroc_missing": _auroc(wrong[~given], p_wrong[~given]),
        "auroc_extra": _auroc(wrong[given], p_wrong[given]),
        "precision": hits / max(called, 1),
        "recall": hits / max(errors, 1),
        "f1": 2 * hits / max(called + errors, 1),
        "ece": calibration_error(p_wrong.reshape(-1), wrong.reshape(-1), BINS),
        "missing": int((wrong & ~given).sum()),
        "extra": int((wrong & given).sum()),
        "labels": int(given.sum()),
    }


def mean_average_precision(scores: np.ndarray, right: np.ndarray) -> float | None:
    """Mean over the classes that some pictures show, and not all; None where there is none."""
    from sklearn.metrics import average_precision_score  # slow to import

    values = []
    for number in range(right.shape[1]):
        if 0 < right[:, number].sum() < len(right):
            values.append(average_precision_score(right[:, number], scores[:, number]))
    return float(np.mean(values)) if values else None


def _auroc(wrong: np.ndarray, p_wrong: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score  # slow to import

    if not 0 < wrong.sum() < len(wrong):
        return None
    return float(roc_auc_score(wrong, p_wrong))


def intervals(
    posterior: np.ndarray,
    given: np.ndarray,
    flagged: np.ndarray,
    right: np.ndarray,
    seed: int = 0,
) -> dict[str, tuple[float, float] | None]:
    """95 % intervals of `FIGURES` over the chance of the pictures, by the bootstrap."""
    rng = np.random.default_rng([seed, len(given)])
    drawn: dict[str, list[float]] = {name: [] for name in FIGURES}
    for _ in range(REPLICATES):
        rows = rng.integers(len(given), size=len(given))
        found = of_sets(posterior[rows], given[rows], flagged[rows], right[rows])
        for name in FIGURES:
            if found[name] is not None:
                drawn[name].append(found[name])
    ends: dict[str, tuple[float, float] | None] = {}
    for name, values in drawn.items():
        ends[name] = None
        if values:
            low, high = np.quantile(values, ENDS).tolist()
            ends[name] = (low, high)
    return ends
