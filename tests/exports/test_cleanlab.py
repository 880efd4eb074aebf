from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelsieve.exports import export
from labelsieve.runs.decisions import Decisions


def test_arrays_and_table_are_in_the_same_order(planted: Any, tmp_path: Path) -> None:
    export(planted.run, "cleanlab", tmp_path / "out")
    labels, probs = (
        np.load(tmp_path / "out" / "labels.npy"),
        np.load(tmp_path / "out" / "pred_probs.npy"),
    )
    issues = pq.read_table(tmp_path / "out" / "issues.parquet")
    classes = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert issues.column_names == [
        "sample_id",
        "path",
        "is_label_issue",
        "label_score",
        "given_label",
        "predicted_label",
    ]
    assert [classes[k] for k in labels] == issues[
        "given_label"
    ].to_pylist() and labels.dtype == np.int64
    stored = planted.run.probs()
    by_id = dict(
        zip(stored["sample_id"].to_pylist(), stored["probs"].to_pylist(), strict=True)
    )
    assert np.allclose(
        probs, [by_id[i] for i in issues["sample_id"].to_pylist()]
    ) and np.allclose(probs.sum(1), 1, atol=1e-4)
    assert set(issues["sample_id"].to_pylist()) == set(planted.given)


def test_cleanlab_reads_them(planted: Any, tmp_path: Path) -> None:
    rank = pytest.importorskip("cleanlab.rank", reason="cleanlab is not installed")
    export(planted.run, "cleanlab", tmp_path / "out")
    scores = rank.get_label_quality_scores(
        np.load(tmp_path / "out" / "labels.npy"),
        np.load(tmp_path / "out" / "pred_probs.npy"),
    )
    assert (
        scores.shape == (len(planted.given),) and ((scores >= 0) & (scores <= 1)).all()
    )


def test_what_people_decided_is_no_issue_any_more(planted: Any, tmp_path: Path) -> None:
    kept, other = (
        planted.wrong[0],
        next(i for i in planted.given if i not in planted.wrong),
    )
    decisions = Decisions(planted.folder)
    decisions.add(kept, "keep")
    decisions.add(other, "wrong")
    decisions.close()
    export(planted.run, "cleanlab", tmp_path / "out")
    issues = pq.read_table(tmp_path / "out" / "issues.parquet").to_pylist()
    said = {row["sample_id"]: row["is_label_issue"] for row in issues}
    assert (said[kept], said[other]) == (False, True)
    assert sum(said.values()) == len(planted.wrong)
