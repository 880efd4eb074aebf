"""Choosing on held-out noisy labels: which epoch is kept, and whether anything was learned at all.

The epoch that agrees best with labels it has not seen is best on right labels, too, as far as
errors depend on the class alone (Chen et al., "Robustness of Accuracy Metric and its Inspirations
in Learning with Noisy Labels", AAAI 2021), so no true labels are needed. Epoch 0 is the
classifier as it began: a linear probe, unless the user starts elsewhere. With few images of each
class fine-tuning often makes nothing better of it, and then the probe is what is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from labelsieve import progress

CHANCE = 2.0  # standard errors above the largest class; less is no knowledge


def measured(history: Tensor) -> list[dict[str, Any]]:
    """Epochs that were validated: their number, accuracy and loss.

    Args:
        history: [1 + epochs, 2] accuracy and loss, of the start and after each epoch; NaN where
            an epoch was not reached.
    """
    found = []
    for epoch, (accuracy, loss) in enumerate(history.tolist()):
        if accuracy == accuracy:  # NaN is no number, not even itself
            found.append({"epoch": epoch, "accuracy": accuracy, "loss": loss})
    return found


def best(history: Tensor) -> int:
    """The epoch with the highest accuracy, then the lowest loss, then the first."""
    epochs = measured(history)
    chosen = min(epochs, key=lambda e: (-e["accuracy"], e["loss"], e["epoch"]))
    return int(chosen["epoch"])


def chance(labels: np.ndarray) -> float:
    """Accuracy on labels [v] of always naming the most frequent class."""
    counts = np.unique(labels, return_counts=True)[1]
    return float(counts.max() / len(labels))


def no_better_than_chance(accuracy: float, labels: np.ndarray) -> bool:
    """Whether an accuracy on labels [v] may be that of naming the most frequent class."""
    guessed = chance(labels)
    error = float(np.sqrt(guessed * (1 - guessed) / len(labels)))
    return accuracy <= guessed + CHANCE * error


def warn_of_chance(accuracy: float, labels: np.ndarray) -> None:
    """One line of notice where an accuracy on labels [v] may be chance."""
    if no_better_than_chance(accuracy, labels):
        progress.note(
            f"The classifier is right for {accuracy:.0%} of the held-out images; always "
            f"naming the most frequent class is for {chance(labels):.0%}. "
            "More images, more epochs or another --student may help."
        )
