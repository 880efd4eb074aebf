"""Zero-shot: a label is suspect where the model, given the class names, answers another class.

CLIP label matching (Radford et al., ICML 2021, section 3.1.2, with one prompt):
p(k | x) = softmax_k(cos(x, t_k) / T), score p(given label), own rule: argmax p is another
class. T is the model's own, one over its logit scale; with T = 1 the probabilities of many
classes are all alike and this is a much weaker baseline. Nothing is learned.

Preset `transition` ranks by p(given | x, given label) under the estimated T
(labelsieve.estimation.transition), on four corners of each picture: what DeFT starts from.

Sets of labels are judged class by class by the log-odds of p(k | x), the largest over the whole
picture and its regions (`labelsieve.methods.tai_adapter`) where `regions` is above 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from labelsieve.data.labels import SET
from labelsieve.estimation.calibration import logit, of_given
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax, temperature_of
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.methods._posterior import TEXT, select_among
from labelsieve.methods._sets import ClassScores, from_scores, largest_over_views
from labelsieve.settings import Above, AtLeast, AtMost

COST = "one pass of the image tower (cached)"
NEEDS = ("text",)
JUDGES = ("single", "set")
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "corners": {"corners": True},
    "transition": {"corners": True, "judge": "transition"},
    "regions": {"regions": 2},
}


@dataclass(frozen=True)
class Settings(Frozen):
    """See the module's docstring."""

    temperature: Annotated[float | None, Above(0)] = None  # auto: the model's own
    # labels are ranked by the answer, or by Bayes' rule with T
    judge: Literal["answer", "transition"] = "answer"
    # of sets alone: a grid of so many rows and columns, and all coarser ones
    regions: Annotated[int, AtLeast(1), AtMost(4)] = 1


def detect(task: Task, settings: Settings) -> Evidence:
    """Compare each label with the model's answer."""
    task = seen(task, settings)
    if task.data.coding.kind == SET:
        return from_scores(task, ClassScores(_of_sets(task, settings)), settings)
    labels = task.data.labels
    # the temperature changes probabilities, never the answer
    answer = task.zero_shot(settings.temperature)
    probs = answer.probs()
    given = of_given(probs, labels)
    if settings.judge == "transition":
        given = of_given(
            select_among({TEXT: probs}, labels, task.seed).posterior(labels), labels
        )
    ranking = Ranking(
        suspicion=-given,
        # of the cosines: in float32 two probabilities may both be 1
        own=answer.cosines.argmax(1) != labels,
        facts=answer.facts(),
    )
    return from_ranking(task, ranking, settings)


def _of_sets(task: Task, settings: Settings) -> np.ndarray:
    """[n, k] log-odds of each class among the others, in the view where they are largest."""
    text = task.class_features()
    temperature = temperature_of(task.encoder, settings.temperature)

    def score(features: np.ndarray) -> np.ndarray:
        # below, scores would only tell digits of float32
        return logit(softmax(features @ text.T / temperature), 1e-7)

    return largest_over_views(task, settings.regions, score)
