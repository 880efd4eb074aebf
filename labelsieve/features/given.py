"""A task whose image features or out-of-fold answers are the user's own; nothing reads names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from labelsieve.cache import cache_folder, cached_array, key_of
from labelsieve.errors import DataError
from labelsieve.features.cached import Look
from labelsieve.features.probe import FOLDS
from labelsieve.features.task import Task

WHY = "Judged by your own {}; class names were not read."


@dataclass(frozen=True, eq=False)
class GivenTask(Task):
    """As `Task`, with what the user gave in the place of a tower's features or a probe's answers.

    own_features: [n, d] float32 in the order of the data; None takes the encoder's.
    own_answers: [n, k] float32 class probabilities, likewise; None takes the probe's.
    """

    own_features: np.ndarray | None = None
    own_answers: np.ndarray | None = None

    @cached_property
    def features(self) -> Any:
        """Features in the cache, as `labelsieve.features.cached.ImageFeatures` has them."""
        if self.own_features is None:
            return super().features
        return _OwnFeatures(self.own_features)

    def class_features(self, template: str | None = None) -> np.ndarray:
        """[k, d] zeros: without a model that reads, names say nothing about any picture."""
        width = self.image_features().shape[1]
        return np.zeros((len(self.data.classes), width), dtype=np.float32)

    def out_of_fold(self, *, folds: int = FOLDS, balanced: bool = False) -> np.ndarray:
        """[n, k] float32: the user's class probabilities, else as `Task`."""
        if self.own_answers is None:
            return super().out_of_fold(folds=folds, balanced=balanced)
        return self.own_answers


@dataclass(frozen=True, eq=False)
class _OwnFeatures:
    values: np.ndarray  # [n, d] float32 of length one

    @cached_property
    def weights(self) -> str:
        """Names them in the cache, as the weights of a tower name its features."""
        return key_of(self.values.shape, self.values.tobytes())

    def all(self, view: Look | None = None) -> np.ndarray:
        """[n, d]; there is one view of each picture."""
        return cached_array(self._path, lambda: self.values)

    def some(self, rows: np.ndarray) -> np.ndarray:
        """[m, d] of some rows."""
        return np.asarray(self.values[rows], dtype=np.float32)

    def file(self) -> Path:
        """Where report and review find them."""
        self.all()
        return self._path

    @cached_property
    def _path(self) -> Path:
        return cache_folder() / "features" / f"given-{self.weights}.npy"


def unit(values: np.ndarray) -> np.ndarray:
    """Rows of length one, float32 [n, d]; raises DataError for a row of zeros."""
    length = np.linalg.norm(values, axis=1, keepdims=True)
    if not length.all():
        raise DataError(f"The embedding of {int((length == 0).sum())} images is zero.")
    scaled: np.ndarray = (values / length).astype(np.float32)
    return scaled


def answers(
    values: np.ndarray, columns: tuple[str, ...] | None, classes: tuple[str, ...]
) -> np.ndarray:
    """[n, k] float32 probabilities in the order of the classes, rows summing to one.

    Args:
        columns: the class of each column; None: they are in the order of the classes, sorted.

    Raises:
        DataError: another number of columns, a class without one, or numbers below 0.
    """
    order = list(range(values.shape[1]))
    if columns is not None:
        missing = [name for name in classes if name not in columns]
        if missing:
            raise DataError(f"pred_probs have no column for the class '{missing[0]}'.")
        order = [columns.index(name) for name in classes]
    elif len(order) != len(classes):
        raise DataError(
            f"pred_probs have {len(order)} columns, the data {len(classes)} classes.",
            "Name the columns by the labels, in a data frame.",
        )
    chosen = values[:, order]
    total = chosen.sum(1, keepdims=True)
    if (chosen < 0).any() or not (total > 0).all():
        raise DataError("pred_probs are no probabilities: negative, or a row of zeros.")
    scaled: np.ndarray = (chosen / total).astype(np.float32)
    return scaled
