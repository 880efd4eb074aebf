from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labelsieve.errors import OptionError
from labelsieve.methods import knn


@pytest.mark.parametrize("weights", ["cosine", "equal"])
def test_votes_are_those_counted_one_by_one(
    weights: str, plant: Callable[..., Any]
) -> None:
    planted = plant(each=6, noise=60.0)
    features, labels = (
        np.array(planted.task.image_features(), dtype=np.float64),
        planted.images.labels,
    )
    wanted = np.zeros((len(labels), 4))
    for i in range(len(labels)):
        others = [(features[i] @ features[j], j) for j in range(len(labels)) if j != i]
        for cosine, j in sorted(others, reverse=True)[:5]:
            wanted[i, labels[j]] += max(cosine, 1e-6) if weights == "cosine" else 1
    wanted /= wanted.sum(1, keepdims=True)
    found = planted.detect(knn, neighbours=5, weights=weights, flags="own")
    given = wanted[np.arange(len(labels)), labels]
    assert np.allclose(found.columns["score"], given, atol=1e-5)
    assert np.array_equal(
        found.flagged, wanted.max(1) > wanted[np.arange(len(labels)), labels] + 1e-9
    )


def test_a_label_has_no_say_about_itself(plant: Callable[..., Any]) -> None:
    planted = plant(each=6)
    # as each of the four classes, so the votes for all of them: they sum to one
    scores = []
    for label in range(4):
        planted.images.labels[0] = label
        again = planted.elsewhere(planted.task.folder / str(label))
        scores.append(again.detect(knn, neighbours=5).columns["score"][0])
    assert sum(scores) == pytest.approx(1)


def test_there_must_be_a_neighbour() -> None:
    with pytest.raises(OptionError, match="neighbours cannot be 0"):
        knn.Settings(neighbours=0)
