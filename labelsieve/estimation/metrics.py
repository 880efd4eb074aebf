"""How good a detector or classifier is when the truth is known.

Only the scoring step of the pipeline, the evaluation of classifiers and the bench call this:
nothing that judges labels sees the truth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

FIGURES = ("precision", "recall", "f1", "auroc", "ap")  # of finding wrong labels
# Further ones without an interval: of the ranking, and of the probabilities.
MORE = ("f1_best", "f1_known", "fnr", "ece", "brier")
REPLICATES = (
    1_000  # of the bootstrap: the ends of an interval move by a few per cent of it
)
ENDS = (0.025, 0.975)  # quantiles that 95 % lie between
CHUNK = 4_000_000  # counts in memory at a time: 32 MB


def detection(
    p_clean: np.ndarray, flagged: np.ndarray, wrong: np.ndarray
) -> dict[str, Any]:
    """Quality of finding wrong labels, and of keeping the right ones.

    Args:
        p_clean: [n] probability that the label is right.
        flagged: [n] bool, called wrong.
        wrong: [n] bool, is wrong.

    Returns:
        precision, recall, f1, auroc, ap for wrong labels and the same under "clean"; AUROC and
        AP are None when all labels are right or all wrong. And what `cuts` and `honesty` give.
    """
    return {
        # not 1 - p, which would round small probabilities to ties
        **_side(-p_clean, flagged, wrong),
        **cuts(p_clean, wrong),
        **honesty(1 - p_clean, wrong),
        "clean": _side(p_clean, ~flagged, ~wrong),
        "images": len(wrong),
        "wrong": int(wrong.sum()),
    }


def cuts(p_clean: np.ndarray, wrong: np.ndarray) -> dict[str, float | None]:
    """Quality of a ranking [n] cut where the truth says, for all methods alike.

    Returns:
        f1_best: at the best threshold. f1_known: with as many flagged as are wrong (of equally
        suspicious ones the first). fnr: share of the wrong labels that a person misses who looks
        at as many as are wrong. None when no label is wrong.
    """
    errors = int(wrong.sum())
    if not errors:
        return dict.fromkeys(("f1_best", "f1_known", "fnr"))
    order = np.argsort(p_clean, kind="stable")
    hits = np.cumsum(wrong[order])
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + errors)
    # a threshold cannot divide equal ones
    ends = np.flatnonzero(np.diff(p_clean[order], append=np.inf))
    recall = float(hits[errors - 1] / errors)
    # as many are flagged as are wrong, so precision and recall are the same
    return {"f1_best": float(f1[ends].max()), "f1_known": recall, "fnr": 1 - recall}


def honesty(p_wrong: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    """Whether probabilities [n] of an error mean what they say.

    Returns:
        ece: expected calibration error, 15 bins. brier: mean of (p - wrong)², Brier, Monthly
        Weather Review 78 (1950). reliability: for each tenth that has images, how many, what was
        said of them on average, and the share that is wrong.
    """
    table = []
    box = np.minimum((p_wrong * 10).astype(int), 9)
    for number in np.unique(box):
        inside = box == number
        table.append(
            {
                "low": number / 10,
                "images": int(inside.sum()),
                "said": float(p_wrong[inside].mean()),
                "wrong": float(wrong[inside].mean()),
            }
        )
    return {
        "ece": calibration_error(p_wrong, wrong, 15),
        "brier": float(np.mean((p_wrong - wrong) ** 2)),
        "reliability": table,
    }


def _side(
    score: np.ndarray, chosen: np.ndarray, target: np.ndarray
) -> dict[str, float | None]:
    # takes two seconds to load, which a scan without known truth can spare
    from sklearn.metrics import (
        average_precision_score,
        precision_recall_fscore_support,
        roc_auc_score,
    )

    precision, recall, f1, _ = precision_recall_fscore_support(
        target, chosen, average="binary", zero_division=0.0
    )
    both = 0 < target.sum() < len(target)
    return {
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "auroc": float(roc_auc_score(target, score)) if both else None,
        "ap": float(average_precision_score(target, score)) if both else None,
    }


def intervals(
    p_clean: np.ndarray,
    flagged: np.ndarray,
    wrong: np.ndarray,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> dict[str, tuple[float, float] | None]:
    """95 % intervals of `FIGURES` over the chance of the images.

    Percentiles of the bootstrap (Efron, Annals of Statistics 7, 1979).

    Args:
        p_clean, flagged, wrong: [n], as in `detection`.
        replicates: data sets drawn from the images, with replacement.

    Returns:
        (low, high) of each figure; None when all labels are right or all wrong.
    """
    n = len(wrong)
    if not 0 < wrong.sum() < n:
        return dict.fromkeys(FIGURES)
    rng = np.random.default_rng([seed, n])
    order = np.argsort(p_clean, kind="stable")
    # where each distinct p_clean begins: images with the same one form a tie
    ties = np.flatnonzero(np.diff(p_clean[order], prepend=-np.inf))
    parts = []
    size = max(1, CHUNK // n)
    for start in range(0, replicates, size):
        counts = _draw(rng, n, min(size, replicates - start))
        parts.append(_figures(counts, flagged[order], wrong[order], ties))
    low, high = np.nanquantile(np.concatenate(parts), ENDS, axis=0).tolist()
    return dict(zip(FIGURES, zip(low, high, strict=True), strict=True))


def _draw(rng: np.random.Generator, n: int, replicates: int) -> np.ndarray:
    """[b, n] float64: how often each image is in each of b data sets drawn from n images."""
    counts = np.empty((replicates, n))
    for row in counts:
        row[:] = np.bincount(rng.integers(n, size=n), minlength=n)
    return counts


def _figures(
    counts: np.ndarray, flagged: np.ndarray, wrong: np.ndarray, ties: np.ndarray
) -> np.ndarray:
    """`FIGURES` [b, 5] of b data sets.

    Args:
        counts: [b, n], how often each image is in each data set, by rising p_clean.
        flagged, wrong: [n] bool, in the same order.
        ties: first image of each distinct p_clean.
    """
    hits = counts @ (flagged & wrong)
    called = counts @ flagged
    errors = counts @ wrong
    # per tie: wrong and right labels within it, and up to its end
    inside = np.add.reduceat(counts * wrong, ties, axis=1)
    outside = np.add.reduceat(counts * ~wrong, ties, axis=1)
    ranked = inside.cumsum(1)
    passed = outside.cumsum(1)
    # a data set without an error, or without a right label, has no AUROC: NaN is left out later
    with np.errstate(invalid="ignore", divide="ignore"):
        # pairs of a wrong and a right label in the right order; half of those within a tie
        pairs = (inside * (passed[:, -1:] - passed + outside / 2)).sum(1)
        precision_at = np.nan_to_num(ranked / (ranked + passed))
        return np.stack(
            [
                np.where(called > 0, hits / called, 0.0),
                np.where(errors > 0, hits / errors, 0.0),
                np.where(called + errors > 0, 2 * hits / (called + errors), 0.0),
                pairs / (errors * passed[:, -1]),
                (inside * precision_at).sum(1) / errors,
            ],
            axis=1,
        )


def classification(
    probs: np.ndarray, truth: np.ndarray, bins: int = 15
) -> dict[str, Any]:
    """Accuracy, accuracy per class, expected calibration error and confusion counts.

    Args:
        probs: [n, k] class probabilities.
        truth: [n] class numbers.
        bins: of the calibration error; 15 as in Guo et al.
    """
    answers = probs.argmax(1)
    confusion = np.zeros((probs.shape[1],) * 2, dtype=int)
    np.add.at(confusion, (truth, answers), 1)
    per_class = []
    for hits, count in zip(np.diag(confusion), confusion.sum(1), strict=True):
        per_class.append(float(hits / count) if count else None)
    right = answers == truth
    return {
        "accuracy": float(right.mean()),
        "per_class": per_class,
        "calibration_error": calibration_error(probs.max(1), right, bins),
        "confusion": confusion.tolist(),
    }


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    """Expected calibration error (Guo et al., ICML 2017, eq. 3).

    Args:
        confidence: [n] probability of the answer, or of anything else.
        right: [n] bool, whether the answer is the truth, or the other thing holds.
    """
    # a confidence of exactly 1 belongs to the last bin
    box = np.minimum((confidence * bins).astype(int), bins - 1)
    total = 0.0
    for number in np.unique(box):
        inside = box == number
        gap = abs(right[inside].mean() - confidence[inside].mean())
        total += gap * inside.mean()
    return float(total)
