"""From a ranking to evidence: what all methods have in common that rank labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np

from labelsieve.estimation import flagging
from labelsieve.estimation.calibration import fit_curve, of_given, with_given
from labelsieve.features.cached import Corners
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._posterior import select_reference
from labelsieve.settings import Bounded, Share


@dataclass(frozen=True)
class KnownRate(Bounded):
    """Settings of every method: the share of wrong labels, where the user knows it."""

    noise_rate: Annotated[float | None, Share()] = None


@dataclass(frozen=True)
class Rules(KnownRate):
    """Settings of methods that rank labels.

    flags: those that make the expected F1 largest, or as many as the estimated share of wrong
        labels; see `labelsieve.estimation.flagging`.
    """

    flags: Literal["posterior", "estimated"] = "posterior"


@dataclass(frozen=True)
class OwnRule(KnownRate):
    """Settings of methods with a rule of their own for which labels are wrong.

    flags: as in `Rules`, or by that rule.
    """

    flags: Literal["posterior", "estimated", "own"] = "posterior"


@dataclass(frozen=True)
class Frozen(OwnRule):
    """Settings of methods that look at features of the untouched tower.

    corners: each picture is the mean of four crops into its corners, two of them mirrored, as
        `deft` sees it; no publication has that.
    """

    corners: bool = False


def seen(task: Task, settings: Frozen) -> Task:
    """The task as a method is to see it."""
    return replace(task, look=Corners()) if settings.corners else task


@dataclass(frozen=True)
class Ranking:
    """How suspicious n labels are.

    suspicion: [n] higher is more suspicious, on any scale.
    own: [n] bool, flags of the method's own rule, if it has one.
    columns, facts: as in `Evidence`.
    """

    suspicion: np.ndarray
    own: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def from_ranking(task: Task, ranking: Ranking, settings: KnownRate) -> Evidence:
    """Probabilities, flags and suggestions of a method that orders labels.

    Probabilities are those that the reference classifier and T give to labels about as suspicious
    (`labelsieve.methods._posterior`, `estimation.calibration.fit_curve`). The order stays
    the method's. The reference classifier says what the other classes share. Column `score` is
    the method's own, higher is more likely right.
    """
    labels = task.data.labels
    reference = select_reference(task)
    posterior = reference.posterior(labels)
    p_wrong = 1 - of_given(posterior, labels).astype(np.float64)
    p_clean = 1 - fit_curve(ranking.suspicion, p_wrong)(ranking.suspicion)
    probs = with_given(posterior, labels, p_clean)
    flagged, rule = flags(ranking.suspicion, p_clean, ranking.own, settings)
    return Evidence(
        p_clean,
        flagged,
        flagging.suggestions(probs, labels, flagged),
        probs,
        {"score": -ranking.suspicion.astype(np.float64), **ranking.columns},
        posterior=True,
        rates=reference.transition.rates,
        facts={
            "flags_by": rule,
            "transition_from": reference.name,
            "doubt": reference.doubt,
            **ranking.facts,
        },
    )


def flags(
    suspicion: np.ndarray,
    p_clean: np.ndarray,
    own: np.ndarray | None,
    settings: KnownRate,
) -> tuple[np.ndarray, str]:
    """Which labels are called wrong [n] and by which rule, by what the user asked for."""
    wanted = "posterior"
    # deft has rules of its own and takes no part in this
    if isinstance(settings, Rules | OwnRule):
        wanted = settings.flags
    rules = {"posterior": flagging.flag_by_f1(1 - p_clean), "own": own}
    flagged, rule = flagging.choose(
        suspicion,
        known=settings.noise_rate,
        own=rules.get(wanted),
        estimated=float(1 - p_clean.mean()),
    )
    if rule == "own rule" and wanted == "posterior":
        rule = flagging.BY_F1
    return flagged, rule
