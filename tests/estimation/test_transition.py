"""Estimates of label noise without truth, against data of which everything is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures.noisy_labels import TRUE, K, N, world

from labelsieve.estimation import calibration, em, noise_rate
from labelsieve.estimation import transition as estimate
from labelsieve.features.zero_shot import softmax


def test_the_transition_matrix_is_found_from_labels_alone() -> None:
    probs, truth, labels = world()
    fitted = estimate.fit_transition(probs, labels)
    assert np.abs(fitted.matrix - TRUE).max() < 0.08
    np.testing.assert_allclose(fitted.matrix.sum(1), 1)
    rate = (
        1
        - fitted.posterior(fitted.calibrate(probs), labels)[np.arange(N), labels].mean()
    )
    assert rate == pytest.approx((labels != truth).mean(), abs=0.03)
    assert (
        min(fitted.rates) - 0.02 <= (labels != truth).mean() <= max(fitted.rates) + 0.02
    )


def test_overconfidence_is_found_and_calibrated() -> None:
    probs, truth, labels = world()
    overconfident = calibration.soften(probs, 0.5)
    fitted = estimate.fit_transition(overconfident, labels)
    assert fitted.temperature == pytest.approx(2.0, rel=0.35)
    rate = (
        1
        - fitted.posterior(fitted.calibrate(overconfident), labels)[
            np.arange(N), labels
        ].mean()
    )
    naive = 1 - overconfident[np.arange(N), labels].mean()
    wrong = (labels != truth).mean()
    assert abs(rate - wrong) < abs(naive - wrong) / 3


def test_labels_without_errors_may_have_none() -> None:
    """T takes a few out of the model's doubts; that none is wrong explains the labels as well."""
    probs, truth, _ = world(sharpness=4.0)
    # a calibration between two temperatures that are tried
    clean = estimate.fit_transition(calibration.soften(probs, 0.93), truth)
    assert min(clean.rates) == 0 and max(clean.rates) < 0.1
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(N) < 0.05, (truth + 1) % K, truth)
    assert min(estimate.fit_transition(probs, labels).rates) > 0.01


def test_with_very_many_classes_the_matrix_is_symmetric(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimate, "FREE", K - 1)
    probs, truth, _ = world()
    rng = np.random.default_rng(6)
    labels = np.where(rng.random(N) < 0.3, (truth + rng.integers(1, K, N)) % K, truth)
    fitted = estimate.fit_transition(probs, labels)
    assert (
        fitted.class_similarity is None
        and fitted.simplified(fitted.calibrate(probs), labels) is fitted
    )
    np.testing.assert_allclose(fitted.matrix, em.symmetric(1 - fitted.matrix[0, 0], K))
    assert 1 - fitted.matrix[0, 0] == pytest.approx((labels != truth).mean(), abs=0.04)


@pytest.mark.parametrize("kind", ["like", "alike"])
def test_with_many_classes_the_prior_is_the_one_that_labels_tell_of(kind: str) -> None:
    """Forty classes in groups of four that a model hesitates between; errors stay in the group,
    or go anywhere."""
    rng, k, n = np.random.default_rng(5), 40, 1600
    group = np.arange(k) // 4
    logits = 2.0 * rng.standard_normal((n, k)) + 6.0 * (
        group == rng.integers(0, k // 4, n)[:, None]
    )
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(k, p=p) for p in probs])
    other = (
        truth - truth % 4 + (truth + rng.integers(1, 4, n)) % 4
        if kind == "like"
        else (truth + rng.integers(1, k, n)) % k
    )
    labels = np.where(rng.random(n) < 0.3, other, truth)
    fitted = estimate.fit_transition(probs, labels)
    assert fitted.class_similarity == (1.0 if kind == "like" else 0.0)
    posterior = fitted.posterior(fitted.calibrate(probs), labels)
    wrong = 1 - posterior[np.arange(n), labels]
    assert wrong.mean() == pytest.approx((labels != truth).mean(), abs=0.06)


def test_the_held_out_likelihood_is_of_the_other_halfs_matrix() -> None:
    probs, _, labels = world()
    half = np.arange(N) < N // 2
    whole, of_half, of_other = (
        em.fit_symmetric(probs[p], labels[p]) for p in (..., half, ~half)
    )
    fitted, held_out, rate = estimate._fit(
        probs, labels, half, [whole, of_half, of_other]
    )
    for i, other in ((5, of_other), (N - 5, of_half)):
        assert held_out[i] == pytest.approx(np.log(probs[i] @ other[:, labels[i]]))
        assert fitted[i] == pytest.approx(np.log(probs[i] @ whole[:, labels[i]]))
    joint = probs * whole[:, labels].T
    assert rate == pytest.approx(
        1 - (joint[np.arange(N), labels] / joint.sum(1)).mean()
    )


