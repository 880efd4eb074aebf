"""What a method works on: data, model and seed, and each signal of them, computed once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from labelsieve.cache import cache_folder, cached_array, key_of
from labelsieve.data.dataset import Dataset
from labelsieve.data.labels import SET
from labelsieve.errors import DataError
from labelsieve.estimation.agreement import FITS, Agreement
from labelsieve.features import probe, references
from labelsieve.features.cached import Corners, ImageFeatures, Look
from labelsieve.features.zero_shot import (
    ZeroShot,
    class_features,
    cosines,
    temperature_of,
)
from labelsieve.models.encoder import DualEncoder
from labelsieve.training.checkpoint import Checkpoint

# Bytes of zero-shot cosines that are kept. They are quickly multiplied again, and with many
# images and classes they would be among the largest arrays of a scan.
KEPT = 8_000_000
AT_ONCE = 16_384  # rows of embeddings that are scaled at once: 30 MB


@dataclass(frozen=True, eq=False)
class Task:
    """One data set to be judged with one model.

    What is small is computed once and kept here; what is large lies in the cache folder and
    is mapped from there, so that it takes no memory while it is not used.

    data: images with given labels, never true ones.
    encoder: frozen; a method may put adapters beside or into its tower once it has its features.
    seed: of everything random.
    folder: of the run, for checkpoints; None keeps none.
    fingerprint: of data, model and settings; checkpoints of another one are not used.
    look: what of each picture is looked at where a method names no view: all of it, or the mean
        of its corners.
    """

    data: Dataset
    encoder: DualEncoder
    seed: int = 0
    folder: Path | None = None
    fingerprint: str = ""
    look: Corners | None = None

    def checkpoint(self, name: str) -> Checkpoint | None:
        """Where a training keeps its state, so that an interrupted one goes on."""
        if self.folder is None:
            return None
        # the folder is cleared when the run is finished
        path = self.folder / "checkpoints" / f"{name}.safetensors"
        return Checkpoint(path, self.fingerprint)

    @cached_property
    def features(self) -> ImageFeatures:
        """Image features in the cache: of all, of some, and their file."""
        return ImageFeatures(self.data, self.encoder)

    def image_features(self, view: Look | None = None) -> np.ndarray:
        """[n, d] float32 or float16 of length one, mapped read-only.

        Args:
            view: of augmented pictures, or the mean of several; None takes the task's look.
        """
        return self.features.all(view or self.look)

    def class_features(self, template: str | None = None) -> np.ndarray:
        """[k, d] float32 of length one, of the class names in a prompt, the data's by default."""
        return class_features(
            self.encoder,
            self.data.names,
            template or self.data.template,
            self.features.weights,
        )

    def zero_shot(
        self, temperature: float | None = None, template: str | None = None
    ) -> ZeroShot:
        """The model's answers to every picture without learning.

        Args:
            temperature: of the softmax; None is the model's own.
            template: of the prompt; None is the data's.

        Raises:
            OptionError: the temperature is not positive.
        """
        own = temperature is None
        temperature = temperature_of(self.encoder, temperature)
        return ZeroShot(self._cosines(template), temperature, own)

    def _cosines(self, template: str | None) -> np.ndarray:
        # the temperature comes later, so that answers at several share them
        name = template or self.data.template
        kept = self._kept_cosines
        if name in kept:
            return kept[name]
        values = cosines(self.image_features(), self.class_features(template))
        values.flags.writeable = False  # the next reader gets the same array
        if values.nbytes + sum(v.nbytes for v in kept.values()) <= KEPT:
            kept[name] = values
        return values

    @cached_property
    def _kept_cosines(self) -> dict[str, np.ndarray]:
        return {}

    def out_of_fold(
        self, *, folds: int = probe.FOLDS, balanced: bool = False
    ) -> np.ndarray:
        """[n, k] float32 class probabilities, each from a linear probe that has not seen the image.

        Mapped read-only from the cache.

        Args:
            balanced: every class counts the same in training, however many images it has.
        """
        data, seed = self.data, self.seed
        # unlike features, answers depend on labels: `fingerprint` covers them, `content` does not
        kind = (data.fingerprint, data.preprocess.to_json(), self.features.weights)
        looks = () if self.look is None else (repr(self.look),)
        key = key_of(*kind, seed, folds, balanced, *looks)

        def compute() -> np.ndarray:
            x = np.asarray(self.image_features(), dtype=np.float32)
            y, k = data.labels, len(data.classes)
            # of sets each class has a probability of its own
            if data.coding.kind == SET:
                return probe.cross_validated_sets(x, y, seed, folds=folds)
            return probe.cross_validated(x, y, k, seed, folds=folds, balanced=balanced)

        return cached_array(cache_folder() / "features" / f"probe-{key}.npy", compute)

    @cached_property
    def agreement(self) -> Agreement:
        """How far class names, nearest pictures and labels agree, on a random sample."""
        rows = references.sample_rows(len(self.data), self.seed)
        found = references.measure(
            self.features.some(rows),
            self.class_features(),
            self.data.labels[rows],
            self.data.classes,
        )
        # what people see of images are pictures, also in the sentence
        noun = self.data.noun
        return found if noun == "image" else replace(found, things=f"{noun}s")

    def reference_votes(self) -> dict[str, np.ndarray]:
        """Class probabilities [n, k] of the reference classifiers, which know no label they judge.

        "text", the zero-shot answers, alone where text fits all classes; else also "pictures",
        the probe out of fold. For `labelsieve.estimation.transition.select`. Not kept: with
        many classes they are as large as all that follows.
        """
        # in this order: the first is kept unless the other is clearly better
        votes = {"text": self.zero_shot().probs()}
        if self.agreement.verdict != FITS:
            # what the estimate is computed with; the file holds float32
            votes["pictures"] = self.out_of_fold().astype(np.float64)
        return votes


