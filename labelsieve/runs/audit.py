"""The true share of wrong labels, from a random sample that people judged.

The scores of all images sharpen it: prediction-powered inference, Angelopoulos, Bates,
Fannjiang, Jordan, Zrnic, Science 382 (2023), eq. 1 for a mean; the weight λ of the predictions
as in Angelopoulos, Duchi, Zrnic, "PPI++" (arXiv 2311.01453), section 6.1. With f the scored
probability of an error and y what people judged in n of N images,

    θ = λ mean_N(f) + mean_n(y − λ f),      variance (1 − n/N) s²(y − λ f) / n.

The mean of f over all N images is known exactly, so only the second term varies; the factor
1 − n/N is that of a sample without replacement (Cochran, "Sampling Techniques", 1977, eq. 2.20).
Whatever the scores are worth, θ is unbiased up to the choice of λ; good scores make the interval
narrow. Where errors (or right labels) in the sample are too rare for a normal interval, the exact
binomial one is taken (Clopper and Pearson, Biometrika 26, 1934).

The sample is the start of a random order of all images, decided by a seed: images are judged in
that order, and whatever was judged first counts. Images judged for other reasons count only where
the order reaches them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from labelsieve.runs.decisions import SETTLED, WRONG, Decision, Decisions
from labelsieve.runs.run import Run

# a normal interval is trusted from 30 judged images on, with 5 errors and 5 right labels among
# them: the usual rules of thumb for a normal approximation of a mean and of a share
ENOUGH = 30
FEW = 5
# images a person is asked to judge: ten minutes, and an interval of about ±8 points at 20 %
SIZE = 100


@dataclass(frozen=True)
class Audit:
    """Share of wrong labels with a 95 % interval.

    Attributes:
        judged: images in the sample.
        wrong: those of them whose label is wrong.
        method: "prediction-powered" or "Clopper-Pearson".
        weight: λ, 0 where predictions were not used.
    """

    rate: float
    low: float
    high: float
    judged: int
    wrong: int
    method: str
    weight: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate(
    p_wrong: np.ndarray, sample: np.ndarray, wrong: np.ndarray, level: float = 0.95
) -> Audit:
    """The share of wrong labels among all images.

    Args:
        p_wrong: [N] scored probability of an error, of every image.
        sample: [n] rows that were drawn at random, without replacement.
        wrong: [n] bool, what people judged.
        level: probability that the interval contains the share.
    """
    from scipy import stats  # takes a second to load, and few runs have an audit

    n = len(sample)
    errors = int(wrong.sum())
    if n < ENOUGH or min(errors, n - errors) < FEW:
        # holds for every size of sample, and is wider than it need be
        exact = stats.binomtest(errors, n).proportion_ci(level, method="exact")
        low = float(exact.low)
        high = float(exact.high)
        return Audit(errors / n, low, high, n, errors, "Clopper-Pearson", 0.0)
    y = wrong.astype(float)
    f = p_wrong[sample]
    spread = float(f.var())
    weight = 0.0
    # scores that are all alike say nothing about single images
    if spread > 1e-12:
        weight = float(np.clip(np.cov(y, f, bias=True)[0, 1] / spread, 0, 1))
    rest = y - weight * f
    rate = weight * float(p_wrong.mean()) + float(rest.mean())
    error = np.sqrt((1 - n / len(p_wrong)) * rest.var(ddof=1) / n)
    # Student's t, as the variance is estimated from few answers
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

    def draw(sample_id: str) -> bytes:
        text = f"{seed}\n{sample_id}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

    return sorted(ids, key=draw)


def judged(
    ordered: Sequence[str],
    current: Mapping[str, Decision],
    pending: Collection[str] = (),
) -> tuple[list[str], list[bool], int]:
    """What people judged from the start of the random order.

    Stops at the first image that nobody looked at; what was judged beyond was not drawn at
    random.

    Args:
        pending: images that are being looked at just now: what comes after them was drawn, too.

    Returns:
        Ids, whether each label is wrong, and how many more could not be judged.
    """
    ids: list[str] = []
    wrong: list[bool] = []
    unclear = 0
    for sample_id in ordered:
        decision = current.get(sample_id)
        if decision is None and sample_id in pending:
            continue
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
    # images that could not be read have no score, and are not part of the sample
    scored = opened.scores.filter(opened.scores["p_clean"].is_valid())
    ids = scored["sample_id"].to_pylist()
    sampled, wrong, _ = judged(order(ids), decisions.all_current())
    if not sampled:
        return None
    at = {sample_id: row for row, sample_id in enumerate(ids)}
    sample = np.array([at[sample_id] for sample_id in sampled])
    return estimate(1 - scored["p_clean"].to_numpy(), sample, np.array(wrong))
