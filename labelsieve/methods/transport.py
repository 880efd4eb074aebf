"""Transport: pictures are shared out among classes, as many to each as carry its label.

A picture that ends in another class than its label's is suspect.

The selection of NLPrompt (Pan et al., "NLPrompt: Noise-Label Prompt Learning for Vision-Language
Models", CVPR 2025, arXiv 2412.01256, PromptOT): entropic optimal transport P between pictures (mass
1/n each) and class texts,

    min Σ P_ik (-log p_ik) - ε H(P),    p = softmax of the zero-shot logits,

solved by Sinkhorn's iterations in the log domain; a label is clean where it is the argmax of its
row of P. Only the selection: prompts are not trained here. Differences from the authors' code
(qunovo/NLPrompt, commit b36bc8e): the class marginal is the frequency of the given labels, not
uniform; p is a softmax once (there it goes through log_softmax again, which makes the costs nearly
flat). Because of that ε = 0.01 makes the plan almost one class a row, so the score is taken from
softmax_k(log p + potential of class k), which has the plan's argmax and the temperature of p (the
model's own).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from scipy.special import log_softmax, logsumexp

from labelsieve.estimation.calibration import of_given
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.settings import Above, AtLeast

COST = "one pass of the image tower (cached); Sinkhorn's iterations on images x classes"
NEEDS = ("text",)
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}}
SAMPLE = 20_000  # pictures that the class potentials are found on: bounds the time
# ε on the way to the wanted one, each starting where the last one ended: iterations at a small
# ε alone converge slowly
STEPS_DOWN = (1.0, 0.3, 0.1, 0.03)
CLOSE = 1e-4  # class masses this far from the marginal (L1) are near enough


@dataclass(frozen=True)
class Settings(Frozen):
    """The paper's."""

    epsilon: Annotated[float, AtLeast(1e-4)] = 0.01  # strength of the entropy
    rounds: Annotated[int, AtLeast(1)] = 200  # iterations for each ε, at most
    temperature: Annotated[float | None, Above(0)] = None  # auto: the model's own


def potentials(
    log_p: np.ndarray, marginal: np.ndarray, epsilon: float, rounds: int
) -> tuple[np.ndarray, float]:
    """Dual potentials g [k] of the classes, and the plan's distance from `marginal` (L1).

    The plan's rows are proportional to exp((log p + g) / ε); each has mass 1/n.
    """
    g = np.zeros(log_p.shape[1])
    error = np.inf
    for strength in [*(s for s in STEPS_DOWN if s > epsilon), epsilon]:
        for _ in range(rounds):
            rows = log_softmax((log_p + g) / strength, axis=1)
            mass = logsumexp(rows, axis=0) - np.log(len(rows))
            error = float(np.abs(np.exp(mass) - marginal).sum())
            if error < CLOSE:
                break
            g = g + strength * (np.log(marginal) - mass)
    # only differences matter; centred, they are the same whatever the start
    return g - g.mean(), error


def detect(task: Task, settings: Settings) -> Evidence:
    """Share the pictures out and see who got another class."""
    task = seen(task, settings)
    labels = task.data.labels
    n = len(labels)
    answer = task.zero_shot(settings.temperature)
    log_p = log_softmax(answer.cosines.astype(np.float64) / answer.temperature, axis=1)
    marginal = np.bincount(labels, minlength=log_p.shape[1]) / n
    some: Any = slice(None)
    if n > SAMPLE:
        some = np.random.default_rng(task.seed).choice(n, SAMPLE, replace=False)
    g, error = potentials(log_p[some], marginal, settings.epsilon, settings.rounds)
    probs = softmax(log_p + g)
    given = of_given(probs, labels)
    ranking = Ranking(
        suspicion=-given,
        own=(log_p + g).argmax(1) != labels,
        facts={**answer.facts(), "marginal_error": error},
    )
    return from_ranking(task, ranking, settings)
