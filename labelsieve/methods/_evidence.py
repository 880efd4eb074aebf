"""From a ranking to evidence: what all methods have in common that rank labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np

from labelsieve.estimation import flagging
from labelsieve.estimation.transition import Transition, fit_transition
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.settings import Bounded, Share


@dataclass(frozen=True)
class KnownRate(Bounded):
    """Settings of every method: the share of wrong labels, where the user knows it."""

    noise_rate: Annotated[float | None, Share()] = None


@dataclass(frozen=True)
class OwnRule(KnownRate):
    """Settings of methods with a rule of their own for which labels are wrong.

    flags: by that rule, or as many as the estimated share of wrong labels.
    """

    flags: Literal["own", "estimated"] = "own"


@dataclass(frozen=True)
class Ranking:
    """How suspicious n labels are.

    suspicion: [n] higher is more suspicious.
    probs: [n, k] class probabilities that do not know the labels they judge.
    own: [n] bool, flags of the method's own rule, if it has one.
    p_clean: [n] probability that the label is right; None where the method's score is no
        probability: then those of the estimate are spread over the method's order.
    answers: [n, k] class probabilities that suggestions are taken from, if not from `probs`.
    columns, facts: as in `Evidence`.
    """

    suspicion: np.ndarray
    probs: np.ndarray
    own: np.ndarray | None = None
    p_clean: np.ndarray | None = None
    answers: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def of_given(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] the value of each given label, out of one per class [n, k]."""
    return values[np.arange(len(labels)), labels]


def from_ranking(task: Task, ranking: Ranking, settings: KnownRate) -> Evidence:
    """Flags by the rules of `labelsieve.estimation.flagging`, probabilities and suggestions."""
    labels = task.data.labels
    probs = ranking.probs
    own = ranking.own
    # methods without a rule of their own, such as small-loss, do not have this setting
    if isinstance(settings, OwnRule) and settings.flags == "estimated":
        own = None
    known = settings.noise_rate
    transition = None
    p_wrong = np.zeros(len(labels))
    # the estimate takes a while, and is needed only where nothing else says how many are wrong
    if ranking.p_clean is None or (known is None and own is None):
        transition, p_wrong = estimate(probs, labels, task.seed)
    flagged, rule = flagging.choose(
        ranking.suspicion, known=known, own=own, estimated=float(p_wrong.mean())
    )
    answers = probs if ranking.answers is None else ranking.answers
    return Evidence(
        _p_clean(ranking, p_wrong),
        flagged,
        flagging.suggestions(answers, labels, flagged),
        probs,
        dict(ranking.columns),
        # the noise estimate of the run needs the same T and need not fit it again
        transition=transition,
        # a method that has a rule of another name may say so
        facts={"flags_by": rule, **ranking.facts},
    )


def estimate(
    probs: np.ndarray, labels: np.ndarray, seed: int
) -> tuple[Transition, np.ndarray]:
    """T and the probability [n] that each label is wrong.

    Args:
        probs: [n, k] class probabilities that do not know the labels they judge.
    """
    transition = fit_transition(probs, labels, seed)
    posterior = transition.posterior(transition.calibrate(probs), labels)
    return transition, 1 - of_given(posterior, labels)


def _p_clean(ranking: Ranking, p_wrong: np.ndarray) -> np.ndarray:
    """[n] float64, of the method itself, or the estimate's spread over its order."""
    p_clean = ranking.p_clean
    if p_clean is None:
        p_clean = 1 - flagging.spread(ranking.suspicion, p_wrong)
    # rounding may leave probabilities just outside of [0, 1]
    return np.clip(p_clean, 0, 1).astype(np.float64)
