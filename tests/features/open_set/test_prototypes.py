from __future__ import annotations

import numpy as np
import pytest

from labelsieve.features.open_set import prototypes
from labelsieve.features.open_set.prototypes import KEEP, OUTSIDE, RELABEL


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def clusters(centres: np.ndarray, spread: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(centres.shape)
    return unit(centres + spread * noise).astype(np.float32)


@pytest.mark.parametrize(
    ("opinion", "label", "verdict"),
    [
        ((0.7, 0.1, 0.1, 0.1), 1, RELABEL),
        ((0.7, 0.1, 0.1, 0.1), 0, KEEP),
        ((0.4, 0.3, 0.2, 0.1), 1, KEEP),
        ((0.5, 0.3, 0.15, 0.05), 3, OUTSIDE),
    ],
)
def test_the_three_verdicts(
    opinion: tuple[float, ...], label: int, verdict: int
) -> None:
    found = prototypes.verdicts(np.array([opinion]), np.array([label]), 0.6)
    assert found.tolist() == [verdict]


def test_a_constant_text_stays_and_a_wrong_one_is_drowned() -> None:
    features = clusters(np.repeat(np.eye(8)[:2], 12, 0), 0.05)
    texts = np.repeat(np.eye(4)[:2], 12, 0)
    same = prototypes.smooth_texts(features, np.ones((24, 4)))
    assert np.allclose(same, 1)
    texts[0] = np.eye(4)[3]
    told = prototypes.smooth_texts(features, texts)
    # its own text has no weight
    assert told[0] @ np.eye(4)[3] == 0 and told[0].argmax() == 0
    assert np.allclose(told.sum(1), 1)


def test_who_has_no_text_takes_no_weight() -> None:
    features = clusters(np.repeat(np.eye(8)[:2], 12, 0), 0.05)
    texts = np.repeat(np.eye(4)[:2], 12, 0)
    texts[::2] = 0
    told = prototypes.smooth_texts(features, texts)
    assert np.allclose(told.sum(1), 1)


def test_texts_find_the_sense_of_a_word_that_pictures_do_not() -> None:
    """Eight pictures in ten show another sense of the word; one text in three is right."""
    rng = np.random.default_rng(0)
    n, minority = 200, 40
    features = clusters(np.eye(16)[np.repeat([0, 1], [minority, n - minority])], 0.1)
    word, other = np.eye(8)[0], np.eye(8)[1]
    texts = np.tile(other, (n, 1))
    right = rng.choice(minority, round(0.3 * minority), replace=False)
    texts[right] = word
    texts = unit(texts + 0.1 * rng.standard_normal(texts.shape))
    labels = np.zeros(n, dtype=np.int64)
    told = prototypes.smooth_texts(features, texts)
    distances = prototypes.text_distances(told, np.stack([word]), labels)
    trusted = prototypes.anchors(distances, labels, most=20, share=1)
    assert trusted.sum() == 20 and trusted[:minority].mean() == 0.5
    by_text = prototypes.means(features[trusted], labels[trusted], 1)[0]
    by_pictures = prototypes.means(features, labels, 1)[0]
    assert by_text @ np.eye(16)[0] > 0.9 > 0.5 > by_pictures @ np.eye(16)[0]


def test_anchors_are_the_nearest_of_each_class_and_at_least_one() -> None:
    distances = np.array([0.3, 0.1, 0.2, 0.9, 0.5])
    chosen = prototypes.anchors(distances, np.array([0, 0, 0, 1, 0]), 2, 0.5)
    assert chosen.tolist() == [False, True, True, True, False]


def test_polishing_leaves_of_a_prototype_what_the_sequence_leaves() -> None:
    rng = np.random.default_rng(0)
    features = unit(rng.standard_normal((50, 4)))
    start = unit(rng.standard_normal((2, 4)))
    kept = np.arange(50) % 5 > 0
    labels = (np.arange(50) > 24).astype(np.int64)
    found = prototypes.polish(start, features, labels, kept, 0.9)
    for c in range(2):
        own = kept & (labels == c)
        mean = features[own].sum(0) / np.linalg.norm(features[own].sum(0))
        wanted = 0.9 ** own.sum() * start[c] + (1 - 0.9 ** own.sum()) * mean
        assert np.allclose(found[c], wanted / np.linalg.norm(wanted))
    # a class without a picture stays where it is
    nothing = prototypes.polish(start, features, labels, labels == 0, 0.9)
    assert np.allclose(nothing[1], start[1])
