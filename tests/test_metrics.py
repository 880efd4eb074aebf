"""Quality numbers against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve import metrics


def naive_detection(score: np.ndarray, chosen: np.ndarray, target: np.ndarray) -> dict[str, float | None]:
    """By counting pairs and thresholds."""
    hits = sum(bool(c and t) for c, t in zip(chosen, target, strict=True))
    precision = hits / chosen.sum() if chosen.any() else 0.0
    recall = hits / target.sum() if target.any() else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    inside, outside = score[target], score[~target]
    if not len(inside) or not len(outside):
        return {"precision": precision, "recall": recall, "f1": f1, "auroc": None, "ap": None}
    auroc = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside])
    ap, before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        found = score >= threshold
        reached = (found & target).sum() / target.sum()
        ap += (reached - before) * (found & target).sum() / found.sum()
        before = reached
    return {"precision": precision, "recall": recall, "f1": f1, "auroc": float(auroc), "ap": float(ap)}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("ties", [False, True])
def test_detection(share: float, ties: bool) -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(60) < share
    p_clean = np.clip(0.7 - 0.3 * wrong + rng.normal(0, 0.2, 60), 0, 1)
    p_clean = p_clean.round(1) if ties else p_clean
    flagged = p_clean < 0.5
    found = metrics.detection(p_clean, flagged, wrong)
    clean = found.pop("clean")
    assert found.pop("images") == 60 and found.pop("wrong") == wrong.sum()
    assert found == pytest.approx(naive_detection(1 - p_clean, flagged, wrong))
    assert clean == pytest.approx(naive_detection(p_clean, ~flagged, ~wrong))


@pytest.mark.parametrize("value", [False, True])
def test_one_sided_truth_has_no_ranking_numbers(value: bool) -> None:
    wrong = np.full(5, value)
    found = metrics.detection(np.linspace(0, 1, 5), np.array([True, False, False, False, False]), wrong)
    assert found["auroc"] is None and found["ap"] is None and found["clean"]["auroc"] is None
    assert found["precision"] == float(value) and found["recall"] == pytest.approx(0.2 * value)


def test_nothing_flagged_is_zero_and_no_warning() -> None:
    found = metrics.detection(np.full(4, 0.9), np.zeros(4, dtype=bool), np.array([True, False, False, False]))
    assert (found["precision"], found["recall"], found["f1"]) == (0, 0, 0)


def test_a_perfect_and_a_reversed_detector() -> None:
    wrong = np.array([True, True, False, False, False])
    assert metrics.detection(np.where(wrong, 0.1, 0.9), wrong, wrong)["auroc"] == 1
    assert metrics.detection(np.where(wrong, 0.9, 0.1), ~wrong, wrong)["auroc"] == 0


def test_classification() -> None:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(4) * 0.5, 80)
    truth = rng.integers(0, 3, 80)  # the fourth class does not occur
    found = metrics.classification(probs, truth, bins=10)
    answers = [int(np.argmax(row)) for row in probs]
    confusion = [
        [sum(t == i and a == j for t, a in zip(truth, answers, strict=True)) for j in range(4)] for i in range(4)
    ]
    assert found["confusion"] == confusion
    assert found["accuracy"] == pytest.approx(sum(confusion[k][k] for k in range(4)) / 80)
    assert found["per_class"] == [pytest.approx(confusion[k][k] / sum(confusion[k])) for k in range(3)] + [None]
    error = 0.0
    for j in range(10):
        inside = [i for i in range(80) if j / 10 <= probs[i].max() < (j + 1) / 10]
        if inside:
            sure = np.mean([probs[i].max() for i in inside])
            error += len(inside) / 80 * abs(sure - np.mean([answers[i] == truth[i] for i in inside]))
    assert found["calibration_error"] == pytest.approx(error)


def test_certainty_falls_into_the_last_bin_and_no_two_bins_are_one() -> None:
    """Certain and wrong, nearly certain and right: in one bin the two errors would cancel."""
    found = metrics.classification(np.array([[1.0, 0.0], [0.9, 0.1]]), np.array([1, 0]))
    assert found["calibration_error"] == pytest.approx(0.5 * 1.0 + 0.5 * 0.1)
