from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from labelsieve.features.cached import Corners
from labelsieve.methods import zero_shot
from labelsieve.methods._posterior import TEXT, select_among


def naive(planted: Any, temperature: float) -> np.ndarray:
    """[n, k], picture by picture and class by class."""
    images, words = planted.images, planted.encoder.image_tower.words.numpy()
    pictures = (
        images.inputs(np.arange(len(images))).numpy().reshape(len(images), -1) / 127.5
        - 1
    )
    probs = np.empty((len(images), len(images.classes)))
    for i, picture in enumerate(pictures):
        for j, name in enumerate(images.classes):
            text = (
                4 * words[0] + words[planted.encoder.words[name]]
            )  # "a photo of a NAME"
            cosine = picture @ text / np.linalg.norm(picture) / np.linalg.norm(text)
            probs[i, j] = np.exp(cosine / temperature)
    return probs / probs.sum(1, keepdims=True)


def test_probabilities_are_a_softmax_at_the_models_own_temperature(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=6, noise=60.0)
    found, wanted = planted.detect(zero_shot, flags="own"), naive(planted, 1 / 50)
    given = wanted[np.arange(len(wanted)), planted.images.labels]
    assert np.allclose(found.columns["score"], given, atol=1e-4)
    assert np.array_equal(found.flagged, wanted.argmax(1) != planted.images.labels)
    assert found.facts["flags_by"] == "own rule"


def test_at_temperature_one_all_classes_are_alike(plant: Callable[..., Any]) -> None:
    planted = plant(each=6)
    flat = planted.detect(zero_shot, temperature=1.0, flags="own")
    own = planted.detect(zero_shot, flags="own")
    given = naive(planted, 1.0)[np.arange(24), planted.images.labels]
    assert np.allclose(flat.columns["score"], given, atol=1e-4)
    assert flat.columns["score"].max() < 0.6 < own.columns["score"].max()
    assert np.array_equal(flat.flagged, own.flagged)


def test_corners_are_seen_where_asked_for(plant: Callable[..., Any]) -> None:
    planted = plant(each=6, noise=60.0)
    whole = planted.detect(zero_shot)
    found = planted.detect(zero_shot, corners=True)
    features = planted.task.image_features(Corners())
    cosines = features @ planted.task.class_features().T
    probs = np.exp(50 * cosines) / np.exp(50 * cosines).sum(1, keepdims=True)
    given = probs[np.arange(24), planted.images.labels]
    np.testing.assert_allclose(found.columns["score"], given, atol=1e-4)
    assert np.abs(whole.columns["score"] - given).max() > 1e-3


def test_with_transition_labels_are_ranked_by_bayes_rule(
    plant: Callable[..., Any],
) -> None:
    planted = plant(noise=60.0)
    found = planted.detect(zero_shot, judge="transition")
    labels = planted.images.labels
    votes = {TEXT: planted.task.zero_shot().probs()}
    posterior = select_among(votes, labels, 0).posterior(labels)
    wanted = posterior[np.arange(120), labels]
    np.testing.assert_allclose(found.columns["score"], wanted, atol=1e-6)
    assert planted.auroc(found.p_clean) > 0.97
