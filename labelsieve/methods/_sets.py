"""Sets of labels, judged class by class: from scores of classes to evidence.

A method that can judge sets gives each picture a score for each class, which does not know the
label it judges. Here, the same for all of them, scores become probabilities of missing and extra
labels (`labelsieve.estimation.sets`), flags and a suggested set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelsieve.estimation.flagging import BY_F1
from labelsieve.estimation.sets import channel, judging, shares
from labelsieve.estimation.sets.channel import Channel
from labelsieve.features.cached import Region
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import KnownRate, OwnRule, Rules

# Fields of a channel, in their order, as they are kept for `score`.
CHANNEL = tuple(Channel.__dataclass_fields__)


@dataclass(frozen=True)
class ClassScores:
    """How much n pictures speak for k classes.

    values: [n, k] higher is more; on any scale, which may differ from class to class.
    own: [n, k] bool, labels that the method's own rule calls missing or extra, if it has one.
    facts, learned: as in `Evidence`.
    """

    values: np.ndarray
    own: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    learned: Mapping[str, Tensor] = field(default_factory=dict)


def from_scores(task: Task, scores: ClassScores, settings: KnownRate) -> Evidence:
    """Evidence about sets; its arrays are [n, k], and the order within a class is the method's."""
    given = task.data.labels
    counts = channel.count(scores.values, given)
    fitted = channel.fit(counts)
    posterior = fitted.posterior(scores.values, given)
    p_wrong = judging.p_wrong_of(posterior, given)
    estimate = shares.summarise(posterior, given, task.data.classes, counts, fitted)
    flagged, rule = _flags(p_wrong, scores.own, estimate.sets.rate, settings)
    learned = {name: torch.from_numpy(getattr(fitted, name)) for name in CHANNEL}
    known = judging.separation(scores.values, given)
    return _evidence(
        p_wrong,
        flagged,
        posterior,
        given,
        estimate=estimate,
        facts={
            "flags_by": rule,
            "separation": dict(
                zip(task.data.classes, map(_rounded, known), strict=True)
            ),
            **scores.facts,
        },
        learned={**learned, **scores.learned} if scores.learned else None,
    )


def from_channel(
    task: Task, values: np.ndarray, learned: Mapping[str, Tensor], settings: KnownRate
) -> Evidence:
    """Evidence about sets of other pictures, by the channel that `from_scores` fitted.

    A handful of pictures says nothing about how often labels are missing; the scan's did.

    Args:
        values: [n, k], scores of the same kind.
        learned: as of `Evidence`.
    """
    given = task.data.labels
    # float64, as they were fitted
    fitted = Channel(*(learned[name].double().numpy() for name in CHANNEL))
    posterior = fitted.posterior(values, given)
    p_wrong = judging.p_wrong_of(posterior, given)
    # the expected share of wrong labels among all that could be wrong
    flagged, rule = _flags(p_wrong, None, float(p_wrong.mean()), settings)
    return _evidence(p_wrong, flagged, posterior, given, facts={"flags_by": rule})


def _evidence(
    p_wrong: np.ndarray,
    flagged: np.ndarray,
    posterior: np.ndarray,
    given: np.ndarray,
    **more: Any,
) -> Evidence:
    """What is judged of each label [n, k]; a flagged one is suggested the other way round."""
    return Evidence(
        p_clean=1 - p_wrong,
        flagged=flagged,
        suggested=given ^ flagged,
        probs=posterior,
        posterior=True,
        **more,
    )


def _rounded(value: float) -> float | None:
    """Three digits for a person; None where nothing is known, which JSON has and NaN it has not."""
    return None if np.isnan(value) else round(float(value), 3)


def _flags(
    p_wrong: np.ndarray, own: np.ndarray | None, rate: float, settings: KnownRate
) -> tuple[np.ndarray, str]:
    """Labels called missing or extra [n, k], and by which rule, as of single labels."""
    wanted = "posterior"
    if isinstance(settings, Rules | OwnRule):
        wanted = settings.flags
    if settings.noise_rate is not None:
        return judging.flag_most(p_wrong, settings.noise_rate), "known rate"
    if wanted == "own" and own is not None:
        return own, "own rule"
    if wanted == "estimated":
        return judging.flag_most(p_wrong, rate), "estimated rate"
    return judging.flag(p_wrong), BY_F1


# --- whole pictures and their regions


def regions(rows: int) -> list[Region]:
    """The parts of a picture: a grid of so many rows and columns, and all coarser ones.

    None of 1 row, which is the whole.
    """
    parts = []
    for size in range(2, rows + 1):
        for top in range(size):
            for left in range(size):
                parts.append(Region(left / size, top / size, 1 / size))
    return parts


def largest_over_views(
    task: Task, rows: int, score: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """[n, k] largest score of the whole picture and of its regions.

    A class in a corner is small in the whole, and alone in a region.

    Args:
        rows: as of `regions`.
        score: features [n, d] to scores [n, k].
    """
    # copies: torch warns about arrays that are mapped read-only
    best = score(np.array(task.image_features(), dtype=np.float32))
    for view in regions(rows):
        features = np.array(task.image_features(view), dtype=np.float32)
        best = np.maximum(best, score(features))
    return best
