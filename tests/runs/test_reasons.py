from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from labelsieve.runs import reasons
from labelsieve.runs.reading.features import cached_features
from labelsieve.runs.reasons import neighbours


def test_nearest_are_the_trusted_images_of_the_class(planted: Any) -> None:
    found, cached = neighbours(planted.run), cached_features(planted.run)
    assert found is not None and cached is not None
    ids, features = cached
    scores = {r["sample_id"]: r for r in planted.run.scores.to_pylist()}
    surest = max(
        (r for r in scores.values() if r["given_label"] == "zero"),
        key=lambda r: r["p_clean"],
    )["sample_id"]
    for sample_id in [
        planted.wrong[0],
        surest,
    ]:  # a suspect, and an image that is itself trusted
        mine = np.asarray(features[list(ids).index(sample_id)], dtype=np.float32)
        for label in ("zero", "two"):
            right = [
                i
                for i in ids
                if scores[i]["given_label"] == label and not scores[i]["is_label_issue"]
            ]
            right.sort(key=lambda i: -scores[i]["p_clean"])
            trusted = [i for i in right[: (len(right) + 1) // 2] if i != sample_id]
            trusted.sort(
                key=lambda i: (
                    -float(
                        np.asarray(features[list(ids).index(i)], dtype=np.float32)
                        @ mine
                    )
                )
            )
            assert found.nearest(sample_id, label, 2) == trusted[:2]
    assert (
        found.nearest(ids[0], "no such class")
        == []
        == found.nearest("no such id", "zero")
    )


def test_without_cached_features_there_are_none(planted: Any) -> None:
    planted.run.__dict__["record"] = {**planted.run.record, "features": "/gone.npy"}
    assert neighbours(planted.run) is None


def test_the_surest_of_a_large_class_are_trusted(
    planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_ = reasons.neighbours(planted.run)
    monkeypatch.setattr(reasons, "MOST", 1)
    few = reasons.neighbours(planted.run)
    if all_ is None or few is None:
        pytest.skip("the run has no features")
    for name, rows in few.trusted.items():
        assert rows.tolist() == all_.trusted[name][:1].tolist()
