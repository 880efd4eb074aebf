"""EM against the textbook, and priors and symmetric matrices by loops."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures.noisy_labels import K, N, world

from labelsieve.estimation import em
from labelsieve.estimation import transition as estimate


def test_em_raises_the_likelihood() -> None:
    probs, _, labels = world()
    alike = em.prior(probs, 0.0)
    result = (
        em.fit_matrices(probs, labels, alike[None], np.ones((1, N), bool), rounds)[0]
        for rounds in (1, 4, 60)
    )
    one, few, many = (
        em.log_likelihoods(probs, labels, matrix).mean() for matrix in result
    )
    assert one < few < many


@pytest.mark.parametrize("class_similarity", estimate.CLASS_SIMILARITIES)
def test_em_is_the_textbooks(class_similarity: float) -> None:
    """One round from the start, with loops: counts of the posterior and one pseudo-observation
    a cell on average."""
    probs, _, labels = world()
    probs, labels = (
        probs[:200],
        np.where(labels[:200] == 1, 0, labels[:200]),
    )  # one class is never given
    errors = em.prior(probs, class_similarity)
    start, counts = em.symmetric(0.2, K), np.zeros((K, K))
    for q, y in zip(probs, labels, strict=True):
        joint = q * start[:, y]
        counts[:, y] += joint / joint.sum()
    rate = (201 - np.trace(counts)) / 202
    expected = counts + K * (rate * errors + np.diag(np.full(K, 1 - rate)))
    result = em.fit_matrices(
        probs, labels, errors[None], np.ones((1, 200), bool), rounds=1
    )
    np.testing.assert_allclose(
        result[0], expected / expected.sum(1, keepdims=True), rtol=1e-9
    )


def test_several_fits_at_once_are_those_of_each_alone() -> None:
    """Of every prior with every choice of images, in this order."""
    probs, _, labels = world()
    probs, labels = probs[:900], np.where(labels[:900] == 1, 0, labels[:900])
    priors = np.stack(
        [em.prior(probs, class_similarity) for class_similarity in (0.0, 1.0)]
    )
    seen = np.stack([np.arange(900) < 900, np.arange(900) % 3 == 0])
    together = em.fit_matrices(probs, labels, priors, seen, rounds=7)
    alone = [
        em.fit_matrices(
            probs[part],
            labels[part],
            errors[None],
            np.ones((1, part.sum()), bool),
            rounds=7,
        )[0]
        for errors in priors
        for part in seen
    ]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-9, atol=1e-12)


def test_the_prior_sends_errors_to_classes_that_the_model_hesitates_between() -> None:
    probs, _, _ = world()
    alike, like = em.prior(probs, 0.0), em.prior(probs, 1.0)
    np.testing.assert_allclose(alike, (1 - np.eye(K)) / (K - 1))
    for k in range(K):
        shares = np.array(
            [0.0 if j == k else sum(q[k] * q[j] for q in probs) for j in range(K)]
        )
        np.testing.assert_allclose(like[k], shares / shares.sum(), rtol=1e-9)
    np.testing.assert_allclose(em.prior(probs, 0.25), 0.75 * alike + 0.25 * like)


def test_the_symmetric_matrix_is_the_likeliest_of_its_kind() -> None:
    rng = np.random.default_rng(2)
    probs, truth, _ = world()
    labels = np.where(rng.random(N) < 0.3, (truth + rng.integers(1, K, N)) % K, truth)
    result = em.fit_symmetric(probs, labels)
    each = np.arange(N)
    likelihoods = {
        rate: np.log((probs @ em.symmetric(rate, K))[each, labels]).sum()
        for rate in np.arange(0.2, 0.4, 0.001)
    }
    assert 1 - result[0, 0] == pytest.approx(
        max(likelihoods, key=likelihoods.__getitem__), abs=0.001
    )
    assert 1 - result[0, 0] == pytest.approx((labels != truth).mean(), abs=0.02)


def test_frequencies_are_those_of_the_truth_where_labels_changed_them() -> None:
    """A third of one class is given as another one; the answers were made with equal classes."""
    probs, truth, _ = world()
    labels = np.where(
        np.random.default_rng(3).random(N) < 0.35 * (truth == 0), 3, truth
    )
    true, given = (np.bincount(c, minlength=K) / N for c in (truth, labels))
    found = em.true_frequencies(probs, labels)
    assert found.sum() == pytest.approx(1)
    # ended early, so most of the way
    assert np.abs(found - true).sum() < np.abs(given - true).sum() / 3
    # labels that are right are as frequent as their classes
    right = em.true_frequencies(probs, truth)
    np.testing.assert_allclose(right, true, atol=0.02)


def test_frequencies_cost_what_bic_says() -> None:
    """Half the logarithm of the labels for each free number, spread over the labels."""
    assert em.cost_of_frequencies(1_797, 10) == pytest.approx(
        9 / 2 * np.log(1_797) / 1_797
    )
    assert em.cost_of_frequencies(100, 1) == 0
