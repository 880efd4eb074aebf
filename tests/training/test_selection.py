"""Epochs are chosen on held-out labels, and chance is called chance."""

from __future__ import annotations

import numpy as np
import torch

from labelsieve.training import selection

NAN = float("nan")


def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss() -> None:
    history = torch.tensor([[0.5, 1.0], [0.7, 0.9], [0.7, 0.8], [0.7, 0.8], [NAN, NAN]])
    assert selection.best(history) == 2
    assert selection.best(history[:1]) == 0
    assert [e["epoch"] for e in selection.measured(history)] == [0, 1, 2, 3]


def test_the_start_is_kept_unless_training_makes_it_better() -> None:
    assert selection.best(torch.tensor([[0.7, 0.8], [0.7, 0.8], [0.6, 0.1]])) == 0


def test_chance_is_the_most_frequent_class() -> None:
    labels = np.repeat([0, 1, 2], [60, 20, 20])
    assert selection.chance(labels) == 0.6
    # two standard errors of 100 answers are .098
    assert selection.no_better_than_chance(0.69, labels)
    assert not selection.no_better_than_chance(0.71, labels)
    assert selection.no_better_than_chance(0.3, labels)
