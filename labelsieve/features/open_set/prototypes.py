"""Prototypes of classes from trusted pictures, and what they say: keep, relabel, or no class.

After Qin et al., "CAPro: Webly Supervised Learning with Cross-Modality Aligned Prototypes",
NeurIPS 2023 (arXiv 2310.09761), steps 2, 3, 6 and 7, on features of a frozen tower. Shapes: n
pictures, k classes, d wide features of length one.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from labelsieve.estimation.calibration import of_given
from labelsieve.features.neighbours import nearest
from labelsieve.features.open_set.reranking import rerank
from labelsieve.features.zero_shot import softmax

CANDIDATES = 20  # neighbours that are re-ranked, as in the paper
KEPT = 5  # of them
AT_ONCE = 512  # groups of candidates: 512 x 21 x 512 numbers are 22 MB
# Pictures of a class that are re-ranked against its text: time grows with their cube.
MOST = 1_000
# Codes of `verdicts`.
KEEP = 0
RELABEL = 1
OUTSIDE = 2


def smooth_texts(features: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """[n, e] the side text of each picture, told by the pictures most like it, not by itself.

    One step of graph convolution without weights. An edge weighs 1 - the re-ranked distance; in
    the authors' code it weighs the distance itself, so that nearer neighbours count for less.

    Args:
        features: [n, d] of pictures.
        texts: [n, e] of their side texts; rows of zeros have none.
    """
    rows, _ = nearest(features, CANDIDATES)
    n = len(features)
    kept, weights = _edges(np.asarray(features, dtype=np.float32), rows)
    starts = np.repeat(np.arange(n), kept.shape[1])
    graph = sparse.csr_matrix((weights.ravel(), (starts, kept.ravel())), (n, n))
    # whoever names another as a neighbour is one of its neighbours
    graph = graph.maximum(graph.T)
    # who has no text says nothing, and takes no part of the weight
    total = graph @ (np.abs(texts).sum(1) > 0).astype(np.float32)
    told: np.ndarray = (graph @ texts) / np.maximum(total, 1e-12)[:, None]
    return told


def _edges(features: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kept neighbours [n, m] and their weights [n, m]."""
    count = min(KEPT, rows.shape[1])
    kept, weights = [], []
    for start in range(0, len(rows), AT_ONCE):
        near = rows[start : start + AT_ONCE]
        own = features[start : start + AT_ONCE, None]
        group = np.concatenate([own, features[near]], axis=1)
        distance = rerank(torch.from_numpy(group))[:, 1:]
        best = distance.topk(count, largest=False)
        kept.append(np.take_along_axis(near, best.indices.numpy(), 1))
        # above 0: a neighbour at the largest distance stays one
        weights.append((1 - best.values.numpy()).clip(1e-6))
    return np.concatenate(kept), np.concatenate(weights)


def text_distances(
    texts: np.ndarray, classes: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """[n] re-ranked distance of each side text to the text of its given class.

    Args:
        texts: [n, e] as `smooth_texts` gives them, zeros where nothing is told. classes: [k, e].
        labels: [n].
    """
    scale = np.linalg.norm(texts, axis=1, keepdims=True)
    unit = texts / np.maximum(scale, 1e-12)
    # twice the largest distance there is: what was not re-ranked comes last, by its cosine
    result = 2 - (unit * classes[labels]).sum(1)
    for number in np.unique(labels):
        # of whom nothing is told is no neighbour of anybody, and stays last
        own = np.flatnonzero((labels == number) & (scale[:, 0] > 0))
        own = own[np.argsort(result[own], kind="stable")[:MOST]]
        if not len(own):
            continue
        # the class text comes first: distances are told from there
        group = np.concatenate([classes[number : number + 1], unit[own]])
        points = torch.from_numpy(group.astype(np.float32))[None]
        result[own] = rerank(points)[0, 1:].numpy()
    return result


def anchors(
    distances: np.ndarray, labels: np.ndarray, most: int, share: float
) -> np.ndarray:
    """[n] bool: of every class the pictures with the smallest distances, at least one.

    Args:
        distances: [n]. most: of a class. share: of a class, in (0, 1].
    """
    chosen = np.zeros(len(labels), dtype=bool)
    for number in np.unique(labels):
        # at least one: a class without a prototype could not be kept
        own = np.flatnonzero(labels == number)
        count = max(1, min(most, int(share * len(own))))
        chosen[own[np.argsort(distances[own], kind="stable")[:count]]] = True
    return chosen


def means(features: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """[k, d] float64 mean feature of each class, of length one; zeros where it has no picture."""
    total = np.zeros((k, features.shape[1]))
    np.add.at(total, labels, features)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return total / np.maximum(length, 1e-12)


def opinion(
    features: np.ndarray,
    prototypes: np.ndarray,
    probs: np.ndarray,
    share: float,
    temperature: float,
) -> np.ndarray:
    """O [n, k]: `share` of a classifier's probabilities, the rest what prototypes say."""
    said = softmax(features @ prototypes.T / temperature)
    mixed: np.ndarray = share * probs + (1 - share) * said
    return mixed


def verdicts(opinions: np.ndarray, labels: np.ndarray, sure: float) -> np.ndarray:
    """[n] int64 of KEEP, RELABEL and OUTSIDE, the rule of step 6.

    Relabel where a class has at least `sure`; else keep where the label has at least 1 / k; else
    it belongs to no class. A label that is itself the sure class is kept.
    """
    k = opinions.shape[1]
    best = opinions.argmax(1)
    decided = np.where(of_given(opinions, labels) >= 1 / k, KEEP, OUTSIDE)
    found = np.where(best == labels, KEEP, RELABEL)
    result: np.ndarray = np.where(opinions.max(1) >= sure, found, decided)
    return result


def polish(
    prototypes: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    kept: np.ndarray,
    momentum: float,
) -> np.ndarray:
    """Step 7 once through the data: prototypes [k, d] moved towards the pictures that are kept.

    The paper moves z^c by m z^c + (1 - m) z_i picture after picture. Here the m^count that is left
    of a prototype is the same, and every picture has the same part of the rest, so that the order
    of rows decides nothing.

    Args:
        labels: [n], corrected ones. kept: [n] bool. momentum: m, of one picture.
    """
    k = len(prototypes)
    # a class that keeps nothing stays where it is: m^0 = 1
    counts = np.bincount(labels[kept], minlength=k)
    centre = means(features[kept], labels[kept], k)
    left = momentum ** counts[:, None]
    moved = left * prototypes + (1 - left) * centre
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    polished: np.ndarray = moved / np.maximum(length, 1e-12)
    return polished
