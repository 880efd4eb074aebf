"""Ensemble: several methods judge, and their rankings are averaged.

Suspicion of a label = mean over the members of its rank by p_clean (equal ones share the mean
rank), divided by n: ranks because the members' probabilities are not on one scale. Own rule: more
than half of the members flag it. Columns: `flagged_by`, the share of members that flag it, and
`p_NAME`, each member's p_clean. Members have their default settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from labelsieve import registry
from labelsieve.errors import OptionError
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen

COST = (
    "the sum of its members' costs; by default one pass of the image tower (cached) "
    "and little more"
)
NEEDS = ("text",)
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "no-text": {"methods": "knn,aum"}}


@dataclass(frozen=True)
class Settings(Frozen):
    """See the module's docstring."""

    methods: str = "zero-shot,lemon,knn,aum"  # names, separated by commas

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.names()
        # an ensemble among its members would never end
        if not names or "ensemble" in names or len(set(names)) < len(names):
            raise OptionError(
                f"Setting methods cannot be '{self.methods}'.",
                "Name other methods than ensemble, each once.",
            )

    def names(self) -> list[str]:
        """The members."""
        return [name.strip() for name in self.methods.split(",") if name.strip()]


def mean_rank(p_clean: np.ndarray) -> np.ndarray:
    """[members, n] -> [n] in (0, 1], higher is more suspicious."""
    # equal values share their mean rank, so that no order of rows decides
    return rankdata(-p_clean, axis=1).mean(0) / p_clean.shape[1]


def detect(task: Task, settings: Settings) -> Evidence:
    """Let every member judge."""
    task = seen(task, settings)
    # all are loaded first: a library that is not installed is missed before any work
    rooms = {name: registry.load("methods", name) for name in settings.names()}
    members = {name: room.detect(task, room.Settings()) for name, room in rooms.items()}
    each: list[Evidence] = list(members.values())
    # not "agreement", which is that of the people who voted
    flagged_by = np.mean([e.flagged for e in each], axis=0)
    columns = {"flagged_by": flagged_by}
    columns |= {f"p_{name}": e.p_clean for name, e in members.items()}
    ranking = Ranking(
        suspicion=mean_rank(np.stack([e.p_clean for e in each])),
        # half of the members are no majority
        own=flagged_by > 0.5,
        columns=columns,
        facts={"members": {name: e.facts for name, e in members.items()}},
    )
    return from_ranking(task, ranking, settings)
