"""Scans on the user's own embeddings and predictions find planted errors, in any order of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import labelsieve as ls
from labelsieve.errors import DataError, OptionError
from labelsieve.pipeline import own
from labelsieve.pipeline.scan import look


@pytest.fixture(scope="module")
def noisy(digits: tuple[np.ndarray, np.ndarray]) -> tuple[Any, Any, Any, Any]:
    """Pictures, labels of which a fifth is wrong, which these are, and pixels as embeddings."""
    images, truth = digits[0][:200], digits[1][:200].copy()
    rng = np.random.default_rng(0)
    wrong = rng.random(200) < 0.2
    truth[wrong] = (truth[wrong] + rng.integers(1, 10, wrong.sum())) % 10
    return list(images), list(truth), wrong, images.reshape(200, -1).astype(float) + 1


def quality(run: Any, wrong: np.ndarray) -> tuple[float, float]:
    rows = run.scores.filter(run.scores["is_label_issue"])["sample_id"].to_pylist()
    flagged = np.zeros(len(wrong), dtype=bool)
    flagged[[int(i.partition("#")[0].removeprefix("row")) for i in rows]] = True
    return float(wrong[flagged].mean()), float(flagged[wrong].mean())


def test_own_embeddings_by_id_in_any_order(noisy: Any, tmp_path: Path) -> None:
    images, labels, wrong, vectors = noisy
    order = np.random.default_rng(1).permutation(200)
    shuffled = ([f"row{k}" for k in order], vectors[order])
    data = ls.load((images, labels), embeddings=shuffled)
    run = ls.scan(data, output=tmp_path / "a", method="knn")
    precision, recall = quality(run, wrong)
    assert precision > 0.8 and recall > 0.8
    assert "own embeddings" in run.record["method_facts"]["why"]
    # no model has judged anything, and nobody read the names
    assert not any("model" in caveat for caveat in run.record["caveats"])
    # matched by position because it was said, the same numbers give the same scores
    same = ls.load((images, labels), embeddings=vectors, rows_match=True)
    again = ls.scan(same, output=tmp_path / "b", method="knn")
    assert again.scores.equals(run.scores)


def test_own_predictions_take_the_place_of_the_probe(
    noisy: Any, tmp_path: Path
) -> None:
    pytest.importorskip("cleanlab")
    images, labels, wrong, vectors = noisy
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    answers = cross_val_predict(
        LogisticRegression(max_iter=300),
        vectors / 255,
        labels,
        cv=3,
        method="predict_proba",
    )
    data = ls.load((images, labels), pred_probs=answers, rows_match=True)
    run = ls.scan(data, output=tmp_path / "run", method="confident-learning")
    precision, recall = quality(run, wrong)
    assert precision > 0.7 and recall > 0.7
    assert "own predictions" in run.record["method_facts"]["why"]


def test_methods_that_need_a_model_say_which_do_not(noisy: Any, tmp_path: Path) -> None:
    images, labels, _, vectors = noisy
    data = ls.load((images, labels), embeddings=vectors, rows_match=True)
    with pytest.raises(OptionError, match=r"Method deft needs a model.*aum.*knn"):
        ls.scan(data, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match="embeddings have 150 rows, the data 200"):
        few = ls.load((images, labels), embeddings=vectors[:150], rows_match=True)
        ls.scan(few, output=tmp_path / "run", method="knn")


def test_the_preflight_refuses_what_the_scan_refuses(
    noisy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels, _, vectors = noisy
    said: list[str] = []
    monkeypatch.setattr(own, "note", said.append)
    short = ls.load(
        (images, labels), embeddings=([f"row{k}" for k in range(9)], vectors[:9])
    )
    with pytest.raises(DataError, match="embeddings lack 191 of 200 images"):
        look(short)
    probs = np.full((200, 11), 1 / 11)
    frame = pa.table(
        {"id": [f"row{k}" for k in range(200)]}
        | {name: probs[:, k] for k, name in enumerate([*map(str, range(10)), "zebra"])}
    )
    assert look(ls.load((images, labels), pred_probs=frame)).images == 200
    (line,) = said
    assert line.startswith("1 column is left out of pred_probs") and "zebra" in line
    with pytest.raises(DataError, match="a row sums to 7"):
        look(
            ls.load(
                (images, labels), pred_probs=np.full((200, 10), 0.7), rows_match=True
            )
        )
