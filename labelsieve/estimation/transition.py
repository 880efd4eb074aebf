"""How much of a data set is wrongly labelled, and how wrong labels arise, without true labels.

Model: a true class k gets the label j with probability T[k, j], whatever the picture looks like.
From class probabilities q_i(k) that do not know the label they judge, T is found by maximum
likelihood of the given labels, Σ_i log Σ_k q_i(k) T[k, y_i], with EM (it is concave in T). The q
are calibrated on the way: classes that the model prefers are weighted down until every class is as
frequent among its answers as among the given labels, and a temperature is chosen by the same
likelihood, so that an over-confident model does not pass its own errors off as label errors. Where
people take one class too often, that frequency is itself wrong: at the best temperatures classes
are also as frequent as T says they truly are (`em.true_frequencies`), which is kept where held-out
labels are likelier by more than these numbers cost (`em.cost_of_frequencies`).

Priors. T has k² numbers, and with many classes and few images most of its cells are never seen.
What is not seen is taken from a prior: errors go to all other classes alike, or to similar
classes, that is, in proportion to how often the q themselves hesitate between the two. Planted
errors do the first, people the second.

Temperatures. With few images T explains a model's ignorance as well as label errors, so that
likelihoods and rates are too high, most of all at low temperatures. So each half of the images
also judges what the other half gave; that is too strict, since half of the images teach less. The
temperature and the prior with the largest sum of both log-likelihoods give the estimate. Any is
tenable unless its likelihood, of the labels fitted to or of held-out ones, is clearly below the
best one; for held-out labels a symmetric T, which has one number, counts where it is better.
"Clearly" is: by more than `DOUBT` per image, and by more than 1.96 standard errors of the
difference between images. All tenable rates widen the interval. With many classes and few images
also those at higher temperatures (`SOFTER`), and where labels that T was not fitted to are as
likely without any error, labels are believed (`Transition.support`, labelsieve.estimation.doubt).

Reference classifiers. Zero-shot answers are one source of q; out-of-fold answers of a probe on the
pictures are another (labelsieve.estimation.agreement). A model that does not know a class
contradicts its right labels, and no likelihood under its own q tells that from label errors. But
labels that the other reference classifier predicts clearly better are no errors: the one with the
clearly greater held-out likelihood is selected, and where neither is clearly better, the first
one, with the doubts of both. This also makes probes usable, whose q have seen wrong labels:
sharpened by a low temperature they say what the picture shows, and T says how labels blur it.

Pictures. T assumes that errors depend on the class and not on the picture. People mislabel hard
pictures more often, so with human errors the estimate tends to be low. How much higher the truth
may lie is measured under levels of dependence (labelsieve.estimation.difficulty): a level is
tenable with every temperature and prior at which it explains the labels about as well as the best
of all, within `DOUBT_OF_PICTURES` per image or chance, if T alone does so within
`DOUBT_OF_TEMPERATURES`. The highest tenable rate is the upper end of the interval. Its distance
does not shrink to nothing with n, as the bias does not.

What the estimate assumes: that errors leave class frequencies about as they are unless labels say
otherwise, and depend on the picture no more than the levels. The interval covers the chance of the
sample and the doubts above; it is no guarantee. Only an audit gives one.

Shapes: n images, m of them in the sample that T is found on, k classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from labelsieve.estimation.calibration import (
    balance,
    calibrate,
    parts,
    reweigh,
    soften,
)
from labelsieve.estimation.difficulty import LEVELS, Explained, explain
from labelsieve.estimation.doubt import of_people
from labelsieve.estimation.em import (
    cost_of_frequencies,
    fit_matrices,
    fit_matrix,
    fit_symmetric,
    half_of,
    log_likelihoods,
    prior,
    sample,
    simplified,
    true_frequencies,
)

# From a quarter to four times the model's own temperature, evenly in the logarithm; the
# likelihood is flat between neighbours.
TEMPERATURES = np.exp(np.linspace(np.log(0.25), np.log(4.0), 21))
# With more classes no image is ever seen in nearly all cells of T, and T would fill the memory.
FREE = 2_000
# Share of the prior's errors that go to classes like the true one, not to all alike.
CLASS_SIMILARITIES = (0.0, 1.0)
# Log-likelihoods per image that differ by less say nothing: the model of errors is not exactly
# right.
DOUBT = 0.005
# The same for errors that depend on the picture. People's errors follow the model's own answers
# in part, and T alone takes a model for less certain than it is: a temperature slightly too low for
# T may be right. And levels are coarse. Both were chosen on random_label1 of CIFAR-10N (images 0 to
# 7,999), as it is and with errors added up to 40 %: with `DOUBT` for both, the truth was above the
# interval of some draws of 2,000 images and just inside of others.
DOUBT_OF_TEMPERATURES = 0.0075
DOUBT_OF_PICTURES = 0.02
# Labels per cell of T below which temperatures up to `SOFTER` times the one chosen are tenable too,
# if errors are planted. A T whose cells are never seen pays for answers that are taken for too
# sure: pair noise of 21 % in 4,000 images of 100 classes was estimated as 32 % at .76 of the
# temperature that suits true labels, and as 27 % at that.
SEEN = 4
SOFTER = 1.8
# Log-likelihood per label below the best, fitted and held out, within which a temperature is tried
# with other class frequencies: on NoisyAG-News, rows 0 to 2,999, these are .02 above it.
NEAR = 0.05
CHANCE = 1.96  # standard errors: 95 % of a normal distribution lie within


@dataclass(frozen=True)
class Transition:
    """How labels arise from classes, and the class probabilities it was found with.

    Attributes:
        matrix: T [k, k], rows true class, columns given label, rows sum to one.
        temperature: that the probabilities were calibrated with.
        weights: [k] of classes, that they were calibrated with.
        class_similarity: of the prior, one of `CLASS_SIMILARITIES`; None where T is symmetric.
        held_out: [m] log-likelihood of each label of the sample from what the other half of the
            sample gave, at the best temperature.
        rates: share of wrong labels under every tenable assumption.
        support: log-likelihood per label by which the best explanation with errors beats the best
            one without any, held out, and its standard error; (0, 0) where no label looks wrong.
    """

    matrix: np.ndarray
    temperature: float
    weights: np.ndarray
    class_similarity: float | None
    held_out: np.ndarray
    rates: tuple[float, ...]
    support: tuple[float, float] = (np.inf, 0.0)

    def calibrate(self, probs: np.ndarray) -> np.ndarray:
        """[n, k] probabilities at the chosen temperature and class weights."""
        return calibrate(probs, self.temperature, self.weights)

    def simplified(
        self, calibrated: np.ndarray, labels: np.ndarray, seed: int = 0
    ) -> Transition:
        """T drawn towards symmetric noise of the same rate, as far as held-out labels prefer.

        For probabilities that learned from labels: the confusions they learned need no second
        place in T.

        Args:
            calibrated: [n, k], of `calibrate`.
            labels: [n] given labels.
        """
        rows = sample(len(labels), seed)
        if self.class_similarity is None:
            return self
        half = half_of(len(rows), seed)
        some = calibrated[rows], labels[rows]
        matrix = simplified(self.matrix, *some, half, self.class_similarity)
        return replace(self, matrix=matrix)

    def posterior(self, calibrated: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """[n, k] probability of each true class, given picture and label.

        Args:
            calibrated: [n, k], of `calibrate`.
            labels: [n] given labels.
        """
        result = np.empty(calibrated.shape)
        for part in parts(*calibrated.shape):
            result[part] = reweigh(calibrated[part], self.matrix[:, labels[part]].T)
        return result


class _Fit(NamedTuple):
    """How well a kind of T explains the labels, and the rate under it."""

    fitted: np.ndarray  # [m] log-likelihoods under the T of all images
    held_out: np.ndarray  # [m] under the T of the other half
    rate: float


@dataclass(frozen=True)
class _Candidate:
    """One temperature and prior."""

    temperature: float
    weights: np.ndarray
    faultless: np.ndarray  # [m] log-likelihoods if no label is wrong
    class_similarity: float | None
    free: _Fit  # under the T of this prior
    preferred: _Fit  # under that T or the symmetric one, as held-out labels prefer
    by_picture: tuple[Explained, ...]  # if errors depend on the picture, by level

    def score(self) -> float:
        return float((self.free.fitted + self.free.held_out).mean())


def fit_transition(probs: np.ndarray, labels: np.ndarray, seed: int = 0) -> Transition:
    """The most likely T, temperature and class weights; see the module's docstring.

    Args:
        probs: [n, k] class probabilities that do not know the labels.
        labels: [n] given labels, n at least 2.
    """
    rows = sample(len(labels), seed)
    probs = probs[rows]
    labels = labels[rows]
    half = half_of(len(labels), seed)
    candidates, doubtful = _all_candidates(probs, labels, half)
    best = _best(candidates)
    chosen = max(candidates, key=_Candidate.score)
    candidates += doubtful
    calibrated = calibrate(probs, chosen.temperature, chosen.weights)
    rates = list(_tenable_rates(candidates, best))
    if len(labels) < SEEN * probs.shape[1] ** 2:
        # with people's errors T is too low as it is
        softer = SOFTER ** (1 - of_people(calibrated, labels))
        # the answers may be less sure than the temperature that was chosen takes them for
        ends = chosen.temperature, softer * chosen.temperature
        rates += [
            c.free.rate for c in candidates if ends[0] <= c.temperature <= ends[1]
        ]
    faultless = _likeliest([candidate.faultless for candidate in candidates])
    # held out: fitted to the same labels, T explains a model's own mistakes as errors
    gain = best.preferred.held_out - faultless
    support = float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))
    return Transition(
        fit_matrix(calibrated, labels, chosen.class_similarity),
        chosen.temperature,
        chosen.weights,
        chosen.class_similarity,
        best.preferred.held_out,
        (*rates, *_higher_rates(candidates, rates)),
        support,
    )


def _best(candidates: Sequence[_Candidate]) -> _Candidate:
    return max(candidates, key=lambda c: float(c.preferred.held_out.mean()))


def _all_candidates(
    probs: np.ndarray, labels: np.ndarray, half: np.ndarray
) -> tuple[list[_Candidate], list[_Candidate]]:
    """Those of the likelier class frequencies, and those of the others."""
    candidates: list[_Candidate] = []
    given = np.bincount(labels, minlength=probs.shape[1]) / len(labels)
    for temperature in TEMPERATURES:
        candidates += _candidates(probs, labels, half, float(temperature), given)
    other = _with_other_frequencies(candidates, probs, labels, half)
    least = _best(candidates).preferred.held_out
    price = max(DOUBT, cost_of_frequencies(*probs.shape))
    if other and clearly_below(least, _best(other).preferred.held_out, price):
        return other, candidates
    return candidates, other


def _with_other_frequencies(
    candidates: Sequence[_Candidate],
    probs: np.ndarray,
    labels: np.ndarray,
    half: np.ndarray,
) -> list[_Candidate]:
    """The likeliest of them again, with classes as frequent as T says; none with unseen cells."""
    if len(labels) < SEEN * probs.shape[1] ** 2:
        return []
    least = max(candidate.score() for candidate in candidates) - NEAR
    near = {c.temperature for c in candidates if c.score() > least}
    again: list[_Candidate] = []
    for temperature in sorted(near):
        frequencies = true_frequencies(soften(probs, temperature), labels)
        again += _candidates(probs, labels, half, temperature, frequencies)
    return again


def _tenable_rates(
    candidates: Sequence[_Candidate], best: _Candidate
) -> Iterator[float]:
    """Rates under every assumption that is not clearly worse than the best one."""
    likeliest = max(candidates, key=lambda c: c.free.fitted.mean())
    for candidate in candidates:
        if not clearly_below(candidate.free.fitted, likeliest.free.fitted):
            yield candidate.free.rate
    for candidate in candidates:
        if not clearly_below(candidate.preferred.held_out, best.preferred.held_out):
            yield candidate.free.rate
            yield candidate.preferred.rate
    # T finds a few errors even where there are none: it takes them out of the model's doubts
    faultless = _likeliest([candidate.faultless for candidate in candidates])
    if not clearly_below(faultless, likeliest.free.fitted):
        yield 0.0


def _higher_rates(
    candidates: Sequence[_Candidate], rates: Sequence[float]
) -> Iterator[float]:
    """Rates above all of `rates` that are tenable if errors depend on the picture."""
    # lower ones say nothing: a dependence that is overlooked makes rates too low, never too high
    highest = max(rates)
    fitted = [candidate.free.fitted for candidate in candidates]
    held_out = [candidate.free.held_out for candidate in candidates]
    for by_class in (fitted, held_out):
        best = _likeliest(by_class)
        for candidate, alone in zip(candidates, by_class, strict=True):
            if clearly_below(alone, best, DOUBT_OF_TEMPERATURES):
                continue
            for level in candidate.by_picture:
                # one number more than T has, so that it changes both likelihoods alike
                explained = alone + level.fitted - candidate.free.fitted
                if level.rate > highest and not clearly_below(
                    explained, best, DOUBT_OF_PICTURES
                ):
                    yield level.rate


def _likeliest(likelihoods: Sequence[np.ndarray]) -> np.ndarray:
    return max(likelihoods, key=np.mean)


def _candidates(
    probs: np.ndarray,
    labels: np.ndarray,
    half: np.ndarray,
    temperature: float,
    frequencies: np.ndarray,
) -> list[_Candidate]:
    """One of each prior; with more than `FREE` classes the symmetric T alone."""
    n, k = probs.shape
    soft = soften(probs, temperature)
    weights = balance(soft, frequencies)
    calibrated = reweigh(soft, weights)
    faultless = np.log(calibrated[np.arange(n), labels].clip(1e-30))
    common = (temperature, weights, faultless)
    # the index ... takes all images
    of_each = [fit_symmetric(calibrated[p], labels[p]) for p in (..., half, ~half)]
    symmetric = _fit(calibrated, labels, half, of_each)
    if k > FREE:
        by_picture = _by_picture(calibrated, labels, of_each[0])
        return [_Candidate(*common, None, symmetric, symmetric, by_picture)]
    priors = np.stack([prior(calibrated, s) for s in CLASS_SIMILARITIES])
    # all images, one half, the other: three matrices of each prior, one prior after the other
    seen = np.stack([half | True, half, ~half])
    matrices = fit_matrices(calibrated, labels, priors, seen)
    candidates = []
    for number, class_similarity in enumerate(CLASS_SIMILARITIES):
        three = list(matrices[3 * number : 3 * number + 3])
        free = _fit(calibrated, labels, half, three)
        preferred = max(free, symmetric, key=lambda fit: fit.held_out.mean())
        by_picture = _by_picture(calibrated, labels, three[0])
        candidates.append(
            _Candidate(*common, class_similarity, free, preferred, by_picture)
        )
    return candidates


def _by_picture(
    calibrated: np.ndarray, labels: np.ndarray, matrix: np.ndarray
) -> tuple[Explained, ...]:
    return tuple(explain(calibrated, labels, matrix, level) for level in LEVELS)


def _fit(
    calibrated: np.ndarray,
    labels: np.ndarray,
    half: np.ndarray,
    matrices: Sequence[np.ndarray],
) -> _Fit:
    """How the T of all images, of a half and of the other half explain the labels."""
    whole, first, second = (
        log_likelihoods(calibrated, labels, matrix) for matrix in matrices
    )
    given = calibrated[np.arange(len(labels)), labels]
    right = given * np.diag(matrices[0])[labels] / np.exp(whole)
    return _Fit(whole, np.where(half, second, first), float(1 - right.mean()))


def clearly_below(scores: np.ndarray, better: np.ndarray, doubt: float = DOUBT) -> bool:
    """Whether log-likelihoods [n] are clearly below others of the same images.

    By more than `doubt` on average, and by more than chance (95 %).
    """
    gap = better - scores
    chance = CHANCE * gap.std() / np.sqrt(len(gap))
    return bool(gap.mean() > max(doubt, chance))


def select(transitions: Mapping[str, Transition]) -> tuple[str, Transition]:
    """The reference classifier to go by, and T found with it; see the module's docstring.

    Args:
        transitions: name -> T found with this reference classifier's probabilities, all for the
            same labels and seed. An earlier one is selected unless a later one is clearly
            better; rates of one that is not clearly worse are doubts.
    """
    (name, selected), *others = transitions.items()
    for other, transition in others:
        if clearly_below(selected.held_out, transition.held_out):
            name = other
            selected = transition
        elif not clearly_below(transition.held_out, selected.held_out):
            selected = replace(selected, rates=(*selected.rates, *transition.rates))
    return name, selected
