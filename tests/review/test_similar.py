"""Look-alikes: the nearest by cosine, also where not all are compared in full."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve.review import similar as module
from labelsieve.review.similar import Similar, similar


def clouds(n: int, d: int) -> np.ndarray:
    random = np.random.default_rng(0)
    features = random.normal(size=(20, d))[random.integers(0, 20, n)]
    features = features + 0.4 * random.normal(size=(n, d))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features.astype(np.float32)


def test_few_are_compared_in_full() -> None:
    features = clouds(500, 16)
    position = np.random.default_rng(1).permutation(500)
    for row in (0, 17):
        wanted = features[position] @ features[position[row]]
        assert np.allclose(Similar(features, position).to(row), wanted, atol=1e-6)


def test_among_many_the_best_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1000)
    monkeypatch.setattr(module, "EXACT", 300)
    features = clouds(6000, 128)
    position = np.random.default_rng(1).permutation(6000)
    cosines = Similar(features.astype(np.float16), position).to(5)
    exact = (
        features[position].astype(np.float16).astype(np.float32) @ features[position[5]]
    )
    best = np.argsort(-exact)[:50]
    found = np.argsort(-cosines)[:50]
    assert found[0] == 5
    assert len(set(best) & set(found)) >= 48
    assert np.allclose(cosines[found], exact[found], atol=2e-3)
    # what was compared roughly comes below all that was compared in full
    assert np.count_nonzero(cosines > -1) == 300


def test_features_of_a_run_are_joined_by_id(planted) -> None:  # type: ignore[no-untyped-def]
    from labelsieve.runs.reading.features import cached_features
    from labelsieve.tables import RowsOf

    at = RowsOf(planted.run.scores["sample_id"])
    found = similar(planted.run)
    cached = cached_features(planted.run)
    assert found is not None and cached is not None
    ids, features = cached
    for number, sample_id in enumerate(ids):
        row = at[str(sample_id)]
        assert np.array_equal(found.features[found.position[row]], features[number])


def test_many_are_put_in_order_the_nearest_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = clouds(6000, 16)
    alike = Similar(features, np.arange(6000))
    rows = np.flatnonzero(np.arange(6000) % 3)
    whole = alike.nearest(5, rows)
    monkeypatch.setattr(module, "SORTED", 1000)
    monkeypatch.setattr(module, "EXACT", 300)
    found = alike.nearest(5, rows)
    assert found[0] == 5 and np.array_equal(found[:300], whole[:300])
    assert np.array_equal(np.sort(found), rows)
    # the others in steps that nobody sees
    cosines = alike.to(5)[found]
    assert (np.diff(cosines) < 1e-4).all()
