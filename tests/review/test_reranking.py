from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from labelsieve.review.reranking import TEMPERATURE, Judged, refine, residuals

NOBODY = Judged(np.empty(0, dtype=np.int64), np.empty(0, dtype=bool))


@pytest.fixture(scope="module")
def suspects() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores p, labels, features and the truth of 400 suspects; half of class a's are a look-
    alike group wrongly suspected."""
    rng = np.random.default_rng(0)
    labels = np.array(["a", "b"])[np.arange(400) % 2]
    group = rng.random(400) < 0.5
    centres = rng.normal(size=(2, 16))
    features = centres[group.astype(int)] + 0.3 * rng.normal(size=(400, 16))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    wrong = np.where(
        (labels == "a") & group, rng.random(400) < 0.05, rng.random(400) < 0.8
    )
    return rng.uniform(0.5, 1, 400), labels, features.astype(np.float32), wrong


def test_without_decisions_nothing_changes(suspects: tuple[np.ndarray, ...]) -> None:
    p, labels, features, _ = suspects
    assert np.array_equal(refine(p, labels, features, NOBODY), p)


def test_residuals_equal_the_formula(suspects: tuple[np.ndarray, ...]) -> None:
    p, labels, features, wrong = suspects
    rows = np.array([0, 1, 2, 7, 40, 99])
    found = residuals(p, labels, features, Judged(rows, wrong[rows]))
    for i in (0, 2, 3, 5, 100, 399):
        same = [j for j in rows if labels[j] == labels[i] and j != i]
        w = [np.exp((float(features[i] @ features[j]) - 1) / TEMPERATURE) for j in same]
        expected = sum(a * (wrong[j] - p[j]) for a, j in zip(w, same, strict=True)) / (
            sum(w) + 1
        )
        assert found[i] == pytest.approx(expected, abs=1e-5)


def test_the_ranking_of_the_rest_improves_with_decisions(
    suspects: tuple[np.ndarray, ...],
) -> None:
    p, labels, features, wrong = suspects
    rows = np.argsort(-p)[:40]
    rest = np.setdiff1d(np.arange(400), rows)
    before = average_precision_score(wrong[rest], p[rest])
    after = refine(p, labels, features, Judged(rows, wrong[rows]))
    assert average_precision_score(wrong[rest], after[rest]) > before + 0.1
    blind = refine(p, labels, None, Judged(rows, wrong[rows]))
    assert average_precision_score(wrong[rest], blind[rest]) == pytest.approx(
        before
    )  # calibration keeps the order


def test_probabilities_become_calibrated(suspects: tuple[np.ndarray, ...]) -> None:
    p, labels, features, _ = suspects
    rng = np.random.default_rng(3)
    truth = rng.random(400) < 0.2  # scores say 0.75 on average
    rows = np.arange(0, 400, 3)
    rest = np.setdiff1d(np.arange(400), rows)
    after = refine(p, labels, features, Judged(rows, truth[rows]))
    assert p[rest].mean() > 0.7 and after[rest].mean() == pytest.approx(
        truth[rows].mean(), abs=0.03
    )


def test_one_surprise_moves_little_and_a_refutation_lowers_its_look_alikes(
    suspects: tuple[np.ndarray, ...],
) -> None:
    p, labels, features, _ = suspects
    row = np.array([0])
    after = refine(p, labels, features, Judged(row, np.array([False])))
    alike = np.argsort(-(features @ features[0]))[1:60]
    same = [i for i in alike if labels[i] == labels[0]]
    far = [i for i in range(400) if labels[i] != labels[0]]
    assert np.mean(after[same] - p[same]) < np.mean(after[far] - p[far]) <= 0
    assert np.abs(after - p).max() < 0.5


def test_look_alikes_never_count_the_wrong_way_round(
    suspects: tuple[np.ndarray, ...],
) -> None:
    p, labels, features, _ = suspects
    truth = (
        np.random.default_rng(4).random(400) < 0.2
    )  # no structure at all: leaving one out anti-correlates
    rows = np.arange(0, 400, 3)
    assert np.array_equal(
        refine(p, labels, features, Judged(rows, truth[rows])),
        refine(p, labels, None, Judged(rows, truth[rows])),
    )
