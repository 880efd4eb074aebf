"""The true share of wrong labels from a random sample that people judged, sharpened by the scores of all images.

Prediction-powered inference: Angelopoulos, Bates, Fannjiang, Jordan, Zrnic, Science 382 (2023), eq. 1 for a mean; the
weight λ of the predictions as in Angelopoulos, Duchi, Zrnic, "PPI++" (arXiv 2311.01453), section 6.1. With f the scored
probability of an error and y what people found in n of N images,

    θ = λ mean_N(f) + mean_n(y − λ f),      variance (1 − n/N) s²(y − λ f) / n.

The mean of f over all N images is known exactly, so only the second term varies; the factor 1 − n/N is that of a sample
without replacement (Cochran, "Sampling Techniques", 1977, eq. 2.20). Whatever the scores are worth, θ is unbiased up to
the choice of λ; good scores make the interval narrow. Where errors (or right labels) in the sample are too rare for a
normal interval, the exact binomial one is taken (Clopper and Pearson, Biometrika 26, 1934).

The sample is the start of a random order of all images, decided by a seed: images are judged in that order, and whatever
was judged first counts. Images judged for other reasons count only where the order reaches them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from labelsieve.runs.decisions import SETTLED, WRONG, Decision, Decisions
from labelsieve.runs.run import Run

ENOUGH = 30  # judged images, and FEW errors and right labels among them, before a normal interval is trusted
FEW = 5
SIZE = 100  # images a person is asked for


@dataclass(frozen=True)
class Audit:
    """Share of wrong labels with a 95 % interval, from `judged` images of which `wrong` are wrong."""

    rate: float
    low: float
    high: float
    judged: int
    wrong: int
    method: str  # prediction-powered or Clopper-Pearson
    weight: float  # λ, 0 where predictions were not used

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate(
    p_wrong: np.ndarray, sample: np.ndarray, wrong: np.ndarray, level: float = 0.95
) -> Audit:
    """The share of wrong labels among all images.

    Args:
        p_wrong: [N] scored probability of an error, of every image.
        sample: [n] rows that were drawn at random, without replacement.
        wrong: [n] bool, what people found.
    """
    from scipy import stats  # takes a second to load, and few runs have an audit

    n, errors = len(sample), int(wrong.sum())
    if n < ENOUGH or min(errors, n - errors) < FEW:
        exact = stats.binomtest(errors, n).proportion_ci(level, method="exact")
        return Audit(
            errors / n,
            float(exact.low),
            float(exact.high),
            n,
            errors,
            "Clopper-Pearson",
            0.0,
        )
    y, f = wrong.astype(float), p_wrong[sample]
    spread = float(f.var())
    weight = (
        float(np.clip(np.cov(y, f, bias=True)[0, 1] / spread, 0, 1))
        if spread > 1e-12
        else 0.0
    )
    rest = y - weight * f
    rate = weight * float(p_wrong.mean()) + float(rest.mean())
    error = np.sqrt((1 - n / len(p_wrong)) * rest.var(ddof=1) / n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * error)
    return Audit(
        float(np.clip(rate, 0, 1)),
        max(0.0, rate - half),
        min(1.0, rate + half),
        n,
        errors,
        "prediction-powered",
        weight,
    )


def order(ids: Sequence[str], seed: int = 0) -> list[str]:
    """The ids in a random order that depends on nothing but id and seed."""
    return sorted(
        ids,
        key=lambda i: hashlib.sha256(
            f"{seed}\n{i}".encode("utf-8", "surrogatepass")
        ).digest(),
    )


def judged(
    ordered: Sequence[str], current: Mapping[str, Decision]
) -> tuple[list[str], list[bool], int]:
    """What people found so far: ids from the start of the order, wrong or not, and how many could not be judged.

    Stops at the first image that nobody looked at; what was judged beyond was not drawn at random.
    """
    ids: list[str] = []
    wrong: list[bool] = []
    unclear = 0
    for sample_id in ordered:
        decision = current.get(sample_id)
        if decision is None:
            break
        if decision.verdict not in (*SETTLED, *WRONG):
            unclear += 1
            continue
        ids.append(sample_id)
        wrong.append(decision.verdict in WRONG)
    return ids, wrong, unclear


def of_run(opened: Run, decisions: Decisions | None) -> Audit | None:
    """The audit of a run so far; None before the first answer."""
    if decisions is None:
        return None
    scored = opened.scores.filter(opened.scores["p_clean"].is_valid())
    ids = scored["sample_id"].to_pylist()
    rows = {i: r for r, i in enumerate(ids)}
    sample, wrong, _ = judged(order(ids), decisions.all_current())
    if not sample:
        return None
    return estimate(
        1 - scored["p_clean"].to_numpy(),
        np.array([rows[i] for i in sample]),
        np.array(wrong),
    )
