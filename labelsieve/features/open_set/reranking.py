"""k-reciprocal re-ranking: who is near, judged by whether the nearness is mutual.

Zhong, Zheng, Cao, Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR
2017. Of points with distances d, N(i, m) the m + 1 nearest points of i, itself among them:

    R(i, m) = {j in N(i, m): i in N(j, m)}
    R*(i)   = R(i, k1) and every R(j, k1 / 2), j in R(i, k1), of which more than two thirds lie
              in R(i, k1)
    V[i, j] = exp(-d[i, j]) / Σ over R*(i), 0 outside it; then the mean over i's k2 nearest
    d_J     = 1 - Σ_j min(V[q, j], V[i, j]) / (2 - Σ_j min(V[q, j], V[i, j]))
    d*      = (1 - λ) d_J + λ d

Here d is the squared Euclidean distance, each column divided by its largest value.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The paper's settings.
K1 = 20
K2 = 6
SHARE = 0.3  # λ, of the plain distance
OVERLAP = 2 / 3  # of a neighbour's own set, for that set to be taken in


def rerank(points: Tensor, k1: int = K1, k2: int = K2, share: float = SHARE) -> Tensor:
    """Re-ranked distances of the first point of each group to all of its points.

    Args:
        points: [b, m, d] groups of m points of length one.
        k1, k2: at most m - 1 and m are used.
        share: λ, in [0, 1].

    Returns:
        [b, m] float32 in [0, 1]; the pure Jaccard part (λ = 0) is 0 of a point to itself.
    """
    distance = _distances(points)
    m = points.shape[1]
    order = distance.argsort(dim=2, stable=True)
    weights = _encode(distance, order, min(k1, m - 1))
    # query expansion: what the nearest points say of their neighbours, averaged
    nearest = order[:, :, : min(k2, m)]
    weights = _among(nearest, m) @ weights / nearest.shape[2]
    common = torch.minimum(weights[:, :1], weights).sum(2)
    jaccard = 1 - common / (2 - common)
    return (1 - share) * jaccard + share * distance[:, 0]


def _distances(points: Tensor) -> Tensor:
    """[b, m, m] squared distances, columns scaled to [0, 1]."""
    squared = (2 - 2 * points @ points.transpose(1, 2)).clamp(min=0)
    # rounding leaves a point at a distance from itself, and others might come first
    squared.diagonal(dim1=1, dim2=2).fill_(0)
    largest = squared.amax(1, keepdim=True).clamp(min=1e-12)
    # row i holds the distances of i, each divided by the largest of its own column
    return (squared / largest).transpose(1, 2)


def _encode(distance: Tensor, order: Tensor, k1: int) -> Tensor:
    """V [b, m, m] before query expansion."""
    m = distance.shape[1]
    wide = _reciprocal(order[:, :, : k1 + 1], m)
    narrow = _reciprocal(order[:, :, : round(k1 / 2) + 1], m)
    # [i, j]: how many of R(j, k1 / 2) lie in R(i, k1)
    inside = wide @ narrow.transpose(1, 2)
    size = narrow.sum(2)[:, None]
    taken = wide * (inside > OVERLAP * size)
    expanded = wide.bool() | (taken @ narrow > 0)
    weights = torch.exp(-distance) * expanded
    return weights / weights.sum(2, keepdim=True)


def _reciprocal(nearest: Tensor, m: int) -> Tensor:
    """R as [b, m, m] zeros and ones, of nearest points [b, m, k + 1]."""
    near = _among(nearest, m)
    return near * near.transpose(1, 2)


def _among(nearest: Tensor, m: int) -> Tensor:
    b = len(nearest)
    return torch.zeros(b, m, m).scatter_(2, nearest, 1.0)
