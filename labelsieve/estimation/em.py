"""Transition matrices from class probabilities and given labels, by expectation maximisation.

T [k, k]: rows true class, columns given label, rows sum to one.
Shapes: n images, k classes, m matrices that are fitted at once.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from labelsieve.estimation.calibration import balance, reweigh

START = 0.2  # rate of the symmetric T that EM begins with; it is concave, any will do
# Images that T and the temperature are found on: the error of chance is below that of the model
# of errors by then, and 21 temperatures of more images take minutes.
SAMPLE = 20_000
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of symmetric noise in a simplified T
# Of `true_frequencies`, and steps of T's own EM in each, which begins anew. On NoisyAG-News, rows 0
# to 2,999, eight rounds go most of the way from the given frequencies to the likeliest ones.
FREQUENCY_ROUNDS = 8
STEPS = 15
# Per label that is given: its number, q of its images [b, k], and how much each counts [b, m].
_Blocks: TypeAlias = list[tuple[int, np.ndarray, np.ndarray]]


def prior(calibrated: np.ndarray, class_similarity: float) -> np.ndarray:
    """[k, k] where errors go before any label was seen: rows sum to one, the diagonal is 0.

    Args:
        calibrated: [n, k] class probabilities q.
        class_similarity: share that goes to classes j in proportion to Σ_i q_i(k) q_i(j);
            the rest goes to all alike.
    """
    k = calibrated.shape[1]
    # a trifle everywhere, so that a class which is like no other has a row, too
    similar = calibrated.T @ calibrated + 1e-12
    np.fill_diagonal(similar, 0)
    totals = similar.sum(1, keepdims=True).clip(1e-30)
    alike = (1 - class_similarity) * symmetric(1.0, k)
    result: np.ndarray = class_similarity * similar / totals + alike
    return result


def fit_matrices(
    probs: np.ndarray,
    labels: np.ndarray,
    priors: np.ndarray,
    seen: np.ndarray,
    rounds: int = 60,
) -> np.ndarray:
    """EM for several T at once, with fixed q, so that the q are read once for all.

    Each cell gets one pseudo-observation on average, spread as noise of the current rate would
    be, with its errors where the prior says: with few images a class's row of T stays near that.

    Args:
        probs: q [n, k].
        labels: [n] given labels.
        priors: [a, k, k] of `prior`.
        seen: [b, n] bool, which images to learn from.

    Returns:
        [a * b, k, k]: of the first prior with each of `seen`, then of the next one.
    """
    k = probs.shape[1]
    order = np.argsort(labels, kind="stable")
    errors = np.repeat(priors, len(seen), 0)  # [m, k, k]
    weights = np.tile(seen[:, order].T * 1.0, len(priors))  # [n, m]
    blocks = _by_label(probs[order], labels[order], weights)
    sizes = weights.sum(0)
    before = np.full(len(errors), -np.inf)
    matrices = np.repeat(symmetric(START, k)[None], len(errors), 0)
    right = np.eye(k)
    for _ in range(rounds):
        counts, likelihoods = _expected_counts(matrices, blocks, sizes)
        # rule of succession: a sample without errors does not rule them out
        rates = (1 + sizes - np.einsum("kkm->m", counts)) / (sizes + 2)
        rates = rates[:, None, None]
        pseudo = k * (rates * errors + (1 - rates) * right)
        matrices = counts.transpose(2, 1, 0) + pseudo
        matrices /= matrices.sum(2, keepdims=True)
        # per image; far below `transition.DOUBT`, the least difference that says anything
        if (likelihoods - before < 1e-7).all():
            break
        before = likelihoods
    return matrices


def _by_label(ordered: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> _Blocks:
    """Blocks of rows that are ordered by label."""
    present, starts = np.unique(labels, return_index=True)
    blocks = np.split(ordered, starts[1:])
    counting = np.split(weights, starts[1:])
    return list(zip(present.tolist(), blocks, counting, strict=True))


def _expected_counts(
    matrices: np.ndarray, blocks: _Blocks, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The E step: how many images are expected in each cell of T.

    Returns:
        counts: [k given, k true, m].
        likelihoods: [m] mean log-likelihood of the labels, of which `sizes` [m] count.
    """
    m, k, _ = matrices.shape
    # one label's column of every T, next to each other in memory for the matrix product
    columns = np.ascontiguousarray(matrices.transpose(2, 1, 0))
    counts = np.zeros((k, k, m))
    likelihoods = np.zeros(m)
    for label, block, weight in blocks:
        total = (block @ columns[label]).clip(1e-30)
        counts[label] = columns[label] * (block.T @ (weight / total))
        likelihoods += (weight * np.log(total)).sum(0) / sizes.clip(1)
    return counts, likelihoods


