"""Detectors of wrong labels: one method per file.

A file of this room offers:

    COST: str                                  what it takes, in words
    NEEDS: tuple[str, ...]                     of "text" (class names that mean something) and "pixels" (passes through the tower)
    Settings                                   frozen dataclass, defaults with their source
    PRESETS: dict[str, dict]                   named settings
    detect(images, encoder, settings, run) -> Evidence
    judge(images, encoder, settings, learned) -> Evidence      optional: other images, with what was learned

`images` has no true labels. Row numbers live inside `detect`; `Evidence` is in the same order and is joined with ids by
the pipeline. Higher p_clean always means: more likely right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from labelsieve.estimation.transition import Transition


@dataclass(frozen=True)
class Evidence:
    """What a method found, for n images and k classes.

    p_clean: [n] float, probability that the given label is right.
    flagged: [n] bool, labels called wrong.
    suggested: [n] int, the class the method believes in.
    probs: [n, k] float, class probabilities; rows sum to one.
    columns: further columns for the scores, name -> [n].
    posterior: whether `probs` already take the given label into account (else they come from the picture alone).
    rates: the share of wrong labels under other assumptions that are about as likely; they widen the interval.
    learned: tensors by name, what `judge` of the same file needs to score other images; None when it cannot.
    transition: how labels arise from classes, where the method has already found it from `probs`.
    facts: what the numbers depend on, for run.json: temperatures, the rule of the flags, rates.
    """

    p_clean: np.ndarray
    flagged: np.ndarray
    suggested: np.ndarray
    probs: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    learned: dict[str, Tensor] | None = None
    posterior: bool = False
    rates: tuple[float, ...] = ()
    transition: Transition | None = None
    facts: dict[str, Any] = field(default_factory=dict)
