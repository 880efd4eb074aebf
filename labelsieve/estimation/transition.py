"""How much of a data set is wrongly labelled, and how wrong labels arise: estimates without true labels.

Model: a true class k makes the given label j with probability T[k, j], whatever the picture looks like. From class
probabilities q_i(k) that do not know the label they judge, T is found by maximum likelihood of the given labels,
Σ_i log Σ_k q_i(k) T[k, y_i], with EM (it is concave in T). Two faults of the q are calibrated on the way, both without true
labels: classes the model prefers are weighted down until every class is as frequent among its answers as among the
given labels, and a temperature is chosen by the same likelihood, so that an over-confident model does not pass its own
errors off as label errors.

Priors. T has k² numbers, and with many classes and few images most of its cells are never seen. What is not seen is taken
from a prior: errors go to all other classes alike, or to classes like the true one, that is, in proportion to how often
the q themselves hesitate between the two. Planted errors do the first, people the second.

Temperatures. With few images T explains a model's ignorance as well as label errors, so that likelihoods and rates are
too high, most of all at low temperatures. So each half of the images also judges what the other half gave; that is too
strict, since half of the images teach less. The temperature and the prior with the largest sum of both log-likelihoods
give the estimate. Any is tenable unless its likelihood, of the labels fitted to or of held-out ones, is clearly below the
best one; for held-out labels a symmetric T, which has one number, counts where it is better. Clearly is: by more than `DOUBT` per
image, and by more than 1.96 standard errors of the difference between images. All tenable rates widen the interval.

Reference classifiers. Zero-shot answers are one source of q; out-of-fold answers of a probe on the pictures are another
(labelsieve.estimation.agreement). A model that does not know a class contradicts its right labels, and no likelihood under its own q
tells that from label errors. But labels that the other reference classifier predicts clearly better are no errors: the reference classifier
with the clearly greater held-out likelihood is selected, and where neither is, the first one, with the doubts of both.
This also makes probes usable, whose q have seen wrong labels: sharpened by a low temperature they say what the picture
shows, and T says how labels blur it.

What the estimate assumes: that errors depend on the class and not on the picture, and that they leave class frequencies
about as they are. People mislabel hard pictures more often, so with many human errors the estimate tends to be low. The
interval covers the chance of the sample and the doubts above; it is no guarantee. Only an audit gives one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

TEMPERATURES = np.exp(np.linspace(np.log(0.25), np.log(4.0), 21))
SAMPLE = 20_000  # images that T and the temperature are found on
FREE = 2_000  # with more classes no image is ever seen in nearly all cells of T, and they would fill the memory
CLASS_SIMILARITIES = (
    0.0,
    1.0,
)  # share of the prior's errors that go to classes like the true one, not to all alike
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of symmetric noise in T
CELLS = 4_000_000  # of arrays [rows, k] that are made in passing: with more, rows are taken in parts
DOUBT = 0.005  # log-likelihoods per image that differ by less say nothing: the model of errors is not exactly right


@dataclass(frozen=True)
class Transition:
    """How labels arise from classes, and the class probabilities it was found with.

    matrix: T [k, k], rows true class, columns given label, rows sum to one. temperature, weights [k]: what the
    probabilities were calibrated with. class_similarity: of the prior, one of `CLASS_SIMILARITIES`; None
    where T is symmetric. held_out: log-likelihood of each label [m] of the sample from what the other half of
    the sample gave, at the best temperature. rates: share of wrong labels under every tenable assumption.
    """

    matrix: np.ndarray
    temperature: float
    weights: np.ndarray
    class_similarity: float | None
    held_out: np.ndarray
    rates: tuple[float, ...]

    def calibrate(self, probs: np.ndarray) -> np.ndarray:
        """[n, k] probabilities at the chosen temperature and class weights."""
        return calibrate(probs, self.temperature, self.weights)

    def simplified(
        self, calibrated: np.ndarray, labels: np.ndarray, seed: int = 0
    ) -> Transition:
        """T drawn towards symmetric noise of the same rate, by the share under which held-out labels [n] are likeliest.

        For probabilities [n, k] of `calibrate` that learned from labels: the confusions they learned need no second place in T.
        """
        rows = sample(len(labels), seed)
        calibrated, labels = calibrated[rows], labels[rows]
        if self.class_similarity is None:
            return self
        half = _half(len(labels), seed)
        found = _em(
            calibrated,
            labels,
            prior(calibrated, self.class_similarity)[None],
            np.stack([~half, half]),
        )
        parts = [
            (calibrated[p], labels[p], matrix)
            for p, matrix in zip((half, ~half), found, strict=True)
        ]

        def likelihood(share: float) -> float:
            return sum(
                float(_log_likelihoods(q, y, _towards_symmetric(t, share)).sum())
                for q, y, t in parts
            )

        return replace(
            self, matrix=_towards_symmetric(self.matrix, max(SHARES, key=likelihood))
        )

    def posterior(self, calibrated: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """[n, k] probability of each true class given picture (calibrated probabilities) and label [n]."""
        found = np.empty(calibrated.shape)
        for part in parts(*calibrated.shape):
            found[part] = reweigh(calibrated[part], self.matrix[:, labels[part]].T)
        return found


def parts(n: int, k: int) -> list[slice]:
    """All of n rows, at most `CELLS` numbers of [n, k] at a time."""
    size = max(1, CELLS // max(k, 1))
    return [slice(start, start + size) for start in range(0, n, size)]


def calibrate(probs: np.ndarray, temperature: float, weights: np.ndarray) -> np.ndarray:
    """[n, k] probabilities at a temperature, with class weights [k]; as exact as they came."""
    found = np.empty_like(probs)
    for part in parts(*probs.shape):
        found[part] = reweigh(soften(probs[part], temperature), weights)
    return found


def reweigh(probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Products probs · weights, rows summing to one again."""
    joint: np.ndarray = probs * weights
    joint /= joint.sum(1, keepdims=True).clip(1e-30)
    return joint


