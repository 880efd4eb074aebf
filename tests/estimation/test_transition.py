"""Estimates of label noise without truth, against data of which everything is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve.estimation import noise_rate
from labelsieve.estimation import transition as estimate

K, N = 4, 6000
TRUE = np.array(
    [
        [0.8, 0.2, 0.0, 0.0],
        [0.0, 0.9, 0.1, 0.0],
        [0.05, 0.05, 0.85, 0.05],
        [0.3, 0.0, 0.0, 0.7],
    ]
)


def world(
    seed: int = 0, sharpness: float = 2.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated class probabilities [n, k], the truth they are about, and labels made from it with TRUE."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((N, K))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(K, p=p) for p in probs])
    return probs, truth, np.array([rng.choice(K, p=TRUE[t]) for t in truth])


def test_the_transition_matrix_is_found_from_labels_alone() -> None:
    probs, truth, labels = world()
    found = estimate.fit_transition(probs, labels)
    assert np.abs(found.matrix - TRUE).max() < 0.08
    np.testing.assert_allclose(found.matrix.sum(1), 1)
    rate = (
        1 - found.posterior(found.calibrate(probs), labels)[np.arange(N), labels].mean()
    )
    assert rate == pytest.approx((labels != truth).mean(), abs=0.03)
    assert (
        min(found.rates) - 0.02 <= (labels != truth).mean() <= max(found.rates) + 0.02
    )


def test_overconfidence_is_found_and_calibrated() -> None:
    probs, truth, labels = world()
    overconfident = estimate.soften(probs, 0.5)
    found = estimate.fit_transition(overconfident, labels)
    assert found.temperature == pytest.approx(2.0, rel=0.35)
    rate = (
        1
        - found.posterior(found.calibrate(overconfident), labels)[
            np.arange(N), labels
        ].mean()
    )
    naive = 1 - overconfident[np.arange(N), labels].mean()
    wrong = (labels != truth).mean()
    assert abs(rate - wrong) < abs(naive - wrong) / 3


def test_preferred_classes_are_weighted_down() -> None:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet([4, 1, 1, 1], 3000)
    wanted = np.array([0.1, 0.2, 0.3, 0.4])
    weights = estimate.balance(probs, wanted)
    np.testing.assert_allclose(
        estimate.reweigh(probs, weights).mean(0), wanted, atol=2e-3
    )


def test_em_raises_the_likelihood() -> None:
    probs, _, labels = world()
    alike = estimate.prior(probs, 0.0)
    found = (
        estimate._em(probs, labels, alike[None], np.ones((1, N), bool), rounds)[0]
        for rounds in (1, 4, 60)
    )
    one, few, many = (
        estimate._log_likelihoods(probs, labels, matrix).mean() for matrix in found
    )
    assert one < few < many


@pytest.mark.parametrize("class_similarity", estimate.CLASS_SIMILARITIES)
def test_em_is_the_textbooks(class_similarity: float) -> None:
    """One round from the start, with loops: counts of the posterior and one pseudo-observation a cell on average."""
    probs, _, labels = world()
    probs, labels = (
        probs[:200],
        np.where(labels[:200] == 1, 0, labels[:200]),
    )  # one class is never given
    errors = estimate.prior(probs, class_similarity)
    start, counts = estimate._symmetric(0.2, K), np.zeros((K, K))
    for q, y in zip(probs, labels, strict=True):
        joint = q * start[:, y]
        counts[:, y] += joint / joint.sum()
    rate = (201 - np.trace(counts)) / 202
    expected = counts + K * (rate * errors + np.diag(np.full(K, 1 - rate)))
    found = estimate._em(probs, labels, errors[None], np.ones((1, 200), bool), rounds=1)
    np.testing.assert_allclose(
        found[0], expected / expected.sum(1, keepdims=True), rtol=1e-9
    )


def test_several_fits_at_once_are_those_of_each_alone() -> None:
    """Of every prior with every choice of images, in this order."""
    probs, _, labels = world()
    probs, labels = probs[:900], np.where(labels[:900] == 1, 0, labels[:900])
    priors = np.stack(
        [estimate.prior(probs, class_similarity) for class_similarity in (0.0, 1.0)]
    )
    seen = np.stack([np.arange(900) < 900, np.arange(900) % 3 == 0])
    together = estimate._em(probs, labels, priors, seen, rounds=7)
    alone = [
        estimate._em(
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


def test_with_very_many_classes_the_matrix_is_symmetric(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimate, "FREE", K - 1)
    probs, truth, _ = world()
    rng = np.random.default_rng(6)
    labels = np.where(rng.random(N) < 0.3, (truth + rng.integers(1, K, N)) % K, truth)
    found = estimate.fit_transition(probs, labels)
    assert (
        found.class_similarity is None
        and found.simplified(found.calibrate(probs), labels) is found
    )
    np.testing.assert_allclose(
        found.matrix, estimate._symmetric(1 - found.matrix[0, 0], K)
    )
    assert 1 - found.matrix[0, 0] == pytest.approx((labels != truth).mean(), abs=0.04)


def test_the_prior_sends_errors_to_classes_that_the_model_hesitates_between() -> None:
    probs, _, _ = world()
    alike, like = estimate.prior(probs, 0.0), estimate.prior(probs, 1.0)
    np.testing.assert_allclose(alike, (1 - np.eye(K)) / (K - 1))
    for k in range(K):
        shares = np.array(
            [0.0 if j == k else sum(q[k] * q[j] for q in probs) for j in range(K)]
        )
        np.testing.assert_allclose(like[k], shares / shares.sum(), rtol=1e-9)
    np.testing.assert_allclose(estimate.prior(probs, 0.25), 0.75 * alike + 0.25 * like)


@pytest.mark.parametrize("kind", ["like", "alike"])
def test_with_many_classes_the_prior_is_the_one_that_labels_tell_of(kind: str) -> None:
    """Forty classes in groups of four that a model hesitates between; errors stay in the group, or go anywhere."""
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
    found = estimate.fit_transition(probs, labels)
    assert found.class_similarity == (1.0 if kind == "like" else 0.0)
    posterior = found.posterior(found.calibrate(probs), labels)
    wrong = 1 - posterior[np.arange(n), labels]
    assert wrong.mean() == pytest.approx((labels != truth).mean(), abs=0.06)


def test_the_symmetric_matrix_is_the_likeliest_of_its_kind() -> None:
    rng = np.random.default_rng(2)
    probs, truth, _ = world()
    labels = np.where(rng.random(N) < 0.3, (truth + rng.integers(1, K, N)) % K, truth)
    found = estimate._em_symmetric(probs, labels)
    each = np.arange(N)
    likelihoods = {
        rate: np.log((probs @ estimate._symmetric(rate, K))[each, labels]).sum()
        for rate in np.arange(0.2, 0.4, 0.001)
    }
    assert 1 - found[0, 0] == pytest.approx(
        max(likelihoods, key=likelihoods.__getitem__), abs=0.001
    )
    assert 1 - found[0, 0] == pytest.approx((labels != truth).mean(), abs=0.02)


def test_the_held_out_likelihood_is_of_the_other_halfs_matrix() -> None:
    probs, _, labels = world()
    half = np.arange(N) < N // 2
    whole, of_half, of_other = (
        estimate._em_symmetric(probs[p], labels[p]) for p in (..., half, ~half)
    )
    fitted, held_out, rate = estimate._judge(
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
    """No label is wrong, and the model is right in what it is unsure of: the interval must say so."""
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.full(10, 0.5), 300)
    labels = np.array([rng.choice(10, p=p) for p in probs])
    found = estimate.fit_transition(probs, labels)
    assert min(found.rates) < 0.1 < max(found.rates)


# --- reference classifiers


def two_references(
    n: int = 4000,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Five classes, a fifth of the labels wrong. Text takes the last two classes for any other; pictures, as a probe
    learns them, give the blurred probabilities of the label."""
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 5, n)
    wrong = rng.random(n) < 0.2
    labels = np.where(wrong, (truth + rng.integers(1, 5, n)) % 5, truth)
    seen = np.where(truth < 3, truth, rng.integers(0, 3, n))
    text = estimate.soften(
        np.eye(5)[seen] * 0.9 + 0.02 + 0.02 * rng.random((n, 5)), 1.0
    )
    pictures = estimate.soften(
        np.eye(5)[truth] * 0.85 + 0.03 + 0.03 * rng.random((n, 5)), 2.0
    )
    return {"text": text, "pictures": pictures}, labels, truth


