"""Audits that cost less: strata by score and class, and what follows for shares of wrong labels.

N labels lie in strata h of N_h, W_h = N_h / N; n_h of each were drawn with equal chances and
judged: y = 1 where a label is wrong. f is a probability of that from a model that did not see the
answers. The share of wrong labels is estimated by the difference estimator (Cochran, "Sampling
Techniques", 1977, sections 5.3 and 7.3; prediction-powered inference in each stratum, Angelopoulos
et al., Science 382, 2023):

    θ = Σ_h W_h (λ mean_{N_h}(f) + mean_{n_h}(y − λ f)),
    variance = Σ_h W_h² (1 − n_h / N_h) s_h² / n_h.

It is unbiased for any f and any fixed λ; one λ for all strata is the least-squares slope, between 0
and 1. Answers are spread over the strata as Neyman did (Journal of the Royal Statistical Society
97, 1934), n_h ∝ W_h √(f̄_h (1 − f̄_h)) with f for planning. Every drawn label keeps its probability
of being drawn, n_h / N_h: whoever computes another mean from the answers divides by it (Horvitz and
Thompson, Journal of the American Statistical Association 47, 1952).

The interval is symmetric in log-odds. In a stratum where no answer differs from the others s_h = 0
would claim certainty. So each s_h² takes in one imagined answer with the variance f̄_h (1 − f̄_h).

People err, too. Two answers to one question, given independently with an error probability η,
differ with probability d = 2 η (1 − η), hence η = (1 − √(1 − 2 d)) / 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from labelsieve.estimation.audits.selection import Share, share

# Answers in a stratum: with fewer its variance is a guess.
LEAST = 5
# Strata by score: more gain little (Cochran, section 5A.8), and each costs `LEAST` answers.
BANDS = 5
# A normal interval of a share needs some errors and some right labels: rules of thumb.
ENOUGH = 30
FEW = 5
# Answers in a class before its share is shown by itself: ±18 points at worst.
OF_CLASS = 30


@dataclass(frozen=True)
class Rate:
    """Share of wrong labels with a 95 % interval.

    Attributes:
        judged: answers behind it.
        wrong: those of them that say "wrong".
        method: "stratified", "prediction-powered" or "Clopper-Pearson".
        weight: λ, 0 where scores were not used.
    """

    rate: float
    low: float
    high: float
    judged: int
    wrong: int
    method: str
    weight: float

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def bands(p_wrong: np.ndarray, count: int = BANDS) -> np.ndarray:
    """[N] stratum by score, 0 the most suspicious.

    Bounds lie where Σ √(p (1 − p)) is divided evenly (Dalenius and Hodges, Journal of the
    American Statistical Association 54, 1959, with the planned spread in place of √density).
    """
    order = np.argsort(-p_wrong, kind="stable")
    # a floor keeps a band from holding nothing but labels that a model is sure of
    spread = np.sqrt(np.clip(p_wrong * (1 - p_wrong), 1e-4, None))[order]
    level = np.cumsum(spread) / spread.sum()
    band = np.empty(len(p_wrong), dtype=np.int64)
    band[order] = np.minimum((level * count).astype(np.int64), count - 1)
    return band


def strata(p_wrong: np.ndarray, given: np.ndarray, answers: int) -> np.ndarray:
    """[N] stratum of each label: by score, and by class where the answers go round.

    Args:
        given: [N] int, class of each label.
        answers: how many will be given.
    """
    classes = len(np.unique(given))
    # half of the answers are for Neyman to spread, the other half is the least of each stratum
    affordable = answers // (2 * LEAST * max(classes, 1))
    if affordable < 2:
        band = bands(p_wrong, max(1, min(BANDS, answers // (2 * LEAST))))
        return np.unique(band, return_inverse=True)[1]
    band = bands(p_wrong, min(BANDS, affordable))
    return np.unique(given * BANDS + band, return_inverse=True)[1]


def neyman(p_wrong: np.ndarray, stratum: np.ndarray, answers: int) -> np.ndarray:
    """[H] answers for each stratum; see the module's docstring.

    Every stratum gets `LEAST`, or all it has; the sum is `answers` where there are so many
    labels.
    """
    sizes = np.bincount(stratum)
    mean = np.bincount(stratum, weights=p_wrong) / sizes
    # a stratum that a model is sure of is looked at as well: it may be sure and wrong
    spread = sizes * np.sqrt(np.clip(mean * (1 - mean), 0.01, None))
    given = np.minimum(LEAST, sizes)
    left = min(answers, int(sizes.sum())) - int(given.sum())
    # the next answer goes where it reduces the variance most (Wright, 2012: exact for integers)
    while left > 0:
        room = given < sizes
        worth = np.where(room, spread / np.sqrt(given * (given + 1.0)), -1.0)
        given[int(np.argmax(worth))] += 1
        left -= 1
    return given


def stratified(
    p_wrong: np.ndarray,
    stratum: np.ndarray,
    sample: np.ndarray,
    wrong: np.ndarray,
    level: float = 0.95,
) -> Rate:
    """Share of wrong labels from a stratified audit.

    Args:
        p_wrong: [N] model's probability of an error, of the whole population.
        stratum: [N] int.
        sample: [n] rows, drawn with equal chances within each stratum.
        wrong: [n] bool, what people judged.
        level: probability that the interval covers the share.
    """
    # a quarter of a second that --help need not wait
    from scipy.special import stdtrit

    y = wrong.astype(float)
    f = p_wrong[sample]
    weight = _slope(y, f)
    sizes = np.bincount(stratum)
    drawn = np.bincount(stratum[sample], minlength=len(sizes))
    model = np.bincount(stratum, weights=p_wrong) / sizes
    rest = y - weight * f
    mean, variance = _moments(rest, stratum[sample], model * (1 - model))
    share_of = sizes / sizes.sum()
    rate = float((share_of * (weight * model + mean)).sum())
    parts = share_of**2 * (1 - drawn / sizes) * variance / np.maximum(drawn, 1)
    error = np.sqrt(parts.sum())
    # Satterthwaite's degrees of freedom: strata with few answers know their spread badly
    freedom = parts.sum() ** 2 / max((parts**2 / np.maximum(drawn, 1)).sum(), 1e-30)
    low, high = _interval(
        rate, error, float(stdtrit(max(freedom, 1.0), (1 + level) / 2))
    )
    return Rate(
        float(np.clip(rate, 0, 1)),
        low,
        high,
        len(sample),
        int(wrong.sum()),
        "stratified",
        weight,
    )


def _interval(rate: float, error: float, quantile: float) -> tuple[float, float]:
    """Interval of a share, symmetric in log-odds: errors are rare, so their share is skewed."""
    if not error:
        return rate, rate
    # the estimate of a small share may lie below 0; half a standard error is as good as that
    inside = float(np.clip(rate, error / 2, 1 - error / 2))
    middle = np.log(inside / (1 - inside))
    half = quantile * error / (inside * (1 - inside))
    low, high = 1 / (1 + np.exp(-np.array([middle - half, middle + half])))
    return min(float(low), max(rate, 0.0)), max(float(high), min(rate, 1.0))


def _slope(y: np.ndarray, f: np.ndarray) -> float:
    """λ: how much of the model's probability the answers bear out, in [0, 1]."""
    spread = float(f.var())
    # scores that are all alike say nothing about single labels
    if spread < 1e-12:
        return 0.0
    return float(np.clip(np.cov(y, f, bias=True)[0, 1] / spread, 0, 1))


