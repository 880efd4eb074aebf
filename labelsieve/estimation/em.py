"""Transition matrices from class probabilities and given labels, by expectation maximisation.

T [k, k]: rows true class, columns given label, rows sum to one.
Shapes: n images, k classes, m matrices that are fitted at once.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

START = 0.2  # rate of the symmetric T that EM begins with; it is concave, any will do
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
