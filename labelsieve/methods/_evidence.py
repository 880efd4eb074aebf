"""From a ranking to evidence: what every method that only ranks has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from labelsieve.data.dataset import Dataset
from labelsieve.errors import OptionError
from labelsieve.estimation import flagging
from labelsieve.estimation.transition import fit_transition
from labelsieve.features.task import Workplace
from labelsieve.methods import Evidence


def judged(
    images: Dataset,
    run: Workplace,
    probs: np.ndarray,
    suspicion: np.ndarray,
    *,
    noise_rate: float | None,
    own: np.ndarray | None = None,
    p_clean: np.ndarray | None = None,
    answers: np.ndarray | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Evidence:
    """Flags by the rules of `labelsieve.estimation.flagging`, probabilities, and suggestions for a ranking of n labels.

    Args:
        probs: [n, k] class probabilities that do not know the labels they judge.
        suspicion: [n] higher is more suspicious.
        noise_rate: the share of wrong labels, if the user knows it.
        own: [n] flags of the method's own rule, if it has one and the user wants it.
        p_clean: [n] probability that the label is right; None where the method's score is none: then the probabilities of
            the estimate are spread over the method's order (`flags.spread`).
        answers: [n, k] what suggestions are taken from, if not from `probs`.
        columns, facts: as in `Evidence`.
    """
    each, labels = np.arange(len(images)), images.labels
    transition, p_wrong = None, np.zeros(len(images))
    if p_clean is None or (noise_rate is None and own is None):
        transition = fit_transition(probs, labels, run.seed)
        p_wrong = (
            1 - transition.posterior(transition.calibrate(probs), labels)[each, labels]
        )
    flagged, rule = flagging.choose(
        suspicion, known=noise_rate, own=own, estimated=float(p_wrong.mean())
    )
    if p_clean is None:
        p_clean = 1 - flagging.spread(suspicion, p_wrong)
    return Evidence(
        np.clip(p_clean, 0, 1).astype(np.float64),
        flagged,
        flagging.suggestions(probs if answers is None else answers, labels, flagged),
        probs,
        dict(columns or {}),
        transition=transition,
        facts={"flags_by": rule, **(facts or {})},
    )


def need(settings: Any, **least: float) -> None:
    """Raises OptionError for a setting below its least value, and for a noise rate that is no share."""
    if settings.noise_rate is not None and not 0 <= settings.noise_rate <= 1:
        raise OptionError(
            f"Setting noise_rate cannot be {settings.noise_rate}.",
            "It is a share, from 0 to 1.",
        )
    for name, bound in least.items():
        value = getattr(settings, name)
        if value is not None and value < bound:
            raise OptionError(
                f"Setting {name} cannot be {value}.", f"It is at least {bound}."
            )
