from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labelsieve.methods import memory
from labelsieve.methods.memory import Memory, Settings


def modes(
    rate: float, k: int = 8, per_class: int = 5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, true and given labels of classes that have several looks each."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((k * per_class, 32))
    mode = rng.integers(0, len(centres), 3000)
    features = centres[mode] + 0.5 * rng.standard_normal((3000, 32))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    truth = mode % k
    wrong = rng.random(3000) < rate
    given = np.where(wrong, (truth + rng.integers(1, k, 3000)) % k, truth)
    return features.astype(np.float32), truth, given


def auroc(score: np.ndarray, wrong: np.ndarray) -> float:
    above = score[wrong][:, None] > score[~wrong][None]
    return float(above.mean())


def judge(features: np.ndarray, given: np.ndarray, **words: Any) -> np.ndarray:
    settings = Settings(**words)
    kept = memory.learn(features, given, 8, settings, 0)
    assert np.allclose(np.linalg.norm(kept.prototypes, axis=1), 1, atol=1e-5)
    frequencies = np.bincount(given, minlength=8) / len(given)
    assert np.allclose(kept.labels(frequencies, 1.0).sum(1), 1)
    assert kept.counts.sum() == len(given)
    refined, _ = memory.read(kept, features, given, settings)
    assert np.allclose(refined.sum(1), 1)
    return refined


def test_enough_regions_find_wrong_labels_and_refine_them() -> None:
    features, truth, given = modes(0.4)
    refined = judge(features, given, per_class=10)
    agreed = refined[np.arange(3000), given] / refined.max(1)
    assert auroc(-agreed, given != truth) > 0.95
    right = (refined.argmax(1) == truth).mean()
    assert right > (given == truth).mean() + 0.2


def test_too_few_regions_mix_what_differs() -> None:
    features, truth, given = modes(0.4)
    few, many = (judge(features, given, per_class=n) for n in (2, 10))
    right = [(r.argmax(1) == truth).mean() for r in (few, many)]
    assert right[0] < right[1] - 0.1


def test_clean_labels_are_left_alone() -> None:
    features, _, given = modes(0.0)
    refined = judge(features, given, per_class=10)
    agreed = refined[np.arange(3000), given] / refined.max(1)
    assert (agreed <= 0.5).mean() < 0.02


def test_a_region_for_each_picture_is_a_kernel_vote_without_it() -> None:
    features, _, given = modes(0.4)
    features, given = features[:60], given[:60]
    every = Memory(features, np.eye(8)[given])
    refined, region = memory.read(every, features, given, Settings(prior=1e-9))
    assert np.array_equal(region, np.arange(60))
    weights = np.exp(features @ features.T / 0.1)
    weights /= weights.sum(1, keepdims=True)
    frequencies = np.bincount(given, minlength=8) / 60
    for i in range(60):
        # a region that has lost its only vote says what is said of all
        votes = np.eye(8)[given].copy()
        votes[i] = frequencies
        assert np.allclose(refined[i], weights[i] @ votes, atol=1e-5)


def test_idle_prototypes_are_planted_again() -> None:
    features, _, given = modes(0.0)
    # nearly all pictures are one, so that most prototypes begin on the same spot
    features[:2900] = features[0]
    kept = memory.learn(features, given, 8, Settings(per_class=10), 0)
    used = np.unique(memory.assign(features, kept.prototypes)[0])
    assert len(used) > 40


def test_wrong_labels_come_first(plant: Callable[..., Any]) -> None:
    planted = plant(each=40, noise=40.0)
    found = planted.detect(memory, per_class=4)
    assert planted.auroc(found.p_clean) > 0.95
    assert set(found.columns) == {"score", "region", "region_agreement"}


def test_there_must_be_a_region() -> None:
    with pytest.raises(Exception, match="per_class cannot be 0"):
        Settings(per_class=0)
