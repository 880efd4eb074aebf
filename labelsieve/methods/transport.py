"""Transport: pictures are shared out among the classes, as many to each as carry its label; who ends elsewhere is suspect.

The selection of NLPrompt (Pan et al., "NLPrompt: Noise-Label Prompt Learning for Vision-Language Models", CVPR 2025, arXiv
2412.01256, PromptOT): entropic optimal transport P between pictures (mass 1/n each) and class texts,

    min Σ P_ik (-log p_ik) - ε H(P),    p = softmax of the zero-shot logits,

solved by Sinkhorn's iterations in the log domain; a label is clean where it is the argmax of its row of P. Only the
selection: prompts are not trained here. Differences from the authors' code (qunovo/NLPrompt, commit b36bc8e): the class
marginal is the frequency of the given labels, not uniform; p is a softmax once (there it goes through log_softmax again,
which makes the costs nearly flat). Because of that ε = 0.01 makes the plan almost one class a row, so p_clean is taken
from softmax_k(log p + potential of class k), which has the plan's argmax and the temperature of p (the model's own).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import log_softmax, logsumexp

from labelsieve.data.dataset import Dataset
from labelsieve.features.task import Workplace
from labelsieve.features.zero_shot import softmax, zero_shot
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import judged, need
from labelsieve.models.encoder import DualEncoder

COST = "one pass of the image tower (cached); Sinkhorn's iterations on images x classes"
NEEDS = ("text",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}}
SAMPLE = 20_000  # pictures that the class potentials are found on
STEPS_DOWN = (
    1.0,
    0.3,
    0.1,
    0.03,
)  # ε on the way to the wanted one: each starts where the last one ended


@dataclass(frozen=True)
class Settings:
    """The paper's."""

    epsilon: float = 0.01  # strength of the entropy
    rounds: int = 200  # iterations for each ε, at most
    temperature: float | None = None  # auto: the model's own
    flags: Literal["own", "estimated"] = "own"
    noise_rate: float | None = None  # known share of wrong labels

    def __post_init__(self) -> None:
        need(self, epsilon=1e-4, rounds=1)


def potentials(
    log_p: np.ndarray, marginal: np.ndarray, epsilon: float, rounds: int
) -> tuple[np.ndarray, float]:
    """Dual potentials g [k] of the classes, and how far the plan's class masses are from `marginal` (L1).

    The plan's rows are proportional to exp((log p + g) / ε); each has mass 1/n.
    """
    g = np.zeros(log_p.shape[1])
    error = np.inf
    for strength in [*(s for s in STEPS_DOWN if s > epsilon), epsilon]:
        for _ in range(rounds):
            rows = log_softmax((log_p + g) / strength, axis=1)
            mass = logsumexp(rows, axis=0) - np.log(len(rows))
            error = float(np.abs(np.exp(mass) - marginal).sum())
            if error < 1e-4:
                break
            g = g + strength * (np.log(marginal) - mass)
    return g - g.mean(), error


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Share the pictures out and see who got another class."""
    answer = zero_shot(images, encoder, settings.temperature)
    log_p = log_softmax(answer.cosines.astype(np.float64) / answer.temperature, axis=1)
    marginal = np.bincount(images.labels, minlength=log_p.shape[1]) / len(images)
    rng = np.random.default_rng(run.seed)
    some = (
        slice(None)
        if len(images) <= SAMPLE
        else rng.choice(len(images), SAMPLE, replace=False)
    )
    g, error = potentials(log_p[some], marginal, settings.epsilon, settings.rounds)
    probs = softmax(log_p + g)
    given = probs[np.arange(len(images)), images.labels]
    own = (log_p + g).argmax(1) != images.labels if settings.flags == "own" else None
    facts = {**answer.facts(), "marginal_error": error}
    return judged(
        images,
        run,
        probs,
        -given,
        noise_rate=settings.noise_rate,
        own=own,
        p_clean=given,
        facts=facts,
    )
