"""What pictures say without training the tower: two probes of frozen features, out of fold.

A linear probe and kernel ridge regression, on features averaged over four views of each picture.
They err on other pictures (labelsieve.features.kernel), so their geometric mean ranks better than
each: AUROC .883, .881, .891 on CIFAR-10N, `random_label1`, 4,000 images, no class known by name.
Both have learned from the given labels, but never from the one that is judged.

How much they say beside class names depends on how many images of a class they have learned from,
and votes of one tower err together. So the given labels decide, which neither vote has seen: weight
and temperature of the product are those under which T makes the labels likeliest (`hearing`).

Shapes: n images, k classes, d width of the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from labelsieve.data.dataset import Dataset
from labelsieve.estimation.calibration import parts
from labelsieve.estimation.transition import clearly_below
from labelsieve.features import kernel, probe
from labelsieve.features.zero_shot import softmax

PREFIX = "pictures/"  # before the names of tensors in a detector folder
LEAST = 1e-9  # a probability whose logarithm does not outvote everybody
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
# From a little sharper than the product to one of three votes that say the same.
TEMPERATURES = np.exp(np.linspace(np.log(0.7), np.log(2.8), 9))
HEARD = 5_000  # images that two numbers are chosen on
# Log-likelihood per image by which probes must make labels likelier to be heard at all. Where they
# do by .015 to .019 (`random_label1`, 4,000 images), AUROC rises by .002 to .003; by .008 to .010
# (1,000 images), by .001; by .005 and .006, with 40 images a class, it falls by .003 and .005.
GAIN = 0.0075


class Hearing(NamedTuple):
    """How much the probes count beside class names.

    weight: of their logarithms, one of `WEIGHTS`. temperature: of the product of both.
    """

    weight: float
    temperature: float


PLAIN = Hearing(1.0, 1.0)  # the product as it is


def hearing(
    names: np.ndarray, pictures: np.ndarray, matrix: np.ndarray, labels: np.ndarray
) -> Hearing:
    """The weight and temperature under which labels that neither has seen are likeliest.

    Together, since a product that is too sure would count for a small weight: on `random_label1`,
    4,000 images of rows 0 to 7,999, the likeliest weight is .25 without a temperature and .75 to 1
    with one, and AUROC is highest from .5 to .75; of 400 images 0 to .25, and highest there.
    Planted pair noise, 20 %: .25 to .75 by it, AUROC .9914 at weight 1 and .9946 as chosen.

    It is the smallest weight that is not clearly worse than the likeliest one: probes also learn
    how people err, and that makes wrong labels likelier, too. With 100 classes and errors of what
    a probe of another tower hesitates over, 20 and 40 %, AUROC is .865 and .878 with the likeliest
    weight (.25), .867 and .883 without them: they are heard only where they say much (`GAIN`).

    Args:
        names, pictures: [n, k] calibrated class probabilities.
        matrix: T [k, k]. labels: [n] given.
    """
    # at random, so that of a sorted table all classes are heard
    rows = np.random.default_rng(0).permutation(len(labels))[:HEARD]
    known = names[rows], pictures[rows], matrix[:, labels[rows]].T
    fits = [_likeliest(weight, *known) for weight in WEIGHTS]
    _, likeliest = max(fits, key=lambda fit: float(fit[1].mean()))
    (silent, without), *heard = fits
    if not clearly_below(without, likeliest, GAIN):
        return silent
    # weights rise, so that the first is the smallest
    return next(one for one, seen in heard if not clearly_below(seen, likeliest, 0.0))


def _likeliest(
    weight: float, names: np.ndarray, pictures: np.ndarray, chances: np.ndarray
) -> tuple[Hearing, np.ndarray]:
    """The temperature under which labels are likeliest, and their log-likelihoods [m].

    Args:
        names, pictures: [m, k]. chances: [m, k] of the given label, by true class.
    """
    fits = []
    for temperature in TEMPERATURES.tolist():
        seen = np.empty(len(names))
        for part in parts(*names.shape):
            joint = np.log(names[part].clip(LEAST))
            joint += weight * np.log(pictures[part].clip(LEAST))
            # T stays: fitted anew to each product it would take a vote's doubts for errors
            likely = (softmax(joint / temperature) * chances[part]).sum(1)
            seen[part] = np.log(likely.clip(1e-30))
        fits.append((Hearing(weight, temperature), seen))
    return max(fits, key=lambda fit: float(fit[1].mean()))


def mean_of(*votes: np.ndarray) -> np.ndarray:
    """[n, k] geometric mean of class probabilities, rows summing to one."""
    total = np.zeros(votes[0].shape)
    for vote in votes:
        # one after the other: they are among the largest arrays of a scan
        total += np.log(vote.clip(LEAST)) / len(votes)
    return softmax(total)


def blended(
    positive: np.ndarray | None, pictures: np.ndarray | None, weight: float
) -> np.ndarray:
    """[n, k] float32 logits: the mean of what has learned from the labels, as one vote.

    Prompts and probes learned from the same labels of the same pictures; two votes would count
    what both have learned wrongly twice.

    Args:
        positive: [n, k] logits of the trained prompts; None: nothing that was trained is heard.
        pictures: [n, k] calibrated class probabilities of the probes; None: prompts alone.
        weight: how much the vote counts beside class names.
    """
    if pictures is None:
        assert positive is not None
        return positive
    vote = pictures
    if positive is not None:
        vote = mean_of(softmax(positive.astype(np.float64)), pictures)
    return (weight * np.log(vote.clip(LEAST))).astype(np.float32)


@dataclass(frozen=True)
class PictureProbes:
    """Both probes of all images, for other images.

    weight: [k, d], bias: [k], of the linear probe.
    curved: kernel ridge regression.
    """

    weight: np.ndarray
    bias: np.ndarray
    curved: kernel.Kernel

    def answers(self, features: np.ndarray) -> np.ndarray:
        """[b, k] float64 of features [b, d]."""
        inputs = np.asarray(features, dtype=np.float64)
        linear = softmax(inputs @ self.weight.T + self.bias)
        return mean_of(linear, self.curved.answers(inputs))

    def tensors(self) -> dict[str, Tensor]:
        """By the names that detector.safetensors has for them."""
        arrays = {"weight": self.weight, "bias": self.bias}
        for name, array in self.curved.arrays().items():
            arrays[f"kernel/{name}"] = array
        kept = {}
        for name, array in arrays.items():
            contiguous = np.ascontiguousarray(array, dtype=np.float64)
            kept[PREFIX + name] = torch.from_numpy(contiguous)
        return kept

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> PictureProbes | None:
        """The inverse of `tensors`; None where there are none."""
        own = {}
        for name, tensor in tensors.items():
            if name.startswith(PREFIX):
                own[name.removeprefix(PREFIX)] = tensor.cpu().numpy()
        if not own:
            return None
        weight, bias = own.pop("weight"), own.pop("bias")
        rest = {name.removeprefix("kernel/"): array for name, array in own.items()}
        return cls(weight, bias, kernel.Kernel(**rest))


class Answers(NamedTuple):
    """What both probes say of each image, out of fold.

    together: [n, k] their geometric mean. linear: [n, k] the linear probe alone, whose likelihoods
    mean what they say, as it was fitted by them; a squared loss knows no likelihood.
    """

    together: np.ndarray
    linear: np.ndarray


def learn(
    data: Dataset, features: np.ndarray, seed: int
) -> tuple[Answers, PictureProbes]:
    """What both probes say of each image out of fold, and both probes of all images."""
    inputs = np.asarray(features, dtype=np.float32)
    about = data.labels, len(data.classes), seed
    held_out, curved = kernel.learn(inputs, *about)
    linear = probe.cross_validated(inputs, *about)
    weight, bias = probe.linear(inputs, *about)
    answers = Answers(mean_of(linear, held_out), linear)
    return answers, PictureProbes(weight, bias, curved)
