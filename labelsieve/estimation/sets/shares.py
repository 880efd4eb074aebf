"""How many labels of sets are missing and how many are extra, with intervals, per class.

Shapes: n pictures, k classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from labelsieve.estimation.noise_rate import CHANCE, LEAST, SHOWN, says_little
from labelsieve.estimation.sets.channel import Channel, Counts, tenable

METHOD = "model-based, no audit (see labelsieve.estimation.sets.channel)"


@dataclass(frozen=True)
class Share:
    """A share with its interval, and how many labels, or sets, it stands for."""

    rate: float
    low: float
    high: float
    count: float


@dataclass(frozen=True)
class SetNoise:
    """Estimated errors in sets of labels.

    Attributes:
        sets: share of the pictures whose set is wrong.
        extra: share of the given labels that should not be there.
        missing: share of the labels that should be there and are not.
        extra_of, missing_of: the same by class.
        pairs: most frequent confusions, of a class that is extra where another one is missing:
            given, suggested, images.
    """

    sets: Share
    extra: Share
    missing: Share
    extra_of: dict[str, Share]
    missing_of: dict[str, Share]
    pairs: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON: as of single labels, where a wrong label is an extra one, and more."""
        extra = {name: asdict(share) for name, share in self.extra_of.items()}
        missing = {name: asdict(share) for name, share in self.missing_of.items()}
        return {
            "rate": self.sets.rate,
            "low": self.sets.low,
            "high": self.sets.high,
            "informative": not says_little(self.sets.low, self.sets.high),
            "renamed": 0.0,
            "per_class": {name: one["rate"] for name, one in extra.items()},
            "class_intervals": {
                n: [one["low"], one["high"]] for n, one in extra.items()
            },
            "pairs": self.pairs,
            # a label that is extra has no class in the place of which it stands
            "matrix": {"given": [], "true": [], "share": []},
            "witness": "method",
            "method": METHOD,
            "extra": asdict(self.extra),
            "missing": asdict(self.missing),
            "extra_of": extra,
            "missing_of": missing,
        }


@dataclass(frozen=True)
class _Errors:
    """Expected numbers of errors of one kind, by class: [k] each."""

    best: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def together(self) -> tuple[float, float, float]:
        """Of all classes: what is not known of one says little about what is not of another."""
        total = float(self.best.sum())
        down = float(np.sqrt(((self.best - self.low) ** 2).sum()))
        up = float(np.sqrt(((self.high - self.best) ** 2).sum()))
        return total, max(0.0, total - down), total + up


def summarise(
    posterior: np.ndarray,
    given: np.ndarray,
    classes: Sequence[str],
    counts: Counts,
    channel: Channel,
) -> SetNoise:
    """Shares of wrong sets, of extra and of missing labels.

    Args:
        posterior: [n, k] probability that each picture shows each class, given score and label.
        given: [n, k] bool.
        counts, channel: what it was found with.
    """
    missing, extra = _errors(counts, channel)
    having = given.sum(0).astype(float)
    extra_of, missing_of = {}, {}
    for number, name in enumerate(classes):
        of_extra = [float(one[number]) for one in (extra.best, extra.low, extra.high)]
        of_missing = [
            float(one[number]) for one in (missing.best, missing.low, missing.high)
        ]
        extra_of[name] = _of_given(of_extra, having[number])
        missing_of[name] = _of_right(of_missing, having[number] - of_extra[0])
    # labels that are there and should be
    right = float(having.sum() - extra.best.sum())
    return SetNoise(
        _sets(posterior, given, missing, extra),
        _of_given(extra.together(), float(having.sum())),
        _of_right(missing.together(), right),
        extra_of,
        missing_of,
        _pairs(posterior, given, classes),
    )


def _errors(counts: Counts, channel: Channel) -> tuple[_Errors, _Errors]:
    """Missing and extra labels of each class under the best parameters and all tenable ones."""
    best = _expected(counts, channel)
    # the best parameters are tenable in any case
    low, high = best.copy(), best.copy()
    for other, holds in tenable(counts, channel):
        errors = _expected(counts, other)
        low = np.where(holds, np.minimum(low, errors), low)
        high = np.where(holds, np.maximum(high, errors), high)
    # and the chance of which labels are wrong, where it is known how likely that is
    chance = CHANCE * np.sqrt(best)
    low, high = (low - chance).clip(0), high + chance
    return _Errors(best[0], low[0], high[0]), _Errors(best[1], low[1], high[1])


def _expected(counts: Counts, channel: Channel) -> np.ndarray:
    """[2, k] how many labels are missing, and how many extra."""
    # a column of two scores for each class: of the bin, without the label and with it
    centre = counts.centre.T * counts.size + counts.mean
    lacking = channel.posterior(centre, np.zeros(centre.shape, dtype=bool))
    having = channel.posterior(centre, np.ones(centre.shape, dtype=bool))
    missing = (lacking.T * counts.labels[..., 0]).sum(1)
    extra = ((1 - having.T) * counts.labels[..., 1]).sum(1)
    return np.stack([missing, extra])


def _of_given(errors: Sequence[float], having: float) -> Share:
    """Extra labels (best, low, high) among those that are given."""
    best, low, high = (min(1.0, one / max(having, 1.0)) for one in errors)
    return Share(best, low, high, errors[0])


def _of_right(errors: Sequence[float], right: float) -> Share:
    """Missing labels (best, low, high) among those that should be there."""
    best, low, high = (one / max(one + right, 1.0) for one in errors)
    return Share(best, low, high, errors[0])


def _sets(
    posterior: np.ndarray, given: np.ndarray, missing: _Errors, extra: _Errors
) -> Share:
    """The share of wrong sets, whose errors become more and fewer as all errors do."""
    p_wrong = np.where(given, 1 - posterior, posterior)
    # of errors that come independently, one by one: 1 - exp(-sum) is the share with any
    hazard = -np.log1p(-p_wrong.clip(0, 1 - 1e-12)).sum(1)
    total, low, high = missing.together()
    of_extra = extra.together()
    # no errors at all have no ends to move
    all_errors = max(total + of_extra[0], 1e-9)
    chance = CHANCE / np.sqrt(max(len(given), 1))
    bounds = []
    for end in ((low + of_extra[1]) / all_errors, (high + of_extra[2]) / all_errors):
        bounds.append(float(-np.expm1(-hazard * end).mean()))
    # expm1 keeps the digits of rates near zero
    rate = float(-np.expm1(-hazard).mean())
    spread = chance * float(np.sqrt(rate * (1 - rate)))
    low_end, high_end = max(0.0, bounds[0] - spread), min(1.0, bounds[1] + spread)
    return Share(rate, low_end, high_end, rate * len(given))


def _pairs(
    posterior: np.ndarray, given: np.ndarray, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Extra labels and what is missing beside them, in expected numbers of pictures."""
    # one half: pairs of small probabilities would add up to confusions that nobody made
    extra = np.where(given & (posterior < 0.5), 1 - posterior, 0)
    missing = np.where(~given & (posterior > 0.5), posterior, 0)
    matrix = extra.T @ missing
    pairs = []
    for cell in np.argsort(-matrix, axis=None, kind="stable")[:SHOWN]:
        i, j = divmod(int(cell), len(classes))
        if matrix[i, j] >= LEAST:
            images = float(matrix[i, j])
            pairs.append(
                {"given": classes[i], "suggested": classes[j], "images": images}
            )
    return pairs
