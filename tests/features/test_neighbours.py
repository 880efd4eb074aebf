from __future__ import annotations

import numpy as np
import pytest

from labelsieve.errors import DataError
from labelsieve.features import neighbours


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_neighbours_are_those_of_all_pairs() -> None:
    features = unit(40, 6)
    rows, cosines = neighbours.nearest(features, 5)
    every = features @ features.T
    np.fill_diagonal(every, -2)
    order = np.argsort(-every, axis=1)[:, :5]
    assert np.array_equal(rows, order)
    assert np.allclose(cosines, np.take_along_axis(every, order, 1), atol=1e-5)


def test_an_image_is_not_its_own_neighbour_even_if_it_occurs_twice() -> None:
    features = np.repeat(unit(5, 4), 3, axis=0)
    rows, cosines = neighbours.nearest(features, 2)
    assert all(i not in row for i, row in enumerate(rows.tolist()))
    assert all(j // 3 == i // 3 for i, row in enumerate(rows.tolist()) for j in row)
    assert np.allclose(cosines, 1, atol=1e-5)


def test_there_are_at_most_all_others() -> None:
    assert neighbours.nearest(unit(3, 4), 10)[0].shape == (3, 2)


def test_too_many_pairs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST", 9)
    with pytest.raises(
        DataError,
        match=r"10 images would compare 1.0e\+02 pairs; the limit is 9 images",
    ):
        neighbours.nearest(unit(10, 3), 2)


def test_votes_add_up_by_class() -> None:
    rows, weights = (
        np.array([[1, 2], [0, 2], [0, 1]]),
        np.array([[0.5, 0.25], [1, 2], [3, 4.0]]),
    )
    found = neighbours.votes(rows, weights, np.array([0, 1, 1]), 3)
    assert found.tolist() == [[0, 0.75, 0], [1, 2, 0], [3, 4, 0]]
