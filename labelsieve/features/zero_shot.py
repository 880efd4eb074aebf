"""What the model answers without learning: cosines with class prompts, and their temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelsieve.cache import cache_folder, cached_array, key_of
from labelsieve.errors import OptionError
from labelsieve.features.cached import blocks
from labelsieve.models.encoder import DualEncoder


def class_features(
    encoder: DualEncoder, names: Sequence[str], template: str, weights: str
) -> np.ndarray:
    """[k, d] float32 of length one: the classes' names in a plain prompt. Kept in the cache.

    Args:
        weights: fingerprint of the encoder.
    """
    key = key_of(tuple(names), template, weights)
    path = cache_folder() / "features" / f"text-{key}.npy"
    texts = [template.format(name) for name in names]
    return cached_array(path, lambda: encoder.text_features(texts).cpu().numpy())


def cosines(pictures: np.ndarray, text: np.ndarray) -> np.ndarray:
    """[n, k] float32 of image features [n, d] and class features [k, d], all of length one."""
    # float16 features are brought to float32 in parts: all at once would double the memory
    return np.concatenate(
        [part.astype(np.float32) @ text.T for part in blocks(pictures)]
    )


@dataclass(frozen=True)
class ZeroShot:
    """What the model answers for every picture without learning.

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
        """What to record beside every number that comes from `probs`."""
        return temperature_facts(self.temperature, self.own)


def temperature_facts(temperature: float, own: bool) -> dict[str, Any]:
    """The temperature behind a probability and where it comes from, for run.json."""
    source = "model" if own else "setting"
    return {"temperature": temperature, "temperature_from": source}


def temperature_of(encoder: DualEncoder, wanted: float | None) -> float:
    """The temperature of a softmax over cosines: `wanted`, or 1 / the model's logit scale.

    Raises:
        OptionError: not positive.
    """
    if wanted is None:
        # CLIP's temperature is learned as the inverse, the scale of its logits
        return 1.0 / encoder.logit_scale
    if wanted <= 0:
        raise OptionError(
            f"temperature={wanted} must be above 0.",
            "Leave it out for the model's own.",
        )
    return wanted


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows to probabilities, [n, k]."""
    # the largest becomes 0, so that nothing overflows; in place, because logits of all
    # images are among the largest arrays of a scan
    probs: np.ndarray = logits - logits.max(1, keepdims=True)
    np.exp(probs, out=probs)
    probs /= probs.sum(1, keepdims=True)
    return probs
