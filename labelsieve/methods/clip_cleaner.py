"""CLIPCleaner: two classifiers, in words and on features, and two rules for each; a clean label passes all four.

Feng, Tzimiropoulos, Patras, "CLIPCleaner: Cleaning Noisy Labels with CLIP", ACM MM 2024 (arXiv 2408.10012), the selection;
authors' code MrChenFeng/CLIPCleaner_ACMMM2024, commit efff9cd. With A = zero-shot answers and B = logistic regression on
image features with balanced classes, each gives a probability p(y) of the given label y:

    rule 1 (loss): posterior of the better of two Gaussians on log p(y), fitted within the class y, ≥ 0.5
    rule 2 (consistency): p(y) / max_k p(k) ≥ θ

p_clean is the least of the four values after each was mapped to [0, 1] with its threshold at one half (a continuous
score as in SenyuHou/FM-SRM). Differences from the authors' code:
- B is judged out of fold; there it answers for the labels it was trained on.
- A class of which nothing is left gets its cleanest label back; there the guard takes the least clean one.
- Classes of one picture, or with equal values, pass rule 1 (there 0/0); the mixture has a seed and never falls as p(y) rises.
- A's temperature is the model's own, and its prompt the data's template. Preset `paper` has T = 0.07; descriptions of the
  classes, as the paper takes from a language model, can be given as further templates, separated by "|".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from labelsieve.data.dataset import Dataset
from labelsieve.errors import OptionError
from labelsieve.estimation.mixture import upper_cluster
from labelsieve.features.probe import out_of_fold
from labelsieve.features.task import Workplace
from labelsieve.features.zero_shot import temperature_facts, temperature_of, zero_shot
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import judged, need
from labelsieve.models.encoder import DualEncoder

COST = "one pass of the image tower (cached), five linear probes, two mixtures for each class"
NEEDS = ("text",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"temperature": 0.07}}


@dataclass(frozen=True)
class Settings:
    """The paper's, but for the temperature."""

    posterior: float = 0.5  # least posterior of the better Gaussian
    consistency: float = 0.8  # θ
    templates: str | None = (
        None  # prompts with {}, separated by |; auto: the data's template
    )
    temperature: float | None = None  # of the zero-shot answers; auto: the model's own
    flags: Literal["own", "estimated"] = "own"
    noise_rate: float | None = None  # known share of wrong labels

    def __post_init__(self) -> None:
        need(self, posterior=0, consistency=0)
        if max(self.posterior, self.consistency) > 1:
            raise OptionError("Settings posterior and consistency are at most 1.")


def in_words(images: Dataset, encoder: DualEncoder, settings: Settings) -> np.ndarray:
    """[n, k] zero-shot probabilities: per class the sum over prompts of exp(cos / T)."""
    temperature = temperature_of(encoder, settings.temperature)
    templates = (
        settings.templates.split("|") if settings.templates else [images.template]
    )
    if any("{}" not in t for t in templates):
        raise OptionError(
            f"Setting templates: '{settings.templates}' has a prompt without {{}}."
        )
    logits = [
        zero_shot(images, encoder, temperature, t).cosines.astype(np.float64)
        / temperature
        for t in templates
    ]
    top = max(float(part.max()) for part in logits)
    total = sum((np.exp(part - top) for part in logits), np.zeros_like(logits[0])).clip(
        1e-300
    )
    return total / total.sum(1, keepdims=True)


def rule_values(
    probs: np.ndarray, labels: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of the better Gaussian of the class [n], and p(y) / max p [n]."""
    given = probs[np.arange(len(labels)), labels]
    posterior = np.ones(len(labels))
    for label in np.unique(labels):
        own = labels == label
        posterior[own] = upper_cluster(np.log(given[own].clip(1e-12)), seed)
    return posterior, given / probs.max(1).clip(1e-30)


def centred(values: np.ndarray, threshold: float) -> np.ndarray:
    """[0, 1] -> [0, 1], rising, with `threshold` at one half."""
    below = 0.5 * values / max(threshold, 1e-12)
    above = 0.5 + 0.5 * (values - threshold) / max(1 - threshold, 1e-12)
    return np.where(values >= threshold, above, below).clip(0, 1)


def rescue(p_clean: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """p_clean where the best label of a class without any clean one is lifted to one half."""
    lifted = p_clean.copy()
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        if (p_clean[own] < 0.5).all():
            lifted[own[p_clean[own].argmax()]] = 0.5
    return lifted


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Apply the four rules."""
    answers = (
        in_words(images, encoder, settings),
        out_of_fold(images, encoder, run.seed, balanced=True),
    )
    values = []
    for probs in answers:
        posterior, ratio = rule_values(probs, images.labels, run.seed)
        values += [
            centred(posterior, settings.posterior),
            centred(ratio, settings.consistency),
        ]
    p_clean = rescue(np.min(values, axis=0), images.labels)
    names = ("words_loss", "words_consistency", "probe_loss", "probe_consistency")
    own = p_clean < 0.5 if settings.flags == "own" else None
    return judged(
        images,
        run,
        (answers[0] + answers[1]) / 2,
        -p_clean,
        noise_rate=settings.noise_rate,
        own=own,
        p_clean=p_clean,
        columns=dict(zip(names, values, strict=True)),
        facts=temperature_facts(
            temperature_of(encoder, settings.temperature), settings.temperature is None
        ),
    )
