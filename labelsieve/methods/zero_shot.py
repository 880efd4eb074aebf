"""Zero-shot: a label is suspect where the model, asked with the class names, answers another class.

CLIP label matching (Radford et al., ICML 2021, section 3.1.2, with one prompt): p(k | x) = softmax_k(cos(x, t_k) / T),
p_clean = p(given label), own rule: argmax p is another class. T is the model's own, one over its logit scale; with T = 1
the probabilities of many classes are all alike and this is a much weaker baseline. Nothing is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from labelsieve.data.dataset import Dataset
from labelsieve.features.task import Workplace
from labelsieve.features.zero_shot import zero_shot
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import judged, need
from labelsieve.models.encoder import DualEncoder

COST = "one pass of the image tower (cached)"
NEEDS = ("text",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}}


@dataclass(frozen=True)
class Settings:
    """See the module's docstring."""

    temperature: float | None = None  # auto: the model's own
    flags: Literal["own", "estimated"] = "own"
    noise_rate: float | None = None  # known share of wrong labels

    def __post_init__(self) -> None:
        need(self)


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Compare each label with the model's answer."""
    answer = zero_shot(images, encoder, settings.temperature)
    probs = answer.probs()
    given = probs[np.arange(len(images)), images.labels]
    own = answer.cosines.argmax(1) != images.labels if settings.flags == "own" else None
    return judged(
        images,
        run,
        probs,
        -given,
        noise_rate=settings.noise_rate,
        own=own,
        p_clean=given,
        facts=answer.facts(),
    )