def rate_of(found: estimate.Transition, probs: np.ndarray, labels: np.ndarray) -> float:
    return float(
        1
        - found.posterior(found.calibrate(probs), labels)[
            np.arange(len(labels)), labels
        ].mean()
    )


def test_labels_that_pictures_predict_are_no_errors() -> None:
    asked, labels, truth = two_references()
    found = {
        name: estimate.fit_transition(probs, labels) for name, probs in asked.items()
    }
    wrong = (labels != truth).mean()
    assert rate_of(found["text"], asked["text"], labels) > wrong + 0.1, (
        "its ignorance counted as label errors"
    )
    name, selected = estimate.select(found)
    assert name == "pictures" and selected is found["pictures"]
    noise = noise_rate.summarise(
        selected.posterior(selected.calibrate(asked[name]), labels),
        labels,
        tuple("abcde"),
        selected.rates,
    )
    assert (
        noise.rate == pytest.approx(wrong, abs=0.02)
        and noise.low <= wrong <= noise.high
    )
    assert estimate.select(dict(reversed(found.items())))[0] == "pictures"


def test_the_first_reference_is_selected_where_none_is_clearly_better() -> None:
    asked, labels, _ = two_references()
    first = estimate.fit_transition(asked["pictures"], labels)
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
    found = estimate.fit_transition(probs, labels)
    calibrated = found.calibrate(probs)
    simple = found.simplified(calibrated, labels)
    half = np.random.default_rng([0, len(labels)]).permutation(len(labels)) % 2 == 0
    best, symmetric = {}, estimate._symmetric(1 - np.diag(found.matrix).mean(), k)
    for share in estimate.SHARES:
        total = 0.0
        for part in (half, ~half):
            errors = estimate.prior(calibrated, found.class_similarity)[None]
            matrix = estimate._em(
                calibrated[~part],
                labels[~part],
                errors,
                np.ones((1, (~part).sum()), bool),
            )[0]
            mixed = (1 - share) * matrix + share * estimate._symmetric(
                1 - np.diag(matrix).mean(), k
            )
            total += np.log(
                np.einsum("nk,nk->n", calibrated[part], mixed[:, labels[part]].T)
            ).sum()
        best[total] = share
    share = best[max(best)]
    np.testing.assert_allclose(
        simple.matrix, (1 - share) * found.matrix + share * symmetric, rtol=1e-6
    )
    assert (share >= 0.75) if kind == "symmetric" else (share == 0)
    np.testing.assert_allclose(
        np.diag(simple.matrix).mean(), np.diag(found.matrix).mean(), rtol=1e-6
    )
    np.testing.assert_allclose(simple.matrix.sum(1), 1, rtol=1e-6)


