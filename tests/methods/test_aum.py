from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from labelsieve.features.task import Task
from labelsieve.methods import aum
from labelsieve.training.loop import epoch_order


def test_margin_is_over_the_best_other_class() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [-1.0, -5.0, -1.0]])
    assert aum.margin(logits, torch.tensor([0, 1, 2])).tolist() == [1.0, -2.0, 0.0]


def test_threshold_samples_are_disjoint_and_as_many_as_in_the_code() -> None:
    for n, k in ((100, 4), (7, 2), (2, 2)):
        one, two = aum.threshold_samples(n, k, 0)
        assert len(one) == len(two) == max(1, n // (k + 1))
        assert not set(one) & set(two) and set(one) | set(two) <= set(range(n))
    assert set(aum.threshold_samples(100, 4, 1)[0]) != set(
        aum.threshold_samples(100, 4, 0)[0]
    )


def test_areas_are_those_of_plain_gradient_descent(tmp_path: Path) -> None:
    """Softmax regression by hand, momentum and all, in the same order of the images."""
    rng = np.random.default_rng(0)
    n, d, c = 24, 5, 4
    inputs, labels = (
        rng.standard_normal((n, d)).astype(np.float32),
        rng.integers(0, c, n),
    )
    settings = aum.Settings(epochs=3, batch_size=10)
    weight, speed, total = np.zeros((c, d + 1)), np.zeros((c, d + 1)), np.zeros(n)
    one = np.hstack([inputs, np.ones((n, 1))])
    for epoch in range(3):
        order = epoch_order(n, 7, epoch)
        for start in range(0, n, 10):
            rows = order[start : start + 10]
            logits = one[rows] @ weight.T
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            for row, z in zip(rows, logits, strict=True):
                total[row] += (epoch > 0) * (
                    z[labels[row]] - max(z[j] for j in range(c) if j != labels[row])
                )
            gradient = (p - np.eye(c)[labels[rows]]).T @ one[rows] / len(
                rows
            ) + 1e-4 * weight
            speed = 0.9 * speed + gradient
            weight = weight - 0.1 * speed
    data: Any = SimpleNamespace(classes=("a", "b", "c"))  # and one that does not exist
    encoder: Any = None
    task = Task(data, encoder, 7, tmp_path, "f")
    found = aum.areas(inputs, labels, settings, task, "aum")
    assert np.allclose(found, total / 2, atol=1e-5)


def test_own_rule_is_the_percentile_of_labels_that_are_surely_wrong(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=15)
    found = planted.detect(aum, epochs=6, flags="own")
    assert np.array_equal(found.flagged, found.columns["aum"] < 0)
    ahead = found.columns["aum"][:, None] > found.columns["aum"][None]
    assert (found.p_clean[:, None] >= found.p_clean[None])[ahead].all()
