"""What pictures say without training the tower: two probes of frozen features, out of fold.

A linear probe and kernel ridge regression, on features averaged over four views of each picture.
They err on other pictures (labelsieve.features.kernel), so their geometric mean ranks better than
each: AUROC .883, .881, .891 on CIFAR-10N, `random_label1`, 4,000 images, no class known by name.
Both have learned from the given labels, but never from the one that is judged.

Shapes: n images, k classes, d width of the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labelsieve.data.dataset import Dataset
from labelsieve.features import kernel, probe
from labelsieve.features.zero_shot import softmax

PREFIX = "pictures/"  # before the names of tensors in a detector folder
LEAST = 1e-9  # a probability whose logarithm does not outvote everybody


def mean_of(*votes: np.ndarray) -> np.ndarray:
    """[n, k] geometric mean of class probabilities, rows summing to one."""
    total = np.zeros(votes[0].shape)
    for vote in votes:
        # one after the other: they are among the largest arrays of a scan
        total += np.log(vote.clip(LEAST)) / len(votes)
    return softmax(total)


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


def learn(
    data: Dataset, features: np.ndarray, seed: int
) -> tuple[np.ndarray, PictureProbes]:
    """[n, k] what both probes say of each image out of fold, and both probes of all images."""
    inputs = np.asarray(features, dtype=np.float32)
    about = data.labels, len(data.classes), seed
    held_out, curved = kernel.learn(inputs, *about)
    linear = probe.cross_validated(inputs, *about)
    weight, bias = probe.linear(inputs, *about)
    return mean_of(linear, held_out), PictureProbes(weight, bias, curved)
