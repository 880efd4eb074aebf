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

from labelsieve.estimation import metrics
from labelsieve.runs.run import Run

POINTS = 200  # of a precision-recall curve that are kept


def of(opened: Run, seed: int) -> dict[str, Any]:
    """A row of the results and the precision-recall curve; null where the truth is not known.

    Args:
        seed: of the bootstrap.
    """
    record = opened.record
    rate, low, high = opened.noise_rate
    row = {
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
    quality, truth = record["quality"], opened.truth()
    if quality is None or truth is None:
        return {"row": row, "curve": None}
    row |= {name: quality[name] for name in metrics.FIGURES} | {
        "realised_rate": quality["wrong"] / quality["images"]
    }
    row |= {
        f"clean_{name}": quality["clean"][name]
        for name in ("precision", "recall", "f1")
    }
    p_clean, flagged, wrong = judged(opened.scores, truth)
    for name, ends in metrics.intervals(p_clean, flagged, wrong, seed).items():
        row[f"{name}_low"], row[f"{name}_high"] = ends or (None, None)
    return {"row": row, "curve": curve(p_clean, wrong)}


def judged(
    scores: pa.Table, truth: pa.Table
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p_clean [n], flagged [n] and whether the label is wrong [n], of images that are scored and whose truth is known."""
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
    rising = slice(None, None, -1)
    kept = np.unique(
        np.searchsorted(recall[rising], np.linspace(0, 1, POINTS)).clip(
            0, len(recall) - 1
        )
    )
    return {
        "recall": recall[rising][kept].round(5).tolist(),
        "precision": precision[rising][kept].round(5).tolist(),
    }
