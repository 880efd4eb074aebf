"""Figures label by label, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from labelsieve.estimation.sets.figures import FIGURES, intervals, of_sets


def test_figures_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((200, 3)) < 0.4
    given = right ^ (rng.random((200, 3)) < 0.1)
    posterior = np.clip(right * 0.5 + rng.random((200, 3)) * 0.5, 0, 1)
    flagged = rng.random((200, 3)) < 0.15
    found = of_sets(posterior, given, flagged, right)
    wrong = (given != right).reshape(-1)
    precision = [
        average_precision_score(right[:, k], posterior[:, k]) for k in range(3)
    ]
    assert np.isclose(found["map"], np.mean(precision))
    assert np.isclose(found["f1"], f1_score(wrong, flagged.reshape(-1)))
    missing = roc_auc_score(right[~given], posterior[~given])
    assert np.isclose(found["auroc_missing"], missing)
    extra = roc_auc_score(~right[given], 1 - posterior[given])
    assert np.isclose(found["auroc_extra"], extra)
    assert found["missing"] == (right & ~given).sum()
    for name, ends in intervals(posterior, given, flagged, right).items():
        assert name in FIGURES and ends is not None
        assert ends[0] - 0.02 <= found[name] <= ends[1] + 0.02


def test_without_errors_there_is_nothing_to_find() -> None:
    right = np.array([[True, False], [False, True]])
    found = of_sets(right * 0.8 + 0.1, right, np.zeros((2, 2), dtype=bool), right)
    assert found["auroc_extra"] is None and found["auroc_missing"] is None
    assert found["f1"] == 0 and found["map"] == 1
