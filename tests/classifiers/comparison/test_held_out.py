"""Epochs and models beside each other on the part of a run that was kept aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labelsieve.classifiers.comparison.held_out import Validation, between, noise_of
from labelsieve.data.images import Preprocess
from labelsieve.estimation.validation import noisy_accuracy
from labelsieve.estimation.validation.noisy_accuracy import ClassNoise

K = 3
PLAIN = Preprocess(8, 8, 8, 3, (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def aside(labelled: Callable[..., Any]) -> Callable[..., Validation]:
    def make(n: int, noise: ClassNoise | None) -> Validation:

        rng = np.random.default_rng(0)
        pictures = rng.integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
        names = [f"c{i % K}" for i in range(n)]
        images = labelled(PLAIN, pictures, names)
        return Validation(images, np.arange(n), images.labels, noise)

    return make


def test_better_candidate_is_named_and_the_test_is_paired(
    aside: Callable[..., Validation],
) -> None:
    held = aside(120, noisy_accuracy.even(0.2, K))
    right = np.arange(120) < 90
    worse = right & (np.arange(120) >= 12)
    level = right.copy()
    level[[0, 119]] = level[[119, 0]]
    found = between({"level": level, "worse": worse, "good": right}, held)
    assert found is not None and found["best"] == "level"
    pairs = {(p["first"], p["second"]): p for p in found["differences"]}
    assert pairs["worse", "good"]["real"] and not pairs["level", "good"]["real"]
    assert pairs["worse", "good"]["difference"] == pytest.approx(-0.1)
    # 75 % of labels of which 20 % are wrong, evenly: (.75 - .1) / (1 - .3)
    assert found["models"][2]["clean"] == pytest.approx(0.65 / 0.7)
    assert found["warnings"] == []


def test_where_the_assumption_fails_it_is_said(
    aside: Callable[..., Validation],
) -> None:
    pair = np.eye(K) * 0.5 + np.roll(np.eye(K), 1, 1) * 0.5
    held = aside(120, ClassNoise(pair, np.full(K, 1 / K)))
    found = between({"a": np.ones(120, dtype=bool)}, held)
    assert found is not None and found["models"][0]["clean"] is None
    assert "as likely as the right one" in found["warnings"][0]
    # more labels given than can be right: errors were copied
    copied = between(
        {"a": np.ones(120, dtype=bool)}, aside(120, noisy_accuracy.even(0.4, K))
    )
    assert copied is not None and "repeats errors" in copied["warnings"][0]
    unknown = between({"a": np.ones(120, dtype=bool)}, aside(120, None))
    assert unknown is not None and "--run" not in unknown["warnings"][0]


def test_noise_of_held_out_rows_is_the_mean_of_what_the_scan_says(planted: Any) -> None:
    from labelsieve.classifiers.trainers._data import read, spec_for

    images = read(planted.run, spec_for(planted.run, None), PLAIN)
    ids = images.ids.to_pylist()
    rows = np.flatnonzero([i not in planted.wrong for i in ids])
    found = noise_of(planted.run, images, images.labels, rows)
    table = planted.run.probs()
    probs = dict(
        zip(table["sample_id"].to_pylist(), table["probs"].to_pylist(), strict=True)
    )
    joint = np.zeros((4, 4))
    for row in rows:
        given = images.labels[row]
        for column, name in enumerate(planted.run.classes):
            joint[given, images.classes.index(name)] += probs[ids[row]][column]
    assert found is not None
    truth = joint / joint.sum()
    np.testing.assert_allclose(found.prior, truth.sum(0), rtol=1e-5)
    np.testing.assert_allclose(found.transition, (truth / truth.sum(0)).T, rtol=1e-5)
    # of rows that are not flagged less is wrong
    every = noise_of(planted.run, images, images.labels, np.arange(len(ids)))
    assert every is not None and every.ceiling < found.ceiling
    assert noise_of(planted.run, images, images.labels, rows[:0]) is None
