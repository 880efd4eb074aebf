"""Kappa against scikit-learn and the bootstrap, verdicts on planted answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from labelsieve.estimation import agreement
from labelsieve.estimation.agreement import FITS, LITTLE, NOTHING, PARTLY

K = 6
NAMES = tuple("abcdef")


def answers(truth: np.ndarray, share: np.ndarray | float, seed: int) -> np.ndarray:
    """Right with this probability, by class or for all; else any class."""
    rng = np.random.default_rng(seed)
    right = rng.random(len(truth)) < np.broadcast_to(share, K)[truth]
    return np.where(right, truth, rng.integers(0, K, len(truth)))


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(9).integers(0, K, 3000)


# --- kappa


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_kappa_is_cohens(share: float, truth: np.ndarray) -> None:
    given = answers(truth, share, 1)
    assert agreement.kappa(given, truth, K)[0] == pytest.approx(
        cohen_kappa_score(given, truth), abs=1e-12
    )


def test_the_influence_gives_the_standard_error(truth: np.ndarray) -> None:
    few, given = truth[:400], answers(truth, 0.5, 1)[:400]
    value, influence = agreement.kappa(given, few, K)
    rng = np.random.default_rng(0)
    drawn = (rng.integers(0, 400, 400) for _ in range(600))
    spread = np.std([agreement.kappa(given[rows], few[rows], K)[0] for rows in drawn])
    assert influence.std() / np.sqrt(400) == pytest.approx(spread, rel=0.12)
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    without = [
        agreement.kappa(np.delete(given, i), np.delete(few, i), K)[0]
        for i in range(0, 400, 40)
    ]
    np.testing.assert_allclose(
        influence[::40], (value - np.array(without)) * 399, atol=0.02
    )


def test_one_answer_to_everything_agrees_with_nothing(truth: np.ndarray) -> None:
    assert agreement.kappa(np.zeros_like(truth), truth, K)[0] == 0
    assert agreement.kappa(np.zeros(4, int), np.zeros(4, int), K)[0] == 0


def test_label_errors_shrink_both_agreements_alike(truth: np.ndarray) -> None:
    text, pictures = answers(truth, 0.4, 1), answers(truth, 0.8, 2)
    for right in (1.0, 0.7, 0.4):
        labels = answers(truth, right, 3)
        of_text, of_pictures = (
            agreement.kappa(x, labels, K)[0] for x in (text, pictures)
        )
        assert of_text / of_pictures == pytest.approx(0.5, abs=0.07)
        assert of_pictures == pytest.approx(0.8 * right, abs=0.05)


# --- the verdict


@pytest.mark.parametrize(
    ("text", "verdict", "unknown"),
    [
        (0.9, FITS, ()),
        (0.5, FITS, ()),
        ([0.9, 0.9, 0.9, 0.9, 0.0, 0.9], PARTLY, ("e",)),
        (0.25, LITTLE, NAMES),
        (0.0, NOTHING, NAMES),
    ],
)
@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_the_verdict_does_not_hang_on_the_share_of_wrong_labels(
    text: Any, verdict: str, unknown: tuple[str, ...], wrong: float, truth: np.ndarray
) -> None:
    labels, pictures = answers(truth, 1 - wrong, 3), answers(truth, 0.8, 2)
    result = agreement.compare(
        answers(truth, np.array(text), 1), pictures, labels, NAMES
    )
    assert (result.verdict, result.unknown) == (verdict, unknown)
    assert result.pictures_tell and result.images == 3000


def test_answers_without_any_meaning_are_called_so() -> None:
    """At the 5 % level, one-sided: about one in twenty draws of chance looks like more."""
    rng = np.random.default_rng(0)
    result = [
        agreement.compare(*rng.integers(0, K, (3, 300)), NAMES) for _ in range(200)
    ]
    assert np.mean([f.verdict == NOTHING for f in result]) == pytest.approx(
        0.95, abs=0.04
    )
    assert np.mean([f.pictures_tell for f in result]) == pytest.approx(0.05, abs=0.04)
    blind = next(f for f in result if f.verdict == NOTHING and not f.pictures_tell)
    assert "the pictures say nothing either" in blind.sentence()


def test_of_few_images_nothing_is_said() -> None:
    rare = np.repeat(np.arange(K), [80, 80, 80, 80, 80, 2])
    text = np.where(rare == 5, 0, rare)
    result = agreement.compare(
        text, np.where(np.arange(402) < 401, rare, 0), rare, NAMES
    )
    assert result.verdict == FITS and result.classes["f"]["text"] == 0


def test_names_that_are_mixed_up_say_nothing(truth: np.ndarray) -> None:
    assert agreement.compare((truth + 1) % K, truth, truth, NAMES).verdict == NOTHING


def test_the_sentence_has_the_shares(truth: np.ndarray) -> None:
    text, pictures = answers(truth, 0.8, 1), answers(truth, 0.6, 2)
    result = agreement.compare(text, pictures, truth, NAMES)
    of_text, of_pictures = (
        f"{100 * (x == truth).mean():.0f} %" for x in (text, pictures)
    )
    shares = (
        f"{of_text} of the labels, the nearest other pictures with {of_pictures}; 17 %"
    )
    assert shares in result.sentence() and result.sentence().startswith(
        "The class names fit these pictures"
    )
    assert json.loads(json.dumps(result.as_dict()))["sentence"] == result.sentence()
    assert result.between == pytest.approx(cohen_kappa_score(text, pictures))
