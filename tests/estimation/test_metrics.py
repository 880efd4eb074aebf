"""Quality numbers against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve.estimation import metrics


def naive_detection(
    score: np.ndarray, chosen: np.ndarray, target: np.ndarray
) -> dict[str, float | None]:
    """By counting pairs and thresholds."""
    hits = sum(bool(c and t) for c, t in zip(chosen, target, strict=True))
    precision = hits / chosen.sum() if chosen.any() else 0.0
    recall = hits / target.sum() if target.any() else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    inside, outside = score[target], score[~target]
    if not len(inside) or not len(outside):
        return {
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "auroc": None,
            "ap": None,
        }
    auroc = np.mean(
        [1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside]
    )
    ap, before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        result = score >= threshold
        reached = (result & target).sum() / target.sum()
        ap += (reached - before) * (result & target).sum() / result.sum()
        before = reached
    return {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auroc": float(auroc),
        "ap": float(ap),
    }


@pytest.mark.parametrize("ties", [False, True])
def test_cuts_are_the_best_of_all_thresholds_and_as_many_as_are_wrong(
    ties: bool,
) -> None:
    rng = np.random.default_rng(1)
    wrong = rng.random(80) < 0.3
    p_clean = np.clip(0.7 - 0.3 * wrong + rng.normal(0, 0.2, 80), 0, 1)
    p_clean = p_clean.round(1) if ties else p_clean
    best = 0.0
    for threshold in p_clean:
        flagged = p_clean <= threshold
        best = max(best, 2 * (flagged & wrong).sum() / (flagged.sum() + wrong.sum()))
    cuts = metrics.cuts(p_clean, wrong)
    assert cuts["f1_best"] == pytest.approx(best)
    first = np.argsort(p_clean, kind="stable")[: wrong.sum()]
    assert cuts["f1_known"] == pytest.approx(wrong[first].mean())
    assert cuts["fnr"] == pytest.approx(1 - wrong[first].mean())
    assert metrics.cuts(p_clean, wrong & False)["f1_best"] is None


def test_honesty_compares_what_is_said_with_what_holds() -> None:
    p_wrong = np.repeat([0.05, 0.55, 0.95], 100)
    wrong = np.zeros(300, dtype=bool)
    wrong[:10] = wrong[100:140] = wrong[200:295] = True
    found = metrics.honesty(p_wrong, wrong)
    assert found["ece"] == pytest.approx((0.05 + 0.15 + 0) / 3)
    assert found["brier"] == pytest.approx(np.mean((p_wrong - wrong) ** 2))
    assert [(r["low"], r["images"]) for r in found["reliability"]] == [
        (0.0, 100),
        (0.5, 100),
        (0.9, 100),
    ]
    assert [r["wrong"] for r in found["reliability"]] == pytest.approx([0.1, 0.4, 0.95])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("ties", [False, True])
def test_detection(share: float, ties: bool) -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(60) < share
    p_clean = np.clip(0.7 - 0.3 * wrong + rng.normal(0, 0.2, 60), 0, 1)
    p_clean = p_clean.round(1) if ties else p_clean
    flagged = p_clean < 0.5
    result = metrics.detection(p_clean, flagged, wrong)
    clean = result.pop("clean")
    assert result.pop("images") == 60 and result.pop("wrong") == wrong.sum()
    for name in ("reliability", *metrics.MORE):
        result.pop(name)
    assert result == pytest.approx(naive_detection(1 - p_clean, flagged, wrong))
    assert clean == pytest.approx(naive_detection(p_clean, ~flagged, ~wrong))


@pytest.mark.parametrize("value", [False, True])
def test_one_sided_truth_has_no_ranking_numbers(value: bool) -> None:
    wrong = np.full(5, value)
    result = metrics.detection(
        np.linspace(0, 1, 5), np.array([True, False, False, False, False]), wrong
    )
    assert (
        result["auroc"] is None
        and result["ap"] is None
        and result["clean"]["auroc"] is None
    )
    assert result["precision"] == float(value) and result["recall"] == pytest.approx(
        0.2 * value
    )


def test_nothing_flagged_is_zero_and_no_warning() -> None:
    result = metrics.detection(
        np.full(4, 0.9), np.zeros(4, dtype=bool), np.array([True, False, False, False])
    )
    assert (result["precision"], result["recall"], result["f1"]) == (0, 0, 0)


def test_a_perfect_and_a_reversed_detector() -> None:
    wrong = np.array([True, True, False, False, False])
    assert metrics.detection(np.where(wrong, 0.1, 0.9), wrong, wrong)["auroc"] == 1
    assert metrics.detection(np.where(wrong, 0.9, 0.1), ~wrong, wrong)["auroc"] == 0


def test_classification() -> None:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(4) * 0.5, 80)
    truth = rng.integers(0, 3, 80)  # the fourth class does not occur
    result = metrics.classification(probs, truth, bins=10)
    answers = [int(np.argmax(row)) for row in probs]
    confusion = [
        [
            sum(t == i and a == j for t, a in zip(truth, answers, strict=True))
            for j in range(4)
        ]
        for i in range(4)
    ]
    assert result["confusion"] == confusion
    assert result["accuracy"] == pytest.approx(
        sum(confusion[k][k] for k in range(4)) / 80
    )
    assert result["per_class"] == [
        pytest.approx(confusion[k][k] / sum(confusion[k])) for k in range(3)
    ] + [None]
    error = 0.0
    for j in range(10):
        inside = [i for i in range(80) if j / 10 <= probs[i].max() < (j + 1) / 10]
        if inside:
            sure = np.mean([probs[i].max() for i in inside])
            error += (
                len(inside)
                / 80
                * abs(sure - np.mean([answers[i] == truth[i] for i in inside]))
            )
    assert result["calibration_error"] == pytest.approx(error)


def test_certainty_falls_into_the_last_bin_and_no_two_bins_are_one() -> None:
    """Certain and wrong, nearly certain and right: in one bin the two errors would cancel."""
    result = metrics.classification(
        np.array([[1.0, 0.0], [0.9, 0.1]]), np.array([1, 0])
    )
    assert result["calibration_error"] == pytest.approx(0.5 * 1.0 + 0.5 * 0.1)


# --- intervals


def test_a_replicate_is_the_figures_of_the_images_that_were_drawn() -> None:
    rng = np.random.default_rng(1)
    wrong = rng.random(80) < 0.3
    p_clean = np.clip(0.7 - 0.3 * wrong + rng.normal(0, 0.2, 80), 0, 1).round(
        1
    )  # with ties
    flagged = p_clean < 0.5
    order = np.argsort(p_clean, kind="stable")
    ties = np.flatnonzero(np.diff(p_clean[order], prepend=-np.inf))
    counts = np.stack(
        [np.bincount(rng.integers(80, size=80), minlength=80) for _ in range(5)]
    )
    result = metrics._figures(counts.astype(float), flagged[order], wrong[order], ties)
    for drawn, figures in zip(counts, result, strict=True):
        rows = np.repeat(order, drawn)
        expected = metrics.detection(p_clean[rows], flagged[rows], wrong[rows])
        assert figures == pytest.approx([expected[name] for name in metrics.FIGURES])


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Precision and recall of flags that are right with known chances, in 150 data sets of 400
    labels."""
    hits = np.zeros(2)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        wrong = rng.random(400) < 0.3
        flagged = rng.random(400) < np.where(wrong, 0.8, 0.2)
        result = metrics.intervals(
            rng.random(400), flagged, wrong, seed, replicates=150
        )
        for k, (name, true) in enumerate((("precision", 0.24 / 0.38), ("recall", 0.8))):
            ends = result[name]
            assert ends is not None
            hits[k] += ends[0] <= true <= ends[1]
    assert (np.abs(hits / 150 - 0.95) < 0.05).all(), hits / 150


def test_intervals_go_by_their_seed_and_need_both_kinds_of_labels() -> None:
    rng = np.random.default_rng(0)
    wrong, p_clean = rng.random(200) < 0.3, rng.random(200)
    one, again, other = (
        metrics.intervals(p_clean, p_clean < 0.5, wrong, seed) for seed in (0, 0, 1)
    )
    assert one == again != other
    assert metrics.intervals(
        p_clean, wrong, np.zeros(200, dtype=bool)
    ) == dict.fromkeys(metrics.FIGURES)
    assert metrics.intervals(p_clean, np.zeros(200, dtype=bool), wrong)[
        "precision"
    ] == (
        0.0,
        0.0,
    ), "nothing is flagged"
    perfect = metrics.intervals(np.where(wrong, 0.1, 0.9), wrong, wrong)
    assert perfect == dict.fromkeys(metrics.FIGURES, (1.0, 1.0))


def test_tiny_probabilities_keep_their_order() -> None:
    p_clean = np.array([1e-30, 1e-25, 1e-20, 0.9])
    wrong = np.array([True, True, False, False])
    assert metrics.detection(p_clean, p_clean < 0.5, wrong)["auroc"] == 1.0
