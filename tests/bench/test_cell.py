"""Figures of a cell against scikit-learn, computed from the scores that the scan left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
)

from labelsieve.bench.cell import POINTS, curve, of
from labelsieve.runs.run import Run


def scored(folder: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p_clean, flags and errors, joined by hand."""
    truth = {
        r["sample_id"]: r["true_label"]
        for r in pq.read_table(folder / "truth.parquet").to_pylist()
    }
    rows = [
        r
        for r in pq.read_table(folder / "scores.parquet").to_pylist()
        if r["p_clean"] is not None and truth[r["sample_id"]]
    ]
    columns = (
        [r["p_clean"] for r in rows],
        [r["is_label_issue"] for r in rows],
        [r["given_label"] != truth[r["sample_id"]] for r in rows],
    )
    return tuple(np.array(c) for c in columns)  # type: ignore[return-value]


def test_a_row_is_what_scikit_learn_says(scanned: Any) -> None:
    p_clean, flagged, wrong = scored(scanned.folder)
    found = of(Run(scanned.folder), 0)
    row = found["row"]
    for prefix, chosen, target in (("", flagged, wrong), ("clean_", ~flagged, ~wrong)):
        expected = precision_recall_fscore_support(
            target, chosen, average="binary", zero_division=0.0
        )[:3]
        assert [
            row[f"{prefix}{n}"] for n in ("precision", "recall", "f1")
        ] == pytest.approx(expected)
    assert row["auroc"] == pytest.approx(roc_auc_score(wrong, -p_clean))
    assert row["ap"] == pytest.approx(average_precision_score(wrong, -p_clean))
    assert (
        row["realised_rate"] == wrong.mean()
        and row["images"] == len(wrong)
        and row["flagged"] == flagged.sum()
    )
    for name in ("precision", "recall", "f1", "auroc", "ap"):
        assert 0 <= row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] <= 1
    assert row["estimated_low"] <= row["estimated_rate"] <= row["estimated_high"]
    precision, recall, _ = precision_recall_curve(wrong, -p_clean)
    points = set(zip(recall.round(5), precision.round(5), strict=True))
    assert (
        set(zip(found["curve"]["recall"], found["curve"]["precision"], strict=True))
        <= points
    )


def test_curves_are_thinned_and_go_from_nothing_to_everything() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(5000) < 0.3
    found = curve(np.clip(rng.normal(0.6 - 0.2 * wrong, 0.2), 0, 1), wrong)
    assert found is not None
    assert (
        len(found["recall"]) <= POINTS
        and found["recall"][0] == 0
        and found["recall"][-1] == 1
    )
    assert np.all(np.diff(found["recall"]) > 0)
    assert found["precision"][-1] == pytest.approx(wrong.mean(), abs=0.01)
    assert curve(np.full(3, 0.5), np.zeros(3, dtype=bool)) is None