def fit_matrix(
    calibrated: np.ndarray, labels: np.ndarray, class_similarity: float | None
) -> np.ndarray:
    """T [k, k] of all images, with one prior; None is the symmetric T."""
    if class_similarity is None:
        return fit_symmetric(calibrated, labels)
    errors = prior(calibrated, class_similarity)[None]
    everything = np.ones((1, len(labels)), dtype=bool)
    matrix: np.ndarray = fit_matrices(calibrated, labels, errors, everything)[0]
    return matrix


def true_frequencies(soft: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[k] how often each class is true, where errors may have changed how often it is given.

    EM in turns: T for classes as frequent as before, then the mean posterior under that T. It
    begins at the given frequencies and is ended early.

    Args:
        soft: [n, k] class probabilities at some temperature, of any class frequencies.
        labels: [n] given.
    """
    n, k = soft.shape
    everything = np.ones((1, n), dtype=bool)
    frequencies = np.bincount(labels, minlength=k) / n
    for _ in range(FREQUENCY_ROUNDS):
        calibrated = reweigh(soft, balance(soft, frequencies))
        errors = prior(calibrated, 0.0)[None]
        matrix = fit_matrices(calibrated, labels, errors, everything, rounds=STEPS)[0]
        frequencies = reweigh(calibrated, matrix[:, labels].T).mean(0)
    return frequencies


def cost_of_frequencies(n: int, k: int) -> float:
    """Log-likelihood per label that the frequencies of k classes must gain on the given ones.

    BIC's for k - 1 free numbers (Schwarz, Annals of Statistics 6, 1978). They learn from all n
    labels, so that held-out ones are likelier with them also where errors changed no frequency: of
    1,797 digits by .004 to .010 (planted symmetric and pair noise), of which .019 is asked. Where
    errors go to one class the gain is .057 to .071.
    """
    return float((k - 1) * np.log(n) / (2 * n))


def fit_symmetric(
    probs: np.ndarray, labels: np.ndarray, rounds: int = 200
) -> np.ndarray:
    """The symmetric T [k, k] under which the labels are likeliest, by EM for its one number."""
    n, k = probs.shape
    given = probs[np.arange(n), labels]
    rate = START
    for _ in range(rounds):
        right = given * (1 - rate)
        wrong = (1 - given) * rate / (k - 1)
        before = rate
        rate = float((wrong / (right + wrong).clip(1e-30)).mean())
        # a millionth of the images: estimates are shown to a tenth of a per cent
        if abs(rate - before) < 1e-6:
            break
    return symmetric(rate, k)


def symmetric(rate: float, k: int) -> np.ndarray:
    """T [k, k] of labels of which a share `rate` is wrong, each other class as often."""
    matrix: np.ndarray = np.full((k, k), rate / max(k - 1, 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def towards_symmetric(matrix: np.ndarray, share: float) -> np.ndarray:
    """T mixed with the symmetric T of the same rate."""
    rate = 1 - float(np.diag(matrix).mean())
    result: np.ndarray = (1 - share) * matrix + share * symmetric(rate, len(matrix))
    return result


def log_likelihoods(
    probs: np.ndarray, labels: np.ndarray, matrix: np.ndarray
) -> np.ndarray:
    """[n] log-likelihood of each label under T."""
    likelihoods = np.einsum("nk,nk->n", probs, matrix.T[labels])
    result: np.ndarray = np.log(likelihoods.clip(1e-30))
    return result


def simplified(
    matrix: np.ndarray,
    calibrated: np.ndarray,
    labels: np.ndarray,
    half: np.ndarray,
    class_similarity: float,
) -> np.ndarray:
    """T mixed with as much symmetric noise of its rate as held-out labels prefer.

    Args:
        matrix: T [k, k] of all images. calibrated: q [n, k]. labels: [n] given.
        half: [n] bool; each half is judged by the T of the other one.
        class_similarity: of the prior.
    """
    errors = prior(calibrated, class_similarity)[None]
    halves = np.stack([~half, half])
    of_other, of_half = fit_matrices(calibrated, labels, errors, halves)

    def likelihood(share: float) -> float:
        total = 0.0
        for rows, fitted in ((half, of_other), (~half, of_half)):
            mixed = towards_symmetric(fitted, share)
            total += float(log_likelihoods(calibrated[rows], labels[rows], mixed).sum())
        return total

    return towards_symmetric(matrix, max(SHARES, key=likelihood))


def half_of(n: int, seed: int) -> np.ndarray:
    """[n] bool: a random half."""
    return np.asarray(np.random.default_rng([seed, n]).permutation(n) % 2 == 0)


def sample(n: int, seed: int) -> np.ndarray:
    """Rows [m] of n, at most `SAMPLE`, the same ones for the same seed."""
    if n <= SAMPLE:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, SAMPLE, replace=False))