@settings(max_examples=30)
@given(st.floats(0.2, 5), st.integers(0, 1000))
def test_softening_is_a_temperature(temperature: float, seed: int) -> None:
    logits = np.random.default_rng(seed).standard_normal((5, 3))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    warm = np.exp(logits / temperature) / np.exp(logits / temperature).sum(
        1, keepdims=True
    )
    np.testing.assert_allclose(estimate.soften(probs, temperature), warm, rtol=1e-9)


def test_the_summary_adds_up() -> None:
    probs, truth, labels = world()
    transition = estimate.fit_transition(probs, labels)
    posterior = transition.posterior(transition.calibrate(probs), labels)
    noise = noise_rate.summarise(
        posterior, labels, ("a", "b", "c", "d"), transition.rates
    )
    assert noise.low <= noise.rate <= noise.high
    assert noise.low <= (labels != truth).mean() <= noise.high
    assert noise.rate == pytest.approx(1 - np.trace(noise.matrix))
    counts = np.bincount(labels, minlength=K)
    shares = np.array(list(noise.per_class.values()))
    assert (shares * counts).sum() / N == pytest.approx(noise.rate)
    assert noise.pairs[0]["images"] == pytest.approx(
        (noise.matrix - np.diag(np.diag(noise.matrix))).max() * N
    )
    wider = noise_rate.summarise(
        posterior, labels, ("a", "b", "c", "d"), (*transition.rates, 0.9)
    )
    assert wider.high > noise.high and wider.rate == noise.rate
