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
    monkeypatch.setattr(neighbours, "can_approximate", lambda: False)
    with pytest.raises(
        DataError,
        match=r"10 images would compare 1.0e\+02 pairs; the limit is 9 images",
    ):
        neighbours.nearest(unit(10, 3), 2)


def test_of_many_images_nearly_all_neighbours_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("faiss", reason="the extra neighbours is not installed")
    told: list[str] = []
    monkeypatch.setattr(neighbours.progress, "note", told.append)
    # groups, as pictures of classes are, with some that occur twice
    middles = unit(200, 32)
    features = middles[np.arange(12_000) % 200] + 0.2 * unit(12_000, 32, seed=1)
    features[1::100] = features[::100]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    exact, _ = neighbours.nearest(features, 5)
    monkeypatch.setattr(neighbours, "EXACT", 1_000)
    rows, cosines = neighbours.nearest(features, 5)
    assert (rows != np.arange(12_000)[:, None]).all() and (rows >= 0).all()
    # float16 in the index
    assert np.allclose(
        cosines, np.einsum("nd,nmd->nm", features, features[rows]), atol=2e-3
    )
    found = [len(np.intersect1d(a, b)) for a, b in zip(rows, exact, strict=True)]
    assert np.mean(found) / 5 > 0.95
    assert len(told) == 1 and "are found" in told[0]
    # the same answer when it is asked again
    again, _ = neighbours.nearest(features, 5)
    assert np.array_equal(rows, again)


def test_the_recall_is_measured_against_all_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Block by block, without a second copy of the features."""
    rng = np.random.default_rng(5)
    features = rng.standard_normal((700, 16)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    checked = np.array([0, 3, 299, 300, 699])
    monkeypatch.setattr(neighbours, "BLOCK", 100)
    few = neighbours._exact_of_few(features, checked, 7)
    every, _ = neighbours.nearest(features, 7)
    assert np.array_equal(np.sort(few), np.sort(every[checked]))


def test_votes_add_up_by_class() -> None:
    rows, weights = (
        np.array([[1, 2], [0, 2], [0, 1]]),
        np.array([[0.5, 0.25], [1, 2], [3, 4.0]]),
    )
    found = neighbours.votes(rows, weights, np.array([0, 1, 1]), 3)
    assert found.tolist() == [[0, 0.75, 0], [1, 2, 0], [3, 4, 0]]
