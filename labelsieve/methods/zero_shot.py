"""Zero-shot: a label is suspect where the model, given the class names, answers another class.

CLIP label matching (Radford et al., ICML 2021, section 3.1.2, with one prompt):
p(k | x) = softmax_k(cos(x, t_k) / T), score p(given label), own rule: argmax p is another
class. T is the model's own, one over its logit scale; with T = 1 the probabilities of many
classes are all alike and this is a much weaker baseline. Nothing is learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from labelsieve.estimation.calibration import of_given
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import OwnRule, Ranking, from_ranking
from labelsieve.settings import Above

COST = "one pass of the image tower (cached)"
NEEDS = ("text",)
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}}


@dataclass(frozen=True)
class Settings(OwnRule):
    """See the module's docstring."""

    temperature: Annotated[float | None, Above(0)] = None  # auto: the model's own


def detect(task: Task, settings: Settings) -> Evidence:
    """Compare each label with the model's answer."""
    labels = task.data.labels
    # the temperature changes probabilities, never the answer
    answer = task.zero_shot(settings.temperature)
    probs = answer.probs()
    given = of_given(probs, labels)
    ranking = Ranking(
        suspicion=-given,
        # of the cosines: in float32 two probabilities may both be 1
        own=answer.cosines.argmax(1) != labels,
        facts=answer.facts(),
    )
    return from_ranking(task, ranking, settings)
