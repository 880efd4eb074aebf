"""The figures of one cell, read from the run that a scan left."""

from __future__ import annotations

import json
import os
import platform
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import precision_recall_curve

from labelsieve.bench.sets import figures
from labelsieve.data.labels import SET
from labelsieve.estimation import metrics
from labelsieve.runs.run import Run

POINTS = 200  # of a precision-recall curve that are kept; a plot shows no more
DIGITS = 5  # of a point of the curve after the decimal point


def of(opened: Run, seed: int) -> dict[str, Any]:
    """A row of the results and the precision-recall curve.

    Args:
        seed: of the bootstrap.

    Returns:
        row, and curve; figures and curve are None where the truth is not known.
    """
    row = _row(opened)
    quality, truth = opened.record["quality"], opened.truth()
    if quality is None or truth is None:
        return {"row": row, "curve": None}
    if opened.kind == SET:
        row |= figures.of(opened, seed)
    row |= {name: quality[name] for name in (*metrics.FIGURES, *metrics.MORE)}
    row["realised_rate"] = quality["wrong"] / quality["images"]
    for name in ("precision", "recall", "f1"):
        row[f"clean_{name}"] = quality["clean"][name]
    p_clean, flagged, wrong = judged(opened.scores, truth)
    for name, ends in metrics.intervals(p_clean, flagged, wrong, seed).items():
        row[f"{name}_low"], row[f"{name}_high"] = ends or (None, None)
    return {"row": row, "curve": curve(p_clean, wrong)}


def _row(opened: Run) -> dict[str, Any]:
    """What is known without the truth."""
    record = opened.record
    rate, low, high = opened.noise_rate
    return {
        "images": record["scored"],
        "classes": len(opened.classes),
        "flagged": record["flagged"],
        "estimated_rate": rate,
        "estimated_low": low,
        "estimated_high": high,
        "realised_rate": None,
        "device": record["device"],
        "host": platform.node(),
        "cores": os.cpu_count(),
        "environment": json.dumps(record["environment"]),
        "settings": json.dumps(record["command"]["settings"]),
    }


def judged(
    scores: pa.Table, truth: pa.Table
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What there is to compare of images that are scored and whose truth is known.

    Returns:
        p_clean [n], whether the label is flagged [n] and whether it is wrong [n].
    """
    # joined by id: the truth may have rows that were not scored, in another order
    joined = scores.join(truth, "sample_id").sort_by("sample_id")
    joined = joined.filter(
        pc.field("p_clean").is_valid() & pc.field("true_label").is_valid()
    )
    wrong = pc.not_equal(joined["given_label"], joined["true_label"])
    return (
        joined["p_clean"].to_numpy(),
        joined["is_label_issue"].to_numpy(),
        wrong.to_numpy(),
    )


def curve(p_clean: np.ndarray, wrong: np.ndarray) -> dict[str, list[float]] | None:
    """Precision at rising recall of wrong labels, thinned; None where none or all are wrong."""
    if not 0 < wrong.sum() < len(wrong):
        return None
    precision, recall, _ = precision_recall_curve(wrong, -p_clean)
    # scikit-learn gives falling recall
    precision, recall = precision[::-1], recall[::-1]
    # evenly spaced in recall, not in images: the curve is steep where few are flagged
    points = np.searchsorted(recall, np.linspace(0, 1, POINTS))
    kept = np.unique(points.clip(0, len(recall) - 1))
    return {
        "recall": recall[kept].round(DIGITS).tolist(),
        "precision": precision[kept].round(DIGITS).tolist(),
    }
