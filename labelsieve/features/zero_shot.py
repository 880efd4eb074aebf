"""What the model answers without learning: cosines with class prompts, and their temperature."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelsieve.cache import cache_folder
from labelsieve.data.dataset import Dataset
from labelsieve.errors import OptionError
from labelsieve.features.cached import _blocks, image_features, weights_fingerprint
from labelsieve.models.encoder import DualEncoder


def class_features(
    encoder: DualEncoder, names: Sequence[str], template: str
) -> np.ndarray:
    """[k, d] float32 of length one: the classes' names in a plain prompt. Kept in the cache."""
    kind = (tuple(names), template, weights_fingerprint(encoder))
    path = (
        cache_folder()
        / "features"
        / f"text-{hashlib.sha256(repr(kind).encode()).hexdigest()[:24]}.npy"
    )
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.partial.npy")
        np.save(
            scratch,
            encoder.text_features([template.format(n) for n in names]).cpu().numpy(),
        )
        with contextlib.suppress(FileNotFoundError):
            scratch.replace(path)
    return np.load(path)


@dataclass(frozen=True)
class ZeroShot:
    """What the model says of every picture without learning.

    cosines: [n, k] float32 between pictures and class prompts.
    temperature: of the softmax.
    own: whether the temperature is the model's.
    """

    cosines: np.ndarray
    temperature: float
    own: bool

    def probs(self) -> np.ndarray:
        """[n, k] float32, rows sum to one."""
        return softmax(self.cosines / self.temperature)

    def facts(self) -> dict[str, Any]:
        """What to write down beside every number made from `probs`."""
        return temperature_facts(self.temperature, self.own)


def temperature_facts(temperature: float, own: bool) -> dict[str, Any]:
    """The temperature behind a probability and where it comes from, for run.json."""
    return {
        "temperature": temperature,
        "temperature_from": "model" if own else "setting",
    }


def temperature_of(encoder: DualEncoder, wanted: float | None) -> float:
    """The temperature of a softmax over cosines: `wanted`, or the model's own, one over its logit scale.

    Raises:
        OptionError: not positive.
    """
    if wanted is not None and wanted <= 0:
        raise OptionError(
            f"temperature={wanted} must be above 0.",
            "Leave it out for the model's own.",
        )
    return 1.0 / encoder.logit_scale if wanted is None else wanted


def zero_shot(
    images: Dataset,
    encoder: DualEncoder,
    temperature: float | None = None,
    template: str | None = None,
) -> ZeroShot:
    """Compare every picture with every class in words.

    Args:
        temperature: None is the model's own.
        template: None is the data's.
    """
    text = class_features(encoder, images.names, template or images.template)
    pictures = image_features(images, encoder)
    cosines = np.concatenate(
        [part.astype(np.float32) @ text.T for part in _blocks(pictures)]
    )
    return ZeroShot(cosines, temperature_of(encoder, temperature), temperature is None)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows to probabilities, [n, k]."""
    found: np.ndarray = logits - logits.max(1, keepdims=True)
    np.exp(found, out=found)
    found /= found.sum(1, keepdims=True)
    return found
