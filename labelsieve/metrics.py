"""How good a detector or classifier is when the truth is known. Only the pipeline's scoring step calls this."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score


def detection(p_clean: np.ndarray, flagged: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
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
        **_side(1 - p_clean, flagged, wrong),
        "clean": _side(p_clean, ~flagged, ~wrong),
        "images": len(wrong),
        "wrong": int(wrong.sum()),
    }


def _side(score: np.ndarray, chosen: np.ndarray, target: np.ndarray) -> dict[str, float | None]:
    precision, recall, f1, _ = precision_recall_fscore_support(target, chosen, average="binary", zero_division=0.0)
    both = 0 < target.sum() < len(target)
    return {
        "precision": float(precision), "recall": float(recall), "f1": float(f1),
        "auroc": float(roc_auc_score(target, score)) if both else None,
        "ap": float(average_precision_score(target, score)) if both else None,
    }  # fmt: skip


def classification(probs: np.ndarray, truth: np.ndarray, bins: int = 15) -> dict[str, Any]:
    """Accuracy, accuracy per class, expected calibration error (Guo et al., ICML 2017, eq. 3) and confusion counts.

    Args:
        probs: [n, k]. truth: [n] class numbers.
    """
    answers, confidence = probs.argmax(1), probs.max(1)
    right = answers == truth
    confusion = np.zeros((probs.shape[1],) * 2, dtype=int)
    np.add.at(confusion, (truth, answers), 1)
    counts = confusion.sum(1)
    per_class = [float(confusion[k, k] / counts[k]) if counts[k] else None for k in range(len(counts))]
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
