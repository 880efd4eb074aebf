"""ConVAT finds planted errors that its head would learn by heart without the regulariser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from labelsieve.methods import convat
from labelsieve.settings import resolve

N, K, WIDTH = 400, 5, 24


def made(seed: int) -> tuple[Any, np.ndarray]:
    """Five clouds of features with two labels in five flipped; what a head needs of a task."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(K, size=N)
    x = rng.normal(size=(K, WIDTH))[truth] + 1.6 * rng.normal(size=(N, WIDTH))
    wrong = rng.random(N) < 0.4
    given = np.where(wrong, (truth + rng.integers(1, K, size=N)) % K, truth)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    data = SimpleNamespace(labels=given, classes=tuple("abcde"))
    task = SimpleNamespace(data=data, seed=seed, checkpoint=lambda name: None, x=x)
    return task, wrong


def losses_of(task: Any, preset: str) -> np.ndarray:
    settings = resolve(convat.Settings, convat.PRESETS[preset], {"epochs": 60})
    head = convat.Head(task.x, K, settings.width, task.seed)
    convat.train(head, task, settings)
    with torch.no_grad():
        log_p = head(head.inputs).log_softmax(1).numpy()
    loss: np.ndarray = -log_p[np.arange(N), task.data.labels]
    return loss


@pytest.mark.parametrize("seed", [0, 1])
def test_losses_tell_wrong_labels_only_with_the_regulariser(seed: int) -> None:
    task, wrong = made(seed)
    with_it = roc_auc_score(wrong, losses_of(task, "default"))
    without = roc_auc_score(wrong, losses_of(task, "without"))
    assert with_it > without + 0.01 and with_it > 0.9, (with_it, without)


def test_the_same_seed_gives_the_same_losses() -> None:
    task, _ = made(0)
    assert np.array_equal(losses_of(task, "default"), losses_of(task, "default"))