def _moments(
    values: np.ndarray, stratum: np.ndarray, prior: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means [H] and variances [H] by stratum; `prior` [H] is the variance of one more answer."""
    drawn = np.bincount(stratum, minlength=len(prior))
    total = np.bincount(stratum, weights=values, minlength=len(prior))
    mean = total / np.maximum(drawn, 1)
    squares = np.bincount(
        stratum, weights=(values - mean[stratum]) ** 2, minlength=len(prior)
    )
    return mean, (squares + prior) / np.maximum(drawn, 1)


def estimate(
    p_wrong: np.ndarray, sample: np.ndarray, wrong: np.ndarray, level: float = 0.95
) -> Rate:
    """Share of wrong labels from a sample drawn with equal chances from the whole population.

    Arguments as `stratified`. The exact binomial interval where errors or right labels are too
    few for a normal one.
    """
    n = len(sample)
    errors = int(wrong.sum())
    if n < ENOUGH or min(errors, n - errors) < FEW:
        # holds for every size of sample, and is wider than it need be
        exact = share(errors, n, level)
        name = "Clopper-Pearson"
        return Rate(exact.value, exact.low, exact.high, n, errors, name, 0.0)
    whole = np.zeros(len(p_wrong), dtype=np.int64)
    found = stratified(p_wrong, whole, sample, wrong, level)
    return Rate(
        found.rate,
        found.low,
        found.high,
        n,
        errors,
        "prediction-powered",
        found.weight,
    )


def per_class(
    given: np.ndarray, wrong: np.ndarray, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Share of wrong labels of each class with enough answers, from a uniform audit.

    Args:
        given: [n] int, class of each judged label.
        wrong: [n] bool.
    """
    rows = []
    for number, name in enumerate(classes):
        of_class = given == number
        judged = int(of_class.sum())
        if judged >= OF_CLASS:
            rows.append(_row({"name": name}, share(int(wrong[of_class].sum()), judged)))
    return rows


def confusions(
    given: Sequence[str], right: Sequence[str | None], least: int = 3
) -> list[dict[str, Any]]:
    """How often a label stands for another class, from a uniform audit; most frequent first.

    Args:
        given: [n] labels that were judged.
        right: [n] what is right; None where nobody named it.
        least: answers of one pair before it is shown: one or two are chance.
    """
    judged: dict[str, int] = {}
    pairs: dict[tuple[str, str], int] = {}
    for label, true in zip(given, right, strict=True):
        judged[label] = judged.get(label, 0) + 1
        if true is not None and true != label:
            pairs[label, true] = pairs.get((label, true), 0) + 1
    rows = []
    for (label, true), count in sorted(pairs.items(), key=lambda p: (-p[1], p[0])):
        if count >= least:
            names = {"given": label, "right": true}
            rows.append(_row(names, share(count, judged[label])))
    return rows


def _row(names: dict[str, Any], answers: Share) -> dict[str, Any]:
    return {
        **names,
        "judged": answers.of,
        "wrong": answers.counted,
        "rate": answers.value,
        "low": answers.low,
        "high": answers.high,
    }


def error_of_people(differ: int, pairs: int) -> Share:
    """How often one person errs, from pairs of independent answers; see the module's docstring.

    Args:
        differ: pairs whose answers differ, of `pairs`.
    """
    between = share(differ, pairs)

    def one(d: float) -> float:
        # answers that differ more often than by chance are no answers
        return float((1 - np.sqrt(max(0.0, 1 - 2 * d))) / 2)

    return Share(one(between.value), one(between.low), one(between.high), differ, pairs)
