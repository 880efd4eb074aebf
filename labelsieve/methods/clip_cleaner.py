"""CLIPCleaner: two classifiers and two rules for each; a clean label passes all four.

Feng, Tzimiropoulos, Patras, "CLIPCleaner: Cleaning Noisy Labels with CLIP", ACM MM 2024 (arXiv
2408.10012), the selection; authors' code MrChenFeng/CLIPCleaner_ACMMM2024, commit efff9cd. With A =
zero-shot answers and B = logistic regression on image features with balanced classes, each gives a
probability p(y) of the given label y:

    rule 1 (loss): posterior of the better of two Gaussians on log p(y), fitted within y, ≥ 0.5
    rule 2 (consistency): p(y) / max_k p(k) ≥ θ

score: the least of the four values after each was mapped to [0, 1] with its threshold at one
half (a continuous score as in SenyuHou/FM-SRM). Differences from the authors' code:
- B is judged out of fold; there it answers for the labels it was trained on.
- A class of which nothing is left gets its cleanest label back; there the guard takes the least
  clean one.
- Classes of one picture, or with equal values, pass rule 1 (there 0/0); the mixture has a seed and
  never falls as p(y) rises.
- A's temperature is the model's own, and its prompt the data's template. Preset `paper` has
  T = 0.07; descriptions of the classes, as the paper takes from a language model, can be given as
  further templates, separated by "|".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from labelsieve.errors import OptionError
from labelsieve.estimation.calibration import of_given
from labelsieve.estimation.mixture import upper_cluster
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import temperature_facts, temperature_of
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.settings import Above, Share

COST = "one pass of the image tower (cached), five linear probes, two mixtures for each class"
NEEDS = ("text",)
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"temperature": 0.07}}


@dataclass(frozen=True)
class Settings(Frozen):
    """The paper's, but for the temperature."""

    posterior: Annotated[float, Share()] = 0.5  # least posterior of the better Gaussian
    consistency: Annotated[float, Share()] = 0.8  # θ
    # prompts with {}, separated by |; auto: the data's template
    templates: str | None = None
    # of the zero-shot answers; auto: the model's own
    temperature: Annotated[float | None, Above(0)] = None


def in_words(task: Task, settings: Settings) -> np.ndarray:
    """[n, k] float64 zero-shot probabilities: per class the sum over prompts of exp(cos / T)."""
    logits = []
    for template in _templates(task, settings):
        answer = task.zero_shot(settings.temperature, template)
        logits.append(answer.cosines.astype(np.float64) / answer.temperature)
    # one shift for all prompts, so that their sums compare
    top = max(float(part.max()) for part in logits)
    total = np.zeros_like(logits[0])
    for part in logits:
        total = total + np.exp(part - top)
    total = total.clip(1e-300)
    return total / total.sum(1, keepdims=True)


def _templates(task: Task, settings: Settings) -> list[str]:
    if not settings.templates:
        return [task.data.template]
    templates = settings.templates.split("|")
    if any("{}" not in template for template in templates):
        raise OptionError(
            f"Setting templates: '{settings.templates}' has a prompt without {{}}."
        )
    return templates


def rule_values(
    probs: np.ndarray, labels: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of the better Gaussian of the class [n], and p(y) / max p [n]."""
    given = of_given(probs, labels)
    posterior = np.ones(len(labels))
    for label in np.unique(labels):
        own = labels == label
        # within the class: some classes are less likely than others throughout
        posterior[own] = upper_cluster(np.log(given[own].clip(1e-12)), seed)
    return posterior, given / probs.max(1).clip(1e-30)


def centred(values: np.ndarray, threshold: float) -> np.ndarray:
    """[0, 1] -> [0, 1], rising, with `threshold` at one half."""
    # thresholds of 0 and 1 leave one of the two sides empty
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


def detect(task: Task, settings: Settings) -> Evidence:
    """Apply the four rules."""
    task = seen(task, settings)
    words = in_words(task, settings)
    balanced = task.out_of_fold(balanced=True)
    answers = {"words": words, "probe": balanced}
    columns = {}
    for name, probs in answers.items():
        posterior, ratio = rule_values(probs, task.data.labels, task.seed)
        columns[f"{name}_loss"] = centred(posterior, settings.posterior)
        columns[f"{name}_consistency"] = centred(ratio, settings.consistency)
    # the least of all: a label is clean where every rule says so
    p_clean = rescue(np.min(list(columns.values()), axis=0), task.data.labels)
    temperature = temperature_of(task.encoder, settings.temperature)
    ranking = Ranking(
        suspicion=-p_clean,
        own=p_clean < 0.5,
        columns=columns,
        facts=temperature_facts(temperature, settings.temperature is None),
    )
    return from_ranking(task, ranking, settings)