def balance(
    probs: np.ndarray, frequencies: np.ndarray, rounds: int = 100
) -> np.ndarray:
    """Class weights [k] under which the mean of `probs` [n, k] has the given class frequencies [k]."""
    weights = np.ones(probs.shape[1])
    for _ in range(rounds):
        totals = (probs @ weights).clip(1e-30)
        mean = (
            weights * (probs.T @ (1 / totals)) / len(probs)
        )  # of the rows of `reweigh`
        if np.abs(mean - frequencies).max() < 1e-4:
            break
        weights *= (frequencies.clip(1e-9) / mean.clip(1e-9)) ** 0.7
    return weights / weights.max()


def soften(probs: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / temperature), [n, k]."""
    found: np.ndarray = np.log(probs.clip(1e-12))
    found /= temperature
    found -= found.max(1, keepdims=True)
    np.exp(found, out=found)
    found /= found.sum(1, keepdims=True)
    return found


def fit_transition(probs: np.ndarray, labels: np.ndarray, seed: int = 0) -> Transition:
    """Most likely T, temperature and class weights; see the module's docstring.

    Args:
        probs: [n, k] class probabilities that do not know the labels.
        labels: [n] given labels, n at least 2.
    """
    rows = sample(len(labels), seed)
    probs, given = probs[rows], labels[rows]
    half = _half(len(given), seed)
    frequencies = np.bincount(given, minlength=probs.shape[1]) / len(given)
    tried = [
        t
        for temperature in TEMPERATURES
        for t in _try(probs, given, half, frequencies, float(temperature))
    ]
    likeliest = max(tried, key=lambda t: t.fitted.mean())
    best = max(tried, key=lambda t: t.held_out.mean())
    rates = [t.rate for t in tried if not clearly_below(t.fitted, likeliest.fitted)]
    rates += [
        r
        for t in tried
        if not clearly_below(t.held_out, best.held_out)
        for r in (t.rate, t.other_rate)
    ]
    chosen = max(tried, key=lambda t: t.score)
    matrix = _matrix(
        calibrate(probs, chosen.temperature, chosen.weights),
        given,
        chosen.class_similarity,
    )
    return Transition(
        matrix,
        chosen.temperature,
        chosen.weights,
        chosen.class_similarity,
        best.held_out,
        tuple(rates),
    )


@dataclass(frozen=True)
class _Tried:
    """One temperature and prior: log-likelihoods of n labels; rates under the free T, and under the kind that `held_out` prefers."""

    temperature: float
    weights: np.ndarray
    class_similarity: float | None
    score: float
    fitted: np.ndarray
    held_out: np.ndarray
    rate: float
    other_rate: float


def _try(
    probs: np.ndarray,
    labels: np.ndarray,
    half: np.ndarray,
    frequencies: np.ndarray,
    temperature: float,
) -> list[_Tried]:
    """One of each prior; with more than `FREE` classes the symmetric T alone."""
    soft = soften(probs, temperature)
    weights = balance(soft, frequencies)
    calibrated = reweigh(soft, weights)
    symmetric = _judge(
        calibrated,
        labels,
        half,
        [_em_symmetric(calibrated[p], labels[p]) for p in (..., half, ~half)],
    )
    if probs.shape[1] > FREE:
        fitted, held_out, rate = symmetric
        return [
            _Tried(
                temperature,
                weights,
                None,
                float((fitted + held_out).mean()),
                fitted,
                held_out,
                rate,
                rate,
            )
        ]
    priors = np.stack(
        [prior(calibrated, class_similarity) for class_similarity in CLASS_SIMILARITIES]
    )
    matrices = _em(calibrated, labels, priors, np.stack([half | True, half, ~half]))
    found = []
    for number, class_similarity in enumerate(CLASS_SIMILARITIES):
        free = _judge(
            calibrated, labels, half, list(matrices[3 * number : 3 * number + 3])
        )
        score = float((free[0] + free[1]).mean())
        _, held_out, other_rate = max(free, symmetric, key=lambda kind: kind[1].mean())
        found.append(
            _Tried(
                temperature,
                weights,
                class_similarity,
                score,
                free[0],
                held_out,
                free[2],
                other_rate,
            )
        )
    return found


def _judge(
    calibrated: np.ndarray,
    labels: np.ndarray,
    half: np.ndarray,
    matrices: Sequence[np.ndarray],
) -> tuple[np.ndarray, np.ndarray, float]:
    """Log-likelihoods [n] fitted and held out, and the rate, of the T of all images, of a half and of the other half."""
    whole, first, second = (
        _log_likelihoods(calibrated, labels, matrix) for matrix in matrices
    )
    right = (
        calibrated[np.arange(len(labels)), labels]
        * np.diag(matrices[0])[labels]
        / np.exp(whole)
    )
    return whole, np.where(half, second, first), float(1 - right.mean())


def _matrix(
    calibrated: np.ndarray, labels: np.ndarray, class_similarity: float | None
) -> np.ndarray:
    """T of all images."""
    if class_similarity is None:
        return _em_symmetric(calibrated, labels)
    found: np.ndarray = _em(
        calibrated,
        labels,
        prior(calibrated, class_similarity)[None],
        np.ones((1, len(labels)), dtype=bool),
    )[0]
    return found


def prior(calibrated: np.ndarray, class_similarity: float) -> np.ndarray:
    """[k, k] where errors go before any label was seen, rows sum to one, nothing on the diagonal.

    Args:
        calibrated: [n, k] class probabilities.
        class_similarity: share that goes to classes in proportion to Σ_i q_i(k) q_i(j); the rest goes to all alike.
    """
    k = calibrated.shape[1]
    alike = calibrated.T @ calibrated + 1e-12
    np.fill_diagonal(alike, 0)
    return class_similarity * alike / alike.sum(1, keepdims=True).clip(1e-30) + (
        1 - class_similarity
    ) * _symmetric(1.0, k)


def _half(n: int, seed: int) -> np.ndarray:
    """[n] bool: a random half."""
    return np.asarray(np.random.default_rng([seed, n]).permutation(n) % 2 == 0)


def _log_likelihoods(
    probs: np.ndarray, labels: np.ndarray, matrix: np.ndarray
) -> np.ndarray:
    """[n] of each label."""
    found: np.ndarray = np.log(
        np.einsum("nk,nk->n", probs, matrix.T[labels]).clip(1e-30)
    )
    return found


def clearly_below(scores: np.ndarray, better: np.ndarray) -> bool:
    """Whether log-likelihoods [n] are below others of the same images by more than `DOUBT` and than chance (95 %)."""
    gap = better - scores
    return bool(gap.mean() > max(DOUBT, 1.96 * gap.std() / np.sqrt(len(gap))))


def select(found: Mapping[str, Transition]) -> tuple[str, Transition]:
    """Which reference classifier to select, and T found with it; see the module's docstring.

    Args:
        found: name -> T found with this reference classifier's probabilities, all for the same labels and seed. An earlier one is
            selected unless a later one is clearly better; rates of one that is not clearly worse are doubts.
    """
    (name, selected), *others = found.items()
    for other, transition in others:
        if clearly_below(selected.held_out, transition.held_out):
            name, selected = other, transition
        elif not clearly_below(transition.held_out, selected.held_out):
            selected = replace(selected, rates=(*selected.rates, *transition.rates))
    return name, selected


def sample(n: int, seed: int) -> np.ndarray:
    """Rows [m] of n, at most `SAMPLE`, the same ones for the same seed."""
    return (
        np.arange(n)
        if n <= SAMPLE
        else np.sort(np.random.default_rng(seed).choice(n, SAMPLE, replace=False))
    )


def _em(
    probs: np.ndarray,
    labels: np.ndarray,
    priors: np.ndarray,
    seen: np.ndarray,
    rounds: int = 60,
) -> np.ndarray:
    """EM for several T at once, with fixed q, so that the q are read once for all.

    Each cell gets one pseudo-observation on average, spread as noise of the current rate would be, with its errors where
    the prior says: with few images a class T stays near that.

    Args:
        probs, labels: q [n, k] and given labels [n].
        priors: [a, k, k] of `prior`.
        seen: [b, n] bool, which images to learn from.

    Returns:
        [a * b, k, k]: of the first prior with each of `seen`, then of the next one.
    """
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    errors, weights = (
        np.repeat(priors, len(seen), 0),
        np.tile(seen[:, order].T * 1.0, len(priors)),
    )  # [m, k, k], [n, m]
    of_label = zip(
        np.split(probs[order], starts[1:]), np.split(weights, starts[1:]), strict=True
    )
    blocks = list(zip(present.tolist(), of_label, strict=True))
    (m, k, _), sizes, before = (
        errors.shape,
        weights.sum(0),
        np.full(len(errors), -np.inf),
    )
    matrices, right = np.repeat(_symmetric(0.2, k)[None], m, 0), np.eye(k)
    for _ in range(rounds):
        columns, counts = (
            np.ascontiguousarray(matrices.transpose(2, 1, 0)),
            np.zeros((k, k, m)),
        )
        likelihoods = np.zeros(m)
        for label, (block, weight) in blocks:
            total = (block @ columns[label]).clip(1e-30)
            counts[label] = columns[label] * (block.T @ (weight / total))
            likelihoods += (weight * np.log(total)).sum(0) / sizes.clip(1)
        # rule of succession: a sample without errors does not rule them out
        rates = ((1 + sizes - np.einsum("kkm->m", counts)) / (sizes + 2))[:, None, None]
        matrices = counts.transpose(2, 1, 0) + k * (
            rates * errors + (1 - rates) * right
        )
        matrices /= matrices.sum(2, keepdims=True)
        if (likelihoods - before < 1e-7).all():
            break
        before = likelihoods
    return matrices


def _em_symmetric(
    probs: np.ndarray, labels: np.ndarray, rounds: int = 200
) -> np.ndarray:
    """The symmetric T that makes the labels likeliest, by EM for its one number."""
    n, k = probs.shape
    given, rate = probs[np.arange(n), labels], 0.2
    for _ in range(rounds):
        right, wrong = given * (1 - rate), (1 - given) * rate / (k - 1)
        before, rate = rate, float((wrong / (right + wrong).clip(1e-30)).mean())
        if abs(rate - before) < 1e-6:
            break
    return _symmetric(rate, k)


def _symmetric(rate: float, k: int) -> np.ndarray:
    matrix: np.ndarray = np.full((k, k), rate / max(k - 1, 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def _towards_symmetric(matrix: np.ndarray, share: float) -> np.ndarray:
    return (1 - share) * matrix + share * _symmetric(
        1 - float(np.diag(matrix).mean()), len(matrix)
    )
