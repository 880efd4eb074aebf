"""Ensemble: several methods judge, and their rankings are averaged.

Suspicion of a label = mean over the members of its rank by p_clean (equal ones share the mean rank), divided by n: ranks
because the members' probabilities are not on one scale. Own rule: more than half of the members flag it. Columns:
`agreement`, the share of members that flag it, and `p_NAME`, each member's p_clean. Members have their default settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata

from labelsieve import registry
from labelsieve.data.dataset import Dataset
from labelsieve.errors import OptionError
from labelsieve.features.probe import out_of_fold
from labelsieve.features.task import Workplace
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import judged, need
from labelsieve.models.encoder import DualEncoder

COST = "the sum of its members' costs; by default one pass of the image tower (cached) and little more"
NEEDS = ("text",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "no-text": {"methods": "knn,aum"}}


@dataclass(frozen=True)
class Settings:
    """See the module's docstring."""

    methods: str = "zero-shot,lemon,knn,aum"  # names, separated by commas
    flags: Literal["own", "estimated"] = "own"
    noise_rate: float | None = None  # known share of wrong labels

    def __post_init__(self) -> None:
        need(self)
        if (
            not self.names()
            or "ensemble" in self.names()
            or len(set(self.names())) < len(self.names())
        ):
            raise OptionError(
                f"Setting methods cannot be '{self.methods}'.",
                "Name other methods than ensemble, each once.",
            )

    def names(self) -> list[str]:
        """The members."""
        return [name.strip() for name in self.methods.split(",") if name.strip()]


def mean_rank(p_clean: np.ndarray) -> np.ndarray:
    """[members, n] -> [n] in (0, 1], higher is more suspicious."""
    return rankdata(-p_clean, axis=1).mean(0) / p_clean.shape[1]


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Ask every member."""
    rooms = {name: registry.load("methods", name) for name in settings.names()}
    found = {
        name: room.detect(images, encoder, room.Settings(), run)
        for name, room in rooms.items()
    }
    agreement = np.mean([e.flagged for e in found.values()], axis=0)
    blind = [
        e.probs for e in found.values() if not e.posterior
    ]  # those that do not know the labels they judge
    probs = np.mean(blind, axis=0) if blind else out_of_fold(images, encoder, run.seed)
    return judged(
        images,
        run,
        probs,
        mean_rank(np.stack([e.p_clean for e in found.values()])),
        noise_rate=settings.noise_rate,
        own=agreement > 0.5 if settings.flags == "own" else None,
        answers=np.mean([e.probs for e in found.values()], axis=0),
        columns={
            "agreement": agreement,
            **{f"p_{name}": e.p_clean for name, e in found.items()},
        },
        facts={"members": {name: e.facts for name, e in found.items()}},
    )
