from __future__ import annotations

import numpy as np
import torch

from labelsieve.features.open_set.reranking import rerank

SIX = np.array([0.0, 0.1, 0.3, 1.5, 1.6, 2.8])  # angles of points on a circle


def on_circle(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def naive(points: np.ndarray, k1: int, k2: int, share: float) -> np.ndarray:
    """The paper's definitions with sets and loops."""
    m = len(points)
    d = np.array([[((a - b) ** 2).sum() for b in points] for a in points])
    d = (d / d.max(0)).T
    near = [np.argsort(d[i], kind="stable") for i in range(m)]

    def reciprocal(i: int, k: int) -> set[int]:
        return {int(j) for j in near[i][: k + 1] if i in near[j][: k + 1]}

    v = np.zeros((m, m))
    for i in range(m):
        own = reciprocal(i, k1)
        expanded = set(own)
        for j in own:
            other = reciprocal(j, round(k1 / 2))
            if len(other & own) > 2 / 3 * len(other):
                expanded |= other
        for j in expanded:
            v[i, j] = np.exp(-d[i, j])
        v[i] /= v[i].sum()
    v = np.stack([v[near[i][:k2]].mean(0) for i in range(m)])
    common = np.minimum(v[0], v).sum(1)
    return (1 - share) * (1 - common / (2 - common)) + share * d[0]


def test_six_points_are_ranked_as_the_definitions_say() -> None:
    points = on_circle(SIX)
    for k1, k2, share in ((2, 1, 0.0), (3, 2, 0.3), (4, 3, 0.0)):
        found = rerank(torch.from_numpy(points).float()[None], k1, k2, share)[0]
        assert np.allclose(found, naive(points, k1, k2, share), atol=1e-5)


def test_groups_are_judged_apart_and_within_bounds() -> None:
    points = torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(0))
    points = points / points.norm(dim=2, keepdim=True)
    together = rerank(points, 4, 2)
    for group, found in zip(points, together, strict=True):
        assert torch.allclose(rerank(group[None], 4, 2)[0], found)
        assert np.allclose(found, naive(group.double().numpy(), 4, 2, 0.3), atol=1e-4)
    assert together.min() >= -1e-6 and together.max() <= 1 + 1e-6
    # a point is at no Jaccard distance from itself
    assert torch.allclose(rerank(points, 4, 2, 0.0)[:, 0], torch.zeros(3), atol=1e-5)