def test_clearly_is_more_than_chance_and_more_than_the_doubt() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(400)
    noise = rng.standard_normal(400)
    noise -= noise.mean()
    assert not estimate.clearly_below(scores, scores)
    assert not estimate.clearly_below(scores, scores + 0.9 * estimate.DOUBT)
    assert estimate.clearly_below(scores, scores + 1.1 * estimate.DOUBT)
    error = noise.std() / 20
    assert not estimate.clearly_below(scores, scores + noise + 1.9 * error)
    assert estimate.clearly_below(scores, scores + noise + 2.0 * error)
    assert not estimate.clearly_below(scores, scores - 1)


def test_with_few_images_the_matrix_does_not_explain_a_weak_model_away() -> None:
    """No label is wrong, and the model is right in what it is unsure of: the interval must say
    so."""
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.full(10, 0.5), 300)
    labels = np.array([rng.choice(10, p=p) for p in probs])
    fitted = estimate.fit_transition(probs, labels)
    assert min(fitted.rates) < 0.1 < max(fitted.rates)


# --- reference classifiers


def two_references(
    n: int = 4000,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Five classes, a fifth of the labels wrong. Text takes the last two classes for any other;
    pictures, as a probe learns them, give the blurred probabilities of the label."""
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 5, n)
    wrong = rng.random(n) < 0.2
    labels = np.where(wrong, (truth + rng.integers(1, 5, n)) % 5, truth)
    seen = np.where(truth < 3, truth, rng.integers(0, 3, n))
    text = calibration.soften(
        np.eye(5)[seen] * 0.9 + 0.02 + 0.02 * rng.random((n, 5)), 1.0
    )
    pictures = calibration.soften(
        np.eye(5)[truth] * 0.85 + 0.03 + 0.03 * rng.random((n, 5)), 2.0
    )
    return {"text": text, "pictures": pictures}, labels, truth


def rate_of(
    fitted: estimate.Transition, probs: np.ndarray, labels: np.ndarray
) -> float:
    return float(
        1
        - fitted.posterior(fitted.calibrate(probs), labels)[
            np.arange(len(labels)), labels
        ].mean()
    )


def test_labels_that_pictures_predict_are_no_errors() -> None:
    votes, labels, truth = two_references()
    fitted = {
        name: estimate.fit_transition(probs, labels) for name, probs in votes.items()
    }
    wrong = (labels != truth).mean()
    assert rate_of(fitted["text"], votes["text"], labels) > wrong + 0.1, (
        "its ignorance counted as label errors"
    )
    name, selected = estimate.select(fitted)
    assert name == "pictures" and selected is fitted["pictures"]
    noise = noise_rate.summarise(
        selected.posterior(selected.calibrate(votes[name]), labels),
        labels,
        tuple("abcde"),
        selected.rates,
    )
    assert (
        noise.rate == pytest.approx(wrong, abs=0.02)
        and noise.low <= wrong <= noise.high
    )
    assert estimate.select(dict(reversed(fitted.items())))[0] == "pictures"


def test_the_first_reference_is_selected_where_none_is_clearly_better() -> None:
    votes, labels, _ = two_references()
    first = estimate.fit_transition(votes["pictures"], labels)
    second = replace(first, rates=(0.01, 0.5))
    name, selected = estimate.select({"a": first, "b": second})
    assert name == "a" and selected.rates == (*first.rates, 0.01, 0.5), (
        "the doubts of both"
    )
    worse = replace(second, held_out=second.held_out - 1)
    assert estimate.select({"a": first, "b": worse}) == ("a", first)
    assert estimate.select({"b": worse, "a": first}) == ("a", first)


@pytest.mark.parametrize("kind", ["symmetric", "pairs"])
def test_simplified_takes_the_share_that_held_out_labels_prefer(kind: str) -> None:
    """Symmetric errors end at a symmetric T, systematic ones keep theirs; the rate stays."""
    probs, truth, _ = world()
    rng, k = np.random.default_rng(3), probs.shape[1]
    shift = rng.integers(1, k, len(truth)) if kind == "symmetric" else 1
    labels = np.where(rng.random(len(truth)) < 0.3, (truth + shift) % k, truth)
    fitted = estimate.fit_transition(probs, labels)
    calibrated = fitted.calibrate(probs)
    simple = fitted.simplified(calibrated, labels)
    half = np.random.default_rng([0, len(labels)]).permutation(len(labels)) % 2 == 0
    best, symmetric = {}, em.symmetric(1 - np.diag(fitted.matrix).mean(), k)
    for share in em.SHARES:
        total = 0.0
        for part in (half, ~half):
            errors = em.prior(calibrated, fitted.class_similarity)[None]
            matrix = em.fit_matrices(
                calibrated[~part],
                labels[~part],
                errors,
                np.ones((1, (~part).sum()), bool),
            )[0]
            mixed = (1 - share) * matrix + share * em.symmetric(
                1 - np.diag(matrix).mean(), k
            )
            total += np.log(
                np.einsum("nk,nk->n", calibrated[part], mixed[:, labels[part]].T)
            ).sum()
        best[total] = share
    share = best[max(best)]
    np.testing.assert_allclose(
        simple.matrix, (1 - share) * fitted.matrix + share * symmetric, rtol=1e-6
    )
    assert (share >= 0.75) if kind == "symmetric" else (share == 0)
    np.testing.assert_allclose(
        np.diag(simple.matrix).mean(), np.diag(fitted.matrix).mean(), rtol=1e-6
    )
    np.testing.assert_allclose(simple.matrix.sum(1), 1, rtol=1e-6)


def test_with_unseen_cells_planted_errors_may_be_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    k, n = 40, 1_500
    rng = np.random.default_rng(0)
    q = softmax(4 * rng.normal(size=(n, k)))
    truth = (q.cumsum(1) < rng.random((n, 1))).sum(1).clip(0, k - 1)
    wrong = rng.random(n) < 0.2
    looks = np.sqrt(q)
    looks[np.arange(n), truth] = 0
    looks /= looks.sum(1, keepdims=True)
    follows = (looks.cumsum(1) < rng.random((n, 1))).sum(1).clip(0, k - 1)
    anywhere = (truth + rng.integers(1, k, n)) % k
    lowest = {}
    for softer in (1.0, estimate.SOFTER):
        monkeypatch.setattr(estimate, "SOFTER", softer)
        for name, others in (("people", follows), ("planted", anywhere)):
            labels = np.where(wrong, others, truth)
            lowest[name, softer] = min(estimate.fit_transition(q, labels).rates)
    assert lowest["planted", estimate.SOFTER] < lowest["planted", 1.0] - 0.002
    # T alone finds too few of people's errors, not too many
    assert lowest["people", estimate.SOFTER] == lowest["people", 1.0]


def test_classes_that_people_prefer_are_not_taken_for_frequent_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two classes are often given as a third; by the given frequencies too few look wrong."""
    probs, truth, _ = world(sharpness=1.5)
    taken = np.random.default_rng(2).random(N) < np.array([0.4, 0.4, 0, 0])[truth]
    labels = np.where(taken, 3, truth)
    wrong = (labels != truth).mean()
    found = estimate.fit_transition(probs, labels)

    def said(fitted: estimate.Transition) -> float:
        posterior = fitted.posterior(fitted.calibrate(probs), labels)
        return float(1 - posterior[np.arange(N), labels].mean())

    monkeypatch.setattr(estimate, "SEEN", N)
    given = estimate.fit_transition(probs, labels)
    assert abs(said(found) - wrong) < abs(said(given) - wrong) / 2
    assert min(found.rates) - 0.02 <= wrong <= max(found.rates) + 0.02
    # as answers were made: no class is preferred
    assert np.ptp(np.log(found.weights)) < np.ptp(np.log(given.weights)) / 2


def test_frequencies_that_gain_less_than_they_cost_stay_as_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Symmetric errors change no frequency, but ten free numbers always gain something."""
    rng = np.random.default_rng(10)
    n, k = 500, 10
    truth = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k)) + rng.normal(size=k)  # some classes are preferred
    logits[np.arange(n), truth] += 3.2
    wrong = rng.random(n) < 0.3
    labels = (truth + wrong * rng.integers(1, k, n)) % k
    probs = softmax(logits)
    found = estimate.fit_transition(probs, labels)
    with monkeypatch.context() as patch:
        patch.setattr(estimate, "SEEN", n)
        given = estimate.fit_transition(probs, labels)
    np.testing.assert_array_equal(found.weights, given.weights)
    # the gain itself is well above chance and `DOUBT`
    monkeypatch.setattr(estimate, "cost_of_frequencies", lambda n, k: 0.0)
    assert not np.allclose(
        estimate.fit_transition(probs, labels).weights, given.weights
    )
