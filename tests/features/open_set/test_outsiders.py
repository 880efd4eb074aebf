from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from labelsieve.features.open_set import outsiders


def features(n: int = 60, d: int = 6) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_isolation_is_the_mean_distance_to_the_nearest_others() -> None:
    values = features()
    found = outsiders.isolation(values)
    for i, own in enumerate(values):
        others = np.sort(np.delete(values @ own, i))[::-1][: outsiders.NEIGHBOURS]
        assert found[i] == pytest.approx(1 - others.mean(), abs=1e-5)


def test_parts_change_nothing_and_a_sample_is_compared_with_itself_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = features(400)
    exact = outsiders.isolation(values)
    monkeypatch.setattr(outsiders, "AT_ONCE", 7)
    assert np.allclose(outsiders.isolation(values), exact, atol=1e-6)
    monkeypatch.setattr(outsiders, "SAMPLE", 200)
    found = outsiders.isolation(values)
    for i, own in enumerate(values):
        rows = np.setdiff1d(np.arange(0, 400, 2), [i])
        top = np.sort(values[rows] @ own)[::-1][: outsiders.NEIGHBOURS]
        assert found[i] == pytest.approx(1 - top.mean(), abs=1e-5)


def test_one_picture_has_no_neighbour() -> None:
    assert outsiders.isolation(features(1)).tolist() == [1.0]


def task(cosines: np.ndarray, text: np.ndarray) -> Any:
    answer = SimpleNamespace(cosines=cosines, temperature=0.05)
    return SimpleNamespace(
        image_features=features,
        class_features=lambda: text,
        zero_shot=lambda: answer,
    )


def test_similarity_and_energy_are_their_formulas() -> None:
    cosines = np.random.default_rng(1).uniform(-1, 1, (60, 3)).astype(np.float32)
    found = outsiders.columns(task(cosines, np.ones((3, 6))))
    assert np.allclose(found["outsider_similarity"], 1 - cosines.max(1))
    energy = -0.05 * np.log(np.exp(cosines / 0.05).sum(1))
    assert np.allclose(found["outsider_energy"], energy, atol=1e-5)


def test_without_names_there_is_the_distance_alone() -> None:
    assert list(outsiders.columns(task(np.ones((60, 3)), np.zeros((3, 6))))) == [
        "outsider_distance"
    ]