# What a run says of itself.
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
            return ImageFeatures(self.data, self.encoder)
        return _OwnFeatures(self.own_features)

    def class_features(self, template: str | None = None) -> np.ndarray:
        """[k, d] zeros: without a model that reads, names say nothing about any picture."""
        width = self.image_features().shape[1]
        return np.zeros((len(self.data.classes), width), dtype=np.float32)

    def out_of_fold(
        self, *, folds: int = probe.FOLDS, balanced: bool = False
    ) -> np.ndarray:
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
        # never as text or a copy: there may be gigabytes
        data = np.ascontiguousarray(self.values).data
        return key_of(self.values.shape, hashlib.sha256(data).hexdigest())

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


def mapped(values: np.ndarray) -> np.ndarray:
    """The user's features [n, d] of length one, from the file in the cache that holds them."""
    return _OwnFeatures(values).all()


# How far a row of probabilities may be from a sum of one: half precision and three digits are
# nearer, logits, counts and percent are not.
SUM_TOLERANCE = 0.02


def unit(values: np.ndarray) -> np.ndarray:
    """Rows of length one, float32 [n, d]; raises DataError for a row of zeros."""
    scaled = np.empty(values.shape, dtype=np.float32)
    zero = 0
    for start in range(0, len(values), AT_ONCE):
        part = values[start : start + AT_ONCE]
        length = np.linalg.norm(part, axis=1, keepdims=True)
        zero += int((length == 0).sum())
        scaled[start : start + AT_ONCE] = part / np.where(length == 0, 1, length)
    if zero:
        raise DataError(f"The embedding of {zero} images is zero.")
    return scaled


def answers(
    values: np.ndarray, columns: tuple[str, ...] | None, classes: tuple[str, ...]
) -> np.ndarray:
    """[n, k] float32 probabilities in the order of the classes, rows summing to one.

    Args:
        columns: the class of each column; None: they are in the order of the classes, sorted.

    Raises:
        DataError: another number of columns, a class without one or with two, numbers below 0,
            or a row that does not sum to one.
    """
    order = _in_order(values, columns, classes)
    # with columns of classes that do not occur, where a model knows more than the data have
    sums = values.sum(1, dtype=np.float64)
    far = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    if (values < 0).any() or len(far):
        shown = f"a row sums to {sums[far[0]]:.4g}" if len(far) else "some are negative"
        raise DataError(
            f"pred_probs are no probabilities: {shown}.", "Each row has to sum to one."
        )
    chosen = values[:, order]
    total = chosen.sum(1, keepdims=True)
    if not (total > 0).all():
        raise DataError("pred_probs give an image 0 for every class of the data.")
    scaled: np.ndarray = (chosen / total).astype(np.float32)
    return scaled


def set_answers(
    values: np.ndarray, columns: tuple[str, ...] | None, classes: tuple[str, ...]
) -> np.ndarray:
    """[n, k] float32 probability that each image shows each class, in the order of the classes.

    Args:
        columns: as in `answers`.

    Raises:
        DataError: as `answers`, or a number outside of 0 to 1.
    """
    order = _in_order(values, columns, classes)
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < 0 or high > 1:
        raise DataError(
            f"pred_probs are no probabilities: they go from {low:.4g} to {high:.4g}.",
            "Of sets each number is the probability that the image shows a class.",
        )
    return values[:, order].astype(np.float32)


def _in_order(
    values: np.ndarray, columns: tuple[str, ...] | None, classes: tuple[str, ...]
) -> list[int]:
    """The column of each class."""
    order = list(range(values.shape[1]))
    if columns is not None:
        missing = [name for name in classes if name not in columns]
        if missing:
            raise DataError(f"pred_probs have no column for the class '{missing[0]}'.")
        twice = [name for name in classes if columns.count(name) > 1]
        if twice:
            raise DataError(f"pred_probs have two columns for the class '{twice[0]}'.")
        order = [columns.index(name) for name in classes]
    elif len(order) != len(classes):
        raise DataError(
            f"pred_probs have {len(order)} columns, the data {len(classes)} classes.",
            "Name the columns by the labels, in a data frame.",
        )
    return order
