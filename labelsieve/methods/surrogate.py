"""Surrogate: a label is kept where the frozen model gives it more than a set probability.

After Liang, Zhu, Shi, Yang, "Combating Label Noise With A General Surrogate Model For Sample
Selection" (arXiv 2310.10463, IJCV 2024), known to us second-hand: there is no public code, and
equations and thresholds were not available. With q(k) = zero-shot probabilities at temperature T
(the paper's second version: 0.01, CLIP's own; here the model's own):

    A, confidence:    keep <=> q(y) > ρ                           score q(y)
    B, consistency:   keep <=> JS(q of prompt 1, q of prompt 2) < μ

B does not look at the label: it finds ambiguous pictures, not wrong labels. So it is the column
`ambiguity`, and a rule only where `mu` is set. The values of ρ and μ in the paper are unknown to
us; ρ = 0.3 is our choice. `threshold=class` is a reconstruction of the class bias that the paper
re-estimates with a transition matrix, M[j, k] = mean of q(k) over pictures labelled j:
keep <=> q(y) > ρ M[y, y], with M estimated once from all labels and again from the kept ones. In
the paper M enters the loss of the model that is trained afterwards, which is no part of a detector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from labelsieve.errors import OptionError
from labelsieve.estimation.calibration import of_given
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.settings import Above, AtLeast

COST = "one pass of the image tower (cached)"
NEEDS = ("text",)
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "class": {"threshold": "class", "rho": 0.5},
}


@dataclass(frozen=True)
class Settings(Frozen):
    """See the module's docstring."""

    rho: Annotated[float, AtLeast(0)] = 0.3  # least probability of the given label
    threshold: Literal["absolute", "class"] = "absolute"
    # largest divergence of the two prompts; auto: not a rule
    mu: Annotated[float | None, AtLeast(0)] = None
    second_template: str = "an example of a {}."
    temperature: Annotated[float | None, Above(0)] = None  # auto: the model's own

    def __post_init__(self) -> None:
        super().__post_init__()
        if "{}" not in self.second_template:
            raise OptionError(
                f"Setting second_template '{self.second_template}' has no {{}} "
                "for the class name."
            )


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """[n] Jensen-Shannon divergence of rows [n, k], natural logarithm: from 0 to log 2."""
    middle = (p + q) / 2

    def kl(a: np.ndarray) -> np.ndarray:
        # 0 log 0 is 0
        return (a * (np.log(a.clip(1e-30)) - np.log(middle.clip(1e-30)))).sum(1)

    # rounding may leave it just below 0
    return ((kl(p) + kl(q)) / 2).clip(0)


def transition(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """M [k, k]: row j is the mean of `probs` [n, k] over pictures labelled j.

    A class without pictures is itself.
    """
    k = probs.shape[1]
    counts = np.bincount(labels, minlength=k)
    total = np.zeros((k, k))
    np.add.at(total, labels, probs)
    return np.where(counts[:, None] > 0, total / counts[:, None].clip(1), np.eye(k))


def least(probs: np.ndarray, labels: np.ndarray, settings: Settings) -> np.ndarray:
    """The probability [n] that each given label must exceed."""
    if settings.threshold == "absolute":
        return np.full(len(labels), settings.rho)
    usual = np.diag(transition(probs, labels))
    # wrong labels pull M down, so it is estimated again from what the first M keeps
    kept = of_given(probs, labels) > settings.rho * usual[labels]
    return settings.rho * np.diag(transition(probs[kept], labels[kept]))[labels]


def detect(task: Task, settings: Settings) -> Evidence:
    """Compare the probability of each label with its threshold."""
    task = seen(task, settings)
    labels = task.data.labels
    answer = task.zero_shot(settings.temperature)
    other = task.zero_shot(settings.temperature, settings.second_template)
    probs = answer.probs().astype(np.float64)
    given = of_given(probs, labels)
    ambiguity = divergence(probs, other.probs().astype(np.float64))
    own = given <= least(probs, labels, settings)
    if settings.mu is not None:
        own |= ambiguity >= settings.mu
    ranking = Ranking(
        suspicion=-given,
        own=own,
        columns={"ambiguity": ambiguity},
        facts={**answer.facts(), "rho": settings.rho},
    )
    return from_ranking(task, ranking, settings)
