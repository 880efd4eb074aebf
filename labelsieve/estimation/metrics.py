"""How good a detector or classifier is when the truth is known. Only the pipeline's scoring step and the bench call this."""

from __future__ import annotations

from typing import Any

import numpy as np

FIGURES = ("precision", "recall", "f1", "auroc", "ap")  # of finding wrong labels
REPLICATES = 1_000
CHUNK = 4_000_000  # counts in memory at a time


def detection(
    p_clean: np.ndarray, flagged: np.ndarray, wrong: np.ndarray
) -> dict[str, Any]:
    """Quality of finding wrong labels, and of keeping the right ones.

    Args:
        p_clean: [n] probability that the label is right.
        flagged: [n] bool, called wrong.
        wrong: [n] bool, is wrong.

    Returns:
        precision, recall, f1, auroc, ap for wrong labels and the same under "clean"; AUROC and AP are None when all
        labels are right or all wrong.
    """
    return {
        **_side(
            -p_clean, flagged, wrong
        ),  # 1 - p would round small probabilities to ties
        "clean": _side(p_clean, ~flagged, ~wrong),
        "images": len(wrong),
        "wrong": int(wrong.sum()),
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
    """95 % intervals of `FIGURES` over the chance of the images: percentiles of the bootstrap (Efron, 1979).

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
    flagged, wrong = flagged[order], wrong[order]
    ties = np.flatnonzero(
        np.diff(p_clean[order], prepend=-np.inf)
    )  # where each distinct p_clean begins
    parts, size = [], max(1, CHUNK // n)
    for start in range(0, replicates, size):
        drawn = [
            np.bincount(rng.integers(n, size=n), minlength=n)
            for _ in range(min(size, replicates - start))
        ]
        parts.append(_figures(np.stack(drawn).astype(np.float64), flagged, wrong, ties))
    ends = np.nanquantile(np.concatenate(parts), (0.025, 0.975), axis=0)
    return {
        name: (float(low), float(high))
        for name, low, high in zip(FIGURES, *ends, strict=True)
    }


def _figures(
    counts: np.ndarray, flagged: np.ndarray, wrong: np.ndarray, ties: np.ndarray
) -> np.ndarray:
    """`FIGURES` [b, 5] of b data sets.

    Args:
        counts: [b, n], how often each image is in each data set, by rising p_clean.
        ties: first image of each distinct p_clean.
    """
    hits, called, errors = counts @ (flagged & wrong), counts @ flagged, counts @ wrong
    inside, outside = (
        np.add.reduceat(counts * part, ties, axis=1) for part in (wrong, ~wrong)
    )
    found, passed = inside.cumsum(1), outside.cumsum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = (inside * (passed[:, -1:] - passed + outside / 2)).sum(1)
        precision_at = np.nan_to_num(found / (found + passed))
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
    """Accuracy, accuracy per class, expected calibration error (Guo et al., ICML 2017, eq. 3) and confusion counts.

    Args:
        probs: [n, k]. truth: [n] class numbers.
    """
    answers, confidence = probs.argmax(1), probs.max(1)
    right = answers == truth
    confusion = np.zeros((probs.shape[1],) * 2, dtype=int)
    np.add.at(confusion, (truth, answers), 1)
    counts = confusion.sum(1)
    per_class = [
        float(confusion[k, k] / counts[k]) if counts[k] else None
        for k in range(len(counts))
    ]
    box = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[box == j].mean() - confidence[box == j].mean()) * (box == j).mean()
        for j in range(bins)
        if (box == j).any()
    ]
    return {
        "accuracy": float(right.mean()),
        "per_class": per_class,
        "calibration_error": float(sum(gaps)),
        "confusion": confusion.tolist(),
    }
